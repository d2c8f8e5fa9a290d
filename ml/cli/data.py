"""Commands about data: quarantine, training sets, dbt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml.cli.base import DATA, AcceptAnomalies, AsOf, Json, Revision, Slug, app, run_and_tell
from ml.core.errors import ConfigError

quarantine = typer.Typer(
    help="What a contract kept out of the lake: list it, look at it, take it in after a fix.",
    no_args_is_help=True,
)
app.add_typer(quarantine, name="quarantine", rich_help_panel=DATA)

Table = Annotated[str, typer.Argument(help="Table of the source.", metavar="TABLE")]


@quarantine.command("list")
def list_quarantine(slug: Slug) -> None:
    """Partitions with quarantined rows, and why.

    Example: flightline quarantine list SLUG
    """
    from ml.local.quarantine import show_list

    show_list(slug)


@quarantine.command("show")
def show_quarantine(
    slug: Slug,
    table: Table,
    key: Annotated[
        str, typer.Argument(help="Partition key; none for a snapshot.", metavar="KEY")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the rows to this .parquet or .csv file."),
    ] = None,
) -> None:
    """The quarantined rows of a partition with the rules that they broke.

    Example: flightline quarantine show SLUG TABLE 2013-07-27
    """
    from ml.local.quarantine import show_rows

    show_rows(slug, table, key, output)


@quarantine.command("replay")
def replay_quarantine(
    slug: Slug,
    table: Annotated[str, typer.Argument(help="One table; default: all.", metavar="TABLE")] = "",
    first: Annotated[
        str, typer.Argument(help="First partition key; default: all of them.", metavar="FIRST")
    ] = "",
    last: Annotated[
        str, typer.Argument(help="Last key, included; default: FIRST.", metavar="LAST")
    ] = "",
    rows: Annotated[
        str, typer.Option(help="File with mended rows, as `show --output` wrote it.")
    ] = "",
    revision: Revision = "",
    accept_anomalies: AcceptAnomalies = False,
    as_json: Json = False,
) -> None:
    """Judge quarantined partitions anew: from the source, or from mended rows.

    Example: flightline quarantine replay SLUG TABLE 2013-07-27
    """
    values = {"revision": revision, "accept_anomalies": accept_anomalies}
    chosen = {"table": table, "first": first, "last": last, "rows": rows}
    run_and_tell("replay", slug, as_json, **chosen, **values)


@app.command(rich_help_panel=DATA)
def features(
    slug: Slug,
    as_of: AsOf = "",
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="Parquet file; default: SLUG-training-set.parquet."),
    ] = "",
    as_json: Json = False,
) -> None:
    """The training set as of a time, as a Parquet file.

    Each row has its features as they were known at its own decision time. The
    holdout is not in it. In a notebook: ml.notebook.training_set.

    Example: flightline features SLUG --as-of 2013-06-01 -o june.parquet
    """
    path = output or f"{slug}-training-set.parquet"
    run_and_tell("features", slug, as_json, as_of=as_of, output=path)


@app.command(
    rich_help_panel=DATA,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def dbt(context: typer.Context, slug: Slug) -> None:
    """Run a dbt command on a use case's models, files and folders.

    Without --event-time-start and --event-time-end a slice is the whole history
    of the use case.

    Example: flightline dbt SLUG show --select MODEL --limit 5
    """
    from ml.use_cases import load_spec

    load_spec(slug)
    if not context.args:
        raise ConfigError(
            "no dbt command",
            expected="one, such as: show, test, run, docs generate",
            repair=f"flightline dbt {slug} test --select fct_labels",
        )
    from ml.stages.runner import opened

    with opened(slug) as platform:
        raise typer.Exit(platform.warehouse.command(context.args))
