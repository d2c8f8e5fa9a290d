"""What every check answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# All of it: uv leaves a package alone that has lost a file, and make does nothing at all.
SETUP = "rm -r .venv; make setup"


@dataclass(frozen=True)
class Check:
    """One answer; `repair` says what to do when it is not `ok`."""

    name: str
    ok: bool
    detail: str
    repair: str = ""


def nearest_folder(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
