"""Clock and zones: wrong ones spoil tokens, heartbeats and the dates of data."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ml.local.doctor.check import SETUP, Check
from ml.local.doctor.environment import ROOT

if TYPE_CHECKING:
    from ml.settings import Settings

AHEAD_SECONDS = 120.0  # a file server's clock may differ a little
_POSIX_ZONE = re.compile(r"(<[+\-\w]+>|[A-Za-z]{3,})[+-]?\d{1,2}(:\d\d){0,2}(.*)")
_SET_CLOCK = "set the clock (timedatectl set-ntp true), or restart the virtual machine"


def check_clock(settings: Settings) -> Check:
    """Neither before the newest locked package was published, nor behind a file of the home."""
    now = time.time()
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if now < (locked_at := _locked_at(ROOT / "uv.lock")):
        date = datetime.fromtimestamp(locked_at, UTC).date()
        return Check("clock", False, f"{shown}, but uv.lock is from {date} or later", _SET_CLOCK)
    newest = max(_written(settings.home), default=(0.0, settings.home))
    if newest[0] > now + AHEAD_SECONDS:
        behind = timedelta(seconds=round(newest[0] - now))
        detail = f"{shown}, {behind} behind {newest[1]}"
        return Check("clock", False, detail, f"{_SET_CLOCK}; or, if the file is wrong, touch it")
    return Check("clock", True, shown)


def check_zones() -> Check:
    """The IANA data base, and a `TZ` that it knows: a C library takes nonsense for UTC."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        repair = f"install tzdata (Debian, Fedora), or {SETUP}"
        return Check("zones", False, "the IANA data base of time zones is missing", repair)
    if not _is_zone(given := os.environ.get("TZ", "")):
        return Check("zones", False, f"TZ={given!r} is no time zone", "unset TZ, or TZ=UTC")
    return Check("zones", True, given or "the system's")


def _is_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo

    name = name.removeprefix(":")
    if not name or Path(name).is_absolute():
        return not name or Path(name).is_file()
    try:
        ZoneInfo(name)
    except (ValueError, OSError):  # also ZoneInfoNotFoundError's cause: a folder, a bad name
        return False
    except KeyError:
        return _POSIX_ZONE.fullmatch(name) is not None
    return True


def _locked_at(file: Path) -> float:
    """When the newest of the locked packages was published."""
    found = re.findall(r'upload-time = "(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)', file.read_text())
    return datetime.fromisoformat(max(found)).replace(tzinfo=UTC).timestamp() if found else 0.0


def _written(home: Path) -> Iterator[tuple[float, Path]]:
    """What the platform writes at every start and in every stage."""
    for pattern in ("*.json", "*.lock", "locks/*", "logs/*", "*/*.db"):
        for path in home.glob(pattern):
            with contextlib.suppress(OSError):  # it may have gone meanwhile
                yield path.stat().st_mtime, path
