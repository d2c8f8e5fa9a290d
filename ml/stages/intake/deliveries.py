"""What the source gave, and whether its volume and freshness are what the source's own past was."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from zipfile import BadZipFile
from zlib import error as ZlibError  # noqa: N812  # a class, whatever its case

import polars as pl
import pyarrow as pa

from ml.core.errors import ConfigError, DataError, TransientError
from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.core.spec import Freshness, Table, Volume
from ml.stages.intake.judge import KEY
from ml.use_cases import files, load_module

HISTORY, _ENOUGH = 28, 7  # partitions that a partition is compared with; at least
_UNREADABLE = (
    OSError,
    ValueError,  # wrong encodings are among them
    LookupError,
    EOFError,
    BadZipFile,
    ZlibError,
    pa.ArrowException,
    pl.exceptions.PolarsError,
)


@dataclass(frozen=True)
class Delivery:
    """Rows of one table for some partitions; a snapshot has none, and its key is None.

    Attributes:
        given: digest of what the source gave, by key, where `rows` are what people made of it.
        file: with the rows that are mended now; None: the source gave these, or gave again what
            was mended before.
    """

    table: Table
    partitions: tuple[Partition, ...]
    rows: pl.DataFrame
    given: Mapping[str | None, str] = field(default_factory=dict)
    file: Path | None = None

    @property
    def keys(self) -> tuple[str | None, ...]:
        return tuple(p.key for p in self.partitions) if not self.table.is_snapshot else (None,)

    @property
    def partition_keys(self) -> tuple[str, ...]:
        """The same without a snapshot's."""
        return tuple(key for key in self.keys if key is not None)

    def name(self, key: str | None) -> str:
        return partition_name(self.table.name, key)


def partition_name(table: str, key: str | None) -> str:
    """How people call one partition of a table."""
    return table if key is None else f"{table} {key}"


def read(platform: Platform, table: Table, partitions: Sequence[Partition]) -> Delivery:
    """Read a table from its files, or else from the source of the use case.

    Raises:
        ConfigError: if there is nothing where the spec says that the files are.
        DataError: if the source cannot be read, or gives partitions that were not asked for.
        TransientError: if it is away.
    """
    slug = platform.spec.slug
    try:
        rows: pl.DataFrame
        if table.files:
            rows = files.read(platform.spec, table, partitions)
        else:
            rows = load_module(slug, "source").read(table.name, partitions)
    except (ConnectionError, TimeoutError) as error:
        raise TransientError(
            f"the source of {table.name} is away: {error}", repair="run this again later"
        ) from error
    except _UNREADABLE as error:
        raise DataError(
            f"the source of {table.name} cannot be read: {type(error).__name__}: {error}",
            expected="a whole file in the format that read() knows",
            repair=f"look at the file, or mend read() in ml/use_cases/{slug}/source.py",
        ) from error
    found = Delivery(table, tuple(partitions), rows)
    if not (table.is_snapshot or rows.is_empty()):
        _require_asked_for(slug, found)
    return found


def _require_asked_for(slug: str, delivery: Delivery) -> None:
    name, asked = delivery.table.name, delivery.partitions
    repair = f"mend read() in ml/use_cases/{slug}/source.py"
    if KEY not in delivery.rows.columns:
        raise DataError(f"the source of {name} gave no column {KEY}", repair=repair)
    strange = set(delivery.rows[KEY]) - {partition.key for partition in asked}
    if strange:
        raise DataError(
            f"the source of {name} gave rows of partition {strange.pop()}",
            expected=f"only {asked[0].key} to {asked[-1].key}",
            repair=repair,
        )


def split(rows: pl.DataFrame, keys: Iterable[str | None]) -> dict[str | None, pl.DataFrame]:
    """Rows by partition key, without the column; a key without rows has an empty frame."""
    if KEY not in rows.columns:
        return dict.fromkeys(keys, rows)
    found = rows.partition_by(KEY, as_dict=True, include_key=False, maintain_order=True)
    empty = rows.drop(KEY).clear()
    return {key: found.get((key,), empty) for key in keys}


@dataclass(frozen=True)
class Extent:
    """How much a partition holds, and how new it is.

    Attributes:
        rows: as delivered, bad ones too.
        newest: of the freshness column; None if there is none, or no value.
        lag: from there to the partition's end.
    """

    rows: int
    newest: datetime | None = None
    lag: timedelta | None = None


