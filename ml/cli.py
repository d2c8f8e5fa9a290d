"""The command line: each stage by itself, whole jobs, and the platform on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ml.core.errors import ConfigError, FlightlineError
from ml.core.prediction_source import Source

if TYPE_CHECKING:
    from ml.stages.runner import StageRun

INTERRUPTED = 130  # what shells say of Ctrl-C

app = typer.Typer(
    name="flightline",
    help="An MLOps platform on one machine: data, features, models, releases.\n\n"
    "Exit codes: 0 done, 2 wrong input, 3 bad data or evidence, 4 candidate rejected, "
    "75 try again later.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Slug = Annotated[str, typer.Argument(help="Use case, such as flight_delay.", metavar="SLUG")]
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
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class BatchSource(StrEnum):
    """Where a batch of predictions is made; a server's are not made by a command."""

    SCORE = Source.SCORE.value
    REPLAY = Source.REPLAY.value


_STAGES, _JOBS, _PLATFORM = "Stages", "Jobs", "This machine"


def _run(stage: str, slug: str, as_json: bool, **values: object) -> None:
    from ml.use_cases import load_spec

    load_spec(slug)  # a typing error should not wait for the libraries below
    from ml.local.tracking import with_server
    from ml.render import console, stage_run
    from ml.settings import settings

    where = with_server(settings())
    from ml.stages.runner import Arguments, run_stage

    arguments = Arguments(**values)  # type: ignore[arg-type]  # checked by Typer
    ran = run_stage(stage, slug, arguments, where=where)
    if as_json:
        print(json.dumps(ran.to_plain(), indent=2))
    else:
        console().print(stage_run(ran))
    if stage == "validate" and ran.result.decision == "rejected":
        raise typer.Exit(4)


