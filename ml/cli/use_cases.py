"""Commands about the use cases of this repository as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from ml.cli.base import USE_CASES, Json, app
from ml.core.errors import ConfigError


@app.command("list", rich_help_panel=USE_CASES)
def list_use_cases(as_json: Json = False) -> None:
    """All use cases: owner, problem, Dags, newest data, versions, and state in words.

    A broken one is listed with the reason; the others are not affected.

    Example: flightline list
    """
    from ml.local.use_cases import show

    show(as_json=as_json)


@app.command(rich_help_panel=USE_CASES)
def remove(
    slugs: Annotated[
        list[str] | None, typer.Argument(help="One or more use cases.", metavar="SLUG...")
    ] = None,
    with_data: Annotated[
        bool,
        typer.Option("--with-data", help="Also lake, warehouse, features and logs in the home."),
    ] = False,
    with_models: Annotated[
        bool,
        typer.Option("--with-models", help="Also experiment, registered model and versions."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="What an update brought back of those removed before."),
    ] = False,
) -> None:
    """Take use cases out of the repository: lists what it deletes, and asks.

    Data and models stay unless you say otherwise. Shared files are never
    changed. The slugs are kept in .flightline/removed, so that an update does
    not bring them back: make upstream, or --again after a git merge.

    Example: flightline remove SLUG OTHER_SLUG
    """
    if bool(slugs) == again or (again and (with_data or with_models)):
        raise ConfigError(
            "a use case and --again" if slugs and again else "nothing to remove was named",
            expected="use cases, or --again by itself",
            repair="flightline remove SLUG, or: flightline remove --again",
        )
    from ml.local import removal_commands

    if again:
        removal_commands.remove_again(yes=yes)
    else:
        removal_commands.remove(slugs or [], with_data=with_data, with_models=with_models, yes=yes)
