"""A whole life through the real scheduler: a failure, its repair, a kill, the end, a second look.

One platform serves all tests of this file, in the order in which they stand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil
import pytest
from airflow_runs import tell_of_asset, wait_for_run
from support import SLUG

from ml.core.names import Names
from ml.core.story import Job, story
from ml.local import processes, supervisor
from ml.local.airflow_api import AirflowApi
from ml.local.records import Run
from ml.settings import Settings
from ml.use_cases import load_all, load_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("platform")]

OTHERS = [slug for slug, spec in load_all()[0].items() if spec.demo and slug != SLUG]
FLIGHTLINE = str(Path(sys.executable).parent / "flightline")


def flightline(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
    kept.pop("MLOPS_TRACKING_URI", None)
    return subprocess.run(
        [FLIGHTLINE, *arguments],
        env={**kept, "MLOPS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("life") / "home"
    yield folder
    supervisor.down(Settings(home=folder), progress=lambda _: None)
    assert processes.supervised(folder) == []


@pytest.fixture(scope="module")
def warehouse(home: Path) -> Path:
    return home / "warehouse" / f"{SLUG}.duckdb"


@pytest.fixture(scope="module")
def failed_demo(home: Path, warehouse: Path) -> subprocess.CompletedProcess[str]:
    warehouse.parent.mkdir(parents=True)
    warehouse.write_bytes(b"this is no DuckDB file" * 1000)
    return flightline(home, "demo")


def test_a_failing_step_is_named_with_its_reason_and_its_log(
    failed_demo: subprocess.CompletedProcess[str],
) -> None:
    """With a broken warehouse file the demo ends non-zero and says which task, why and where."""
    assert failed_demo.returncode == 1
    assert "transform_range failed" in failed_demo.stderr
    assert "not a valid DuckDB database file" in failed_demo.stderr
    log = next(word for word in failed_demo.stderr.split() if word.endswith(".log,"))
    assert Path(log.rstrip(",")).exists()


@pytest.fixture(scope="module")
def finished_demo(
    home: Path, warehouse: Path, failed_demo: subprocess.CompletedProcess[str]
) -> subprocess.CompletedProcess[str]:
    """The file mended, the demo goes on; on the way a running stage is killed with SIGKILL."""
    warehouse.unlink()
    killer = _KillOneStage(home)
    killer.start()
    done = flightline(home, "demo")
    killer.join(timeout=1)
    assert killer.victim, "no stage was running to be killed"
    return done


class _KillOneStage(Thread):
    """Kills the process that holds the use case's lock, half a second into a transform."""

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self._home, self.victim = home, 0

    def run(self) -> None:
        lock, log = self._home / "locks" / f"{SLUG}.lock", self._home / "logs" / "dbt" / SLUG
        while not (log / "dbt.log").exists():
            time.sleep(0.1)
        while not self.victim:
            held = int(lock.read_text() or 0)
            if held in {one.process.pid for one in processes.supervised(self._home)}:
                time.sleep(0.5)
                with suppress(psutil.NoSuchProcess):  # it was quicker
                    psutil.Process(held).kill()
                    self.victim = held
            time.sleep(0.1)


def test_the_demo_goes_on_after_a_repair_and_survives_a_kill(
    finished_demo: subprocess.CompletedProcess[str],
) -> None:
    """The second call repeats what failed, Airflow repeats what was killed, and the end is told."""
    assert finished_demo.returncode == 0, finished_demo.stderr
    for expected in ("version 1", "champion", "version 2", "skill", "leak", "better", "password"):
        assert expected in finished_demo.stdout


def test_finished_work_is_not_repeated(
    home: Path, finished_demo: subprocess.CompletedProcess[str]
) -> None:
    """A second demo finds every step done."""
    again = flightline(home, "demo")
    assert again.returncode == 0
    assert again.stdout.count("done before") == len(story(load_spec(SLUG)))
    assert "already up" in again.stdout


