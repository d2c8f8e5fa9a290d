"""Commands about the platform on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from ml.cli.base import MACHINE, Json, app


@app.command(rich_help_panel=MACHINE)
def up() -> None:
    """Start Airflow and MLflow in the background; says so if they run already."""
    from ml.local.commands import start

    start()


@app.command(rich_help_panel=MACHINE)
def down() -> None:
    """Stop everything that was started for this home, whatever state it is in."""
    from ml.local.commands import stop

    stop()


@app.command(rich_help_panel=MACHINE)
def status(
    slug: Annotated[
        str, typer.Argument(help="Use case; default: only the platform.", metavar="SLUG")
    ] = "",
    as_json: Json = False,
) -> None:
    """What runs, what happened, which runs wait or failed, and what to do next.

    With a use case also its data, versions, verdicts and predictions.
    It answers while Airflow is down; the exit code is 0 then, too: --json says `is_up`.

    Example: flightline status SLUG
    """
    from ml.use_cases import load_spec

    if slug:
        load_spec(slug)  # a typing error is told before anything else
    from ml.local import commands

    if as_json:
        commands.print_status(slug)
        return
    commands.show_status()
    if slug:
        commands.show_use_case(slug)


@app.command(rich_help_panel=MACHINE)
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
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="Those of the start before.")
    ] = False,
) -> None:
    """The last lines of the components' logs.

    Example: flightline logs scheduler -n 100
    """
    from ml.local.commands import show_logs

    show_logs(component, lines, follow=follow, previous=previous)


@app.command(rich_help_panel=MACHINE)
def alerts(
    slug: Annotated[
        str, typer.Argument(help="Use case; default: all of them.", metavar="SLUG")
    ] = "",
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="How many of the last ones.", min=0)
    ] = 10,
    as_json: Json = False,
) -> None:
    """The last failures that people were told of, the newest last.

    Example: flightline alerts SLUG -n 3
    """
    from ml.use_cases import load_spec

    if slug:
        load_spec(slug)
    from ml.local.alerts import show

    show(slug, lines=lines, as_json=as_json)


@app.command(rich_help_panel=MACHINE)
def doctor() -> None:
    """What this machine lacks, with the repair."""
    from ml.local.commands import show_diagnosis

    show_diagnosis()
