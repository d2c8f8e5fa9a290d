from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ml.core.errors import ConfigError
from ml.core.partitions import Cadence, Partition, Partitions

# Both hemispheres, half hours, a change of 30 minutes, changes at midnight in each direction.
ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "America/Havana",
    "Atlantic/Azores",
]
LEFT_OUT = {"Pacific/Apia", "Pacific/Fakaofo"}  # a day in 2011, so positions leave it out, too
every_zone = st.sampled_from(ZONES) | st.sampled_from(sorted(available_timezones() - LEFT_OUT))
calendars = st.builds(Partitions, st.sampled_from(Cadence), every_zone)
# Seconds as integers: hypothesis' aware datetimes cost more than the test.
times = st.integers(946_684_800, 1_893_456_000).map(lambda s: datetime.fromtimestamp(s, UTC))


@pytest.mark.parametrize(
    ("cadence", "key", "hours"),
    [
        (Cadence.HOUR, "2013-06-01T04Z", 1),
        (Cadence.DAY, "2013-06-01", 24),
        (Cadence.WEEK, "2013-06-03", 7 * 24),
        (Cadence.MONTH, "2013-06", 30 * 24),
        (Cadence.DAY, "2013-03-10", 23),  # clocks go forward in New York
        (Cadence.DAY, "2013-11-03", 25),  # and back
        (Cadence.WEEK, "2013-03-04", 7 * 24 - 1),
        (Cadence.WEEK, "2013-10-28", 7 * 24 + 1),
        (Cadence.MONTH, "2013-03", 31 * 24 - 1),
        (Cadence.MONTH, "2013-11", 30 * 24 + 1),
        (Cadence.MONTH, "2012-02", 29 * 24),
    ],
)
def test_a_partition_lasts_as_long_as_its_business_time(
    cadence: Cadence, key: str, hours: int
) -> None:
    partition = Partitions(cadence, "America/New_York").parse(key)
    assert partition.end - partition.start == timedelta(hours=hours)
    assert partition.key == key


def test_hours_are_keyed_in_utc_so_the_repeated_hour_has_two_keys() -> None:
    hours = Partitions(Cadence.HOUR, "America/New_York")
    local = datetime(2013, 11, 3, 1, 30, tzinfo=ZoneInfo("America/New_York"))
    keys = {hours.containing(local.replace(fold=fold)).key for fold in (0, 1)}
    assert keys == {"2013-11-03T05Z", "2013-11-03T06Z"}


def test_bounds_are_utc_and_the_end_belongs_to_the_next() -> None:
    day = Partitions(Cadence.DAY, "America/New_York").parse("2013-06-01")
    assert (day.start, day.start.tzinfo) == (datetime(2013, 6, 1, 4, tzinfo=UTC), UTC)
    assert day.start in day and day.end not in day


@pytest.mark.parametrize(
    ("cadence", "key"),
    [
        (Cadence.DAY, ""),
        (Cadence.DAY, "2013-6-1"),
        (Cadence.DAY, "2013-02-30"),
        (Cadence.DAY, "20130601"),
        (Cadence.DAY, "2013-06-01 "),
        (Cadence.DAY, "2013-06-01T00:00:00"),
        (Cadence.DAY, "yesterday"),
        (Cadence.DAY, "2013-06"),
        (Cadence.HOUR, "2013-06-01T04"),
        (Cadence.HOUR, "2013-06-01T24Z"),
        (Cadence.HOUR, "2013-06-01"),
        (Cadence.WEEK, "2013-06-01"),  # a Saturday
        (Cadence.WEEK, "2013-W23"),
        (Cadence.MONTH, "2013-13"),
        (Cadence.MONTH, "2013-06-01"),
        (Cadence.MONTH, "2013-6"),
    ],
)
def test_a_malformed_key_is_refused_with_an_example_of_a_right_one(
    cadence: Cadence, key: str
) -> None:
    calendar = Partitions(cadence, "America/New_York")
    with pytest.raises(ConfigError, match="bad partition key") as caught:
        calendar.parse(key)
    shown = str(caught.value).rpartition("for example ")[2]
    assert calendar.parse(shown).key == shown


@pytest.mark.parametrize(
    "key",
    [
        "9999-12-31",
        "0001-01-01",
    ],
)
def test_a_key_at_the_end_of_time_is_refused_too(key: str) -> None:
    with pytest.raises(ConfigError):
        Partitions(Cadence.DAY, "Asia/Kolkata").parse(key)


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(ConfigError, match="Mars/Olympus"):
        Partitions(Cadence.DAY, "Mars/Olympus").parse("2013-06-01")


def test_a_range_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ConfigError, match="empty range"):
        Partitions(Cadence.DAY, "UTC").between("2013-06-02", "2013-06-01")


def test_a_range_holds_both_ends_and_one_key_is_a_range() -> None:
    weeks = Partitions(Cadence.WEEK, "Europe/Berlin")
    keys = [p.key for p in weeks.between("2013-12-23", "2014-01-06")]
    assert keys == ["2013-12-23", "2013-12-30", "2014-01-06"]
    assert [p.key for p in weeks.between("2013-12-23", "2013-12-23")] == ["2013-12-23"]


