"""The quarantine: what was kept out of the lake, why, and how it gets in after a fix.

A partition is replayed from the source, when the source or the contract was mended, or from a file
with mended rows.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from ml.core.errors import ConfigError
from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.core.spec import Table
from ml.stages import ingest
from ml.stages.intake import memory, mended
from ml.stages.intake.deliveries import Delivery, partition_name, read
from ml.stages.intake.judge import STOPPED, reason_counts
from ml.stages.intake.revisions import Terms

AREAS = ("quarantine", STOPPED)  # rows kept out of what is in the lake; whole deliveries


@dataclass(frozen=True)
class Entry:
    """Rows of one partition with the same outcome.

    Attributes:
        key: of the partition; None for a snapshot.
        outcome: rejected (kept out), nulled (went on without a cell), or stopped (with the whole
            partition).
        reasons: how many rows have each; a row may have several.
    """

    table: str
    key: str | None
    outcome: str
    rows: int
    reasons: Mapping[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{name} {count}" for name, count in self.reasons.items())
        return (
            f"{self.table} {self.key or ''}".rstrip() + f": {self.rows} {self.outcome} ({reasons})"
        )


@dataclass(frozen=True)
class ReplayResult:
    """What a replay did.

    Attributes:
        replayed: the partitions that were judged anew.
        remaining: what is in the quarantine of these partitions now, and why.
        ingested: what was written.
    """

    replayed: tuple[str, ...]
    remaining: tuple[str, ...]
    ingested: ingest.IngestResult


def listing(platform: Platform) -> tuple[Entry, ...]:
    """Everything in the quarantine, by table, partition and outcome."""
    return tuple(
        entry
        for table in platform.spec.tables
        for key in _keys(platform, table)
        for entry in _entries(platform, table.name, key)
    )


def rows(platform: Platform, table: str, key: str | None) -> pl.DataFrame:
    """The quarantined rows of a partition as they were delivered, with `outcome` and `reasons`.

    Args:
        key: None for a snapshot.

    Raises:
        ConfigError: if there is no such table, or nothing of that partition is in the quarantine.
    """
    if (key or None) not in _keys(platform, _table(platform, table)):
        raise _nothing_of(platform, f"{table} {key or ''}".rstrip())
    return mended.quarantined(platform, table, key or None)


def save(platform: Platform, table: str, key: str | None, path: Path) -> int:
    """Write the quarantined rows of a partition to a file to be mended; returns their number.

    Args:
        path: to a .parquet or a .csv file.
    """
    found = rows(platform, table, key)
    mended.write(found, path)
    return len(found)


def replay(
    platform: Platform,
    *,
    table: str = "",
    partitions: Sequence[Partition] | None = None,
    rows: Path | None = None,
    revision: datetime | None = None,
    accept_anomalies: bool = False,
) -> ReplayResult:
    """Judge quarantined partitions anew, by today's contract.

    A delivery that was stopped held back all tables of its partition: they come with it. Rows that
    were kept out of a partition that is in the lake are new to it, so they need a `revision`.

    Args:
        table: only this one; default: all.
        partitions: only these; default: all that are in the quarantine.
        rows: file with mended rows of one partition of one table; otherwise the source is read
            again. It replaces the whole delivery if that was stopped, else the quarantined rows.
        revision, accept_anomalies: see `ingest.run`.

    Raises:
        ConfigError: if nothing of that is in the quarantine, or `rows` fits no single partition.
        DataError, TransientError: see `ingest.run`.
    """
    chosen = _chosen(platform, table, partitions)
    if rows is not None:
        _require_one(platform, chosen, rows)
    deliveries = _deliveries(platform, chosen, rows)
    terms = Terms(revision, accept_anomalies)
    command = _command(platform, chosen, rows, terms) if rows else ""
    result = ingest.take(platform, deliveries, terms, command)
    return ReplayResult(
        replayed=tuple(partition_name(table.name, key) for table, key in chosen),
        remaining=tuple(
            str(entry)
            for one in deliveries
            for key in one.keys
            if key in _keys(platform, one.table)
            for entry in _entries(platform, one.table.name, key)
        ),
        ingested=result,
    )


def _keys(platform: Platform, table: Table) -> tuple[str | None, ...]:
    """Partitions of which something was kept out: rows of them, or a whole delivery."""
    lake = platform.lake
    if table.is_snapshot:
        return (None,) if any(lake.count(area, table.name, None) for area in AREAS) else ()
    return tuple(sorted({key for area in AREAS for key in lake.keys(area, table.name)}))


def _entries(platform: Platform, table: str, key: str | None) -> list[Entry]:
    entries = []
    for area in AREAS:
        if platform.lake.count(area, table, key):
            found = mended.frame(platform, area, table, key)
            for (outcome,), part in found.group_by("outcome", maintain_order=True):
                entries.append(Entry(table, key, str(outcome), len(part), reason_counts(part)))
    return entries


def _table(platform: Platform, name: str) -> Table:
    tables = {table.name: table for table in platform.spec.tables}
    if name not in tables:
        raise ConfigError(
            f"{platform.spec.slug} has no table {name!r}", expected="one of: " + ", ".join(tables)
        )
    return tables[name]


def _chosen(
    platform: Platform, name: str, partitions: Sequence[Partition] | None
) -> list[tuple[Table, str | None]]:
    tables = [_table(platform, name)] if name else platform.spec.tables
    asked = None if partitions is None else {partition.key for partition in partitions}
    found = [
        (table, key)
        for table in tables
        for key in _keys(platform, table)
        if asked is None or key in asked
    ]
    if not found:
        which = name or platform.spec.slug
        which += f", {partitions[0].key} to {partitions[-1].key}," if partitions else ""
        raise _nothing_of(platform, which)
    return found


def _require_one(
    platform: Platform, chosen: Sequence[tuple[Table, str | None]], path: Path
) -> None:
    if len(chosen) > 1:
        raise ConfigError(
            f"{path} can stand for one partition of one table, not for {len(chosen)}: "
            + ", ".join(partition_name(table.name, key) for table, key in chosen[:3]),
            repair=f"name them: flightline quarantine replay {platform.spec.slug} TABLE KEY "
            f"--rows {path}",
        )


def _command(
    platform: Platform,
    chosen: Sequence[tuple[Table, str | None]],
    path: Path,
    terms: Terms,
) -> str:
    ((table, key),) = chosen
    words = ["flightline", "quarantine", "replay", platform.spec.slug, table.name]
    words += [*filter(None, [key]), "--rows", str(path)]
    words += ["--revision", terms.revision.isoformat()] if terms.revision else []
    words += ["--accept-anomalies"] if terms.accept_anomalies else []
    return shlex.join(words)


def _nothing_of(platform: Platform, which: str) -> ConfigError:
    return ConfigError(
        f"nothing of {which} is in the quarantine",
        repair=f"look what is: flightline quarantine list {platform.spec.slug}",
    )


def _deliveries(
    platform: Platform, chosen: Sequence[tuple[Table, str | None]], path: Path | None
) -> list[Delivery]:
    """The chosen partitions, and all that was held back with them, by table."""
    spec = platform.spec
    wanted: dict[str, set[str]] = {}
    for table, key in chosen:
        held_back = key is not None and mended.was_stopped(platform, table.name, key)
        for one in spec.tables if held_back else (table,):
            wanted.setdefault(one.name, set()).update([key] if key is not None else [])
    deliveries = []
    for table in spec.tables:
        if table.name in wanted:
            partitions = tuple(spec.partition(key) for key in sorted(wanted[table.name]))
            if path is not None and table == chosen[0][0]:
                deliveries.append(mended.delivery(platform, table, chosen[0][1], path))
            else:
                deliveries += memory.remembered(platform, read(platform, table, partitions))
    return deliveries