@app.command(rich_help_panel=_STAGES)
def ingest(
    slug: Slug,
    first: First,
    last: Last = "",
    corrected_at: Annotated[
        str, typer.Option(help="When a correction became known, ISO 8601 with an offset.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Source → lake; bad rows go to the quarantine.

    Example: flightline ingest flight_delay 2013-01-01 2013-01-31
    """
    _run("ingest", slug, as_json, first=first, last=last, corrected_at=corrected_at)


@app.command(rich_help_panel=_STAGES)
def transform(slug: Slug, first: First, last: Last = "", as_json: Json = False) -> None:
    """Lake → dbt models and tests → exported feature partitions.

    Example: flightline transform flight_delay 2013-01-01 2013-01-31
    """
    _run("transform", slug, as_json, first=first, last=last)


@app.command(rich_help_panel=_STAGES)
def materialize(slug: Slug, first: First, last: Last = "", as_json: Json = False) -> None:
    """Feature partitions → online store.

    Example: flightline materialize flight_delay 2013-01-31
    """
    _run("materialize", slug, as_json, first=first, last=last)


@app.command(rich_help_panel=_STAGES)
def train(slug: Slug, as_of: AsOf = "", as_json: Json = False) -> None:
    """Point-in-time training set → tracked run → registered version.

    Example: flightline train flight_delay --as-of 2013-06-01
    """
    _run("train", slug, as_json, as_of=as_of)


@app.command(rich_help_panel=_STAGES)
def validate(slug: Slug, version: Version, as_json: Json = False) -> None:
    """Judge a version on the holdout; exit code 4 if it is rejected.

    Example: flightline validate flight_delay 1
    """
    _run("validate", slug, as_json, version=version)


@app.command(rich_help_panel=_STAGES)
def promote(slug: Slug, version: Version, as_json: Json = False) -> None:
    """Release an accepted version: the first as champion, later ones as canary.

    Example: flightline promote flight_delay 1
    """
    _run("promote", slug, as_json, version=version)


@app.command(rich_help_panel=_STAGES)
def score(
    slug: Slug,
    first: First,
    last: Last = "",
    source: Annotated[
        BatchSource, typer.Option(help="score: on its own day; replay: from history.")
    ] = BatchSource.SCORE,
    as_json: Json = False,
) -> None:
    """Champion and canary on the events of a partition → prediction log.

    Example: flightline score flight_delay 2013-07-01
    """
    _run("score", slug, as_json, first=first, last=last, source=source.value)


@app.command(rich_help_panel=_JOBS)
def run(
    slug: Slug,
    first: Annotated[str, typer.Option(help="First partition; default: the demo's story.")] = "",
    last: Annotated[str, typer.Option(help="Last partition, included; default: FIRST.")] = "",
    as_of: AsOf = "",
) -> None:
    """The whole chain in one process, without Airflow.

    With --first: ingest, transform and materialize the range, train as of
    --as-of, validate, promote, then score the range. A partition is scored by
    the release that was in force when it began; before the first release
    (its --as-of) there is none, and the result lists it as skipped.
    If the candidate is rejected, the rest is done and the exit code is 4.

    Without --first: the story of the demo; a rejection is part of it.

    Example: flightline run flight_delay --first 2013-01-01 --last 2013-06-07 --as-of 2013-06-01
    """
    from ml.use_cases import load_spec

    load_spec(slug)
    if first:
        _run_range(slug, first, last, as_of)
    elif last or as_of:
        raise ConfigError(
            f"{'--last' if last else '--as-of'} without --first",
            expected="--first, the first partition of the range; or none of them for the story",
            repair=f"flightline run {slug} --first KEY --last KEY [--as-of KEY]",
        )
    else:
        _run_story(slug)


def _run_range(slug: str, first: str, last: str, as_of: str) -> None:
    from ml.local.tracking import with_server
    from ml.settings import settings
    from ml.use_cases import load_spec

    spec, where = load_spec(slug), with_server(settings())
    spec.partitions(first, last or first)  # a wrong key should not be told after minutes
    if as_of:
        spec.as_of(as_of)
    from ml.stages.chain import run_range

    if _show(run_range(slug, first, last, as_of=as_of, where=where)):
        raise typer.Exit(4)


def _run_story(slug: str) -> None:
    from ml.core.story import story
    from ml.local.tracking import with_server
    from ml.render import console
    from ml.settings import settings
    from ml.use_cases import load_spec

    steps, where = story(load_spec(slug)), with_server(settings())
    from ml.stages.chain import run_step

    for step in steps:
        console().rule(step.title, align="left")
        _show(run_step(slug, step, where=where))


def _show(runs: Iterable[StageRun]) -> bool:
    """Print each stage as it ends; whether a candidate was rejected."""
    from ml.render import console, rejection, stage_run

    out, is_rejected = console(), False
    for ran in runs:
        out.print(stage_run(ran))
        if line := rejection(ran):
            out.print(line, style="red", markup=False)
            is_rejected = True
    return is_rejected


@app.command(rich_help_panel=_JOBS)
def demo(
    slug: Annotated[
        str,
        typer.Argument(help="Use case; default: the first that has a demo.", metavar="SLUG"),
    ] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete all local state first.")] = False,
) -> None:
    """Start the platform and play the story of a use case through the real scheduler.

    Finished work is not repeated. Without SLUG it is the story of flight_delay.

    Example: flightline demo --fresh
    """
    from ml.local.demo import play, tell_interruption
    from ml.settings import settings
    from ml.use_cases import demo_slug

    try:
        play(slug or demo_slug(), settings(), fresh=fresh)
    except KeyboardInterrupt:
        tell_interruption(settings())
        raise typer.Exit(INTERRUPTED) from None


@app.command(rich_help_panel=_PLATFORM)
def up() -> None:
    """Start Airflow and MLflow in the background; says so if they run already."""
    from ml.local.commands import start

    start()


@app.command(rich_help_panel=_PLATFORM)
def down() -> None:
    """Stop everything that was started for this home, whatever state it is in."""
    from ml.local.commands import stop

    stop()


@app.command(rich_help_panel=_PLATFORM)
def status(
    slug: Annotated[
        str, typer.Argument(help="Use case; default: only the platform.", metavar="SLUG")
    ] = "",
) -> None:
    """What runs and where; with a use case, its data, versions, verdicts and predictions.

    Example: flightline status flight_delay
    """
    from ml.use_cases import load_spec

    if slug:
        load_spec(slug)  # a typing error is told before anything else
    from ml.local.commands import show_status, show_use_case

    show_status()
    if slug:
        show_use_case(slug)


@app.command(rich_help_panel=_PLATFORM)
def logs(
    component: Annotated[
        str, typer.Argument(help="One component; default: all.", metavar="COMPONENT")
    ] = "",
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            help="How many of the last lines; default: 40 of one, 10 of each.",
            min=0,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")
    ] = False,
) -> None:
    """The last lines of the components' logs.

    Example: flightline logs scheduler -n 100
    """
    from ml.local.commands import show_logs

    show_logs(component, lines, follow=follow)


@app.command(rich_help_panel=_PLATFORM)
def doctor() -> None:
    """What this machine lacks, with the repair."""
    from ml.local.commands import show_diagnosis

    show_diagnosis()


def main() -> None:
    """Entry point: an expected error is one clear text and its exit code, without a traceback."""
    try:
        app()
    except FlightlineError as error:
        _tell(error)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that may not be read: its text names the file
        _tell(error)
        sys.exit(1)


def _tell(error: Exception) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"{type(error).__name__}: {error}", style="red", markup=False
    )


if __name__ == "__main__":
    main()
