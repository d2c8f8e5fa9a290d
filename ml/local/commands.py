"""What the command line says about this machine."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from rich.table import Table

from ml.core.errors import ConfigError
from ml.local import supervisor
from ml.local.doctor import diagnose
from ml.local.secrets import load_secrets, secrets_file
from ml.local.tracking import with_server
from ml.render import colour, console
from ml.settings import Settings, settings
from ml.use_cases import available


def start() -> None:
    """`flightline up`."""
    out = console()
    supervisor.up(settings(), pools=available(), progress=out.print)
    show_addresses(settings())


def stop() -> None:
    """`flightline down`."""
    stopped = supervisor.down(settings())
    console().print(f"stopped {stopped} processes" if stopped else "nothing was running")


def show_status() -> None:
    """`flightline status`: each component, its process and its log."""
    found = supervisor.status(settings())
    table = Table("component", "state", "process", "log", box=None)
    for component in found.components:
        state = colour("running" if component.is_up else "down")
        table.add_row(component.name, state, str(component.pid or ""), str(component.log))
    console().print(table)
    if found.is_up:
        show_addresses(settings())
    elif len(found.down) < len(found.components):
        console().print("some components are down: flightline up starts everything anew")


def show_addresses(where: Settings) -> None:
    """Where the pages are and how to log in."""
    found, passwords = supervisor.status(where), load_secrets(where).passwords
    out = console()
    for user, password in passwords.items():
        out.print(f"Airflow  {found.airflow_url}  user {user}  password {password}", markup=False)
    experiments = "/#/experiments?workflowType=machine_learning"
    out.print(f"MLflow   {found.mlflow_url}{experiments}", markup=False)
    out.print(f"(log-in kept in {secrets_file(where)}, readable by you only)", markup=False)


def show_use_case(slug: str) -> None:
    """`flightline status SLUG`: data, versions with verdicts, predictions."""
    from ml.adapters.connect import connect
    from ml.render import summary
    from ml.stages import summary as stage

    console().print(summary(stage.run(connect(slug, with_server(settings())))))


def show_logs(component: str, lines: int, *, follow: bool = False) -> None:
    """`flightline logs`: the last lines of one component or of all.

    Raises:
        ConfigError: if there is no such component.
    """
    if component and component not in supervisor.COMPONENTS:
        raise ConfigError(
            f"no component {component!r}", expected="one of: " + ", ".join(supervisor.COMPONENTS)
        )
    names = [component] if component else supervisor.COMPONENTS
    paths = {name: supervisor.log_path(settings(), name) for name in names}
    if follow:  # by name: a new start puts a new file into the place of the old one
        os.execvp("tail", ["tail", "-n", str(lines), "-F", *map(str, paths.values())])
    out = console()
    for name, path in paths.items():
        out.rule(f"{name}: {path}", align="left")
        for line in last_lines(path, lines):
            out.print(line, markup=False)


def last_lines(path: Path, lines: int) -> list[str]:
    """The end of a text file; empty if there is none."""
    if not path.exists():
        return []
    with path.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=lines)]


def show_diagnosis() -> None:
    """`flightline doctor`.

    Raises:
        ConfigError: naming what is missing, with the repairs.
    """
    checks = diagnose(settings())
    table = Table("check", "", "found", box=None)
    for check in checks:
        verdict = "[green]ok[/]" if check.ok else "[red]missing[/]"
        table.add_row(check.name, verdict, check.detail)
    console().print(table)
    if failed := [check for check in checks if not check.ok]:
        raise ConfigError(
            "this machine lacks: " + ", ".join(check.name for check in failed),
            repair="; ".join(check.repair for check in failed if check.repair),
        )
