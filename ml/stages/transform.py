"""Transform: dbt builds and tests the slice, then the changed feature partitions are exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml.core.partitions import Partition
from ml.core.ports import Platform


@dataclass(frozen=True)
class TransformResult:
    """What a transformation built.

    Attributes:
        models, tests: how many were built and passed.
        rows: exported rows by feature table.
        digests: SHA-256 of what each feature table holds for these partitions.
    """

    partitions: int
    models: int
    tests: int
    rows: Mapping[str, int]
    digests: Mapping[str, str]


def run(platform: Platform, *, partitions: Sequence[Partition]) -> TransformResult:
    """Build these partitions, all in one run of dbt; running it again gives the same tables.

    Raises:
        DataError: if a model or a data test fails; the exported features are as they were.
    """
    built = platform.warehouse.build(partitions)
    rows = {table: _export(platform, table, partitions) for table in platform.spec.features.tables}
    keys = [partition.key for partition in partitions]
    return TransformResult(
        partitions=len(partitions),
        models=built.count("success"),
        tests=built.count("pass"),
        rows=rows,
        digests={table: platform.lake.digest("features", table, keys) for table in rows},
    )


def _export(platform: Platform, table: str, partitions: Sequence[Partition]) -> int:
    rows = 0
    for partition, content in zip(
        partitions, platform.warehouse.export(table, partitions), strict=True
    ):
        platform.lake.write("features", table, partition.key, content)
        rows += len(content)
    return rows
