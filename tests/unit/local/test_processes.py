"""Real processes of a fake platform: leftovers are found by what they carry, not by a file."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from ml.local import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(120)"]
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(120)
"""
# Renames itself and forks a child that renames itself, as Airflow's scheduler and workers do.
PARENT = """
import os, time
from setproctitle import setproctitle
setproctitle("airflow scheduler with a title that is far longer than the command line was" * 5)
if os.fork() == 0:
    setproctitle("idle worker" * 20)
print("forked", flush=True)
time.sleep(120)
"""


@pytest.fixture
def home(tmp_path: Path):
    yield tmp_path
    processes.stop_all(tmp_path, grace_seconds=0)


def start(home: Path, component: str, command: list[str]):
    paths = {"log": home / "logs" / f"{component}.log", "journal": home / "logs" / "journal"}
    env = {**os.environ, "SPT_NOENV": "1"}
    return processes.start(component, command, home=home, **paths, env=env)


def journal(home: Path) -> list[dict]:
    path = home / "logs" / "journal"
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        json.loads(line) for line in lines if line.startswith('{"at": "2') and line.endswith("}")
    ]


def wait_for(home: Path, component: str, text: str, *, lines: int = 1) -> None:
    log, deadline = home / "logs" / f"{component}.log", time.monotonic() + 20
    while log.read_text().count(text) < lines:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def test_children_that_rename_themselves_are_found(home):
    """Without SPT_NOENV a new title overwrites the environment that carries the marker."""
    waiting = start(home, "scheduler", [sys.executable, "-c", PARENT])
    wait_for(home, "scheduler", "forked", lines=2)
    found = processes.supervised(home)
    assert sorted(p.is_leader for p in found) == [False, False, True]
    assert processes.leaders(home)["scheduler"].ppid() == waiting.pid


def test_orphans_of_a_killed_leader_are_stopped(home):
    """`kill -9` of the scheduler leaves its workers behind: they count as leftovers."""
    waiting = start(home, "scheduler", [sys.executable, "-c", PARENT])
    wait_for(home, "scheduler", "forked", lines=2)
    processes.leaders(home)["scheduler"].kill()
    assert waiting.wait() == 128 + signal.SIGKILL
    assert processes.leaders(home) == {}
    assert len(processes.supervised(home)) == 1
    assert processes.stop_all(home) == 1
    assert processes.supervised(home) == []


def test_a_process_that_ignores_sigterm_is_killed(home):
    start(home, "mlflow", [sys.executable, "-c", STUBBORN])
    wait_for(home, "mlflow", "deaf")
    began = time.monotonic()
    processes.stop_all(home, grace_seconds=0.5)
    assert processes.supervised(home) == []
    assert time.monotonic() - began < 5


def test_another_home_is_left_alone(home, tmp_path_factory):
    """Two clones on one machine: each stops its own platform only."""
    other = tmp_path_factory.mktemp("other")
    start(other, "mlflow", SLEEP)
    try:
        start(home, "mlflow", SLEEP)
        processes.stop_all(home)
        assert list(processes.leaders(other)) == ["mlflow"]
    finally:
        processes.stop_all(other)


def test_scheduler_stops_before_the_api_that_its_tasks_report_to(home):
    """A component that ends writes the time: the order is the order of the report chain."""
    code = (
        "import signal, sys, time\n"
        "def end(*_): time.sleep(0.3); print('ended', time.time(), flush=True); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\ntime.sleep(120)"
    )
    for component in ("api-server", "scheduler"):
        start(home, component, [sys.executable, "-c", code])
    for component in ("api-server", "scheduler"):
        wait_for(home, component, "ready")
    processes.stop_all(home)
    ended = [
        float((home / "logs" / f"{component}.log").read_text().split()[-1])
        for component in ("scheduler", "api-server")
    ]
    assert ended == sorted(ended)


def test_tasks_that_outlive_the_scheduler_end_before_what_they_report_to(home):
    """Else their last words would be that the api-server is away, and cost them a try."""
    end = (
        "import signal, sys, time\n"
        "def end(*_): time.sleep(0.3); print('ended', time.time(), flush=True); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\ntime.sleep(120)"
    )
    task = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    while True:\n"
        "        print('works', time.time(), flush=True)\n"
        "        time.sleep(0.02)\n"
        "time.sleep(120)"
    )
    start(home, "api-server", [sys.executable, "-c", end])
    start(home, "scheduler", [sys.executable, "-c", task])
    wait_for(home, "api-server", "ready")
    wait_for(home, "scheduler", "works", lines=2)
    processes.leaders(home)["scheduler"].kill()
    processes.stop_all(home)
    last = [
        float(line.split()[1])
        for component, word in (("scheduler", "works"), ("api-server", "ended"))
        for line in (home / "logs" / f"{component}.log").read_text().splitlines()
        if line.startswith(word)
    ]
    assert len(last) > 2 and max(last[:-1]) + 0.3 <= last[-1]


def test_the_log_of_the_start_before_is_kept(home):
    """It may explain why a new start was needed."""
    for word in ("first", "second"):
        start(home, "mlflow", [sys.executable, "-c", f"print('{word}')"]).wait()
    assert (home / "logs" / "mlflow.previous.log").read_text() == "first\n"
    assert (home / "logs" / "mlflow.log").read_text() == "second\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(3)", 3), ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137)],
)
def test_how_a_component_ended_is_noted(home, code, status):
    """By whom else: the command that started it has ended long before."""
    assert start(home, "mlflow", [sys.executable, "-c", code]).wait() == status
    [line] = journal(home)
    assert (line["component"], line["status"]) == ("mlflow", status)
    noted_at = datetime.fromisoformat(line["at"]).timestamp()
    assert 0 <= time.time() - noted_at < 20


def test_a_line_that_was_cut_off_spoils_no_note(home):
    """The machine may have stopped in the middle of it."""
    (home / "logs").mkdir()
    (home / "logs" / "journal").write_text('{"at": "2026-01-0')
    start(home, "mlflow", [sys.executable, "-c", ""]).wait()
    assert journal(home)[-1]["component"] == "mlflow"


def test_what_goes_down_all_at_once_leaves_no_note(home):
    """As a power cut does: whoever could have written is gone as well."""
    start(home, "mlflow", SLEEP)
    deadline = time.monotonic() + 20
    while not processes.leaders(home):
        assert time.monotonic() < deadline, "it has not started, or has ended"
        time.sleep(0.02)
    everything = [found.process for found in processes.supervised(home)]
    for process in everything:
        process.suspend()
    for process in everything:
        process.kill()
    psutil.wait_procs(everything, timeout=20)  # a kill is on its way before it has happened
    assert processes.supervised(home) == []
    assert journal(home) == []
