"""Commands that keep a home fit for years: what may go, and copies of all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml.cli.base import MACHINE, app


@app.command(rich_help_panel=MACHINE)
def gc(
    partitions_before: Annotated[
        list[str] | None,
        typer.Option(
            help="Also partitions of a use case before this key; may be repeated.",
            metavar="SLUG=KEY",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete what is old and needed by nothing: lists it, and asks.

    Logs, Airflow's history, MLflow runs without a version, their training
    sets, quarantined rows, unfinished files. How old it must be: MLOPS_KEEP_…
    What a release, a version or its reproduction needs always stays.

    Example: flightline gc --dry-run
    """
    from ml.local.gc import command

    command(partitions_before or [], dry_run=dry_run, yes=yes)


@app.command(rich_help_panel=MACHINE)
def backup(
    file: Annotated[
        Path, typer.Argument(help="To be written, such as home.tar.zst.", metavar="FILE")
    ],
) -> None:
    """Copy all state of the home to one file; the platform may run.

    It waits for stages that run. The file holds passwords: only you can read
    it.

    Example: flightline backup home.tar.zst
    """
    from ml.local.backup import command

    command(file)


@app.command(rich_help_panel=MACHINE)
def restore(
    file: Annotated[Path, typer.Argument(help="What backup wrote.", metavar="FILE")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Give up the state that is in the home.")
    ] = False,
) -> None:
    """Make a backup the state of the home, here or in another folder.

    The platform must be down. A damaged file is refused before anything is
    touched; a kill leaves the old state or the new one.

    Example: flightline restore home.tar.zst --replace
    """
    from ml.local.restore import command

    command(file, replace=replace)
