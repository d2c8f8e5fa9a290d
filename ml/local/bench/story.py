"""What the orchestrator costs: the demo's story through Airflow over the same in one process."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ml.core.story import story
from ml.local import processes, supervisor
from ml.local.airflow_api import AirflowApi
from ml.local.bench.figures import Figure, ratio, run
from ml.local.demo import Played, play_steps
from ml.render import console
from ml.settings import Settings
from ml.use_cases import available, demo_slug, load_spec

_SETTLE, _MINUTE = 15.0, 60.0


@dataclass
class Cost:
    """Sums over the runs of a stage; the peak is the largest."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0

    def add(self, ran: Mapping[str, Any]) -> None:
        self.seconds += ran["seconds"]
        self.cpu_seconds += ran["cpu_seconds"]
        self.peak_mib = max(self.peak_mib, ran["peak_mib"])


@dataclass(frozen=True)
class Told:
    """The story, told once.

    Attributes:
        seconds, cpu_seconds: from the first request to the last end; in one process, of all of it.
    """

    seconds: float
    cpu_seconds: float
    stages: Mapping[str, Cost]


@dataclass(frozen=True)
class Platform:
    """What the platform takes around the story.

    Attributes:
        start_seconds: until it is ready.
        idle_share: of a core in the minute after, in percent.
        peak_mib: memory of all of its processes, shared pages counted once.
    """

    start_seconds: float
    idle_share: float
    peak_mib: float


def measure() -> Iterator[Figure]:
    slug = demo_slug()
    with tempfile.TemporaryDirectory(prefix="flightline-bench-") as folder:
        bare = in_one_process(slug, Path(folder) / "bare")
        told, platform = through_airflow(slug, Path(folder) / "airflow")
    seconds = platform.start_seconds + told.seconds
    made = f"start {platform.start_seconds:.0f} s, story {told.seconds:.0f} s"
    yield ratio("story: Airflow, one process", told.seconds, bare.seconds, aim=1.25)
    yield ratio("story, CPU: the same", told.cpu_seconds, bare.cpu_seconds, unit="CPU s")
    yield Figure("demo without downloads", seconds, "s", 180, made)
    yield Figure("quiet platform", platform.idle_share, "% of a core", 5)
    yield Figure("peak memory of the platform", platform.peak_mib, "MiB")
    for stage, cost in told.stages.items():
        yield ratio(f"{stage}: Airflow, one process", cost.seconds, bare.stages[stage].seconds)


def in_one_process(slug: str, home: Path) -> Told:
    command = [sys.executable, "-m", "ml.local.bench.bare", slug]
    ran = run(command, {"MLOPS_HOME": str(home)})
    lines = (line for line in ran.output.splitlines() if line.startswith("{"))
    return Told(ran.seconds, ran.cpu_seconds, _summed(map(json.loads, lines)))


def through_airflow(slug: str, home: Path) -> tuple[Told, Platform]:
    where = Settings(home=home)
    begin = time.perf_counter()
    try:
        supervisor.up(where, pools=available(), progress=console().print)
        start = time.perf_counter() - begin
        with _PeakPss(home) as memory:
            wall, cpu = time.perf_counter(), _cpu_seconds(home)
            played = list(play_steps(slug, story(load_spec(slug)), where, console()))
            wall, cpu = time.perf_counter() - wall, _cpu_seconds(home) - cpu
        told = Told(wall, cpu, _summed(_returned(slug, played, AirflowApi.connect(where))))
        return told, Platform(start, _idle_share(home), memory.mib)
    finally:
        supervisor.down(where)


def _idle_share(home: Path) -> float:
    time.sleep(_SETTLE)
    wall, cpu = time.perf_counter(), _cpu_seconds(home)
    time.sleep(_MINUTE)
    return 100 * (_cpu_seconds(home) - cpu) / (time.perf_counter() - wall)


def _cpu_seconds(home: Path) -> float:
    """Of all of the platform's processes and of their children that have ended."""
    found = 0.0
    for one in processes.supervised(home):
        with suppress(psutil.Error):
            found += sum(one.process.cpu_times()[:4])  # own and children's, user and system
    return found


class _PeakPss:
    """Samples the memory of all of the platform's processes, shared pages counted once."""

    def __init__(self, home: Path) -> None:
        self.mib = 0.0
        self._home, self._is_over = home, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> _PeakPss:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(2):
            self.mib = max(self.mib, _pss_mib(self._home))


def _pss_mib(home: Path) -> float:
    found = 0.0
    for one in processes.supervised(home):
        with suppress(psutil.Error, AttributeError):
            found += one.process.memory_full_info().pss
    return found / 2**20


def _returned(slug: str, played: Sequence[Played], api: AirflowApi) -> Iterator[Any]:
    """What the stages told of themselves; a skipped promotion returns nothing."""
    spec = load_spec(slug)
    for one in played:
        for task in one.tasks:
            if task.state == "success":
                yield api.xcom(one.step.job.dag_id(spec), one.step.run_id, task.task_id)


def _summed(ran: Iterator[Any]) -> Mapping[str, Cost]:
    costs: dict[str, Cost] = defaultdict(Cost)
    for one in ran:
        costs[one["stage"]].add(one)
    return costs
