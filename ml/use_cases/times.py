"""Times as files write them, made into UTC; vectorised, and never guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn
from zoneinfo import ZoneInfo

import polars as pl

from ml.core.errors import DataError
from ml.core.partitions import Cadence, Partition, Partitions
from ml.core.spec import EPOCHS

MICROSECONDS = pl.Datetime("us")
_ISO = (
    r"^(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2}(?:[.,]\d{1,9})?))?"
    r"\s*(Z|[+-]\d{2}(?::?\d{2})?)?)?)?)?$"
)
_MONTH, _DAY, _HOUR, _MINUTE = "mbBhjUWVDFxvc", "dejaAuwDFxvc", "HIklTRXrc", "MTRXrc"
_DOES_NOT_SAY = "ISO 8601 such as 2013-06-01T06:00:00Z, or what `time_format` says"


@dataclass(frozen=True)
class Column:
    """A column of times and what is known about it.

    Attributes:
        values: as the file has them.
        time_format: see `Files`; empty: ISO 8601.
        zone: of times without an offset.
        file: for errors: where it was read.
        spec: for errors: where all of this is said.
    """

    values: pl.Series
    time_format: str
    zone: str
    file: str
    spec: str

    def fail(self, row: int, why: str, expected: str, repair: str = "") -> NoReturn:
        """Raise the error about one value."""
        raise DataError(
            f"{self.values.name} is {self.values[row]!r} in row {row + 1:,} of {self.file}{why}",
            expected=expected,
            repair=repair or f"mend the file, or say `time_format` in {self.spec}",
        )


@dataclass(frozen=True)
class Clock:
    """Times as read: UTC if the column says offsets, else what the clock on the wall shows.

    Attributes:
        wall: datetimes without a zone, in microseconds.
        is_utc: whether they are UTC already.
        is_date: by row, whether only a date, month or year was given; its start is meant.
    """

    wall: pl.Series
    is_utc: bool
    is_date: pl.Series


def read_clock(column: Column) -> Clock:
    """What a column of times says.

    Raises:
        DataError: naming the first value that says no time, or one with an offset among others.
    """
    values = column.values
    if (missing := values.is_null().arg_true()).len():
        column.fail(int(missing[0]), "", "a time in every row: without one it has no partition")
    if isinstance(values.dtype, pl.Datetime):
        zoned = values.dtype.time_zone is not None
        wall = values.dt.convert_time_zone("UTC") if zoned else values
        return Clock(wall.dt.replace_time_zone(None).cast(MICROSECONDS), zoned, _all(values, False))
    if values.dtype == pl.Date:
        return Clock(values.cast(MICROSECONDS), False, _all(values, True))
    if column.time_format in EPOCHS:
        clock = _epoch(values, column.time_format)
    else:
        texts = _texts(values)
        clock = _formatted(texts, column.time_format) if column.time_format else _iso(texts, column)
    if (bad := clock.wall.is_null().arg_true()).len():
        more = f", and {len(bad):,} of {len(values):,} are like it" if len(bad) > 1 else ""
        wanted = column.time_format or (
            f"{_DOES_NOT_SAY}: '%Y%m%d' for 20130601, '%d.%m.%Y %H:%M' for 01.06.2013 06:00, "
            "'epoch_s' for seconds since 1970"
        )
        column.fail(int(bad[0]), more, wanted)
    return clock


def _all(values: pl.Series, value: bool) -> pl.Series:
    return pl.repeat(value, len(values), dtype=pl.Boolean, eager=True)


def _texts(values: pl.Series) -> pl.Series:
    if values.dtype.is_float():  # whole numbers beside a missing one, as pandas writes them
        whole = values.cast(pl.Int64, strict=False)
        values = whole if (whole == values).all() else values
    return values.cast(pl.String).str.strip_chars()


def _epoch(values: pl.Series, unit: str) -> Clock:
    numbers = values.cast(pl.Int64, strict=False)
    if values.dtype == pl.String and numbers.null_count():
        values = values.cast(pl.Float64, strict=False)
    scale = EPOCHS[unit]
    if values.dtype.is_float():
        numbers = (values * scale).round().cast(pl.Int64, strict=False)
    else:
        numbers = numbers * int(scale) if scale >= 1 else numbers // round(1 / scale)
    return Clock(numbers.cast(MICROSECONDS), True, _all(values, False))


def _formatted(texts: pl.Series, form: str) -> Clock:
    """By a `strptime` format; what it leaves out begins: the month, the day, the hour."""
    said = set(re.findall(r"%[-_0#]?[.:]*\d?([A-Za-z])", form.replace("%%", "")))
    has_hour = not said.isdisjoint(_HOUR)
    has_offset = "z" in said
    for letters, text, directive, needed in (
        (_MONTH, " 01", " %m", True),
        (_DAY, " 01", " %d", True),
        (_MINUTE, " 00", " %M", has_hour),
    ):
        if needed and said.isdisjoint(letters):
            texts, form = texts + text, form + directive
    if has_hour:
        parsed = texts.str.to_datetime(form, time_unit="us", strict=False)
    else:
        parsed = texts.str.to_date(form, strict=False).cast(MICROSECONDS)
    return Clock(parsed.dt.replace_time_zone(None), has_offset, _all(texts, not has_hour))


def _iso(texts: pl.Series, column: Column) -> Clock:
    parts = texts.str.extract_groups(_ISO).struct.unnest()
    parts.columns = ["year", "month", "day", "minute", "second", "offset"]
    is_date, offset = parts["minute"].is_null(), parts["offset"]
    if not is_date.all() and 0 < (lacking := offset.is_null() & ~is_date).sum() < (~is_date).sum():
        column.fail(
            int(lacking.arg_true()[0]),
            ", and others have an offset",
            "an offset in all of them or in none",
            f"mend the file, or give `read` in the source.py beside {column.spec}",
        )
    if column.zone != "UTC" and is_date.any() and offset.is_not_null().any():
        column.fail(
            int(is_date.arg_true()[0]),
            ", and others have an offset",
            f"a time with an offset in every row: a date begins in {column.zone}, or in UTC?",
            f"mend the file, or say zone='UTC' in {column.spec} if the dates are of UTC",
        )
    wall = parts.select(
        pl.format(
            "{}-{}-{}T{}:{}",
            "year",
            *(pl.col(name).fill_null("01") for name in ("month", "day")),
            pl.col("minute").fill_null("00:00"),
            pl.col("second").fill_null("00").str.replace(",", ".", literal=True),
        ).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    ).to_series()
    if is_utc := bool(offset.is_not_null().any()):
        wall = wall - offset_of(offset.fill_null("Z"))
    return Clock(wall, is_utc, is_date)


def offset_of(texts: pl.Series) -> pl.Series:
    """`Z`, `+02`, `+0200` or `+02:00` as a duration.

    >>> offset_of(pl.Series(["Z", "-0130"])).dt.total_minutes().to_list()
    [0, -90]
    """
    digits = texts.str.replace_all(r"[^0-9]", "").str.pad_end(4, "0")
    minutes = digits.str.slice(0, 2).cast(pl.Int64) * 60 + digits.str.slice(2, 2).cast(pl.Int64)
    sign = 1 - 2 * texts.str.starts_with("-").cast(pl.Int64)
    return (minutes * sign * 60_000_000).cast(pl.Duration("us"))


def to_utc(clock: Clock, column: Column, rows: pl.Series) -> pl.Series:
    """The times of some rows in UTC; of a date, its first instant.

    Args:
        rows: numbers of the rows; a time elsewhere in the file may be one that never was.

    Raises:
        DataError: naming a time that the zone's clock shows twice, or never.
    """
    wall = clock.wall.gather(rows)
    if clock.is_utc:
        return wall.dt.replace_time_zone("UTC")
    earliest = wall.dt.replace_time_zone(column.zone, ambiguous="earliest", non_existent="null")
    only = wall.dt.replace_time_zone(column.zone, ambiguous="null", non_existent="null")
    is_date = clock.is_date.gather(rows)
    for found, why in (
        (earliest.is_null(), "a time that the clock skips there"),
        (only.is_null(), "a time that the clock shows twice there"),
    ):
        if (bad := (found & ~is_date).arg_true()).len():
            column.fail(
                int(rows[int(bad[0])]),
                f": {why} in {column.zone}",
                "times with an offset, or in UTC",
                f"ask for such a file (and say zone='UTC' in {column.spec}), or give `read` in a "
                "source.py that knows which is meant",
            )
    utc = earliest.dt.convert_time_zone("UTC")
    if (skipped := earliest.is_null()).any():  # a day that begins at one o'clock
        starts = [_start(date, column.zone) for date in wall.filter(skipped)]
        utc = utc.scatter(skipped.arg_true(), pl.Series(starts, dtype=utc.dtype))
    return utc


def _start(date: datetime, zone: str) -> datetime:
    return date.replace(tzinfo=ZoneInfo(zone)).astimezone(ZoneInfo("UTC"))


def partition_keys(times: pl.Series, calendar: Partitions) -> pl.Series:
    """Keys of the partitions that contain these instants.

    >>> times = pl.Series([datetime(2013, 6, 2, 3)]).dt.replace_time_zone("UTC")
    >>> partition_keys(times, Partitions(Cadence.DAY, "America/New_York")).to_list()
    ['2013-06-01']
    """
    local = times.dt.convert_time_zone(calendar.key_zone).dt.replace_time_zone(None)
    every = {Cadence.HOUR: "1h", Cadence.DAY: "1d", Cadence.WEEK: "1w", Cadence.MONTH: "1mo"}
    starts = local.dt.truncate(every[calendar.cadence])
    return starts.dt.strftime(calendar.cadence.key_format)


def near(clock: Clock, partitions: list[Partition] | None) -> pl.Series:
    """Numbers of the rows that may lie in these partitions; None: all rows."""
    if partitions is None:
        return pl.int_range(len(clock.wall), eager=True)
    day = pl.duration(days=1)  # no zone is further from UTC
    first, last = (t.replace(tzinfo=None) for t in (partitions[0].start, partitions[-1].end))
    wall = pl.DataFrame({"wall": clock.wall})
    inside = wall.select(
        (pl.col("wall") >= pl.lit(first) - day) & (pl.col("wall") <= pl.lit(last) + day)
    )
    return inside.to_series().arg_true()
