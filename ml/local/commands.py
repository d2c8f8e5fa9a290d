"""What the command line says about this machine."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ml.core.errors import ConfigError
from ml.local import condition, processes, supervisor
from ml.local.doctor import Check, diagnose, require
from ml.local.secrets import ENGINEER, load_secrets, secrets_file
from ml.local.tracking import pages, with_server
from ml.render import colour, console
from ml.settings import Settings, settings
from ml.use_cases import available

if TYPE_CHECKING:
    from ml.local.airflow_db import Work
    from ml.stages.summary import Summary

LINES_OF_ONE, LINES_OF_EACH = 40, 10
ROWS_OF_EACH = 10
_RUN_STATES = ("running", "queued", "failed", "success")


def start() -> None:
    """`flightline up`."""
    out = console()
    supervisor.up(settings(), pools=available(), progress=partial(out.print, markup=False))
    show_addresses(settings())


def stop() -> None:
    """`flightline down`."""
    stopped = supervisor.down(settings())
    console().print(f"stopped {stopped} processes" if stopped else "nothing was running")


def print_status(slug: str) -> None:
    """`flightline status --json`, with the use case if one is named."""
    told = condition.look(settings()).to_plain()
    if slug:
        told["use_case"] = dataclasses.asdict(_summary(slug, with_server(settings())))
    print(json.dumps(told, indent=2, default=str))


def show_status() -> None:
    """`flightline status`: each component, what happened, what the work is doing, what to do."""
    found, out = condition.look(settings()), console()
    table = Table("component", "state", "process", "log", box=None)
    for component in found.platform.components:
        state = colour("running" if component.is_up else "down")
        table.add_row(component.name, state, str(component.pid or ""), Text(str(component.log)))
    out.print(table)
    if found.platform.is_up:
        show_addresses(settings())
    for line in found.happened:
        out.print(line, markup=False, soft_wrap=True)
    for component in found.platform.down:
        if component.end and not component.end.is_killed:
            out.print(f"the last lines of {component.log}:", markup=False, soft_wrap=True)
            for line in last_lines(component.log, LINES_OF_EACH):
                out.print(f"    {line}", markup=False, soft_wrap=True)
    _show_work(found.work)
    for step in found.next_steps:
        out.print(f"next: {step}", markup=False, soft_wrap=True)


def _show_work(work: Work) -> None:
    """How many runs there are, and those that are not done or were repeated; of many, the first."""
    if not work.runs:
        return
    out, by_state = console(), {state: work.runs_that_are(state) for state in _RUN_STATES}
    counts = ", ".join(f"{len(runs)} {state}" for state, runs in by_state.items())
    out.print(f"runs since then: {counts}; tasks repeated: {len(work.repeated)}", markup=False)
    table = Table("run", "partition or id", "state", "tasks", box=None)
    for state, runs in by_state.items():
        told = [run for run in runs if state != "success" or work.tasks_of(run)]
        for run in told[:ROWS_OF_EACH]:
            which, tasks = run.partition_key or run.run_id, map(str, work.tasks_of(run))
            table.add_row(Text(run.dag_id), Text(which), colour(state), Text("\n".join(tasks)))
        if len(told) > ROWS_OF_EACH:
            table.add_row(f"… {len(told) - ROWS_OF_EACH} more", "", colour(state), "")
    if table.row_count:
        out.print(table)


def show_addresses(where: Settings) -> None:
    """Where the pages are and how to log in."""
    found, passwords = supervisor.status(where), load_secrets(where).passwords
    out = console()
    log_in = f"user {ENGINEER}  password {passwords[ENGINEER]}"
    out.print(f"Airflow  {found.airflow_url}  {log_in}", markup=False)
    experiments = "/#/experiments?workflowType=machine_learning"
    found_pages = pages(found.mlflow_url) or {"": f"{found.mlflow_url}{experiments}"}
    for slug, page in found_pages.items():
        out.print(f"MLflow   {page}  {slug}".rstrip(), markup=False, soft_wrap=True)
    others = ", ".join(user for user in passwords if user != ENGINEER)
    out.print(
        f"(log-in kept in {secrets_file(where)}, with that of {others}; readable by you only)",
        markup=False,
    )


def show_use_case(slug: str) -> None:
    """`flightline status SLUG`: data, versions with verdicts, predictions."""
    from ml.render import summary

    console().print(summary(_summary(slug, with_server(settings()))))


def _summary(slug: str, where: Settings) -> Summary:
    from ml.adapters.connect import connect
    from ml.stages import summary as stage

    # MLflow would make its store just to be asked.
    has_models = bool(where.tracking_uri) or where.mlflow_database.exists()
    return stage.run(connect(slug, where), has_models=has_models)


def show_logs(
    component: str, lines: int | None = None, *, follow: bool = False, previous: bool = False
) -> None:
    """`flightline logs`: the last lines of one component or of all.

    Args:
        lines: how many; by default fewer of each component than of a single one.
        previous: those of the start before, which may say why this one was needed.

    Raises:
        ConfigError: if there is no such component, or a log that has ended is to be followed.
    """
    if follow and previous:
        raise ConfigError(
            "both --follow and --previous", expected="one of them: that log has ended"
        )
    if component and component not in supervisor.COMPONENTS:
        raise ConfigError(
            f"no component {component!r}", expected="one of: " + ", ".join(supervisor.COMPONENTS)
        )
    if lines is None:
        lines = LINES_OF_ONE if component else LINES_OF_EACH
    names = [component] if component else supervisor.COMPONENTS
    paths = {name: supervisor.log_path(settings(), name) for name in names}
    if previous:
        paths = {name: processes.previous(path) for name, path in paths.items()}
    if follow:  # by name: a new start puts a new file into the place of the old one
        os.execvp("tail", ["tail", "-n", str(lines), "-F", *map(str, paths.values())])
    out = console()
    for name, path in paths.items():
        out.rule(Text(f"{name}: {path}"), align="left")
        if not path.exists():
            out.print("(no log yet)")
        for line in last_lines(path, lines):
            out.print(line, markup=False)


def last_lines(path: Path, lines: int) -> list[str]:
    """The end of a log without requests that went well; empty if there is none."""
    if not path.exists():
        return []
    with path.open(errors="replace") as file:
        kept = (line.rstrip("\n") for line in file if not _is_chatter(line))
        return list(deque(kept, maxlen=lines))


def _is_chatter(line: str) -> bool:
    """The api-server tells of each of thousands of requests."""
    return "request finished" in line and "status_code=200" in line


def show_diagnosis() -> None:
    """`flightline doctor`.

    Raises:
        ConfigError: naming what is missing, with the repairs.
    """
    where, refusal = _settings_or_refusal()
    checks = diagnose(where)
    if refusal:
        checks.insert(0, Check("settings", False, refusal.seen))
    table = Table("check", "", "found", box=None)
    for check in checks:
        verdict = "[green]ok[/]" if check.ok else "[red]missing[/]"
        table.add_row(check.name, verdict, Text(check.detail))
    console().print(table)
    if refusal:
        raise refusal
    require(checks)


def _settings_or_refusal() -> tuple[Settings | None, ConfigError | None]:
    try:
        return settings(), None
    except ConfigError as error:
        return None, error
