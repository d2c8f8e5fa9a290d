"""Every process of the platform is killed while real Dags run: the work goes on, and it is right.

One platform serves all tests of this file, in the order in which they stand. Each kill meets a
stage in the middle of its work: the stage is stopped first, so that it cannot end before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest
from airflow_runs import wait_for_run
from support import copy_home, platform_at

from ml.core.plans import Criterion
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.core.story import Job, Step
from ml.local import airflow_db, condition, processes, supervisor
from ml.local.airflow_api import AirflowApi
from ml.settings import Settings
from ml.stages import ingest, materialize, promote, train, transform, validate
from ml.stages.chain import run_step
from ml.use_cases import available, load_spec

SLUG = "co2_trend"  # weekly and small: a partition takes seconds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("platform"),
    pytest.mark.skipif(sys.platform != "linux", reason="who holds a lock is read from /proc"),
    pytest.mark.skipif(SLUG not in available(), reason=f"it needs the use case {SLUG}"),
]

BEFORE, AFTER = 72, 12  # partitions: to learn from, and to be run while processes are killed
FLIGHTLINE = str(Path(sys.executable).parent / "flightline")
WAIT_SECONDS = 240


def easy_spec() -> UseCase:
    """The same problem, learned in seconds by a model that any gate lets through."""
    spec = load_spec(SLUG)
    search = spec.model.search.model_copy(update={"trials": 2})
    gates = {
        "criteria": (Criterion(metric="skill", minimum=-1000.0),),
        "maximum_cost_increase": None,
        "maximum_latency_ratio": None,
        "minimum_label_coverage": 0.1,
        "replicates": 200,
        "cluster_partitions": 1,
    }
    changes = {
        "select_partitions": 16,
        "holdout_partitions": 16,
        "model": spec.model.model_copy(update={"search": search, "max_rounds": 20}),
        "gates": spec.gates.model_copy(update=gates),
    }
    return spec.model_copy(update=changes)


def all_keys() -> list[str]:
    coverage = load_spec(SLUG).coverage
    partitions = load_spec(SLUG).calendar.between(coverage.first, coverage.last)
    return [partition.key for partition in partitions[: BEFORE + AFTER]]


KEYS = all_keys()[BEFORE:] if SLUG in available() else []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """History and a champion; the rest is for the scheduler."""
    folder, spec = tmp_path_factory.mktemp("kills") / "home", easy_spec()
    platform = platform_at(folder, spec)
    history = spec.partitions(spec.coverage.first, all_keys()[BEFORE - 1])
    ingest.run(platform, partitions=history, accept_anomalies=True)
    transform.run(platform, partitions=history)
    materialize.run(platform, partitions=history[-1:])
    train.run(platform, as_of=spec.as_of(KEYS[0]))
    validate.run(platform, version=1)
    promote.run(platform, version=1)
    yield folder
    supervisor.down(Settings(home=folder), progress=lambda _: None)
    assert processes.supervised(folder) == []


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> Path:
    """The same history, before anything was killed, and then all keys in one process."""
    folder = copy_home(home, home.parent / "undisturbed")
    step = Step(Job.HISTORY, "all at once", KEYS[0], KEYS[-1])
    for _ in run_step(SLUG, step, where=Settings(home=folder)):
        pass
    return folder


@dataclass
class Life:
    """The platform whose processes are killed.

    Attributes:
        most_writers: live processes that had the use case's lock open, at the worst moment seen.
    """

    settings: Settings
    asked: list[str] = field(default_factory=list)
    most_writers: int = 0
    _is_over: Event = field(default_factory=Event)

    @property
    def lock(self) -> Path:
        return self.settings.home / "locks" / f"{SLUG}.lock"

    @property
    def api(self) -> AirflowApi:
        return AirflowApi.connect(self.settings)

    @property
    def dag_id(self) -> str:
        return Job.PARTITION.dag_id(load_spec(SLUG))

    def ask_for(self, number: int) -> list[str]:
        """Trigger the Dag for the next keys; those behind the first wait in its queue."""
        keys = KEYS[len(self.asked) :][:number]
        for key in keys:
            self.api.trigger(self.dag_id, run_id=f"run__{key}", partition_key=key)
        self.asked += keys
        return keys

    def wait_for_holder(self, stage: str) -> psutil.Process:
        """The process in which that stage is at work, stopped in the middle of it."""
        wanted = f"{stage}_partition"
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            if (pid := holder(self.lock)) and wanted in self.running_tasks():
                with suppress(psutil.NoSuchProcess):
                    process = psutil.Process(pid)
                    process.suspend()
                    if holder(self.lock) == pid and wanted in self.running_tasks():
                        return process
                    process.resume()
            time.sleep(0.02)
        raise AssertionError(f"no {stage} ran within {WAIT_SECONDS} s")

    def running_tasks(self) -> set[str]:
        work = airflow_db.look(self.settings, since=datetime.now(UTC))
        return {task.task_id for task in work.tasks if task.state == "running"}

    def wait_for(self, keys: Sequence[str]) -> None:
        for key in keys:
            run = wait_for_run(self.api, self.dag_id, f"run__{key}", timeout_s=WAIT_SECONDS)
            assert run.state == "success", self.api.task_instances(self.dag_id, run.run_id)

    def watch(self) -> None:
        """Whoever has the lock open writes, or waits to write: there is never a second one."""
        while not self._is_over.wait(0.5):
            found = sum(map(self._has_lock_open, processes.supervised(self.settings.home)))
            self.most_writers = max(self.most_writers, found)

    def _has_lock_open(self, found: processes.Supervised) -> bool:
        with suppress(psutil.Error, OSError):
            links = Path(f"/proc/{found.process.pid}/fd").iterdir()
            return any(link.readlink() == self.lock for link in links)
        return False

    def end(self) -> None:
        self._is_over.set()


@pytest.fixture(scope="module")
def life(home: Path, undisturbed: Path) -> Iterator[Life]:
    life = Life(Settings(home=home))
    supervisor.up(life.settings, pools=available())
    life.api.set_paused(life.dag_id, is_paused=False)
    watcher = Thread(target=life.watch, daemon=True)
    watcher.start()
    yield life
    life.end()
    watcher.join()


def holder(lock: Path) -> int | None:
    """Process id of whoever holds the lock, as the kernel tells it."""
    if lock.exists():
        inode = str(lock.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "->" not in fields and fields[5].rsplit(":", 1)[-1] == inode:
                return int(fields[4])
    return None


def leader(life: Life, component: str) -> psutil.Process:
    return processes.leaders(life.settings.home)[component]


def gone(process: psutil.Process, *, within_seconds: float = 5) -> bool:
    with suppress(psutil.TimeoutExpired):
        process.wait(within_seconds)
        return True
    return False


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def up_again(life: Life) -> list[str]:
    """`flightline up` and what it says; afterwards all is up."""
    told: list[str] = []
    assert supervisor.up(life.settings, pools=available(), progress=told.append).is_up
    return told


def happened(life: Life) -> str:
    return "\n".join(condition.look(life.settings).happened)


def test_a_killed_task_runs_again(life: Life) -> None:
    """Nobody has to do anything: Airflow repeats it, and the next run waits its turn."""
    keys = life.ask_for(2)
    life.wait_for_holder("ingest").kill()
    life.wait_for(keys)
    [repeated] = condition.look(life.settings).work.repeated
    assert (repeated.task_id, repeated.try_number) == ("ingest_partition", 2)


def test_a_task_ends_with_its_supervisor_and_runs_again(life: Life) -> None:
    """Airflow would let it write on; the pool is free again after a minute of silence."""
    keys = life.ask_for(2)
    task = life.wait_for_holder("transform")
    began = time.monotonic()
    psutil.Process(task.ppid()).kill()
    assert gone(task)
    life.wait_for(keys)
    print(f"after the death of a worker: {time.monotonic() - began:.0f} s")
    repeated = {task.run_id for task in condition.look(life.settings).work.repeated}
    assert f"run__{keys[0]}" in repeated


@pytest.mark.parametrize(
    ("component", "stage"), [("scheduler", "transform"), ("api-server", "ingest")]
)
def test_work_goes_on_after_a_component_was_killed(life: Life, component: str, stage: str) -> None:
    """`flightline status` says which and when; `flightline up` is all that there is to do."""
    keys = life.ask_for(2)
    task = life.wait_for_holder(stage)
    leader(life, component).kill()
    wait_until(lambda: f"{component} was killed" in happened(life), "the kill is noted")
    told = condition.look(life.settings)
    assert [down.name for down in told.platform.down] == [component]
    assert f"{component} was killed (SIGKILL) at 20" in told.happened[0]
    assert "flightline up" in told.next_steps[0]
    states = {run.partition_key: run.state for run in told.work.runs if run.partition_key in keys}
    assert states == dict(zip(keys, ("running", "queued"), strict=True))
    began = time.monotonic()
    assert any("was killed (SIGKILL)" in line for line in up_again(life))
    assert not task.is_running()
    ready = time.monotonic() - began
    life.wait_for(keys)
    print(f"{component}: up after {ready:.0f} s, done after {time.monotonic() - began:.0f} s")
    assert f"before that start, {component} was killed" in happened(life)


def test_a_run_that_failed_while_mlflow_was_away_runs_again(life: Life) -> None:
    """Its tries end before anybody looks at night; the next start repeats what failed meanwhile."""
    [key] = life.ask_for(1)
    task = life.wait_for_holder("transform")
    server = leader(life, "mlflow")
    for process in (*server.children(), server):
        process.kill()
    task.resume()  # the scoring that follows is what needs it
    run = wait_for_run(life.api, life.dag_id, f"run__{key}", timeout_s=WAIT_SECONDS)
    assert run.state == "failed", life.api.task_instances(life.dag_id, run.run_id)
    told = condition.look(life.settings)
    assert [run.partition_key for run in told.work.runs_that_are("failed")] == [key]
    assert [step.split(":")[0] for step in told.next_steps] == ["flightline up"]
    assert any(f"run__{key} failed while a component was down" in s for s in up_again(life))
    life.wait_for([key])


def test_workers_that_were_killed_while_they_waited_block_nothing_for_ever(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dies with the lock of their queue: all components run, and no task ever starts."""
    for worker in leader(life, "scheduler").children():
        worker.kill()
    [key] = life.ask_for(1)
    monkeypatch.setattr(airflow_db, "STUCK_SECONDS", 5)
    wait_until(lambda: bool(condition.look(life.settings).next_steps), "the queue is told as stuck")
    told = condition.look(life.settings)
    assert told.platform.is_up
    assert "and none runs, so it starts anew" in told.next_steps[0]
    assert any("none runs: starting everything anew" in line for line in up_again(life))
    life.wait_for([key])


