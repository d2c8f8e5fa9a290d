"""Volume and freshness of a delivery against the source's own past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from ml.core.errors import ConfigError
from ml.core.partitions import Cadence, Partitions
from ml.core.spec import Freshness, Table, Volume
from ml.stages.intake.deliveries import Delivery, Extent, anomalies, extent, partition_name, split

DAYS = Partitions(Cadence.DAY, "UTC").between("2020-01-01", "2020-02-29")
LIMITS = Volume(lower=0.5, upper=1.5)
FRESH = Freshness(column="at", tolerance=timedelta(hours=2))
HOUR = timedelta(hours=1)


def found(
    table: Table, now: dict[int, Extent], past: dict[int, Extent]
) -> list[tuple[str | None, str, bool]]:
    """Key, rule and whether it blocks; days by their number."""
    days = tuple(DAYS[day] for day in now)
    delivery = Delivery(table, days, pl.DataFrame())
    extents: dict[str | None, Extent] = {DAYS[day].key: one for day, one in now.items()}
    history: dict[str | None, Extent] = {DAYS[day].key: one for day, one in past.items()}
    told = anomalies(delivery, extents, history)
    return [(key, breach.rule, breach.blocks) for key, breach in told]


def usual(*days: int, rows: int = 100, lag: timedelta | None = HOUR) -> dict[int, Extent]:
    return {day: Extent(rows, DAYS[day].end - lag if lag else None, lag) for day in days}


VOLUME, FRESHNESS = Table(name="t", volume=LIMITS), Table(name="t", freshness=FRESH)


@pytest.mark.parametrize(("rows", "told"), [(49, True), (50, False), (150, False), (151, True)])
def test_volume_is_a_ratio_to_the_median_before(rows: int, told: bool) -> None:
    past = usual(*range(7)) | usual(3, rows=1000)  # one odd day is not the median
    assert found(VOLUME, usual(7, rows=rows), past) == (
        [("2020-01-08", "volume", True)] if told else []
    )


def test_fewer_than_seven_partitions_before_say_nothing() -> None:
    assert found(VOLUME, usual(6, rows=1), usual(*range(6))) == []
    assert found(VOLUME, usual(7, rows=1), usual(*range(7))) != []


def test_only_the_last_28_partitions_before_count() -> None:
    past = usual(*range(30), rows=1000) | usual(*range(30, 58))
    assert found(VOLUME, usual(58), past) == []
    assert found(VOLUME, usual(40), past) != [], "here most of them are of the larger days"


def test_earlier_partitions_of_a_range_are_history_and_later_ones_are_not() -> None:
    now = usual(*range(8)) | usual(8, rows=10) | usual(*range(9, 12))
    assert found(VOLUME, now, {}) == [("2020-01-09", "volume", True)]
    assert found(VOLUME, usual(0, rows=10), usual(*range(1, 12))) == []


def test_what_is_delivered_again_counts_as_it_is_now() -> None:
    past = usual(*range(8), rows=1000)
    assert found(VOLUME, usual(*range(8)), past) == []


@pytest.mark.parametrize(("lag", "told"), [(3 * HOUR, False), (3.01 * HOUR, True)])
def test_freshness_is_a_lag_beyond_the_median_before(lag: timedelta, told: bool) -> None:
    past = usual(*range(7)) | usual(3, lag=20 * HOUR) | usual(4, lag=None)
    assert found(FRESHNESS, usual(7, lag=lag), past) == (
        [("2020-01-08", "freshness", True)] if told else []
    )


def test_a_breach_names_value_expectation_and_history() -> None:
    table = Table(name="t", volume=LIMITS, freshness=FRESH)
    day = DAYS[7]
    delivery = Delivery(table, (day,), pl.DataFrame())
    history: Any = {DAYS[n].key: one for n, one in usual(*range(7), rows=1200).items()}
    extents: Any = {day.key: usual(7, rows=30, lag=5 * HOUR)[7]}
    volume, freshness = (str(breach) for _, breach in anomalies(delivery, extents, history))
    assert volume == (
        "t 2020-01-08 has 30 rows, expected 600 to 1,800: 0.5 to 1.5 times the median 1,200 of "
        "the 7 partitions before"
    )
    assert freshness == (
        "the newest at of t 2020-01-08 is 2020-01-08 19:00 UTC, 5 h before the end, expected at "
        "most 3 h before it: 2 h more than the median 1 h of the 7 partitions before"
    )


@pytest.mark.parametrize(
    ("table", "past", "blocks"),
    [
        (Table(name="t"), {}, True),
        (VOLUME, {}, True),
        (Table(name="t", volume=LIMITS.model_copy(update={"blocks": False})), {}, False),
        (Table(name="t", volume=LIMITS.model_copy(update={"blocks": False})), usual(7), True),
    ],
    ids=["no limits", "blocks", "told only", "would replace a full one"],
)
def test_an_empty_partition_is_an_alarm(table: Table, past: Any, blocks: bool) -> None:
    assert found(table, {7: Extent(0)}, past) == [("2020-01-08", "empty", blocks)]


def test_a_snapshot_is_compared_with_the_one_that_it_replaces() -> None:
    table = Table(name="t", is_snapshot=True, volume=LIMITS)
    delivery = Delivery(table, (), pl.DataFrame())
    for rows, told in ((49, 1), (50, 0), (151, 1)):
        breaches = [b for _, b in anomalies(delivery, {None: Extent(rows)}, {None: Extent(100)})]
        assert len(breaches) == told
        assert all(b.expected.endswith("times the 100 that it replaces") for b in breaches)
    assert list(anomalies(delivery, {None: Extent(5)}, {})) == []


def test_the_extent_of_a_partition() -> None:
    times = [datetime(2020, 1, 1, 20, tzinfo=UTC), None]
    rows = pl.DataFrame({"at": times}, schema={"at": pl.Datetime("us", "UTC")})
    assert extent(FRESHNESS, 3, rows, DAYS[0]) == Extent(3, times[0], 4 * HOUR)
    local = rows.with_columns(pl.col("at").dt.convert_time_zone("Asia/Tokyo"))
    assert extent(FRESHNESS, 3, local, DAYS[0]).lag == 4 * HOUR
    naive = rows.with_columns(pl.col("at").dt.replace_time_zone(None))
    assert extent(FRESHNESS, 3, naive, DAYS[0]).lag == 4 * HOUR
    assert extent(FRESHNESS, 0, rows.clear(), DAYS[0]) == Extent(0)
    assert extent(VOLUME, 3, rows, DAYS[0]) == Extent(3)


@pytest.mark.parametrize("told", ["2020-01-01", 7, None])
def test_freshness_is_told_by_a_time(told: object) -> None:
    """What cannot be told never passes."""
    rows = pl.DataFrame({"at" if told else "other": [told]})
    with pytest.raises(ConfigError, match="freshness of t is told by at, which is"):
        extent(FRESHNESS, 1, rows, DAYS[0])
    nothing = pl.DataFrame({"at": [None]}, schema={"at": pl.Datetime("us", "UTC")})
    now = {7: extent(FRESHNESS, 1, nothing, DAYS[7])}
    assert found(FRESHNESS, now, usual(*range(7))) == [("2020-01-08", "freshness", True)]
    assert found(FRESHNESS, now, usual(*range(7), lag=None)) == [], "it never had one"


def test_rows_are_split_by_key_and_a_key_without_rows_has_none() -> None:
    rows = pl.DataFrame({"x": [1, 2, 3], "partition_key": ["a", "b", "a"]})
    parts = split(rows, ["a", "b", "c"])
    assert {key: part["x"].to_list() for key, part in parts.items()} == {
        "a": [1, 3],
        "b": [2],
        "c": [],
    }
    assert split(rows.drop("partition_key"), [None])[None]["x"].to_list() == [1, 2, 3]
    assert partition_name("t", None) == "t" and partition_name("t", "a") == "t a"
