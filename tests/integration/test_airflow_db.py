"""What is read from Airflow's real tables, without a scheduler."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support import copy_home

from ml.local import airflow_db, condition, journal, readiness, supervisor
from ml.local.airflow_api import AirflowApi
from ml.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("airflow_tables")]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Add = Callable[..., None]


@pytest.fixture
def where(migrated: Path, tmp_path: Path) -> Settings:
    return Settings(home=copy_home(migrated, tmp_path / "home"))


@pytest.fixture
def add(where: Settings) -> Add:
    """Adds a run, and its task `ingest`; times are minutes after noon."""

    def add(run_id: str, *, run: dict[str, Any], task: dict[str, Any] | None = None) -> None:
        names = {"dag_id": "toy_daily", "run_id": run_id, "span_status": "ended"}
        runs = {"run_type": "manual", "run_after": 0, "clear_number": 0, "state": "running"}
        tasks = {"id": uuid4().hex, "task_id": "ingest", "map_index": -1, "try_number": 1}
        tasks |= {"max_tries": 2, "pool": "default_pool", "pool_slots": 1}
        with closing(sqlite3.connect(where.airflow_home / "airflow.db")) as database, database:
            _insert(database, "dag_run", names | runs | run)
            if task:
                _insert(database, "task_instance", names | tasks | task)

    return add


def _insert(database: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    row = {name: _told(name, value) for name, value in row.items()}
    columns, marks = ", ".join(row), ", ".join("?" * len(row))
    database.execute(f"insert into {table} ({columns}) values ({marks})", tuple(row.values()))


def _told(column: str, value: Any) -> Any:
    if column.endswith(("_date", "_dttm", "_at", "_after")):
        return f"{NOON + timedelta(minutes=value):%Y-%m-%d %H:%M:%S.%f}"
    return value


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


@pytest.mark.parametrize(
    ("state", "since"), [("scheduled", 60), ("queued", 61), ("running", 0), ("up_for_retry", 0)]
)
def test_a_task_waits_since_it_was_told_to_and_not_since_its_try_before(
    where: Settings, add: Add, state: str, since: int
) -> None:
    """Else each retry of a task that takes minutes would look stuck."""
    times = {"start_date": 0, "scheduled_dttm": 60, "queued_dttm": 61}
    add("one", run={}, task={"state": state, **times})
    [task] = airflow_db.look(where, since=NOON).tasks
    assert task.since == at(since)


def test_a_repeated_task_that_was_just_scheduled_is_not_stuck(where: Settings, add: Add) -> None:
    times = {"start_date": 0, "queued_dttm": 0, "scheduled_dttm": 60}
    add("one", run={}, task={"state": "scheduled", "try_number": 2, **times})
    work = airflow_db.look(where, since=NOON)
    assert work.stuck_since(at(61)) is None
    assert work.stuck_since(at(63)) == at(60)


@pytest.mark.parametrize("is_begun", [True, False])
def test_only_what_is_stuck_twice_is_stopped(
    where: Settings, add: Add, monkeypatch: pytest.MonkeyPatch, is_begun: bool
) -> None:
    add("one", run={}, task={"state": "queued", "queued_dttm": 0})
    told: list[str] = []

    def wait(_: float) -> None:
        if is_begun:
            with closing(sqlite3.connect(where.airflow_home / "airflow.db")) as database, database:
                database.execute("update task_instance set state = 'running'")

    monkeypatch.setattr(supervisor.time, "sleep", wait)
    assert supervisor._is_stuck(where, told.append) is not is_begun
    assert bool(told) is not is_begun


def note(where: Settings, *events: tuple[str, float] | tuple[str, float, str]) -> None:
    """Events with their minute; an end names its component."""
    where.logs.mkdir(parents=True, exist_ok=True)
    with journal.journal_path(where).open("a") as file:
        for event, minute, *component in events:
            end = {"component": component[0], "status": 137} if component else {}
            told = {"at": at(minute).isoformat(), "event": event, **end}
            file.write(json.dumps(told) + "\n")


LOST = ((journal.START, 0), (journal.READY, 1), (journal.END, 10, "mlflow"))
ENDED = {"state": "failed", "end_date": 20}


def add_failures(add: Add) -> None:
    """Only the first is the platform's fault: Airflow tries 1 + `max_tries` times."""
    failed = {"state": "failed", "start_date": 15, "end_date": 20, "max_tries": 2}
    add("worn out", run=ENDED, task=failed | {"try_number": 3})
    add("wrong data", run=ENDED, task=failed | {"try_number": 1})
    add("marked by a person", run=ENDED, task=failed | {"state": "skipped", "try_number": 0})
    add("before", run=ENDED | {"end_date": 9}, task=failed | {"try_number": 3})


def test_only_what_used_up_its_tries_meanwhile_is_repeated(where: Settings, add: Add) -> None:
    add_failures(add)
    found = airflow_db.worn_out_between(where, at(10), at(30))
    assert found == [("toy_daily", "worn out")]


def test_what_the_start_does_not_repeat_is_a_step_for_a_person(where: Settings, add: Add) -> None:
    add_failures(add)
    note(where, *LOST)
    steps = "\n".join(condition.look(where).next_steps)
    assert "clear the run wrong data of toy_daily" in steps and "worn out" not in steps
    assert "/run_id=wrong data/task_id=ingest/attempt=1.log" in steps


class Platform:
    """Processes and an Airflow that do as they are told; tables and journal are real."""

    def __init__(self, where: Settings, patch: pytest.MonkeyPatch) -> None:
        self.where, self.patch = where, patch
        self.is_up, self.repeated, self.told = False, [], []
        patch.setattr(supervisor, "status", self.status)
        patch.setattr(supervisor, "_start_all", self.start)
        patch.setattr(readiness, "wait", lambda *_, **__: None)
        patch.setattr(readiness, "prepare_dags", lambda *_, **__: {})
        patch.setattr(AirflowApi, "repeat_run", lambda _, *run: self.repeated.append(run))

    def status(self, _: Settings) -> supervisor.PlatformStatus:
        pid = 1 if self.is_up else None
        log = self.where.logs / "x.log"
        components = (supervisor.ComponentStatus(n, pid, log) for n in supervisor.COMPONENTS)
        return supervisor.PlatformStatus(tuple(components), "", "")

    def start(self, *_: Any) -> dict[str, Any]:
        note(self.where, (journal.START, 30))
        self.is_up = True
        return {}

    def up(self) -> None:
        supervisor.up(self.where, progress=self.told.append)


@pytest.mark.parametrize("broken_off", ["prepare_dags", "repeat_run"])
def test_a_start_that_was_interrupted_is_finished_by_the_next(
    where: Settings, add: Add, monkeypatch: pytest.MonkeyPatch, broken_off: str
) -> None:
    add_failures(add)
    note(where, *LOST)
    platform = Platform(where, monkeypatch)

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012  # one call
        patch.setattr(
            AirflowApi if broken_off == "repeat_run" else readiness, broken_off, interrupt
        )
        platform.up()
    assert platform.repeated == [] and journal.lives(where)[-1].ready_at is None
    platform.up()
    assert platform.told[-2:] == [
        "already up",
        "toy_daily worn out failed while a component was down: it runs again",
    ]
    platform.up()
    assert platform.repeated == [("toy_daily", "worn out")], "once"
