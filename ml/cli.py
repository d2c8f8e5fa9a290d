"""The command line: each stage by itself, whole jobs, and the platform on this machine."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from ml.core.errors import FlightlineError

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
    str, typer.Argument(help="Last key of a range, included; default: FIRST.", metavar="[LAST]")
]
Version = Annotated[int, typer.Argument(help="Version of the registered model.")]
AsOf = Annotated[
    str, typer.Option(help="Train as of the start of this partition; default: data time.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_STAGES, _JOBS, _PLATFORM = "Stages", "Jobs", "This machine"


def _run(stage: str, slug: str, as_json: bool, **values: object) -> None:
    from ml.use_cases import load_spec

    load_spec(slug)  # a typing error should not wait for the libraries below
    from ml.render import console, stage_run
    from ml.stages.runner import Arguments, run_stage

    ran = run_stage(stage, slug, Arguments(**values))  # type: ignore[arg-type]  # checked by Typer
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
        str, typer.Option(help="score: its own day; replay: from history.")
    ] = "score",
    as_json: Json = False,
) -> None:
    """Champion and canary on the events of a partition → prediction log.

    Example: flightline score flight_delay 2013-07-01
    """
    _run("score", slug, as_json, first=first, last=last, source=source)


@app.command(rich_help_panel=_JOBS)
def run(
    slug: Slug,
    first: Annotated[str, typer.Option(help="First partition; default: the demo's story.")] = "",
    last: Annotated[str, typer.Option(help="Last partition, included; default: FIRST.")] = "",
    as_of: AsOf = "",
) -> None:
    """The whole chain in one process, without Airflow.

    With --first: ingest, transform, materialize that range, train, validate and promote, score.
    Without: the story of the demo.

    Example: flightline run flight_delay --first 2013-01-01 --last 2013-05-31
    """
    from ml.core.story import Job, Step, story
    from ml.render import console, stage_run
    from ml.stages.chain import run_step
    from ml.use_cases import load_spec

    out = console()
    steps = story(load_spec(slug))
    if first:
        steps = (
            Step(Job.HISTORY, f"{first} to {last or first}", first, last or first),
            Step(Job.RETRAIN, f"train as of {as_of or 'data time'}", as_of=as_of),
        )
    for step in steps:
        out.rule(step.title, align="left")
        for ran in run_step(slug, step):
            out.print(stage_run(ran))


@app.command(rich_help_panel=_JOBS)
def demo(
    slug: Annotated[str, typer.Argument(help="Use case.")] = "",
    fresh: Annotated[bool, typer.Option(help="Delete all local state first.")] = False,
) -> None:
    """Start the platform and play the story of a use case through the real scheduler.

    Finished work is not repeated. Example: flightline demo --fresh
    """
    from ml.local.demo import play
    from ml.settings import settings
    from ml.use_cases import demo_slug

    play(slug or demo_slug(), settings(), fresh=fresh)


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
    slug: Annotated[str, typer.Argument(help="Use case; default: only the platform.")] = "",
) -> None:
    """What runs and where; with a use case, its data, versions, verdicts and predictions.

    Example: flightline status flight_delay
    """
    from ml.local.commands import show_status, show_use_case

    show_status()
    if slug:
        show_use_case(slug)


@app.command(rich_help_panel=_PLATFORM)
def logs(
    component: Annotated[str, typer.Argument(help="One component; default: all.")] = "",
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 40,
) -> None:
    """The last lines of the components' logs.

    Example: flightline logs scheduler -n 100
    """
    from ml.local.commands import show_logs

    show_logs(component, lines)


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
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"{type(error).__name__}: {error}", style="red", markup=False
        )
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