def test_work_goes_on_after_a_power_cut(life: Life) -> None:
    """Everything at once, so nothing could note its end; the command line says so."""
    keys = life.ask_for(2)
    life.wait_for_holder("transform")
    cut_power(life)
    told = flightline(life, "status")
    assert told.returncode == 0
    assert told.stdout.count("nobody saw it end, so all ended at once") == 4
    assert "next: flightline up" in told.stdout
    plain = json.loads(flightline(life, "status", "--json").stdout)
    assert not plain["is_up"] and len(plain["work"]["runs"]) >= 2
    began = time.monotonic()
    up_again(life)
    ready = time.monotonic() - began
    life.wait_for(keys)
    print(f"power cut: up after {ready:.0f} s, done after {time.monotonic() - began:.0f} s")
    assert "before that start, all ended at once between" in flightline(life, "status").stdout


def cut_power(life: Life) -> None:
    everything = [found.process for found in processes.supervised(life.settings.home)]
    for signal in (psutil.Process.suspend, psutil.Process.kill):
        for process in everything:
            with suppress(psutil.NoSuchProcess):  # a parser of Dag files lives for a second
                signal(process)
    wait_until(lambda: not processes.supervised(life.settings.home), "everything is dead")


def flightline(life: Life, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
    environment = {**kept, "MLOPS_HOME": str(life.settings.home), "COLUMNS": "200"}
    return subprocess.run(
        [FLIGHTLINE, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_nothing_is_stuck_and_no_process_is_left_over(life: Life) -> None:
    """Each run has ended well, and each process belongs to a component that runs."""
    work = airflow_db.look(life.settings, since=datetime.fromtimestamp(0, UTC))
    # The calendar may have made a run meanwhile: of last week, which is not in the source.
    asked = {f"run__{key}" for key in life.asked}
    assert {run.state for run in work.runs if run.run_id in asked} == {"success"}
    assert {task.state for task in work.tasks if task.run_id in asked} == {"success"}
    leading = {process.pid for process in processes.leaders(life.settings.home).values()}
    for found in processes.supervised(life.settings.home):
        family = [found.process, *found.process.parents(), *found.process.children()]
        assert leading & {process.pid for process in family}, found


def test_no_second_writer_was_ever_there(life: Life) -> None:
    """Neither an orphan of a killed worker nor one of a killed scheduler."""
    assert life.most_writers == 1


def test_every_partition_is_there_once_and_as_if_nothing_had_happened(
    life: Life, undisturbed: Path
) -> None:
    """Tables, keys and rows equal those of a home where all of it ran once, in one process."""
    killed, calm = (platform_at(where, easy_spec()) for where in (life.settings.home, undisturbed))
    assert sorted(life.asked) == KEYS
    assert tables(killed) == tables(calm)
    for area, table in tables(calm):
        assert killed.lake.keys(area, table) == calm.lake.keys(area, table)
        if area in {"raw", "marts", "features"}:
            assert rows(killed, area, table) == rows(calm, area, table), (area, table)
    assert killed.lake.read("receipts", "readings", KEYS).num_rows == len(KEYS)
    assert predictions(killed) == predictions(calm)


def tables(platform: Platform) -> list[tuple[str, str]]:
    home = Path(platform.lake.address("raw", "x", None).removeprefix("file://")).parents[3]
    return sorted((path.parts[-3], path.name) for path in home.glob(f"*/{SLUG}/*"))


def rows(platform: Platform, area: str, table: str) -> list[dict]:
    return platform.lake.read(area, table, KEYS).to_pylist()


def predictions(platform: Platform) -> list[dict]:
    measured = ("champion_latency_us", "canary_latency_us", "source")
    found = rows(platform, "predictions", "revision=1")
    kept = [{name: row[name] for name in row if name not in measured} for row in found]
    assert len({row["request_id"] for row in kept}) == len(kept) == len(KEYS)
    return sorted(kept, key=lambda row: row["request_id"])


def test_each_asset_was_told_of_each_partition_once(life: Life) -> None:
    """A repeated task is a repeated try, not another event: consumers count them."""
    events = list(life.api._pages("/assets/events", "asset_events"))
    told = sorted((event["name"], event["partition_key"]) for event in events)
    names = load_spec(SLUG).names
    nouns = ("raw", "features", "online_features", "predictions")
    assert told == sorted((names.asset(noun), key) for noun in nouns for key in life.asked)