@given(calendars, times)
# 00:30 comes twice in Havana on this day; both belong to it.
@example(Partitions(Cadence.DAY, "America/Havana"), datetime(2013, 11, 3, 5, 30, tzinfo=UTC))
@example(Partitions(Cadence.DAY, "Atlantic/Azores"), datetime(2013, 10, 27, 1, 30, tzinfo=UTC))
def test_parse_round_trips_through_the_key(calendar: Partitions, time: datetime) -> None:
    partition = calendar.containing(time)
    assert time in partition
    assert calendar.parse(partition.key) == partition


@given(calendars, times, st.integers(1, 40))
@example(Partitions(Cadence.DAY, "America/Havana"), datetime(2013, 11, 2, 12, tzinfo=UTC), 3)
@example(Partitions(Cadence.DAY, "America/Sao_Paulo"), datetime(2013, 10, 18, 12, tzinfo=UTC), 4)
@example(Partitions(Cadence.HOUR, "America/New_York"), datetime(2013, 11, 3, 3, tzinfo=UTC), 6)
@example(Partitions(Cadence.DAY, "Pacific/Apia"), datetime(2011, 12, 28, tzinfo=UTC), 4)
def test_partitions_tile_time_without_gaps_or_overlap(
    calendar: Partitions, time: datetime, steps: int
) -> None:
    partitions = [calendar.containing(time)]
    for _ in range(steps):
        partitions.append(calendar.after(partitions[-1]))
    for earlier, later in pairwise(partitions):
        assert earlier.start < earlier.end == later.start
        assert calendar.before(later) == earlier
    assert calendar.between(partitions[0].key, partitions[-1].key) == tuple(partitions)
    keys = [p.key for p in partitions]
    assert keys == sorted(set(keys)), "keys sort as time does"


@given(calendars, times, times)
def test_partitions_sort_as_time_does(calendar: Partitions, a: datetime, b: datetime) -> None:
    first, second = calendar.containing(min(a, b)), calendar.containing(max(a, b))
    assert first <= second and (first == second) == (max(a, b) in first)


def test_a_partition_is_a_value() -> None:
    days = Partitions(Cadence.DAY, "UTC")
    assert {days.parse("2013-06-01"), days.parse("2013-06-01")} == {days.parse("2013-06-01")}
    assert isinstance(days.parse("2013-06-01"), Partition)


@given(calendars, times)
@example(Partitions(Cadence.DAY, "America/Havana"), datetime(2020, 3, 8, 12, tzinfo=UTC))
@example(Partitions(Cadence.MONTH, "UTC"), datetime(2020, 12, 8, 12, tzinfo=UTC))
@example(Partitions(Cadence.WEEK, "UTC"), datetime(2020, 12, 31, 12, tzinfo=UTC))
def test_the_positions_of_neighbours_differ_by_one(calendar: Partitions, time: datetime) -> None:
    """Also over a change of the clock and of the year."""
    here = calendar.containing(time)
    number = calendar.position(here.key)
    assert calendar.position(calendar.after(here).key) == number + 1
    assert calendar.position(calendar.before(here).key) == number - 1


@given(calendars, times, st.integers(0, 40))
def test_a_range_is_as_long_as_its_positions_say(
    calendar: Partitions, time: datetime, steps: int
) -> None:
    first = last = calendar.containing(time)
    for _ in range(steps):
        last = calendar.after(last)
    distance = calendar.position(last.key) - calendar.position(first.key)
    assert distance == steps == len(calendar.between(first.key, last.key)) - 1


@pytest.mark.parametrize(
    ("zone", "key"), [("Pacific/Apia", "2011-12-30"), ("Pacific/Kwajalein", "1993-08-21")]
)
def test_a_day_that_a_zone_left_out_is_refused(zone: str, key: str) -> None:
    """They moved over the date line: a partition of it would hold no instant at all."""
    with pytest.raises(ConfigError, match=key):
        Partitions(Cadence.DAY, zone).parse(key)


def test_a_position_needs_a_key_of_the_calendar() -> None:
    with pytest.raises(ConfigError, match="bad partition key"):
        Partitions(Cadence.WEEK, "UTC").position("2020-01-07")


def test_a_job_is_called_by_how_often_it_runs() -> None:
    assert [cadence.job for cadence in Cadence] == ["hourly", "daily", "weekly", "monthly"]


@given(calendars, times)
def test_a_partition_closes_when_its_cron_says(calendar: Partitions, time: datetime) -> None:
    """In the zone of its key, by the wall clock; where that skips midnight, when the day begins."""
    end = calendar.containing(time).end.astimezone(ZoneInfo(calendar.key_zone))
    wall = calendar.cadence.next(calendar.cadence.floor(end.replace(tzinfo=None, fold=0)))
    minute, hour, day, _, weekday = calendar.cadence.cron.split()
    assert minute == str(wall.minute)
    assert hour in ("*", str(wall.hour)) and day in ("*", str(wall.day))
    assert weekday in ("*", str(wall.isoweekday()))
    stars = [Cadence.HOUR, Cadence.DAY, Cadence.WEEK, Cadence.MONTH].index(calendar.cadence)
    assert calendar.cadence.cron.count("*") == (4, 3, 2, 2)[stars]
