"""Transform: dbt builds and tests the slice, then the changed partitions are exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml.core.errors import DataError
from ml.core.partitions import Partition
from ml.core.ports import Platform


@dataclass(frozen=True)
class TransformResult:
    """What a transformation built.

    Attributes:
        models, tests: how many were built and passed.
        rows: exported rows by table: the mart and the feature tables.
        digests: SHA-256 of what each of them holds for these partitions.
    """

    partitions: int
    models: int
    tests: int
    rows: Mapping[str, int]
    digests: Mapping[str, str]


def run(platform: Platform, *, partitions: Sequence[Partition]) -> TransformResult:
    """Build these partitions, all in one run of dbt; running it again gives the same tables.

    Raises:
        DataError: if a partition was not ingested, or a model or a data test fails; what was
            exported, and so all that training and scoring read, is as it was.
    """
    spec = platform.spec
    _require_raw(platform, partitions)
    built = platform.warehouse.build(partitions)
    # The mart last: its presence says that the features of the partition are there.
    tables = dict.fromkeys(spec.features.tables, "features") | {spec.mart: "marts"}
    rows = {table: _export(platform, area, table, partitions) for table, area in tables.items()}
    keys = [partition.key for partition in partitions]
    return TransformResult(
        partitions=len(partitions),
        models=built.count("success"),
        tests=built.count("pass"),
        rows=rows,
        digests={t: platform.lake.digest(area, t, keys) for t, area in tables.items()},
    )


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


def _export(platform: Platform, area: str, table: str, partitions: Sequence[Partition]) -> int:
    rows = 0
    for partition, content in zip(
        partitions, platform.warehouse.export(table, partitions), strict=True
    ):
        platform.lake.write(area, table, partition.key, content)
        rows += len(content)
    return rows
