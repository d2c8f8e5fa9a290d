"""Airflow's history grows old: its own command deletes it, and the schedule goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from support import copy_home

from ml.core.errors import TransientError
from ml.local import airflow_db, gc_airflow
from ml.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("airflow_tables")]
NOW = datetime(2014, 1, 1, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def where(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with Airflow's real tables."""
    return Settings(home=copy_home(migrated, tmp_path_factory.mktemp("gc") / "home"))


def add(where: Settings, dag: str, day: str, *, state: str, kind: str = "scheduled") -> None:
    """A run with a task and an audit row."""
    with closing(sqlite3.connect(where.airflow_home / "airflow.db")) as database, database:
        time, run = f"{day} 00:00:00.000000", f"{kind}__{day}"
        database.execute(
            "insert into dag_run (dag_id, run_id, run_type, state, start_date, run_after,"
            " clear_number, span_status) values (?, ?, ?, ?, ?, ?, 0, 'ended')",
            (dag, run, kind, state, time, time),
        )
        database.execute(
            "insert into task_instance (id, task_id, dag_id, run_id, map_index, start_date,"
            " try_number, max_tries, pool, pool_slots, span_status, state)"
            " values (?, 'ingest', ?, ?, -1, ?, 1, 1, 'default_pool', 1, 'ended', ?)",
            (uuid4().hex, dag, run, time, state),
        )
        database.execute("insert into log (dttm, event, dag_id) values (?, 'x', ?)", (time, dag))


def days(where: Settings, table: str) -> list[str]:
    with closing(sqlite3.connect(where.airflow_home / "airflow.db")) as database:
        column = "dttm" if table == "log" else "start_date"
        mine = "where event = 'x'" if table == "log" else ""
        rows = database.execute(f"select {column} from {table} {mine} order by 1")
        return [text[:10] for (text,) in rows]


def test_old_history_goes_and_the_newest_scheduled_run_stays(where: Settings) -> None:
    for day in ("2013-01-01", "2013-02-01", "2013-12-01"):
        add(where, "toy_daily", day, state="success")
    add(where, "toy_retrain", "2013-01-05", state="failed", kind="manual")
    add(where, "toy_weekly", "2013-01-07", state="success")
    found = gc_airflow.history(where, NOW)
    assert len(found.items) == 3 + 4 + 4, "runs, tasks, audit rows"
    found.delete(found.items)
    assert days(where, "dag_run") == ["2013-01-07", "2013-12-01"]
    assert days(where, "task_instance") == days(where, "log") == ["2013-12-01"]
    assert gc_airflow.history(where, NOW).items == (), "a second time there is nothing left"
    with closing(sqlite3.connect(where.airflow_home / "airflow.db")) as database:
        copies = "select name from sqlite_master where name like '_airflow_deleted%'"
        assert database.execute(copies).fetchall() == []


def test_nothing_as_old_as_an_unfinished_run_goes(where: Settings) -> None:
    """It may wait for a person for months, and what came after it belongs to its story."""
    add(where, "toy_history", "2013-03-01", state="success", kind="manual")
    add(where, "toy_history", "2013-03-10", state="running", kind="manual")
    add(where, "toy_history", "2013-03-20", state="success", kind="manual")
    items = gc_airflow.history(where, NOW).items
    assert {datetime.fromtimestamp(item.time, UTC).day for item in items} == {1}


@pytest.mark.parametrize("is_cleared", [False, True], ids=["it waits", "it was cleared"])
def test_a_run_that_waits_for_long_keeps_its_tasks_through_a_new_start(
    migrated: Path, tmp_path: Path, is_cleared: bool
) -> None:
    """A start sets when it began, clearing it when it was queued: neither makes it young."""
    mine = Settings(home=copy_home(migrated, tmp_path / "home"))
    add(mine, "toy_history", "2013-03-01", state="success", kind="manual")
    add(mine, "toy_history", "2013-03-10", state="running", kind="manual")
    if is_cleared:
        with closing(sqlite3.connect(mine.airflow_home / "airflow.db")) as database, database:
            database.execute("update dag_run set queued_at = '2013-12-31' where state = 'running'")
    airflow_db.hand_over(mine, at=datetime.fromtimestamp(NOW, UTC))
    found = gc_airflow.history(mine, NOW)
    assert {datetime.fromtimestamp(item.time, UTC).day for item in found.items} == {1}


def test_a_failed_deletion_is_told(where: Settings, tmp_path: Path) -> None:
    found = gc_airflow.history(where, NOW)
    database = where.airflow_home / "airflow.db"
    database.rename(tmp_path / "aside.db")
    database.write_text("no database")
    try:
        with pytest.raises(TransientError, match="airflow db clean failed"):
            found.delete(found.items)
    finally:
        (tmp_path / "aside.db").rename(database)
