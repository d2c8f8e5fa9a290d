"""Slices that no team wrote: the template in tests/slices, in a copy of the repository.

A slice is text under its slug, so another one is made by another slug in its place.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from support import ROOT

TEMPLATE = ROOT / "tests" / "slices" / "digits"
SLUG, DATA = "digits", "DIGITS_DATA"
_CLASSES, _MINUTES, _START = 5, 5, np.datetime64("2020-01-06T00:00", "s")
_WORD = re.compile(r"digits(?![a-z0-9])")


def write_digits(folder: Path) -> Path:
    """The template's data: 900 pictures from scikit-learn, with desks and times that are made up.

    One picture is scanned in each five minutes, and read up to 100 minutes later.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    chosen = np.flatnonzero(found.target < _CLASSES)[:900]
    images, digit = found.images[chosen].astype(int), found.target[chosen]
    rng, count = np.random.default_rng(1), len(chosen)
    scanned = _START + np.arange(count) * 60 * _MINUTES + rng.integers(0, 60 * _MINUTES, count)
    read = scanned + rng.integers(600, 6_000, count)
    rows = pl.DataFrame(
        {
            "scan_id": [f"s{number:04d}" for number in range(count)],
            "scanned_at": [f"{time}Z" for time in scanned],
            "desk": rng.choice(list("abcd"), count).tolist(),
            **{f"row_{i}": images.sum(axis=2)[:, i] for i in range(8)},
            **{f"column_{i}": images.sum(axis=1)[:, i] for i in range(8)},
            "digit": digit,
            "read_at": [f"{time}Z" for time in read],
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    rows.write_csv(folder / "scans.csv")
    return folder / "scans.csv"


def copy_repository(target: Path) -> Path:
    """The repository's files as they are now, without what git ignores."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"],
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():  # not those that were deleted
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    return target


@dataclass(frozen=True)
class Edit:
    """A change of one file of the slice; `old` must be there. Without `new` the file goes.

    Attributes:
        path: as in the template.
    """

    path: str
    old: str = ""
    new: str | None = None


@dataclass(frozen=True)
class Variant:
    """A slice with a fault, and what must notice it.

    Attributes:
        check: name of the test function.
        told: words of its message.
    """

    slug: str
    check: str
    told: str
    edits: Sequence[Edit] = field(default_factory=tuple)


def render(tree: Path, slug: str = SLUG, edits: Sequence[Edit] = ()) -> None:
    """Write the template into a copy of the repository under a slug, with some changes."""
    for source in sorted(TEMPLATE.rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            name = str(source.relative_to(TEMPLATE))
            text = _edited(name, _named(source.read_text(), slug), slug, edits)
            if text is not None:
                target = tree / _named(name, slug)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
    for edit in edits:
        if not edit.old and edit.new is not None:  # a file of its own
            (tree / _named(edit.path, slug)).write_text(_named(edit.new, slug))


def _named(text: str, slug: str) -> str:
    return _WORD.sub(slug, text)


def _edited(name: str, text: str, slug: str, edits: Sequence[Edit]) -> str | None:
    for edit in edits:
        if edit.path != name:
            continue
        if edit.new is None:
            return None
        old = _named(edit.old, slug)
        assert old in text, f"{name} of the template does not say {edit.old!r} any more"
        text = text.replace(old, edit.new.replace("SLUG", slug))
    return text


def environment(tree: Path, home: Path, data: Path) -> dict[str, str]:
    """In which processes work in a copy of the repository, and nowhere else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    kept = {name: value for name, value in kept.items() if not name.startswith("PYTEST_")}
    kept.pop("MLOPS_TRACKING_URI", None)
    path = os.pathsep.join(str(tree / name) for name in ("", "dags", "tests"))
    return {**kept, "PYTHONPATH": path, "MLOPS_HOME": str(home), DATA: str(data)}