def test_dags_and_command_line_give_the_same_digests(
    home: Path, finished_demo: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """Every stage of the story, by Airflow with a kill on the way and in one process without."""
    by_dag = _digests_by_dag(home)
    told = subprocess.run(
        [sys.executable, "-m", "ml.local.bench.bare", SLUG],
        env={**os.environ, "MLOPS_HOME": str(tmp_path / "bare")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    by_hand = [
        _digests(json.loads(line)) for line in told.stdout.splitlines() if line.startswith("{")
    ]
    assert len(by_dag) == len(by_hand) == 30
    assert by_dag == by_hand


def _digests_by_dag(home: Path) -> list[dict]:
    api = AirflowApi.connect(Settings(home=home))
    found = []
    for step in story(load_spec(SLUG)):
        dag_id = step.job.dag_id(load_spec(SLUG))
        tasks = sorted(api.task_instances(dag_id, step.run_id), key=lambda task: task.started_at)
        found += [_digests(api.xcom(dag_id, step.run_id, task.task_id)) for task in tasks]
    return found


def _digests(ran: dict) -> dict:
    """What a stage gives each time; evidence holds the run's id and CPU times, its gates do not."""
    result = ran["result"]
    names = [name for name in result if "digest" in name or name == "identity"]
    gates = [gate for gate in result.get("gates", []) if gate["name"] != "latency"]
    return {"stage": ran["stage"], "gates": gates, **{name: result[name] for name in names}}


def runs_of(api: AirflowApi, slug: str) -> list[Run]:
    """All, but for one that the calendar makes at midnight: yesterday is not in the source."""
    spec = load_spec(slug)
    runs = [run for job in Job for run in api.runs(job.dag_id(spec))]
    last = spec.coverage.last
    return [r for r in runs if r.run_type == "manual" or (r.partition_key or "~") <= last]


def test_no_calendar_is_left_on(
    home: Path, finished_demo: subprocess.CompletedProcess[str]
) -> None:
    """After a failed demo and two that ended well: no nightly run starts by itself."""
    api, spec = AirflowApi.connect(Settings(home=home)), load_spec(SLUG)
    paused = {dag.dag_id for dag in api.dags() if dag.is_paused}
    assert {job.dag_id(spec) for job in (Job.PARTITION, Job.RETRAIN)} <= paused
    runs = runs_of(api, SLUG)
    assert {run.state for run in runs} == {"success"}
    assert {run.run_type for run in runs} == {"manual"}


def test_a_stage_by_hand_links_to_the_running_server(
    home: Path, finished_demo: subprocess.CompletedProcess[str]
) -> None:
    """The finished training is found again, and through the server its page is known."""
    as_of = load_spec(SLUG).demo.first_as_of
    done = flightline(home, "train", SLUG, "--as-of", as_of, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert not result["is_new"]
    assert supervisor.status(Settings(home=home)).mlflow_url in json.dumps(result)


@pytest.mark.parametrize("slug", OTHERS)
def test_another_use_case_plays_its_story_beside_it(
    home: Path, finished_demo: subprocess.CompletedProcess[str], slug: str
) -> None:
    """Its Dags take it from the source to a verdict on a challenger."""
    done = flightline(home, "demo", slug)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "version 2" in done.stdout and "predictions of" in done.stdout
    told = json.loads(flightline(home, "report", slug, "--json").stdout)
    assert told["slug"] == slug and told["everything"]["rows"] > 0
    runs = runs_of(AirflowApi.connect(Settings(home=home)), slug)
    assert sorted(run.run_id for run in runs) == sorted(s.run_id for s in story(load_spec(slug)))
    assert {run.state for run in runs} == {"success"}


@pytest.fixture(scope="module")
def switched_on(home: Path, finished_demo: subprocess.CompletedProcess[str]) -> AirflowApi:
    """The platform as a team runs it: its Dags take requests and keys."""
    api = AirflowApi.connect(Settings(home=home))
    for job in Job:
        api.set_paused(job.dag_id(load_spec(SLUG)), is_paused=False)
    return api


def test_the_log_of_a_good_task_holds_no_error(
    home: Path, finished_demo: subprocess.CompletedProcess[str]
) -> None:
    """Error lines in every good log teach people to look away."""
    logs = [
        path
        for dag_id in (job.dag_id(load_spec(SLUG)) for job in (Job.PARTITION, Job.RETRAIN))
        for path in (home / "airflow" / "logs").glob(f"dag_id={dag_id}/run_id=demo__*/*/*.log")
    ]
    assert len(logs) >= 22
    lines = [line for path in logs for line in path.read_text().splitlines()]
    assert [line[:300] for line in lines if '"level":"error"' in line] == []


def test_an_event_of_the_request_asset_starts_a_retraining(switched_on: AirflowApi) -> None:
    """The unkeyed request reaches the schedule, its `as_of` reaches the training."""
    api, names = switched_on, Names(SLUG)
    dag_id = names.dag("retrain")
    before = {run.run_id for run in api.runs(dag_id)}
    as_of = load_spec(SLUG).demo.first_as_of
    tell_of_asset(api, names.retrain_request, extra={"as_of": as_of, "reason": "test"})
    run = _wait_for_new_run(api, dag_id, before)
    assert run.run_type == "asset_triggered"
    assert wait_for_run(api, dag_id, run.run_id, timeout_s=120).state == "success"
    trained = api.xcom(dag_id, run.run_id, "train_candidate")["result"]
    assert (trained["version"], trained["is_new"]) == (1, False), "the finished run is found again"


def _wait_for_new_run(api: AirflowApi, dag_id: str, before: set[str]):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if new := [run for run in api.runs(dag_id) if run.run_id not in before]:
            return new[0]
        time.sleep(0.5)
    raise AssertionError(f"no new run of {dag_id} within 60 s")


def test_a_key_outside_the_source_is_skipped_with_the_reason(
    switched_on: AirflowApi,
) -> None:
    """A calendar that ran past the data is no failure."""
    api, dag_id = switched_on, Job.PARTITION.dag_id(load_spec(SLUG))
    api.trigger(dag_id, run_id="outside", partition_key="2014-02-01")
    assert wait_for_run(api, dag_id, "outside", timeout_s=60).state == "success"
    assert {task.state for task in api.task_instances(dag_id, "outside")} == {"skipped"}
    assert "outside the source" in api.task_log(dag_id, "outside", "ingest_partition")


def test_a_run_without_a_key_fails_with_the_repair(
    switched_on: AirflowApi,
) -> None:
    """Airflow starts a partitioned Dag without a key silently; the task does not."""
    api, dag_id = switched_on, Job.PARTITION.dag_id(load_spec(SLUG))
    api.trigger(dag_id, run_id="keyless")
    assert wait_for_run(api, dag_id, "keyless", timeout_s=60).state == "failed"
    assert "has no partition key" in api.task_log(dag_id, "keyless", "ingest_partition")


def test_events_carry_the_partition_keys(
    home: Path, finished_demo: subprocess.CompletedProcess[str]
) -> None:
    """Ranges and single partitions both tell the consumers of an asset which keys changed."""
    api = AirflowApi.connect(Settings(home=home))
    events = list(api._pages("/assets/events", "asset_events"))
    keys = {event["partition_key"] for event in events}
    assert {"2013-01-01", "2013-06-28", "2013-07-01"} <= keys
