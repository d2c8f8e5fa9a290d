"""Ingest: from the source into the lake, bad rows into the quarantine with their reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import dataframely as dy
import polars as pl

from ml.core.errors import DataError
from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.core.spec import Table
from ml.use_cases import load_module


@dataclass(frozen=True)
class IngestResult:
    """What an ingest wrote.

    Attributes:
        rows, quarantined: by table.
        digests: SHA-256 of what each table holds for these partitions.
    """

    partitions: int
    rows: Mapping[str, int]
    quarantined: Mapping[str, int]
    digests: Mapping[str, str]


def run(
    platform: Platform, *, partitions: Sequence[Partition], corrected_at: datetime | None = None
) -> IngestResult:
    """Ingest these partitions of all tables; running it again replaces them.

    Args:
        corrected_at: when a correction of these partitions became known; None for the first
            delivery. It is an argument, so digests do not depend on the clock.

    Raises:
        DataError: if the source gives other partitions than it was asked for, or none of a table
            with a contract; if a table's columns are not those of its contract; or if more rows
            of a partition are bad than the spec allows. Bad rows are in the quarantine then, and
            the raw area is as it was.
    """
    read = load_module(platform.spec.slug, "source").read
    checked = {}
    for table in platform.spec.tables:
        rows = read(table.name, partitions)
        _require_partitions(platform, table, rows, partitions)
        checked[table] = _check(platform, table, rows)
    # Everything was read and judged before the first raw partition is replaced.
    for table, (good, bad) in checked.items():
        _write(platform, table, good, partitions, corrected_at)
        _clear_quarantine(platform, table, bad, partitions)
    keys = [partition.key for partition in partitions]
    return IngestResult(
        partitions=len(partitions),
        rows={table.name: len(good) for table, (good, _) in checked.items()},
        quarantined={table.name: len(bad) for table, (_, bad) in checked.items() if len(bad)},
        digests={
            table.name: platform.lake.digest("raw", table.name, keys)
            for table in platform.spec.tables
            if not table.is_snapshot
        },
    )


def _require_partitions(
    platform: Platform, table: Table, rows: pl.DataFrame, partitions: Sequence[Partition]
) -> None:
    if table.is_snapshot:
        return
    asked, given = {p.key for p in partitions}, set(rows["partition_key"])
    if strange := given - asked:
        raise DataError(
            f"the source of {table.name} gave rows of partition {strange.pop()}",
            expected=f"only {partitions[0].key} to {partitions[-1].key}",
            repair=f"mend read() in ml/use_cases/{platform.spec.slug}/source.py",
        )
    if table.name in _contracts(platform) and (absent := sorted(asked - given)):
        raise DataError(
            f"the source of {table.name} gave no rows for {', '.join(absent[:3])}",
            expected="rows for every partition: an empty delivery does not replace a full one",
            repair="ask the source again later",
        )


def _contracts(platform: Platform) -> Mapping[str, type[dy.Schema]]:
    contracts: Mapping[str, type[dy.Schema]]
    contracts = load_module(platform.spec.slug, "contract").CONTRACTS
    return contracts


def _check(
    platform: Platform, table: Table, rows: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split rows into good and bad; the bad ones go to the quarantine."""
    contract = _contracts(platform).get(table.name)
    if contract is None:
        return rows, rows.clear()
    try:
        good, failure = contract.filter(rows)
    except dy.exc.SchemaError as error:
        raise DataError(
            f"table {table.name} of {platform.spec.slug} has another schema: {error}",
            expected=f"the columns of {contract.__module__}.{contract.__name__}",
            repair="mend the source or change the contract; the lake is as it was",
        ) from error
    bad = _with_reasons(failure)
    _quarantine(platform, table, rows, bad)
    return good, bad


def _with_reasons(failure: dy.FailureInfo) -> pl.DataFrame:
    invalid = failure.invalid()
    details = failure.details()
    rules = [name for name in details.columns if name not in invalid.columns]
    reasons = pl.concat_list(
        [pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules]
    ).list.drop_nulls()
    return details.with_columns(reasons=reasons).select(*invalid.columns, "reasons")


def _quarantine(platform: Platform, table: Table, rows: pl.DataFrame, bad: pl.DataFrame) -> None:
    """Store all bad rows, then stop if a partition has too many of them."""
    spec, too_bad = platform.spec, []
    for key, (delivered, rejected) in _by_partition(table, rows, bad).items():
        if rejected.is_empty():
            continue  # an older quarantine goes only when the raw partition has its good rows
        platform.lake.write("quarantine", table.name, key, rejected.to_arrow())
        if len(rejected) / delivered > spec.max_quarantine_share:
            counts = rejected.explode("reasons")["reasons"].value_counts(sort=True)
            reasons = ", ".join(f"{name} {count}" for name, count in counts.iter_rows())
            name = f"{table.name} {key or ''}".rstrip()
            too_bad.append(f"{len(rejected)} of {delivered} rows of {name} are bad: {reasons}")
    if too_bad:
        raise DataError(
            "; ".join(too_bad),
            expected=f"at most {spec.max_quarantine_share:.1%} of a partition",
            repair="look at quarantine/ in the lake, mend the source or the contract and run: "
            f"flightline ingest {spec.slug} …",
        )


def _by_partition(
    table: Table, rows: pl.DataFrame, bad: pl.DataFrame
) -> dict[str | None, tuple[int, pl.DataFrame]]:
    """How many rows were delivered and which are bad, by partition key; None for a snapshot."""
    if table.is_snapshot:
        return {None: (len(rows), bad)}
    delivered = rows["partition_key"].value_counts(sort=True).sort("partition_key")
    split = bad.partition_by("partition_key", as_dict=True, include_key=False)
    none = bad.drop("partition_key").clear()
    return {key: (count, split.get((key,), none)) for key, count in delivered.iter_rows()}


def _write(
    platform: Platform,
    table: Table,
    rows: pl.DataFrame,
    partitions: Sequence[Partition],
    corrected_at: datetime | None,
) -> None:
    if table.is_snapshot:
        platform.lake.write("raw", table.name, None, rows.to_arrow())
        return
    stamped = rows.with_columns(
        corrected_at=pl.lit(corrected_at, dtype=pl.Datetime("us", time_zone="UTC"))
    )
    by_key = stamped.partition_by("partition_key", as_dict=True, include_key=False)
    empty = stamped.drop("partition_key").clear()
    for partition in partitions:
        content = by_key.get((partition.key,), empty)
        platform.lake.write("raw", table.name, partition.key, content.to_arrow())


def _clear_quarantine(
    platform: Platform, table: Table, bad: pl.DataFrame, partitions: Sequence[Partition]
) -> None:
    """Remove what an earlier ingest had put aside for partitions that are clean now."""
    if table.is_snapshot:
        clean: list[str | None] = [None] if bad.is_empty() else []
    else:
        dirty = set(bad["partition_key"]) if len(bad) else set()
        clean = [partition.key for partition in partitions if partition.key not in dirty]
    for key in clean:
        platform.lake.remove("quarantine", table.name, key)
