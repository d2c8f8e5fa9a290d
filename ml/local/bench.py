"""What the orchestrator costs: the demo's story through Airflow over the same in one process.

Both run in homes of their own, side by side in one call; ratios travel between machines, seconds do
not. Run it with `make bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from ml.core.story import story
from ml.local import processes, supervisor
from ml.local.airflow_api import AirflowApi
from ml.local.demo import Played, play_steps
from ml.render import console
from ml.settings import Settings
from ml.use_cases import available, demo_slug, load_spec

_AIM = 1.25


@dataclass
class Cost:
    """Sums over the runs of a stage; the peak is the largest."""

    seconds: float = 0.0
    peak_mib: float = 0.0

    def add(self, ran: dict[str, Any]) -> None:
        self.seconds += ran["seconds"]
        self.peak_mib = max(self.peak_mib, ran["peak_mib"])


def through_airflow(slug: str, home: Path) -> tuple[float, float, dict[str, Cost]]:
    """Seconds from the first request to the last end, peak PSS in MiB, the cost of each stage."""
    where = Settings(home=home)
    supervisor.up(where, pools=available(), progress=console().print)
    try:
        with _PeakPss(home) as memory:
            begin = time.perf_counter()
            played = list(play_steps(slug, story(load_spec(slug)), where, console()))
            seconds = time.perf_counter() - begin
        return seconds, memory.mib, _stage_costs(slug, played, AirflowApi.connect(where))
    finally:
        supervisor.down(where)


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


def _stage_costs(slug: str, played: Sequence[Played], api: AirflowApi) -> dict[str, Cost]:
    costs: dict[str, Cost] = defaultdict(Cost)
    for one in played:
        for task in one.tasks:
            if task.state != "success":  # a skipped promotion returns nothing
                continue
            dag_id = one.step.job.dag_id(load_spec(slug))
            ran = api.xcom(dag_id, one.step.run_id, task.task_id)
            costs[ran["stage"]].add(ran)
    return costs


def _pss_mib(home: Path) -> float:
    found = 0.0
    for process in processes.supervised(home):
        try:
            found += process.process.memory_full_info().pss
        except (psutil.Error, AttributeError):
            continue
    return found / 2**20


def in_one_process(slug: str, home: Path) -> tuple[float, dict[str, Cost]]:
    """Seconds of the whole process, imports included, and the cost of each stage."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ml.local.bench", "--story", slug],
        env={**os.environ, "MLOPS_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - begin
    costs: dict[str, Cost] = defaultdict(Cost)
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            ran = json.loads(line)
            costs[ran["stage"]].add(ran)
    return seconds, costs


def _tell_story(slug: str) -> None:
    from ml.stages.chain import run_step

    for step in story(load_spec(slug)):
        for ran in run_step(slug, step):
            print(json.dumps(ran.to_plain()))


def _table(orchestrated: dict[str, Cost], bare: dict[str, Cost]) -> Table:
    table = Table("stage", "airflow s", "one process s", "airflow MiB", "one process MiB", box=None)
    for stage, cost in orchestrated.items():
        other = bare[stage]
        figures = (cost.seconds, other.seconds, cost.peak_mib, other.peak_mib)
        table.add_row(stage, *(f"{figure:,.1f}" for figure in figures))
    return table


def main() -> None:
    """Measure and print; never fails because of a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--story", metavar="SLUG", help="only the story, in this process")
    if slug := parser.parse_args().story:
        _tell_story(slug)
        return
    slug, out = demo_slug(), console()
    with tempfile.TemporaryDirectory(prefix="flightline-bench-") as folder:
        bare_seconds, bare = in_one_process(slug, Path(folder) / "bare")
        seconds, pss_mib, orchestrated = through_airflow(slug, Path(folder) / "airflow")
    out.print(_table(orchestrated, bare))
    stages = sum(cost.seconds for cost in bare.values())
    out.print(
        f"through Airflow        {seconds:6.1f} s, {pss_mib:,.0f} MiB peak PSS of all processes"
    )
    out.print(f"in one process         {bare_seconds:6.1f} s, of which stages {stages:.1f} s")
    out.print(f"[bold]ratio                  {seconds / bare_seconds:6.2f}[/]  (aim {_AIM})")
    out.print(f"ratio without imports  {seconds / stages:6.2f}")


if __name__ == "__main__":
    main()
