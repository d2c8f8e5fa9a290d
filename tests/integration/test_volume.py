"""Volume and freshness: the real year passes, and what is unusual is stopped or told."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from faults import Change, Source, bad, both, files, raw

from ml.core.errors import DataError
from ml.core.ports import Platform
from ml.stages.intake.deliveries import read
from ml.stages.intake.examine import Examined, examine
from ml.stages.intake.receipts import Receipts
from ml.stages.intake.revisions import Terms

pytestmark = pytest.mark.xdist_group("source")
FIRST, LAST, NEXT = "2013-01-02", "2013-01-08", "2013-01-09"
LATER = datetime(2013, 2, 2, tzinfo=UTC)


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch, empty: Platform) -> Source:
    return Source(empty, monkeypatch)


def _whole_year(platform: Platform, name: str) -> Examined:
    spec = platform.spec
    table = next(table for table in spec.tables if table.name == name)
    days = spec.partitions(spec.coverage.first, spec.coverage.last)
    delivery = read(platform, table, days)
    return examine(platform, delivery, Receipts(platform, name), Terms())


def test_the_real_year_of_flights_has_nothing_unusual(deliver: Source, empty: Platform) -> None:
    found = _whole_year(empty, "flights")
    assert found.stops == {} and found.warnings == ()


def test_the_real_year_of_weather_is_told_its_gaps(deliver: Source, empty: Platform) -> None:
    """The days on which the feed has less than 90 % of its hours; on the last it has none."""
    found = _whole_year(empty, "weather")
    days = [re.findall(r"weather (2013-\d\d-\d\d)", text)[0] for text in found.warnings]
    gaps = ["2013-08-22", "2013-10-25", "2013-11-02", "2013-12-30", "2013-12-31"]
    assert found.stops == {} and sorted(set(days)) == gaps
    assert found.warnings[-1].startswith("the source gave no rows for weather 2013-12-31")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[::3], r"(?s)has 301 rows.* 457 to 1,371: .* of the 7 partitions"),
        (
            lambda rows: pl.concat([rows, rows.with_columns(pl.col("flight") + 10_000)]),
            "has 1,804 rows",
        ),
        (
            lambda rows: rows.filter(pl.col("hour") < 18),
            r"the newest time_hour of flights .* 22:00 UTC, 7 h before the end",
        ),
    ],
    ids=["too few", "too many", "too old"],
)
def test_an_unusual_day_of_flights_is_stopped_unless_it_is_accepted(
    deliver: Source, empty: Platform, change: Change, told: str
) -> None:
    deliver(None, FIRST, LAST)
    with pytest.raises(DataError, match=told) as caught:
        deliver(change, NEXT)
    assert "add --accept-anomalies" in caught.value.repair
    assert NEXT not in empty.lake.keys("raw", "weather"), "the partition is stopped as a whole"
    stopped = empty.lake.read("stopped", "flights", [NEXT]).to_pydict()["outcome"]
    assert set(stopped) == {"stopped"}
    found = deliver(change, NEXT, accept_anomalies=True)
    assert re.search(told, found.warnings[0]) and NEXT in empty.lake.keys("raw", "flights")
    assert empty.lake.keys("stopped", "flights") == ()
    found = deliver(change, NEXT)
    assert re.search(told, found.warnings[0]), "what was accepted needs no second word"
    assert found.warnings[0].endswith("the lake has these rows already: accepted before")
    with pytest.raises(DataError, match="flights 2013-01-09"):
        deliver(both(change, lambda rows: rows[1:]), NEXT, revision=LATER)


def test_an_accepted_day_of_which_the_receipt_is_missing_is_not_stopped_again(
    deliver: Source, empty: Platform
) -> None:
    deliver(None, FIRST, LAST)
    deliver(lambda rows: rows[::3], NEXT, accept_anomalies=True)
    empty.lake.remove("receipts", "flights", NEXT)
    deliver(lambda rows: rows[::3], NEXT)
    assert NEXT in empty.lake.keys("receipts", "flights")


def test_an_unusual_day_of_weather_is_told(deliver: Source, empty: Platform) -> None:
    """Flights are scored without weather, too."""
    deliver(None, FIRST, LAST)
    found = deliver(lambda rows: rows[:40], NEXT, table="weather")
    assert len(found.warnings) == 1 and "weather 2013-01-09 has 40 rows" in found.warnings[0]
    found = deliver(lambda rows: rows.clear(), "2013-01-10", table="weather")
    assert "gave no rows for weather 2013-01-10" in found.warnings[0]
    assert raw(empty, "2013-01-10", "weather") == []
    columns = empty.lake.read("raw", "weather", ["2013-01-10"]).schema
    assert columns.equals(empty.lake.read("raw", "weather", [NEXT]).schema)


def test_bad_rows_are_no_excuse_for_too_many_and_none_are_accepted(deliver: Source) -> None:
    """Too many bad rows are wrong, not unusual."""
    with pytest.raises(DataError, match="are bad"):
        deliver(lambda rows: rows.with_columns(origin=pl.lit("BOS")), accept_anomalies=True)


def test_a_snapshot_that_shrinks_is_stopped(
    deliver: Source, empty: Platform, tmp_path: Path
) -> None:
    deliver()
    home = tmp_path / "home"
    before = files(home)
    with pytest.raises(DataError, match=r"(?s)airlines has 7 rows.*8 to 32: .* replaces"):
        deliver(lambda rows: rows[:7], table="airlines")
    kept = {name: digest for name, digest in files(home).items() if "/stopped/" not in name}
    assert kept == before
    deliver(lambda rows: rows[:7], table="airlines", accept_anomalies=True)
    assert empty.lake.count("raw", "airlines", None) == 7


def test_the_history_is_what_was_delivered_with_its_bad_rows(
    deliver: Source, empty: Platform
) -> None:
    deliver(bad(9), LAST)
    (receipt,) = empty.lake.read("receipts", "flights", [LAST]).to_pylist()
    receipts = Receipts(empty, "flights")
    receipts.load([LAST])
    assert receipt["quarantined"] == 9
    assert receipts.extents()[LAST].rows == receipt["rows"] + 9
