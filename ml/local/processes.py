"""Find and stop the platform's processes without trusting a file of process ids.

Every process that the supervisor starts carries the platform's home in its environment, and its
children inherit it, so leftovers of a killed supervisor or scheduler are found as well.
A shell waits for each component and notes when and how it ended; whoever started it is long gone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ml.core.errors import FlightlineError

HOME, COMPONENT, LEADER = "MLOPS_SUPERVISED", "MLOPS_COMPONENT", "MLOPS_COMPONENT_PID"

# `exec` keeps the process id: only the leader's own id equals the one that it carries.
_LEADER = f'{LEADER}=$$ exec "$@"'
# Its line begins anew: the one before may be cut off. Whoever reads leaves out empty lines.
_WITNESS = f"""journal=$1; shift
/bin/sh -c '{_LEADER}' sh "$@"
status=$?
printf '\\n{{"at": "%s", "event": "end", "component": "%s", "status": %d}}\\n' \\
  "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "${COMPONENT}" "$status" >> "$journal"
exit "$status"
"""

# The scheduler goes first: its running tasks report to the api-server and to MLflow.
STOP_ORDER = (("scheduler", "dag-processor"), ("api-server", "mlflow"))

# Kept so that a caller that lives on (a test) reaps them; they outlive a caller that ends.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Supervised:
    """A live process of the platform.

    Attributes:
        is_leader: the component itself; otherwise a descendant of it, or the shell that waits.
    """

    process: psutil.Process
    component: str
    is_leader: bool


def start(
    component: str,
    command: Sequence[str],
    *,
    home: Path,
    log: Path,
    journal: Path,
    env: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Start a component in its own session, detached from this process and its terminal.

    Args:
        journal: gets a line when the component has ended.

    Returns:
        The shell that waits for the component and ends with its exit status.
    """
    with _fresh(log).open("wb") as output:
        child = subprocess.Popen(
            ["/bin/sh", "-c", _WITNESS, "sh", str(journal), *command],
            env={**env, HOME: str(home), COMPONENT: component},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
            start_new_session=True,
        )
    _children.append(child)
    return child


def supervised(home: Path) -> list[Supervised]:
    """All live processes of this home's platform, except this one."""
    for child in _children:
        child.poll()
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environ = process.environ()
            if environ.get(HOME) == str(home) and process.pid != os.getpid():
                is_leader = environ.get(LEADER) == str(process.pid)
                found.append(Supervised(process, environ.get(COMPONENT, ""), is_leader))
    return found


def leaders(home: Path) -> dict[str, psutil.Process]:
    """The live process of each component that is up."""
    return {found.component: found.process for found in supervised(home) if found.is_leader}


def stop_all(home: Path, *, grace_seconds: float = 20.0) -> int:
    """Stop every process of this home: politely in order, then whatever is left by force.

    Returns:
        How many processes there were.

    Raises:
        FlightlineError: if a process survives SIGKILL.
    """
    before = len(supervised(home))
    for components in STOP_ORDER:
        _terminate([found for name, found in leaders(home).items() if name in components])
        _wait_until_gone(home, components, seconds=grace_seconds)
        # A task that outlives the scheduler would fail without what it reports to.
        _kill_rest(home, components)
    _kill_rest(home)
    return before


def _terminate(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()


def _wait_until_gone(home: Path, components: Sequence[str], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and set(components) & leaders(home).keys():
        time.sleep(0.1)


def _kill_rest(home: Path, components: Sequence[str] = (), *, seconds: float = 10.0) -> None:
    """Of these components, or of all."""
    deadline = time.monotonic() + seconds
    # Again: a process may have forked while it was being killed.
    while rest := [f for f in supervised(home) if not components or f.component in components]:
        if time.monotonic() > deadline:
            ids = ", ".join(str(found.process.pid) for found in rest)
            raise FlightlineError(
                f"processes that cannot be killed: {ids}",
                expected="SIGKILL ends them",
                repair="look for a hanging disk or file system (state D in `ps`)",
            )
        for found in rest:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.process.kill()
        time.sleep(0.05)


def previous(log: Path) -> Path:
    """Where the log of the start before lies."""
    return log.with_suffix(".previous.log")


def _fresh(log: Path) -> Path:
    """Move the log of the start before out of the way: it may explain why this one was needed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        log.rename(previous(log))
    return log