def extent(
    table: Table, rows: int, good: pl.DataFrame, partition: Partition | None = None
) -> Extent:
    """The extent of a partition, or of a snapshot.

    Raises:
        ConfigError: if freshness is to be told by a column that is no timestamp.
    """
    if partition is None or table.is_snapshot or table.freshness is None or good.is_empty():
        return Extent(rows)
    column = table.freshness.column
    if not isinstance(kind := good.schema.get(column), pl.Datetime | pl.Null):
        raise ConfigError(
            f"freshness of {table.name} is told by {column}, which is {kind or 'no column of it'}",
            expected="a timestamp",
            repair="name another column in freshness.column, or mend its type in contract.py",
        )
    newest = good[column].max()
    if not isinstance(newest, datetime):
        return Extent(rows)
    newest = newest.astimezone(UTC) if newest.tzinfo else newest.replace(tzinfo=UTC)
    return Extent(rows, newest, partition.end - newest)


@dataclass(frozen=True)
class Breach:
    """Something unusual about a partition; `blocks`: it must not enter the lake like that."""

    rule: str
    seen: str
    expected: str
    blocks: bool

    @property
    def is_anomaly(self) -> bool:
        """Whether it may be accepted: it is only unusual, not wrong."""
        return self.rule in ("empty", "volume", "freshness")

    def __str__(self) -> str:
        return f"{self.seen}, expected {self.expected}"


def anomalies(
    delivery: Delivery, extents: Mapping[str | None, Extent], history: Mapping[str | None, Extent]
) -> Iterable[tuple[str | None, Breach]]:
    """What is unusual, with the key of its partition.

    Args:
        extents: of the delivery.
        history: of partitions in the lake. Where a delivery has the same partition it counts
            instead: the verdict on a range is that on its partitions one by one.
    """
    table, known = delivery.table, {**history, **extents}
    order = sorted(key for key in known if key is not None)
    for key, now in extents.items():
        past = _past(key, order, known, history)
        name, had_rows = delivery.name(key), key in history and history[key].rows > 0
        breaches = (
            *_empty(table, name, now, past, had_rows=had_rows),
            *_volume(table.volume, name, now, past),
            *_freshness(table.freshness, name, now, past),
        )
        yield from ((key, breach) for breach in breaches)


def _past(
    key: str | None,
    order: Sequence[str],
    known: Mapping[str | None, Extent],
    history: Mapping[str | None, Extent],
) -> list[Extent]:
    """What a partition is compared with; nothing if that is too little to say what is usual."""
    if key is None:
        return [history[None]] if None in history else []
    end = bisect_left(order, key)
    before = order[max(0, end - HISTORY) : end]
    return [known[one] for one in before] if len(before) >= _ENOUGH else []


def _empty(
    table: Table, name: str, now: Extent, past: Sequence[Extent], *, had_rows: bool
) -> Iterable[Breach]:
    if now.rows:
        return
    usual = f", as {_of(past, _median(past))}" if past else ""
    yield Breach(
        "empty",
        f"the source gave no rows for {name}",
        f"some rows in every partition{usual}",
        # An empty delivery does not replace a full one, however little a gap may matter.
        blocks=had_rows or table.volume is None or table.volume.blocks,
    )


def _volume(
    limits: Volume | None, name: str, now: Extent, past: Sequence[Extent]
) -> Iterable[Breach]:
    usual = median(one.rows for one in past) if past else 0
    if limits is None or not usual or not now.rows:
        return
    if not limits.lower <= now.rows / usual <= limits.upper:
        yield Breach(
            "volume",
            f"{name} has {now.rows:,} rows",
            f"{limits.lower * usual:,.0f} to {limits.upper * usual:,.0f}: "
            f"{limits.lower:g} to {limits.upper:g} times {_of(past, _median(past))}",
            limits.blocks,
        )


def _freshness(
    limits: Freshness | None, name: str, now: Extent, past: Sequence[Extent]
) -> Iterable[Breach]:
    lags = [one.lag for one in past if one.lag is not None]
    if limits is None or not now.rows or not lags:
        return
    usual = timedelta(seconds=median(lag.total_seconds() for lag in lags))
    if now.lag is None or now.lag > usual + limits.tolerance:
        seen = f"no good row of {name} has a {limits.column}"
        if now.lag is not None:
            seen = (
                f"the newest {limits.column} of {name} is {now.newest:%Y-%m-%d %H:%M} UTC, "
                f"{_hours(now.lag)} before the end"
            )
        yield Breach(
            "freshness",
            seen,
            f"at most {_hours(usual + limits.tolerance)} before it: {_hours(limits.tolerance)} "
            f"more than {_of(past, _hours(usual))}",
            limits.blocks,
        )


def _median(past: Sequence[Extent]) -> str:
    return f"{median(one.rows for one in past):,.0f}"


def _of(past: Sequence[Extent], usual: str) -> str:
    if len(past) == 1:
        return f"the {usual} that it replaces"
    return f"the median {usual} of the {len(past)} partitions before"


def _hours(time: timedelta) -> str:
    return f"{time / timedelta(hours=1):g} h"
