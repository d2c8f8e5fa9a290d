"""What Airflow's database says of the work, and when waiting is no longer right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ml.core.errors import DataError
from ml.local import airflow_db, condition
from ml.local.airflow_db import Work, WorkRun, WorkTask

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)


def work(*states: str, is_dag_paused: bool = False) -> Work:
    run = WorkRun("toy_daily", "one", "2026-01-01", "running", NOON, is_dag_paused)
    tasks = [WorkTask("toy_daily", "one", f"task_{n}", s, 1, NOON) for n, s in enumerate(states)]
    return Work((run,), tuple(tasks))


@pytest.mark.parametrize("state", sorted(airflow_db.WAITING))
def test_tasks_that_wait_while_none_runs_are_stuck(state):
    assert work(state).stuck_since(LATER) == NOON
    assert work(state, "up_for_retry").stuck_since(LATER) == NOON


@pytest.mark.parametrize(
    "found",
    [
        work(),
        work("queued", "running"),
        work("up_for_retry"),
        work("scheduled", is_dag_paused=True),
    ],
    ids=["nothing waits", "one runs", "a try later", "its Dag is paused"],
)
def test_waiting_may_be_right(found):
    assert found.stuck_since(LATER) is None


def test_a_short_wait_is_no_trouble():
    assert work("queued").stuck_since(NOON + timedelta(seconds=10)) is None


def test_a_damaged_database_is_told_and_stops_nothing(scratch):
    scratch.airflow_home.mkdir(parents=True)
    scratch.logs.mkdir()
    (scratch.airflow_home / "airflow.db").write_text("this is no database " * 1000)
    with pytest.raises(DataError, match="cannot be read"):
        airflow_db.look(scratch, since=NOON)
    (scratch.logs / "platform.jsonl").write_text('{"at": "2026-01-01T12:00:00Z", "event": "start"}')
    told = condition.look(scratch)
    assert "cannot be read: file is not a database" in told.happened[-1]


def test_a_lost_database_of_models_is_the_first_thing_to_do(scratch):
    (scratch.artifacts / "1").mkdir(parents=True)
    assert "mlflow.db is gone" in condition.look(scratch).next_steps[0]
    scratch.mlflow_database.touch()
    assert "is gone" not in "".join(condition.look(scratch).next_steps)
