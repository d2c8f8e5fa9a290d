from __future__ import annotations

from support import SLUG

from ml.core.story import Job, Step
from ml.local.bench import _stage_costs
from ml.local.demo import Played
from ml.local.records import TaskInstance


class OnlySuccessReturns:
    def xcom(self, dag_id: str, run_id: str, task_id: str) -> dict:
        assert task_id == "train", "a skipped task returns nothing"
        return {"stage": "train", "seconds": 2.0, "peak_mib": 10.0}


def test_a_skipped_task_costs_nothing() -> None:
    """A rejected candidate skips its promotion; the bench goes on."""
    tasks = tuple(
        TaskInstance(name, state, None, None, 1, None)
        for name, state in [("train", "success"), ("promote", "skipped")]
    )
    played = Played(Step(Job.RETRAIN, "t", as_of="2013-06-01"), 1.0, tasks, False)
    costs = _stage_costs(SLUG, [played], OnlySuccessReturns())  # type: ignore[arg-type]
    assert {stage: cost.seconds for stage, cost in costs.items()} == {"train": 2.0}
