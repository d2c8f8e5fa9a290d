"""The buttons of the retraining: what they are called, where they lead, also after a failure."""

from __future__ import annotations

from typing import Any

import pytest
from support import SLUG

pytestmark = pytest.mark.xdist_group("airflow")

PAGES = {"MLflow run": "http://there/run", "Model version": "http://there/version"}


class Xcoms:
    """Stands for the task's instance, and for the table of values behind it."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def get_value(self, *, ti_key: Any, key: str) -> Any:
        return self.pushed.get(key)


@pytest.fixture
def ti(monkeypatch: pytest.MonkeyPatch) -> Xcoms:
    from airflow.sdk.execution_time import xcom

    found = Xcoms()
    monkeypatch.setattr(xcom, "XCom", found)
    return found


@pytest.fixture
def dag() -> Any:
    from orchestration.builders import build_retrain

    return build_retrain(SLUG, doc="")


def shown(dag: Any, task_id: str, ti: Any) -> dict[str, str]:
    task = dag.get_task(task_id)
    return {
        str(link.name): link.get_link(operator=task, ti_key=ti)
        for link in task.operator_extra_links
    }


def test_the_names_are_those_under_which_a_stage_gives_its_pages() -> None:
    from ml.stages.runner import RUN_LINK, VERSION_LINK
    from orchestration.links import LINKS

    assert [link.name for link in LINKS] == [RUN_LINK, VERSION_LINK]


def test_the_scheduler_sees_the_buttons(dag: Any) -> None:
    """It knows the serialized Dag only."""
    from airflow.serialization.serialized_objects import DagSerialization

    again = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    names = {task.task_id: sorted(task.extra_links) for task in again.tasks}
    tasks = ("train_candidate", "validate_candidate", "promote_candidate")
    assert names == dict.fromkeys(tasks, sorted(PAGES))


def run_of(stage: str, slug: str, **_: Any) -> dict[str, Any]:
    return {"result": {"version": 3}, "links": PAGES}


def test_training_leads_to_what_it_has_made(
    dag: Any, ti: Xcoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from orchestration import stages

    monkeypatch.setattr(stages, "run", run_of)
    run = SimpleNamespace(dag_id="d", run_id="r")
    dag.get_task("train_candidate").python_callable(params={"as_of": ""}, dag_run=run, ti=ti)
    assert shown(dag, "train_candidate", ti) == PAGES


@pytest.mark.parametrize("task_id", ["validate_candidate", "promote_candidate"])
def test_a_task_that_fails_or_is_skipped_leads_there_too(
    dag: Any, ti: Xcoms, monkeypatch: pytest.MonkeyPatch, task_id: str
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from orchestration import stages

    def rejected(*_: Any, **__: Any) -> Any:
        raise AirflowSkipException

    monkeypatch.setattr(stages, "run", rejected)
    with pytest.raises(AirflowSkipException):
        dag.get_task(task_id).python_callable(run_of("train", SLUG), ti=ti)
    assert shown(dag, task_id, ti) == PAGES


def test_without_a_server_the_buttons_lead_nowhere(dag: Any, ti: Xcoms) -> None:
    from orchestration.links import push

    push(ti, {})
    assert shown(dag, "train_candidate", ti) == dict.fromkeys(PAGES, "")
