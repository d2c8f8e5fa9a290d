"""Corrections of features: what was known before stays readable beside what is known now.

A decision that was made before a correction became known still finds the value of that time, so a
training as of today learns from what was served then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl
import pyarrow as pa

from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.stages.intake.receipts import Revision

_CREATED, _EVENT = "created_at", "event_at"


def revision_times(
    platform: Platform, partitions: Sequence[Partition]
) -> Mapping[str, datetime | None]:
    """By key: when the newest correction became known of what the features of a partition read."""
    spec = platform.spec
    times: dict[str, datetime] = {}
    earliest = spec.calendar.containing(partitions[0].start - spec.features.lookback).key
    for table in (table.name for table in spec.tables if not table.is_snapshot):
        for key in platform.lake.keys("raw", table):
            if earliest <= key <= partitions[-1].key:
                revision = Revision.of(platform.lake.metadata("raw", table, key))
                if revision and revision.at:
                    times[key] = max(revision.at, times.get(key, revision.at))
    return {
        partition.key: max(
            (
                time
                for key, time in times.items()
                if key <= partition.key
                and spec.calendar.parse(key).end > partition.start - spec.features.lookback
            ),
            default=None,
        )
        for partition in partitions
    }


def with_superseded(
    old: pa.Table, new: pa.Table, *, identity: Sequence[str], known_at: datetime
) -> pa.Table:
    """Rows of `new`, and those of `old` that they supersede.

    A row whose value is the same keeps the time since when it was known. One that changed although
    no row of today's window was corrected (what was corrected has left the window) is known since
    `known_at`. One that is no more gets a successor with the values of the row before it, which is
    what a read finds now, or without values.

    Args:
        old: the last export of a feature table's partition, several versions of a row included.
        identity: the entity's keys and the event time.
        known_at: when the newest correction of what these features read became known.
    """
    before, now = (_frame(rows).sort(*identity, _CREATED) for rows in (old, new))
    values = [name for name in now.columns if name not in (*identity, _CREATED)]
    newest = before.unique(identity, keep="last")
    keys = [name for name in identity if name != _EVENT]
    gone = newest.join(now, on=identity, how="anti", nulls_equal=True).drop(values)
    rest = now.drop(_CREATED).sort(_EVENT)
    gone = gone.sort(_EVENT).join_asof(rest, on=_EVENT, by=keys, check_sortedness=False)
    now = pl.concat([now, gone.select(now.columns)])
    both = now.join(newest, on=identity, how="left", suffix=" old", nulls_equal=True)
    is_known = pl.col(f"{_CREATED} old").is_not_null()
    is_same = pl.all_horizontal(
        pl.lit(True), *(pl.col(name).eq_missing(pl.col(f"{name} old")) for name in values)
    )
    created = (
        pl.when(is_known & is_same)
        .then(f"{_CREATED} old")
        .when(is_known)
        .then(pl.max_horizontal(_CREATED, pl.lit(known_at)))
        .otherwise(_CREATED)
    )
    now = both.with_columns(created.alias(_CREATED)).select(now.columns)
    replaced = before.join(
        now.select(*identity, newer=_CREATED), on=identity, nulls_equal=True
    ).filter(pl.col(_CREATED) < pl.col("newer"))
    versions = pl.concat([now, replaced.select(now.columns)]).sort(_EVENT, *now.columns)
    return versions.to_arrow().cast(new.schema)


def _frame(rows: pa.Table) -> pl.DataFrame:
    found = pl.from_arrow(rows)
    assert isinstance(found, pl.DataFrame)
    return found
