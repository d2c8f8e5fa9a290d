"""Commands that run one stage each."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

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
)
from ml.core.errors import ConfigError
from ml.core.prediction_source import Source


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

    Example: flightline ingest flight_delay 2013-01-01 2013-01-31
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

    Example: flightline transform flight_delay 2013-01-01 2013-01-31
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

    Example: flightline materialize flight_delay 2013-01-31
    """
    run_and_tell("materialize", slug, as_json, first=first, last=last)


@app.command(rich_help_panel=STAGES)
def train(slug: Slug, as_of: AsOf = "", as_json: Json = False) -> None:
    """Point-in-time training set → tracked run → registered version.

    Example: flightline train flight_delay --as-of 2013-06-01
    """
    run_and_tell("train", slug, as_json, as_of=as_of)


@app.command(rich_help_panel=STAGES)
def validate(slug: Slug, version: Version, as_json: Json = False) -> None:
    """Judge a version on the holdout; exit code 4 if it is rejected.

    Example: flightline validate flight_delay 1
    """
    run_and_tell("validate", slug, as_json, version=version)


@app.command(rich_help_panel=STAGES)
def promote(slug: Slug, version: Version, as_json: Json = False) -> None:
    """Release an accepted version: the first as champion, later ones as canary.

    Example: flightline promote flight_delay 1
    """
    run_and_tell("promote", slug, as_json, version=version)


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

    Example: flightline score flight_delay 2013-07-01
    """
    run_and_tell("score", slug, as_json, first=first, last=last, source=source.value)
