"""What all commands share: the application, common arguments, how a stage is run and told."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli import failures

if TYPE_CHECKING:
    from ml.stages.runner import StageRun

STAGES, MODELS, DATA = "Stages", "Models", "Data"
JOBS, USE_CASES, MACHINE = "Jobs", "Use cases", "This machine"

app = typer.Typer(
    name="flightline",
    help="An MLOps platform on one machine: data, features, models, releases.\n\n"
    "Exit codes: 0 done, 1 anything unexpected, 2 wrong input, 3 bad data or evidence, "
    "4 candidate rejected, 75 try again later.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Show debug logs, and where an error was raised."),
    ] = False,
) -> None:
    if verbose:
        failures.be_verbose()


Slug = Annotated[str, typer.Argument(help="Use case, as flightline list names it.", metavar="SLUG")]
First = Annotated[str, typer.Argument(help="Partition key, such as 2013-06-01.", metavar="FIRST")]
Last = Annotated[
    str, typer.Argument(help="Last key of a range, included; default: FIRST.", metavar="LAST")
]
Version = Annotated[int, typer.Argument(help="Of the registered model.", metavar="VERSION")]
AsOf = Annotated[
    str,
    typer.Option(
        help="Train as of the start of this partition; default: the end of the newest data."
    ),
]
Revision = Annotated[
    str,
    typer.Option(help="When this delivery became known, ISO 8601 with an offset; default: first."),
]
AcceptAnomalies = Annotated[
    bool,
    typer.Option("--accept-anomalies", help="Unusual volume or freshness does not stop it."),
]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="The lake's copy was wrong: forget it, what is read now is the first delivery.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@contextmanager
def _progress() -> Iterator[None]:
    """What a stage says while it works goes to stderr: stdout is for the result."""
    if failures.is_verbose():  # shown already, with all else
        yield
        return
    log, shown = logging.getLogger("flightline"), logging.StreamHandler(sys.stderr)
    log.addHandler(shown)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(shown)


def run_here(stage: str, slug: str, **values: object) -> StageRun:
    """Run a stage on this machine's platform; its progress goes to stderr."""
    from ml.use_cases import load_spec

    load_spec(slug)  # a typing error should not wait for the libraries below
    from ml.local.tracking import with_server
    from ml.settings import settings

    where = with_server(settings())
    from ml.stages.runner import Arguments, run_stage

    arguments = Arguments(**values)  # type: ignore[arg-type]  # checked by Typer
    with _progress():
        return run_stage(stage, slug, arguments, where=where)


def run_and_tell(stage: str, slug: str, as_json: bool, **values: object) -> None:
    """Run a stage and print its result; exit code 4 if it rejected a candidate."""
    ran = run_here(stage, slug, **values)
    from ml.render import console, stage_run

    if as_json:
        print(json.dumps(ran.to_plain(), indent=2))
    else:
        console().print(stage_run(ran))
    if stage == "validate" and ran.result.decision == "rejected":
        raise typer.Exit(4)
