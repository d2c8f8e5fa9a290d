"""Locks that are held for too long.

The kernel frees a lock with its holder, so a lock is never stale by itself: its holder hangs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
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
_ASLEEP = {"stopped": "stopped, as by Ctrl-Z", "zombie": "dead", "disk-sleep": "waiting for a disk"}


@dataclass(frozen=True)
class _Holder:
    """Who holds a lock."""

    lock: Path
    process: psutil.Process

    def __str__(self) -> str:
        with self.process.oneshot():
            command = " ".join(self.process.cmdline()) or self.process.name()
            state = _ASLEEP.get(self.process.status())
            age = timedelta(seconds=round(self.age_seconds))
        ending = f", {state}" if state else ""
        return (
            f"{self.lock.name} by process {self.process.pid}, which began {age} ago"
            f" ({command[:80]}{ending})"
        )

    @property
    def age_seconds(self) -> float:
        """Of the process: it cannot hold a lock for longer; when it took it, nobody notes."""
        return time.time() - self.process.create_time()

    @property
    def hangs(self) -> bool:
        limit = PLATFORM_SECONDS if self.lock.name == "platform.lock" else STAGE_SECONDS
        return self.age_seconds > limit or self.process.status() in _ASLEEP


def check_locks(settings: Settings) -> Check:
    """Who works on this home; fails where somebody seems to hang."""
    files = [settings.home / "platform.lock", *sorted((settings.home / "locks").glob("*.lock"))]
    held = [holder for file in files if file.is_file() for holder in _holders(file)]
    if stuck := [holder for holder in held if holder.hangs]:
        detail = "; ".join(map(str, stuck))
        ids = " ".join(str(pid) for pid in dict.fromkeys(h.process.pid for h in stuck))
        repair = f"look what it waits for; kill {ids} frees the lock, and the work can be run again"
        return Check("locks", False, detail, repair)
    return Check("locks", True, "; ".join(map(str, held)) or "nobody works on this home")


def _holders(lock: Path) -> Iterator[_Holder]:
    """Processes that hold it; of a holder that is gone, the children that inherited the lock."""
    import psutil

    if not _is_held(lock):
        return
    owners = set(_owners(lock))
    openers = {found.pid: found for found in psutil.process_iter() if _has_open(found, lock)}
    for pid in owners & openers.keys() or openers.keys():
        yield _Holder(lock, openers[pid])


def _is_held(lock: Path) -> bool:
    """Ask by a shared lock, given back at once: not every file system tells `/proc/locks`."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _owners(lock: Path) -> Iterator[int]:
    """Processes that took it; only Linux tells."""
    found = lock.stat()
    inode = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and inode in fields:
                yield int(fields[4])


def _has_open(process: psutil.Process, lock: Path) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        return any(Path(file.path) == lock for file in process.open_files())
    return False
