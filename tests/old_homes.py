"""Homes with files of a certain age, and which of them a sweep takes."""

from __future__ import annotations

import os
import time
from typing import Any

from ml.local import gc
from ml.local.gc_items import DAY_SECONDS
from ml.settings import Settings

NOW = time.time()
SLUG = "toy"


def made(where: Settings, name: str, *, days: float) -> str:
    """A file of the home that was changed so many days ago."""
    path = where.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (NOW - days * DAY_SECONDS,) * 2)
    return name


def files(where: Settings) -> set[str]:
    found = (path for path in where.home.rglob("*") if path.is_file())
    return {path.relative_to(where.home).as_posix() for path in found} - {f"locks/{SLUG}.lock"}


def swept(where: Settings, **options: Any) -> set[str]:
    """Which files go."""
    before = files(where)
    gc.carry_out(gc.plan(where, NOW, **options), where, NOW, **options)
    return before - files(where)
