"""What callbacks make of Airflow's context; who calls them is tested with a real scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import small_spec

from ml import settings as settings_module
from ml.adapters.notify import told_alerts
from ml.core.errors import DataError
from ml.settings import settings

pytestmark = pytest.mark.xdist_group("airflow")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    settings_module.settings.cache_clear()
    yield tmp_path
    settings_module.settings.cache_clear()


@pytest.fixture
def alarms(monkeypatch: pytest.MonkeyPatch) -> Any:
    from orchestration import alarms

    monkeypatch.setattr(alarms, "_OWN_WORD_SECONDS", 0.0)
    return alarms.Alarms(small_spec())


def context(error: BaseException | None = None, *, reason: str = "", **run: Any) -> dict[str, Any]:
    """As Airflow 3.3.2 gives it: the task's process with an exception, all others without."""
    task = SimpleNamespace(execution_timeout=timedelta(minutes=30))
    names = {"dag_id": "toy_daily", "run_id": "run:1", "task_id": "ingest"}
    ti = SimpleNamespace(
        **names, try_number=3, map_index=None, log_url="http://a/log?try_number=3", task=task
    )
    made: dict[str, Any] = {
        "ti": ti,
        "run_id": ti.run_id,
        "dag": SimpleNamespace(dag_id=ti.dag_id, dagrun_timeout=timedelta(hours=2)),
        "dag_run": SimpleNamespace(**{"partition_key": "2020-01-01", "conf": {}} | run),
    }
    made |= {"exception": error} if error else {}
    return made | ({"reason": reason} if reason else {})


def told() -> list[dict[str, Any]]:
    return told_alerts(settings().alerts)


def kinds() -> list[str]:
    return [alert["kind"] for alert in told()]


def test_a_failed_task_is_told_with_owner_runbook_and_the_three_parts(alarms: Any) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    error = AirflowFailException("as the stage raises it")
    error.__cause__ = DataError("bad", expected="good", repair="mend")
    alarms.task_failed(context(error))
    [alert] = told()
    expected = {
        "kind": "task_failed",
        "use_case": "toy",
        "dag": "toy_daily",
        "run": "run:1",
        "task": "ingest",
        "partition": "2020-01-01",
        "try_number": 3,
        "map_index": -1,
        "seen": "bad",
        "expected": "good",
        "repair": "mend",
        "owner": "team",
        "contact": "https://example.com/team",
        "impact_tier": 4,
        "runbook": "docs/runbooks/toy.md",
        "log": "http://a/log?try_number=3",
    }
    assert {name: alert[name] for name in expected} == expected
    assert alert["page"].endswith("/dags/toy_daily/runs/run%3A1")


def test_a_task_that_timed_out_is_told_as_such(alarms: Any) -> None:
    from airflow.sdk.exceptions import AirflowTaskTimeout

    alarms.task_failed(context(AirflowTaskTimeout("Timeout, PID: 1")))
    [alert] = told()
    assert (alert["kind"], "0:30:00" in alert["expected"]) == ("task_timed_out", True)


def test_a_killed_task_is_told_once_however_often_the_callback_is_called(alarms: Any) -> None:
    alarms.task_failed(context())
    alarms.task_failed(context())
    alarms.run_failed(context(reason="task_failure"))
    assert kinds() == ["task_lost", "run_failed"]


def test_a_killed_task_that_nobody_spoke_for_is_told_with_its_run(alarms: Any) -> None:
    alarms.run_failed(context(reason="task_failure"))
    assert kinds() == ["task_lost", "run_failed"]
    assert told()[1]["seen"] == "ingest failed" and not told()[1]["task"]


def test_the_run_of_a_task_that_told_its_reason_adds_no_second_word_about_it(alarms: Any) -> None:
    alarms.task_failed(context(ValueError("x")))
    alarms.run_failed(context(reason="task_failure"))
    assert kinds() == ["task_failed", "run_failed"]


@pytest.mark.parametrize(
    ("reason", "kind"), [("timed_out", "run_timed_out"), ("all_tasks_deadlocked", "run_stuck")]
)
def test_a_run_that_did_not_end_by_a_failed_task_is_told_alone(
    alarms: Any, reason: str, kind: str
) -> None:
    """Its unfinished task was skipped by the time-out: it did not fail."""
    alarms.run_failed(context(reason=reason))
    assert kinds() == [kind]


def test_a_run_of_which_nothing_more_is_known_is_told(alarms: Any) -> None:
    dag = SimpleNamespace(dag_id="toy_daily", dagrun_timeout=None)
    alarms.run_failed({"dag": dag, "run_id": "run:1", "reason": "timed_out"})
    assert kinds() == ["run_timed_out"]


def test_a_run_without_a_key_says_what_it_was_asked_for(alarms: Any) -> None:
    asked = {"first": "2020-01-01", "last": "2020-01-31", "revision": None}
    alarms.task_failed(context(ValueError("x"), partition_key=None, conf=asked))
    assert told()[0]["partition"] == "first 2020-01-01, last 2020-01-31"


def test_runbooks_may_be_addresses(alarms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_NOTIFY_RUNBOOKS", "https://example.com/runbooks/")
    settings_module.settings.cache_clear()
    alarms.task_failed(context(ValueError("x")))
    assert told()[0]["runbook"] == "https://example.com/runbooks/toy.md"
