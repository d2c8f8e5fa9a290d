"""Runs commands of `flightline` in a home whose disk has become full or read-only.

A program, for a process that may mount a disk which nobody else sees: it makes a home there with a
component that runs, spoils the disk, runs the commands, and prints what came of each as JSON.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

FULL, CLOSED = "full", "closed"
OLD_LOG = "logs/dbt/toy/dbt.log.1"
_PAGE = 4096
_SLEEP = ["sleep", "300"]


def own_disks() -> list[str]:
    """What starts a program that may mount disks which nobody else sees; nothing if none may."""
    own_names = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
    probe = [*own_names, "sh", "-c", 'mount -t tmpfs none "$0"', "/mnt"]
    try:
        return own_names if subprocess.run(probe, check=False).returncode == 0 else []
    except FileNotFoundError:
        return []


def on_ill_disk(base: Path, how: str, *commands: Sequence[str]) -> list[dict[str, Any]]:
    """Exit code, output and the processes that live afterwards, of each command."""
    (base / "home").mkdir()
    program = [*own_disks(), sys.executable, __file__, str(base), how, json.dumps(commands)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _make(base: Path) -> None:
    """A home after a start, of which one component runs."""
    from ml.local import journal, processes
    from ml.local.ports import keep_ports, load_ports
    from ml.local.secrets import load_secrets
    from ml.settings import settings

    where = settings()
    load_secrets(where)
    keep_ports(where, load_ports(where))
    for name, text in {"logs/scheduler.log": "out of cheese\n", OLD_LOG: "old\n"}.items():
        (where.home / name).parent.mkdir(parents=True, exist_ok=True)
        (where.home / name).write_text(text)
    os.utime(where.home / OLD_LOG, (0, 0))
    alert = {"at": "2020-01-01T00:00:00Z", "kind": "task_failed", "task": "t", "dag": "toy_daily"}
    alert |= {"partition": "2020-01-01", "run": "r", "seen": "no cheese", "runbook": "x.md"}
    where.alerts.write_text(json.dumps(alert) + "\n")
    for event in (journal.START, journal.READY):
        journal.record(where, event)
    # Its log lies elsewhere: while a file is open for writing, no disk becomes read-only by hand.
    paths = {"log": base / "scheduler.log", "journal": journal.journal_path(where)}
    processes.start("scheduler", _SLEEP, home=where.home, **paths, env=os.environ)


def _fill(home: Path) -> None:
    """To the last byte, that of the page with the journal's end included."""
    with (home / "logs" / "platform.jsonl").open("ab") as journal:
        journal.write(b"\n" * (-journal.tell() % _PAGE))
    try:
        with (home / "logs" / "ballast.log").open("wb", buffering=0) as file:
            while file.write(b"x" * _PAGE):
                pass
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017  # not a test


def _run(home: Path, argv: Sequence[str]) -> dict[str, Any]:
    from ml.local import processes

    command = [sys.executable, "-m", "ml.cli", *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = " ".join((done.stdout + done.stderr).split())
    living = len(processes.supervised(home))
    return {"code": done.returncode, "output": output, "living": living}


def main() -> None:
    base, how, commands = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    home = base / "home"
    os.environ |= {"MLOPS_HOME": str(home), "COLUMNS": "300"}
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(home)], check=True)
    from ml.local import processes

    try:
        _make(base)
        if how == FULL:
            _fill(home)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
        print(json.dumps([_run(home, argv) for argv in commands]))
    finally:
        with suppress(OSError):
            processes.stop_all(home, grace_seconds=0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
