"""Transform: dbt builds and tests the slice, then the changed partitions are exported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Self, TypeAlias

import pyarrow as pa

from ml.core.errors import DataError
from ml.core.partitions import Partition
from ml.core.ports import Finding, Platform
from ml.stages.many import for_each
from ml.stages.stale import Stamp, new_stamps, stale_partitions, stored_stamp
from ml.stages.superseded import revision_times, with_superseded


@dataclass(frozen=True)
class TransformResult:
    """What a transformation built.

    Attributes:
        models, tests: how many were built and passed.
        warnings: what data tests found that does not stop anything, with a sample of the rows.
        rows: exported rows by table: the mart, the labels and the feature tables.
        changed: how many partitions of each table differ from what was there before.
        digests: SHA-256 of what each of them holds for these partitions.
    """

    partitions: int
    models: int
    tests: int
    warnings: tuple[Finding, ...]
    rows: Mapping[str, int]
    changed: Mapping[str, int]
    digests: Mapping[str, str]


def run(platform: Platform, *, partitions: Sequence[Partition]) -> TransformResult:
    """Build these partitions, all in one run of dbt; running it again gives the same tables.

    Raises:
        DataError: if a partition was not ingested, or a model or a data test fails; what was
            exported, and so all that training and scoring read, is as it was.
    """
    spec = platform.spec
    _require_raw(platform, partitions)
    build = _Build.begin(platform, partitions)
    built = platform.warehouse.build(partitions)
    rows, changed = {}, {}
    for table in spec.features.tables:
        rows[table], changed[table] = _export_features(platform, table, partitions, build)
    labelled = _with_lookback(platform, partitions)
    labels, mart = spec.label.table, spec.mart
    rows[labels], changed[labels] = _export(platform, labels, labelled)
    # The mart last: its presence says that the partition is complete, its stamp what it is of.
    rows[mart], changed[mart] = _export(platform, mart, partitions, build.stamps)
    areas = dict.fromkeys(spec.features.tables, "features") | {labels: "marts", mart: "marts"}
    keys = [partition.key for partition in partitions]
    return TransformResult(
        partitions=len(partitions),
        models=built.count("success"),
        tests=built.count("pass", "warn"),
        warnings=built.warnings,
        rows=rows,
        changed={table: count for table, count in changed.items() if count},
        digests={t: platform.lake.digest(area, t, keys) for t, area in areas.items()},
    )


@dataclass(frozen=True)
class _Build:
    """What a run is of: by partition key its stamp, the stamp before, the newest correction."""

    stamps: Mapping[str, Stamp]
    before: Mapping[str, Stamp | None]
    known_at: Mapping[str, datetime | None]

    @classmethod
    def begin(cls, platform: Platform, partitions: Sequence[Partition]) -> Self:
        return cls(
            stamps=new_stamps(platform, partitions),
            before={p.key: stored_stamp(platform, p.key) for p in partitions},
            known_at=revision_times(platform, partitions),
        )


def run_stale(platform: Platform) -> tuple[TransformResult, ...]:
    """Build what is stale or was never built, one run of dbt for each stretch of partitions."""
    found = [one.partition for one in stale_partitions(platform)]
    breaks = [i for i, (a, b) in enumerate(pairwise(found), start=1) if a.end != b.start]
    bounds = [0, *breaks, len(found)] if found else []
    return tuple(run(platform, partitions=found[a:b]) for a, b in pairwise(bounds))


def _require_raw(platform: Platform, partitions: Sequence[Partition]) -> None:
    for table in platform.spec.tables:
        if table.is_snapshot:
            continue
        present = set(platform.lake.keys("raw", table.name))
        if absent := [p.key for p in partitions if p.key not in present]:
            last = f" {absent[-1]}" if len(absent) > 1 else ""
            raise DataError(
                f"{table.name} not ingested yet: {absent[0]}" + (f" to{last}" if last else ""),
                repair=f"run: flightline ingest {platform.spec.slug} {absent[0]}{last}",
            )


def _with_lookback(platform: Platform, partitions: Sequence[Partition]) -> list[Partition]:
    """These partitions, and those before them whose labels may have closed since."""
    spec, before = platform.spec, list[Partition]()
    complete = set(platform.lake.keys("marts", spec.mart))
    for _ in range(spec.label.lookback_partitions):
        before.insert(0, spec.calendar.before((before or partitions)[0]))
    return [partition for partition in before if partition.key in complete] + list(partitions)


def _export(
    platform: Platform,
    table: str,
    partitions: Sequence[Partition],
    stamps: Mapping[str, Stamp] | None = None,
) -> tuple[int, int]:
    """Rows of a mart, and how many of its partitions changed."""
    exported = zip(partitions, platform.warehouse.export(table, partitions), strict=True)
    contents = (
        (p.key, content, stamps[p.key].to_metadata() if stamps else None) for p, content in exported
    )
    return _write(platform, "marts", table, contents)


def _export_features(
    platform: Platform, table: str, partitions: Sequence[Partition], build: _Build
) -> tuple[int, int]:
    """Rows of a feature table, and how many of its partitions changed."""
    exported = zip(partitions, platform.warehouse.export(table, partitions), strict=True)
    contents = (
        (p.key, _with_superseded(platform, table, p, content, build), None)
        for p, content in exported
    )
    return _write(platform, "features", table, contents)


_Content: TypeAlias = tuple[str, pa.Table, Mapping[str, str] | None]


def _write(
    platform: Platform, area: str, table: str, contents: Iterable[_Content]
) -> tuple[int, int]:
    """Write partitions: their key, rows and metadata; all rows, and how many partitions changed."""
    lake, present = platform.lake, set(platform.lake.keys(area, table))

    def write(one: _Content) -> tuple[int, bool]:
        key, content, metadata = one
        before = lake.digest(area, table, [key]) if key in present else ""
        lake.write(area, table, key, content, metadata)
        return len(content), lake.digest(area, table, [key]) != before

    written = list(for_each(write, contents))
    return sum(rows for rows, _ in written), sum(changed for _, changed in written)


def _with_superseded(
    platform: Platform, table: str, partition: Partition, content: pa.Table, build: _Build
) -> pa.Table:
    """The rows, and those of the last export that a correction has replaced since.

    Rows that other models made are not kept: nobody could say what they mean.
    """
    known_at = build.known_at[partition.key]
    before = build.before.get(partition.key)
    if not (known_at and before and before.is_of(platform.warehouse.models(table))):
        return content
    old = platform.lake.read("features", table, [partition.key]).drop_columns(["partition_key"])
    identity = [*platform.features.keys(table), "event_at"]
    return with_superseded(old, content, identity=identity, known_at=known_at)
