"""The real source with faults planted on the way, and a lake that dies at a chosen write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support import SLUG

from ml.core.ports import Platform
from ml.stages import ingest, quarantine
from ml.use_cases import load_module, load_spec

DAY = "2013-01-05"
Change = Callable[[pl.DataFrame], pl.DataFrame]


@cache
def real(table: str) -> pl.DataFrame:
    """A whole table of the source, read once for all tests of a process."""
    spec = load_spec(SLUG)
    days = spec.partitions(spec.coverage.first, spec.coverage.last)
    rows: pl.DataFrame = load_module(SLUG, "source").read(table, days)
    return rows


class Source:
    """Stands in for the use case's source; what it gives of a table can be changed."""

    def __init__(self, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        for table in platform.spec.tables:
            real(table.name)
        self.platform, self.changes = platform, dict[str, Change]()
        monkeypatch.setattr(load_module(SLUG, "source"), "read", self.read)

    def read(self, table: str, partitions: Any) -> pl.DataFrame:
        rows = real(table)
        if "partition_key" in rows.columns:
            rows = rows.filter(pl.col("partition_key").is_in([day.key for day in partitions]))
        change = self.changes.get(table)
        return change(rows) if change else rows

    def __call__(
        self,
        change: Change | None = None,
        *keys: str,
        table: str = "flights",
        lake: Any = None,
        **options: Any,
    ) -> ingest.IngestResult:
        """Ingest days (default: DAY), of which one table is changed."""
        self.changes = {table: change} if change else {}
        keys = keys or (DAY,)
        platform = dataclasses.replace(self.platform, lake=lake) if lake else self.platform
        days = platform.spec.partitions(keys[0], keys[-1])
        return ingest.run(platform, partitions=days, **options)


def at(row: int, **values: Any) -> Change:
    """Sets columns of one row."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        here = pl.int_range(pl.len()) == row
        return rows.with_columns(
            pl.when(here)
            .then(pl.lit(value, dtype=rows[name].dtype))
            .otherwise(pl.col(name))
            .alias(name)
            for name, value in values.items()
        )

    return change


def both(*changes: Change) -> Change:
    def change(rows: pl.DataFrame) -> pl.DataFrame:
        for one in changes:
            rows = one(rows)
        return rows

    return change


def without(*numbers: int) -> Change:
    """Leaves rows out."""
    return lambda rows: rows.filter(~pl.int_range(pl.len()).is_in(numbers))


def bad(count: int) -> Change:
    """Makes the first rows bad."""
    return both(*(at(row, origin="BOS") for row in range(count)))


def raw(platform: Platform, key: str | None = DAY, table: str = "flights") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = platform.lake.read("raw", table, [key]).to_pylist()
    return rows


def receipts(platform: Platform, key: str | None = DAY, table: str = "flights") -> list[Any]:
    rows: list[Any] = platform.lake.read("receipts", table, [key]).to_pylist()
    return rows


def files(folder: Path) -> dict[str, str]:
    """Digest of every file of the lake in this home."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "lake").rglob("*.parquet"))
    }


def listed(platform: Platform) -> list[str]:
    """What the quarantine holds, but for the planes that it always holds."""
    return [str(entry) for entry in quarantine.listing(platform) if entry.table != "planes"]


def mend(path: Path, change: Change) -> Path:
    """Changes a file with quarantined rows as a person would."""
    if path.suffix == ".parquet":
        change(pl.read_parquet(path)).write_parquet(path)
    else:
        change(pl.read_csv(path, infer_schema=False)).write_csv(path)
    return path


class DyingLake:
    """A lake that dies before its nth change."""

    def __init__(self, real: Any, last: int) -> None:
        self._real, self._left = real, last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def _count(self) -> None:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1

    def write(self, *values: Any, **options: Any) -> Any:
        self._count()
        return self._real.write(*values, **options)

    def remove(self, *values: Any) -> Any:
        self._count()
        return self._real.remove(*values)


def lives(run: Callable[[Any], Any], lake: Any) -> int:
    """Runs until it lives to the end, each time dying one change later; returns the deaths."""
    for deaths in range(200):
        try:
            run(DyingLake(lake, deaths))
        except KeyboardInterrupt:
            continue
        return deaths
    raise AssertionError("it never got to the end")
