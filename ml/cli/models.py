"""Commands about models that were released: the way back, what they predict, how good they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml.cli.base import MODELS, Json, Slug, app, run_and_tell


@app.command(rich_help_panel=MODELS)
def rollback(
    slug: Slug,
    reason: Annotated[
        str, typer.Option(help="Why, in a few words; it becomes a tag of the version that goes.")
    ] = "",
    expect: Annotated[
        int,
        typer.Option(
            help="The release to leave, as status shows it; repeated, it takes no second step.",
            min=0,
            show_default=False,
        ),
    ] = 0,
    as_json: Json = False,
) -> None:
    """One step back: without the canary, or else to the champion before.

    Each call is one step. Partitions that were answered keep their release.

    Example: flightline rollback SLUG --reason "it misses too many"
    """
    run_and_tell("rollback", slug, as_json, reason=reason, expect=expect)


@app.command(rich_help_panel=MODELS)
def predictions(
    slug: Slug,
    date: Annotated[
        str,
        typer.Option("--date", help="Partition key; default: the newest that was scored."),
    ] = "",
    to: Annotated[str, typer.Option("--to", help="Last key of a range, included.")] = "",
    where: Annotated[
        str, typer.Option(help='Condition on the rows: "score > 0.8"; of classes: "p_CLASS > 0.3".')
    ] = "",
    sql: Annotated[
        str, typer.Option(help='A query of your own: "select … from predictions …".')
    ] = "",
    limit: Annotated[
        int | None,
        typer.Option(help="At most so many rows; default: 20 on the screen, all in a file.", min=0),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the rows to this .csv or .parquet file."),
    ] = None,
    all_revisions: Annotated[
        bool,
        typer.Option(
            "--all-revisions", help="Also what older releases answered for the same partition."
        ),
    ] = False,
) -> None:
    """Predictions as a table: events, scores, decisions, and what became of them.

    The columns are those of the mart, the answer (score, decision, served,
    revision), each model's score, and the label once it is known.
    In a notebook: ml.notebook.predictions.

    Example: flightline predictions SLUG --date 2013-07-01 --where "score > 0.8"
    """
    from ml.local.models import show_predictions

    show_predictions(
        slug,
        first=date,
        last=to,
        where=where,
        sql=sql,
        limit=limit,
        output=output,
        all_revisions=all_revisions,
    )


@app.command(rich_help_panel=MODELS)
def report(
    slug: Slug,
    first: Annotated[str, typer.Option(help="First partition; default: the first scored.")] = "",
    last: Annotated[
        str, typer.Option(help="Last partition, included; default: the last scored.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file; default: reports/SLUG.html in the home."),
    ] = None,
    as_json: Json = False,
) -> None:
    """How good the predictions were, once labels are in: a page, and its figures here.

    Champion against canary, rule and doing without, by partition and segment.
    Only partitions whose labels have closed count.

    Example: flightline report SLUG --last 2013-06-30 --output june.html
    """
    from ml.local.models import show_report

    show_report(slug, first=first, last=last, output=output, as_json=as_json)


@app.command(rich_help_panel=MODELS)
def calibrate(
    slug: Slug,
    as_of: Annotated[
        list[str] | None,
        typer.Option(
            "--as-of", help="Judge as of this partition's start; repeatable; default: all data."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write all verdicts to this .json file.")
    ] = None,
) -> None:
    """How the gates would have decided over all the data, to choose thresholds by.

    Trains and judges as of dates one holdout apart, a minute or so each; what
    passes becomes the champion of the next. Nothing that is released changes.

    Example: flightline calibrate SLUG --as-of 2013-06-01 --as-of 2013-07-01
    """
    from ml.local.calibration import show
    from ml.settings import settings
    from ml.use_cases import load_spec

    load_spec(slug)
    show(slug, settings(), as_of or [], output)
