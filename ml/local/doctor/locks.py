"""Locks that are held for too long.

The kernel frees a lock with its holder, so a lock is never stale by itself: its holder hangs.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ml.local.doctor.check import Check

if TYPE_CHECKING:
    import psutil

    from ml.settings import Settings

PLATFORM_SECONDS, STAGE_SECONDS = 600.0, 7_200.0  # a start, a stage of a large use case
_PROC = Path("/proc")
_ASLEEP = {"stopped": "stopped, as by Ctrl-Z", "zombie": "dead", "disk-sleep": "waiting for a disk"}


@dataclass(frozen=True)
class _Holder:
    """Who holds a lock."""

    lock: str
    pid: int
    hangs: bool
    text: str


def check_locks(settings: Settings) -> Check:
    """Who works on this home; fails where somebody seems to hang."""
    files = {settings.platform_lock, *settings.locks.glob("*.lock")}
    held = sorted(_holders(files), key=lambda holder: (holder.lock, holder.pid))
    if stuck := [holder for holder in held if holder.hangs]:
        detail = "; ".join(holder.text for holder in stuck)
        ids = " ".join(str(pid) for pid in dict.fromkeys(holder.pid for holder in stuck))
        repair = f"look what it waits for; kill {ids} frees the lock, and the work can be run again"
        return Check("locks", False, detail, repair)
    told = "; ".join(holder.text for holder in held)
    return Check("locks", True, told or "nobody works on this home")


def _holders(locks: set[Path]) -> Iterator[_Holder]:
    """Processes that hold them; of a holder that is gone, the children that inherited the lock."""
    import psutil

    found = [
        (lock, process, taker)
        for process in psutil.process_iter()
        for lock, taker in _held(process, locks)
    ]
    kept = {lock for lock, process, taker in found if taker == process.pid}
    for lock, process, taker in found:
        if taker == process.pid or lock not in kept:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                yield _holder(lock.name, process)


def _holder(lock: str, process: psutil.Process) -> _Holder:
    # It cannot hold the lock for longer than it lives; when it took it, nobody notes.
    age_seconds = time.time() - process.create_time()
    with process.oneshot():
        command = " ".join(process.cmdline()) or process.name()
        status = process.status()
    limit = PLATFORM_SECONDS if lock == "platform.lock" else STAGE_SECONDS
    ending = f", {_ASLEEP[status]}" if status in _ASLEEP else ""
    text = (
        f"{lock} by process {process.pid}, which began {timedelta(seconds=round(age_seconds))} ago"
        f" ({command[:80]}{ending})"
    )
    return _Holder(lock, process.pid, age_seconds > limit or status in _ASLEEP, text)


def _held(process: psutil.Process, locks: set[Path]) -> Iterator[tuple[Path, int]]:
    """Those which it holds, each with the process that took it: itself, or one of its parents."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for file in process.open_files():
            if (lock := Path(file.path)) in locks:
                for taker in _takers(process.pid, file.fd, lock):
                    yield lock, taker


def _takers(pid: int, descriptor: int, lock: Path) -> Iterator[int]:
    """Linux tells who took a lock through this open file: none or one."""
    if not (_PROC / "self" / "fdinfo").is_dir():
        if _is_taken(lock):
            yield pid
        return
    for line in (_PROC / f"{pid}/fdinfo/{descriptor}").read_text().splitlines():
        if line.startswith("lock:") and "FLOCK" in (fields := line.split()):
            yield int(fields[5])


def _is_taken(lock: Path) -> bool:
    """Ask by a shared lock, given back at once: whoever comes meanwhile finds it busy."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
