"""Commands that run one stage each."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.base import (
    STAGES,
    AcceptAnomalies,
    AsOf,
    First,
    Json,
    Last,
    Replace,
    Revision,
    Slug,
    Version,
    app,
    run_and_tell,
    run_here,
)
from ml.core.errors import ConfigError
from ml.core.prediction_source import Source

if TYPE_CHECKING:
    from ml.stages.reproduce import Compared


class BatchSource(StrEnum):
    """Where a batch of predictions is made; a server's are not made by a command."""

    SCORE = Source.SCORE.value
    REPLAY = Source.REPLAY.value


@app.command(rich_help_panel=STAGES)
def ingest(
    slug: Slug,
    first: First,
    last: Last = "",
    revision: Revision = "",
    accept_anomalies: AcceptAnomalies = False,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Source → lake; bad rows go to the quarantine.

    Example: flightline ingest SLUG 2013-01-01 2013-01-31
    """
    values = {
        "revision": revision,
        "accept_anomalies": accept_anomalies,
        "replace": replace,
    }
    run_and_tell("ingest", slug, as_json, first=first, last=last, **values)


@app.command(rich_help_panel=STAGES)
def transform(
    slug: Slug,
    first: Annotated[
        str, typer.Argument(help="Partition key, such as 2013-06-01.", metavar="FIRST")
    ] = "",
    last: Last = "",
    stale: Annotated[
        bool,
        typer.Option("--stale", help="Build what other data or other models than today's made."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Lake → dbt models and tests → exported partitions.

    Example: flightline transform SLUG 2013-01-01 2013-01-31
    """
    if bool(first) == stale:
        raise ConfigError(
            "a range and --stale" if stale else "neither a range nor --stale",
            expected="one of them",
            repair=f"flightline transform {slug} FIRST [LAST], or: "
            f"flightline transform {slug} --stale",
        )
    run_and_tell("transform", slug, as_json, first=first, last=last, stale=stale)


@app.command(rich_help_panel=STAGES)
def materialize(slug: Slug, first: First, last: Last = "", as_json: Json = False) -> None:
    """Feature partitions → online store.

    Example: flightline materialize SLUG 2013-01-31
    """
    run_and_tell("materialize", slug, as_json, first=first, last=last)


@app.command(rich_help_panel=STAGES)
def train(
    slug: Slug,
    as_of: AsOf = "",
    trial: Annotated[
        bool, typer.Option("--trial", help="An experiment: tracked, never registered.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Of an experiment, key=value: a LightGBM parameter (then it is not searched), "
            "or max_rounds, early_stopping_rounds, seed, trials. Repeatable.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Point-in-time training set → tracked run → registered version.

    A rule, a linear model and LightGBM compete; the best on the select window
    is registered. With --trial it is not: try anything, and compare the runs
    in MLflow.

    Example: flightline train SLUG --as-of 2013-06-01
    Example: flightline train SLUG --trial --set num_leaves=63 --set trials=0
    """
    values = {"as_of": as_of, "is_trial": trial, "settings": tuple(changes or ())}
    run_and_tell("train", slug, as_json, **values)


@app.command(rich_help_panel=STAGES)
def reproduce(
    slug: Slug,
    run_id: Annotated[
        str,
        typer.Argument(
            help="Of a training in MLflow; its first digits do if it has a version.",
            metavar="RUN_ID",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Train a past run again from its record: the same model, or what differs.

    Its training set is read anew, too. Nothing is registered or changed. Exit
    code 3 if the model is another one.

    Example: flightline reproduce SLUG 4f2a9c
    """
    ran = run_here("reproduce", slug, run_id=run_id)
    from ml.render import cell_table, console

    found = ran.result
    if as_json:
        print(json.dumps(ran.to_plain(), indent=2))
    else:
        says = "the same model" if found.is_same else "ANOTHER MODEL"
        console().print(f"run {found.run_id}: {says}, {ran.seconds:.1f} s")
        names = ("", "recorded", "now", "", "what differs")
        console().print(cell_table(names, [_compared(one) for one in found.checks]))
    if not found.is_same:
        raise typer.Exit(3)


def _compared(one: Compared) -> tuple[str, ...]:
    return (one.what, one.recorded[:16], one.now[:16], "" if one.is_same else "differs", one.note)


@app.command(rich_help_panel=STAGES)
def validate(slug: Slug, version: Version, as_json: Json = False) -> None:
    """Judge a version on the holdout; exit code 4 if it is rejected.

    Example: flightline validate SLUG 1
    """
    run_and_tell("validate", slug, as_json, version=version)


@app.command(rich_help_panel=STAGES)
def promote(
    slug: Slug,
    version: Version,
    as_champion: Annotated[
        bool, typer.Option("--champion", help="It is the canary, and takes all the traffic.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Release an accepted version: the first as champion, later ones as canary.

    With --champion the canary takes the champion's place, which stays the way
    back: flightline rollback.

    Example: flightline promote SLUG 1
    """
    run_and_tell("promote", slug, as_json, version=version, as_champion=as_champion)


@app.command(rich_help_panel=STAGES)
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

    Example: flightline score SLUG 2013-07-01
    """
    run_and_tell("score", slug, as_json, first=first, last=last, source=source.value)
