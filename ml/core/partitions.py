"""Partitions: the unit of data and of reruns.

A partition is a stretch of business time (an hour, a day, a week, a month in the use case's zone)
with a key that people read and UTC bounds that queries use.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ml.core.errors import ConfigError


class Cadence(StrEnum):
    """How often a use case's data arrives."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    @property
    def key_format(self) -> str:
        """`strftime` format of a partition key; a week is keyed by its Monday."""
        return {"hour": "%Y-%m-%dT%HZ", "month": "%Y-%m"}.get(self.value, "%Y-%m-%d")

    @property
    def cron(self) -> str:
        """Cron expression of the moment at which a partition closes."""
        crons = {"hour": "0 * * * *", "week": "0 0 * * 1", "month": "0 0 1 * *"}
        return crons.get(self.value, "0 0 * * *")

    @property
    def job(self) -> str:
        """What a job that runs for each partition is called."""
        return {"day": "daily"}.get(self.value, f"{self.value}ly")

    def floor(self, local: datetime) -> datetime:
        """Start of the partition that holds the naive local time `local`."""
        if self is Cadence.HOUR:
            return local.replace(minute=0, second=0, microsecond=0)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        if self is Cadence.WEEK:
            return midnight - timedelta(days=midnight.weekday())
        return midnight.replace(day=1) if self is Cadence.MONTH else midnight

    def next(self, start: datetime) -> datetime:
        """Start of the partition after the one that starts at the naive local time `start`."""
        if self is Cadence.MONTH:
            return (start + timedelta(days=32)).replace(day=1)
        return start + timedelta(**{f"{self.value}s": 1})


@dataclass(frozen=True, order=True)
class Partition:
    """One stretch of business time.

    Attributes:
        start: first instant, UTC, inclusive.
        end: first instant after it, UTC; a day on which the clock changes lasts 23 or 25 hours.
        key: what people and Airflow call it, in the zone's business time (`2013-06-01`).
        cadence: its length.
        zone: IANA name of the business time zone; hourly partitions are keyed in UTC, because a
            local hour repeats in autumn.

    >>> day = Partitions(Cadence.DAY, "America/New_York").parse("2013-03-10")
    >>> day.start.isoformat(), (day.end - day.start).total_seconds() / 3600
    ('2013-03-10T05:00:00+00:00', 23.0)
    """

    start: datetime
    end: datetime
    key: str
    cadence: Cadence
    zone: str

    def __contains__(self, time: datetime) -> bool:
        return self.start <= time < self.end


@dataclass(frozen=True)
class Partitions:
    """The calendar of a use case: makes partitions of one cadence in one zone.

    >>> days = Partitions(Cadence.DAY, "America/New_York")
    >>> [p.key for p in days.between("2013-06-29", "2013-07-01")]
    ['2013-06-29', '2013-06-30', '2013-07-01']
    """

    cadence: Cadence
    zone: str

    @property
    def key_zone(self) -> str:
        """Zone in which keys are written."""
        return "UTC" if self.cadence is Cadence.HOUR else self.zone

    @cached_property
    def _tz(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.key_zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(
                f"unknown time zone {self.zone!r}", expected="an IANA name such as Europe/Berlin"
            ) from error

    def _make(self, local: datetime) -> Partition:
        start, end = (t.replace(tzinfo=self._tz) for t in (local, self.cadence.next(local)))
        key = local.strftime(self.cadence.key_format)
        return Partition(start.astimezone(UTC), end.astimezone(UTC), key, self.cadence, self.zone)

    def parse(self, key: str) -> Partition:
        """The partition with this key.

        Raises:
            ConfigError: if the key has another format or does not start a partition.
        """
        try:
            local = datetime.strptime(key, self.cadence.key_format)  # noqa: DTZ007  # wall clock time
            if self.cadence.floor(local) != local or local.strftime(self.cadence.key_format) != key:
                raise ValueError(key)
            found = self._make(local)
            if found.start == found.end:  # a day left out by a zone that moved over the date line
                raise ValueError(key)
            return found
        except (ValueError, OverflowError) as error:
            example = self.containing(datetime(2013, 6, 1, 12, tzinfo=UTC)).key
            raise ConfigError(
                f"bad partition key {key!r}",
                expected=f"the start of a {self.cadence}, for example {example}",
            ) from error

    def containing(self, time: datetime) -> Partition:
        """The partition that holds an aware instant."""
        # fold=0: where the clock goes back over midnight, a day begins at the first of the two.
        local = time.astimezone(self._tz).replace(tzinfo=None, fold=0)
        return self._make(self.cadence.floor(local))

    def after(self, partition: Partition) -> Partition:
        return self.containing(partition.end)

    def before(self, partition: Partition) -> Partition:
        return self.containing(partition.start - timedelta(microseconds=1))

    def position(self, key: str) -> int:
        """Number of the partition since year 1; neighbours differ by one.

        >>> weeks = Partitions(Cadence.WEEK, "UTC")
        >>> weeks.position("2001-01-01") - weeks.position("2000-12-25")
        1
        """
        local = datetime.strptime(self.parse(key).key, self.cadence.key_format)  # noqa: DTZ007
        if self.cadence is Cadence.MONTH:
            return local.year * 12 + local.month
        hours = local.toordinal() * 24 + local.hour
        return hours // {"hour": 1, "day": 24, "week": 168}[self.cadence.value]

    def between(self, first: str, last: str) -> tuple[Partition, ...]:
        """All partitions from `first` to `last`, both keys included.

        Raises:
            ConfigError: if a key is malformed or the range is the wrong way round.
        """
        partition, stop = self.parse(first), self.parse(last)
        if stop < partition:
            raise ConfigError(
                f"empty range {first}..{last}",
                expected="a start that is not after the end",
                repair="swap the two keys",
            )
        found = [partition]
        while found[-1] < stop:
            found.append(self.after(found[-1]))
        return tuple(found)
