"""A part of a year, day by day through the real Dags, with a retraining at the start of each month.

`FLIGHTLINE_REPLAY_DAYS` says how many days, 12 or more; with 300 it is what is left of the year
after the first history, some four seconds a day on two cores. `pytest -s` shows what a day cost,
month by month.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import wait_for_run
from growth import grown
from support import SLUG

from ml.core.partitions import Partition
from ml.core.story import Job
from ml.local import processes, supervisor
from ml.local.airflow_api import AirflowApi
from ml.local.records import Run
from ml.settings import Settings
from ml.use_cases import available, load_spec

DAYS = int(os.environ.get("FLIGHTLINE_REPLAY_DAYS", "16"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300 + 30 * DAYS),
    pytest.mark.xdist_group("year"),
]

SPEC = load_spec(SLUG)
# A short replay has enough history for a model that passes its gates, and the start of a month.
FIRST, FIRST_MODEL = ("2013-03-07", "2013-03-13") if DAYS > 190 else ("2013-06-20", "2013-06-20")
STAGES = Job.PARTITION.stages


def chunks() -> list[list[Partition]]:
    """The days of the replay, cut where a model is trained; the first may be too few for one."""
    days = SPEC.partitions(FIRST, SPEC.coverage.last)[:DAYS]

    def period(day: Partition) -> str:
        return "before the first model" if day.key < FIRST_MODEL else day.key[:7]

    return [list(group) for _, group in groupby(days, key=period)]


class Life:
    """A platform that plays days and trainings one after the other."""

    def __init__(self, home: Path) -> None:
        where = Settings(home=home)
        supervisor.up(where, pools=available(), progress=lambda _: None)
        self.api = AirflowApi.connect(where)
        for job in Job:
            self.api.set_paused(job.dag_id(SPEC), is_paused=False)

    def days(self) -> list[Run]:
        """The runs of the replay. After a backfill the calendar makes up one of its own, of
        yesterday, which lies outside the source and is skipped."""
        keys = {day.key for days in chunks() for day in days}
        runs = self.api.runs(Job.PARTITION.dag_id(SPEC))
        return [run for run in runs if run.partition_key in keys]

    def play(self, job: Job, run_id: str, **conf: str) -> None:
        dag_id = job.dag_id(SPEC)
        self.api.trigger(dag_id, run_id=run_id, conf=conf)
        assert wait_for_run(self.api, dag_id, run_id, timeout_s=900).state == "success"

    def backfill(self, days: Sequence[Partition]) -> None:
        """By Airflow's own backfill; both ends are partition dates in the use case's zone."""
        first, last = (f"{day.key}T00:00:00Z" for day in (days[0], days[-1]))
        dag_id = Job.PARTITION.dag_id(SPEC)
        body = {"dag_id": dag_id, "from_date": first, "to_date": last, "max_active_runs": 1}
        number = self.api._call("POST", "/backfills", body)["id"]
        deadline = time.monotonic() + 30 * len(days)
        while not self.api._call("GET", f"/backfills/{number}")["completed_at"]:
            assert time.monotonic() < deadline, "the backfill does not end"
            time.sleep(0.5)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    home = tmp_path_factory.mktemp("year") / "home"
    yield Life(home)
    supervisor.down(Settings(home=home), progress=lambda _: None)
    assert processes.supervised(home) == []


@pytest.fixture(scope="module")
def played(life: Life) -> Life:
    before = SPEC.calendar.before(SPEC.partition(FIRST)).key
    life.play(Job.HISTORY, "history", first=SPEC.coverage.first, last=before)
    for days in chunks():
        if days[0].key >= FIRST_MODEL:
            life.play(Job.RETRAIN, f"retrain-{days[0].key}", as_of=days[0].key)
        life.backfill(days)
    return life


@pytest.fixture(scope="module")
def costs(played: Life) -> dict[str, dict[str, dict[str, Any]]]:
    """What each stage of each day returned, by partition key and stage."""
    dag_id = Job.PARTITION.dag_id(SPEC)
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for run in played.days():
        for task in played.api.task_instances(dag_id, run.run_id):
            ran = played.api.xcom(dag_id, run.run_id, task.task_id)
            found[str(run.partition_key)][ran["stage"]] = ran
    return dict(sorted(found.items()))


def test_each_day_ran_once_and_well(played: Life, costs: dict[str, Any]) -> None:
    keys = [day.key for days in chunks() for day in days]
    runs = played.days()
    assert sorted(str(run.partition_key) for run in runs) == keys == list(costs)
    assert {run.state for run in runs} == {"success"}
    assert all(set(stages) == set(STAGES) for stages in costs.values())


def test_each_month_has_trained_and_each_day_since_a_release_has_predictions(
    played: Life, costs: dict[str, Any]
) -> None:
    dag_id = Job.RETRAIN.dag_id(SPEC)
    trained = {days[0].key for days in chunks() if days[0].key >= FIRST_MODEL}
    runs = {run.run_id.removeprefix("retrain-"): run for run in played.api.runs(dag_id)}
    assert set(runs) == trained and {run.state for run in runs.values()} == {"success"}
    released = [
        as_of
        for as_of, run in runs.items()
        for task in played.api.task_instances(dag_id, run.run_id)
        if (task.task_id, task.state) == ("promote_candidate", "success")
    ]
    first = min(released)  # a candidate that its gates reject is a decision
    for key, stages in costs.items():
        assert bool(stages["score"]["result"]["rows"]) == (key >= first), key


def test_a_day_costs_no_more_at_the_end_than_at_the_start(costs: dict[str, Any]) -> None:
    """CPU seconds of each stage, days with a model only: side by side in one life."""
    cpu = {
        key: {stage: ran["cpu_seconds"] for stage, ran in stages.items()}
        for key, stages in costs.items()
        if key >= FIRST_MODEL
    }
    for month, days in groupby(cpu, key=lambda key: key[:7]):
        of_month = [cpu[key] for key in days]
        told = (f"{s} {statistics.median(day[s] for day in of_month):.2f}" for s in STAGES)
        print(f"{month}: {len(of_month)} days, CPU s a day: {', '.join(told)}")
    assert grown(list(cpu.values())) == {}


def test_the_platform_is_still_healthy(played: Life) -> None:
    health = played.api.health()
    assert {health[part]["status"] for part in ("scheduler", "dag_processor")} == {"healthy"}
    beat = datetime.fromisoformat(health["scheduler"]["latest_scheduler_heartbeat"])
    assert time.time() - beat.timestamp() < 30
