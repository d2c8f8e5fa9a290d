"""What people made of a delivery by hand, kept for as long as the source gives the same.

The area `mended` holds a partition's rows as they were given to the judgement, with the digest of
what the source had given. So a cleared task, or a range that is ingested again, finds them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import polars as pl

from ml.core.ports import Platform
from ml.core.spec import Table
from ml.stages.intake.compare import content_digest
from ml.stages.intake.deliveries import Delivery, split
from ml.stages.intake.judge import GIVEN, KEY, conform, contracts
from ml.stages.many import for_each

_MENDED = "mended"


@dataclass(frozen=True)
class Mended:
    """A partition that was mended by hand.

    Attributes:
        given: digest of what the source gave.
        rows: what people made of it, without `partition_key`.
    """

    given: str
    rows: pl.DataFrame


def given_digest(rows: pl.DataFrame) -> str:
    """SHA-256 of what a source gave of a partition, in whatever order."""
    return content_digest(rows, in_order=False)


def keys(platform: Platform, table: Table) -> Collection[str | None]:
    """Of the partitions that were mended by hand; None for a snapshot."""
    if table.is_snapshot:
        return (None,) if platform.lake.count(_MENDED, table.name, None) else ()
    return set(platform.lake.keys(_MENDED, table.name))


def recall(
    platform: Platform, table: Table, wanted: Sequence[str | None]
) -> dict[str | None, Mended]:
    """Those of these partitions that were mended by hand."""
    known = keys(platform, table)
    found = [key for key in wanted if key in known]

    def read(key: str | None) -> Mended | None:
        given = platform.lake.metadata(_MENDED, table.name, key).get(GIVEN)
        if given is None:  # of an older version, which kept it elsewhere: the source is asked anew
            return None
        rows = pl.from_arrow(platform.lake.read(_MENDED, table.name, [key]))
        assert isinstance(rows, pl.DataFrame)
        return Mended(given, rows.drop(KEY))

    read_all = zip(found, for_each(read, found), strict=True)
    return {key: mended for key, mended in read_all if mended}


def keep(platform: Platform, table: Table, key: str | None, mended: Mended) -> None:
    """Remember a partition; a delivery of nothing has no rows to remember it by."""
    if len(mended.rows):
        platform.lake.write(_MENDED, table.name, key, mended.rows.to_arrow(), {GIVEN: mended.given})


def forget(platform: Platform, table: Table, key: str | None) -> None:
    """The source gave something else."""
    platform.lake.remove(_MENDED, table.name, key)


def remembered(platform: Platform, found: Delivery) -> tuple[Delivery, ...]:
    """The delivery, with the mended rows where the source gives again what people have mended.

    Returns:
        two of them if the others have not the contract's columns: these go their own way.
    """
    table = found.table
    if not (kept := recall(platform, table, found.keys)):
        return (found,)
    rows, differences = conformed(platform, table, found.rows)
    parts = split(rows, found.keys)
    again = {
        key: mended
        for key, mended in kept.items()
        if mended.given == given_digest(parts[key]) and _fits(platform, table, key, mended.rows)
    }
    if not again:
        return (found,)
    made = pl.concat([_keyed(key, mended.rows) for key, mended in again.items()])
    given = {key: mended.given for key, mended in again.items()}
    others = tuple(p for p in found.partitions if p.key not in again)
    if table.is_snapshot or not others:
        return (replace(found, rows=made, given=given),)
    rest = rows.filter(~pl.col(KEY).is_in([*again]))
    if differences:
        partitions = tuple(p for p in found.partitions if p.key in again)
        mended_only = replace(found, partitions=partitions, rows=made, given=given)
        return mended_only, replace(found, partitions=others, rows=rest)
    return (replace(found, rows=pl.concat([rest, made.select(rest.columns)]), given=given),)


def conformed(
    platform: Platform, table: Table, rows: pl.DataFrame
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Rows in the columns of the table's contract, if it has one, and what is different."""
    contract = contracts(platform.spec.slug).get(table.name)
    if contract is None:
        return rows, ()
    return conform(rows, contract, is_snapshot=table.is_snapshot)


def again_warnings(found: Sequence[Delivery]) -> tuple[str, ...]:
    """What an ingest tells of partitions that it took from memory."""
    told = "{}: the source gave again what was mended by hand; the mended rows stay"
    return tuple(told.format(one.name(key)) for one in found for key in one.given)


def _fits(platform: Platform, table: Table, key: str | None, rows: pl.DataFrame) -> bool:
    """Whether the rows are of today's contract; one that changed since judges the source anew."""
    found, differences = conformed(platform, table, _keyed(key, rows))
    return not differences and found.schema == _keyed(key, rows).schema


def _keyed(key: str | None, rows: pl.DataFrame) -> pl.DataFrame:
    return rows if key is None else rows.with_columns(pl.lit(key).alias(KEY))
