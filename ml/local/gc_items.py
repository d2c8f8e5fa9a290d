"""What may go: a kind of things, the rule by which they may, and how they are deleted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ml.adapters.objects import LocalObjects

DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Item:
    """One thing.

    Attributes:
        name: by which it is found again: a path, an id.
        size: in bytes; 0 if it has none of its own, such as a row.
        time: of its last change, in seconds since 1970.
    """

    name: str
    size: int
    time: float


@dataclass(frozen=True)
class Waste:
    """Things of one kind that nothing needs any more.

    Attributes:
        delete: gets some of the items; what is gone already is no error.
    """

    area: str
    rule: str
    items: tuple[Item, ...]
    delete: Callable[[Sequence[Item]], None]

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items)

    def only(self, names: set[str]) -> Waste:
        """Those that were named before: what has grown old meanwhile was not agreed to."""
        return replace(self, items=tuple(item for item in self.items if item.name in names))


def of_files(area: str, rule: str, root: Path, paths: Iterable[Path]) -> Waste:
    """Files below `root`; with the last of a folder the folder goes, too."""

    def delete(items: Sequence[Item]) -> None:
        store = LocalObjects(root)
        for item in items:
            store.delete(item.name)

    return Waste(area, rule, tuple(_items(root, sorted(paths))), delete)


def _items(root: Path, paths: Iterable[Path]) -> Iterable[Item]:
    for path in paths:
        try:
            found = path.stat()
        except FileNotFoundError:  # whoever wrote it has cleaned up
            continue
        yield Item(path.relative_to(root).as_posix(), found.st_size, found.st_mtime)


def files_below(root: Path) -> Iterable[Path]:
    """All files, without following links."""
    for folder, _, names in os.walk(root):
        for name in names:
            if not (path := Path(folder, name)).is_symlink():
                yield path


def older(paths: Iterable[Path], than: float) -> Iterable[Path]:
    """Those that were changed last before a time, in seconds since 1970."""
    for path in paths:
        try:
            if path.stat().st_mtime < than:
                yield path
        except FileNotFoundError:
            continue
