"""Ingest on the real source, and on what a source may do wrong."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from faults import DAY, Change, Source, at, bad, both, files, lives, raw, real
from support import SLUG, platform_at

from ml.core.errors import ConfigError, DataError
from ml.core.ports import Platform
from ml.use_cases import load_module
from ml.use_cases.contracts import Contract

pytestmark = pytest.mark.xdist_group("source")


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch, empty: Platform) -> Source:
    return Source(empty, monkeypatch)


def test_real_days_are_all_good_and_counted(deliver: Source, empty: Platform) -> None:
    found = deliver(None, "2013-01-01", "2013-01-03")
    counts = [empty.lake.count("raw", "flights", f"2013-01-0{day}") for day in (1, 2, 3)]
    assert counts == [842, 943, 914] and found.rows["flights"] == sum(counts)
    assert found.quarantined == {"planes": 34} and empty.lake.keys("quarantine", "flights") == ()
    assert found.partitions == 3 and found.warnings == () and found.revisions == {}


def test_ingesting_again_gives_the_same_files(
    deliver: Source, empty: Platform, tmp_path: Path
) -> None:
    first = deliver(None, "2013-01-01", "2013-01-02")
    before = files(tmp_path / "home")
    assert deliver(None, "2013-01-01", "2013-01-02") == first and first.digests["flights"]
    assert files(tmp_path / "home") == before and len(before) == 2 * 2 * 2 + 3 * 2 + 1


def test_a_range_gives_the_same_files_as_its_days(
    deliver: Source, empty: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receipts with their history and the quarantine, too, whatever the order of the days."""
    days = [f"2013-02-{day:02}" for day in range(10, 22)]
    deliver(None, days[0], days[-1])
    whole = files(tmp_path / "home")
    one_by_one = Source(platform_at(tmp_path / "other"), monkeypatch)
    for day in [days[5], *days]:
        one_by_one(None, day)
    assert files(tmp_path / "other") == whole
    assert any("quarantine" in name for name in whole), "the wind of February 12th is among them"


def test_the_order_of_rows_does_not_matter(deliver: Source) -> None:
    whole = deliver().digests
    assert deliver(lambda rows: rows.reverse()).digests == whole
    assert deliver(lambda rows: rows.select(pl.all().reverse())).digests == whole


def test_an_impossible_value_is_nulled_and_the_row_goes_on(
    deliver: Source, empty: Platform
) -> None:
    found = deliver(None, "2013-02-12")
    assert found.nulled == {"weather": 1} and found.rows["weather"] == 72
    (kept,) = empty.lake.read("quarantine", "weather", ["2013-02-12"]).to_pylist()
    assert kept["outcome"] == "nulled" and kept["reasons"] == ["wind_speed_over_150_mph"]
    assert round(kept["wind_speed"]) == 1048, "as it was delivered"
    rows = raw(empty, "2013-02-12", "weather")
    (row,) = [
        row for row in rows if row["time_hour"] == kept["time_hour"] and row["origin"] == "EWR"
    ]
    assert row["wind_speed"] is None and row["temp"] == kept["temp"]


def test_flags_are_noted_on_the_row_and_counted(deliver: Source, empty: Platform) -> None:
    found = deliver(both(at(3, dep_delay=1001, arr_delay=1000), at(4, tailnum="D942DN")))
    assert found.flagged == {"flights": 2, "airports": 5} and found.quarantined == {"planes": 34}
    flags = [row["flags"] for row in raw(empty) if row["flags"]]
    assert sorted(flags) == [["departed_over_1000_min_late"], ["malformed_tail_number"]]


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (at(3, carrier=None), ["carrier|nullability"]),
        (at(3, time_hour=None), ["time_hour|nullability"]),
        (at(3, origin="BOS"), ["origin_is_in_new_york"]),
        (at(3, dest="JFK"), ["leaves_new_york"]),
        (at(3, month=13), ["month|max"]),
        (at(3, distance=0), ["distance|min"]),
        (at(3, dest="x"), ["dest|regex"]),
        (at(3, dep_delay=None, arr_delay=4), ["arrived_only_if_departed"]),
        (
            at(3, dep_delay=None, arr_delay=9999, origin="BOS"),
            ["arr_delay|max", "arrived_only_if_departed", "origin_is_in_new_york"],
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_a_bad_row_goes_to_the_quarantine_with_every_reason(
    deliver: Source, empty: Platform, change: Change, reasons: list[str]
) -> None:
    found = deliver(change)
    assert found.quarantined["flights"] == 1 and found.rows["flights"] == 719
    (row,) = empty.lake.read("quarantine", "flights", [DAY]).to_pylist()
    assert row["outcome"] == "rejected" and sorted(row["reasons"]) == sorted(reasons)
    given = change(real("flights").filter(pl.col("partition_key") == DAY)).row(3, named=True)
    assert {name: row[name] for name in given} == given, "as it was delivered"
    key = given["carrier"], given["flight"], given["origin"]
    assert key not in {(r["carrier"], r["flight"], r["origin"]) for r in raw(empty)}


def test_both_copies_of_a_key_are_quarantined(deliver: Source, empty: Platform) -> None:
    """Nobody can say which one is right."""
    found = deliver(lambda rows: pl.concat([rows, rows[5:6]]))
    assert found.quarantined["flights"] == 2
    reasons = empty.lake.read("quarantine", "flights", [DAY]).to_pydict()["reasons"]
    assert reasons == [["primary_key"]] * 2


def test_too_many_bad_rows_stop_the_partition_and_leave_the_lake_as_it_was(
    deliver: Source, empty: Platform
) -> None:
    before = deliver().digests
    with pytest.raises(DataError, match=r"21 of 720 rows of flights 2013-01-05 are bad") as caught:
        deliver(both(bad(20), at(30, dest="JFK")))
    text = str(caught.value)
    assert "origin_is_in_new_york 20" in text and "leaves_new_york 1" in text and "2.0%" in text
    assert {t: empty.lake.digest("raw", t, [DAY]) for t in before} == before
    outcomes = empty.lake.read("stopped", "flights", [DAY]).to_pydict()["outcome"]
    assert outcomes.count("rejected") == 21 and outcomes.count("stopped") == 699


def test_as_many_bad_rows_as_the_limit_allows_do_not_stop(deliver: Source) -> None:
    assert deliver(bad(14)).quarantined["flights"] == 14  # of 720, 2 % is 14.4
    with pytest.raises(DataError, match="15 of 720"):
        deliver(bad(15))


def test_one_bad_day_of_a_range_stops_the_whole_range(
    deliver: Source, empty: Platform, tmp_path: Path
) -> None:
    def spoil(rows: pl.DataFrame) -> pl.DataFrame:
        broken = pl.when(pl.col("partition_key") == "2013-01-02").then(pl.lit("BOS"))
        return rows.with_columns(origin=broken.otherwise("origin"))

    with pytest.raises(DataError, match="943 of 943 rows of flights 2013-01-02"):
        deliver(spoil, "2013-01-01", "2013-01-03")
    (left,) = files(tmp_path / "home")
    assert "stopped/flight_delay/flights/partition_key=2013-01-02" in left


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: rows.drop("arr_delay"), "arr_delay is missing"),
        (
            lambda rows: rows.rename({"dest": "destination"}),
            "dest is missing, destination is new: renamed?",
        ),
        (lambda rows: rows.with_columns(pl.col("flight").cast(pl.String)), "flight is String inst"),
        (
            lambda rows: rows.with_columns(pl.col("time_hour").cast(pl.Datetime("ms"))),
            "time_hour is Datetime",
        ),
        (lambda rows: rows.with_columns(gate=pl.lit("A1")), r"gate \(String\) is new"),
        (
            lambda rows: rows.drop("arr_delay").with_columns(gate=pl.lit("A1")),
            r"arr_delay is missing; gate \(String\) is new",
        ),
    ],
    ids=["missing", "renamed", "retyped", "time zone lost", "extra", "two at once"],
)
def test_another_schema_is_refused_by_the_name_of_its_column(
    deliver: Source, empty: Platform, change: Change, named: str
) -> None:
    before = deliver().digests
    with pytest.raises(DataError, match=f"flights of {SLUG} has another schema: .*{named}") as told:
        deliver(change)
    assert "flight_delay.contract.Flights" in told.value.expected
    assert empty.lake.digest("raw", "flights", [DAY]) == before["flights"]
    kept = empty.lake.read("stopped", "flights", [DAY]).to_pylist()
    assert len(kept) == 720 and {row["outcome"] for row in kept} == {"stopped"}
    assert "another schema" in kept[0]["reasons"][0]


@pytest.mark.parametrize("name", ["outcome", "reasons", "flags", "corrected_at", "row_number"])
def test_a_column_that_the_platform_adds_is_refused(
    deliver: Source, empty: Platform, name: str
) -> None:
    """A rejected row of a table with its own `outcome` would count as good."""
    with pytest.raises(ConfigError, match=f"flights has a column {name}") as caught:
        deliver(lambda rows: rows.with_columns(pl.lit("won").alias(name)))
    assert "rename it" in caught.value.repair and empty.lake.keys("raw", "flights") == ()


def test_a_snapshot_has_no_partitions(deliver: Source, empty: Platform) -> None:
    """Its rows would be looked for under no key, and none would be found."""
    with pytest.raises(ConfigError, match="planes has a column partition_key"):
        deliver(lambda rows: rows.with_columns(partition_key=pl.lit(DAY)), table="planes")
    assert not empty.lake.count("raw", "planes", None)


def test_casts_that_lose_nothing_are_no_change(deliver: Source) -> None:
    whole = deliver().digests
    harmless = (
        pl.col("day").cast(pl.Int8),
        pl.col("time_hour").cast(pl.Datetime("us", "UTC")),
        pl.col("sched_dep_time").cast(pl.Int32),
    )
    assert deliver(lambda rows: rows.with_columns(*harmless)).digests == whole


@pytest.mark.parametrize("key", [None, "2013-01-06"])
def test_a_row_of_a_partition_that_was_not_asked_for_is_refused(
    deliver: Source, empty: Platform, key: str | None
) -> None:
    with pytest.raises(DataError, match=f"rows of partition {key}"):
        deliver(at(3, partition_key=key))
    assert empty.lake.keys("raw", "flights") == ()


def test_a_source_without_partition_keys_is_told_to_its_author(deliver: Source) -> None:
    with pytest.raises(DataError, match="gave no column partition_key") as caught:
        deliver(lambda rows: rows.drop("partition_key"))
    assert "source.py" in caught.value.repair


@pytest.mark.parametrize("clear", [lambda rows: rows.clear(), lambda rows: pl.DataFrame()])
def test_a_delivery_without_rows_does_not_replace_a_good_partition(
    deliver: Source, empty: Platform, clear: Change
) -> None:
    """Missing data is an alarm, never a pass."""
    before = deliver().digests
    for table in ("flights", "weather", "planes"):
        with pytest.raises(DataError, match=f"the source gave no rows for {table}"):
            deliver(clear, table=table)
    assert empty.lake.digest("raw", "flights", [DAY]) == before["flights"]
    assert empty.lake.count("raw", "planes", None) == 3288


def test_a_table_without_a_contract_is_taken_as_it_is(
    deliver: Source, empty: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = load_module(SLUG, "contract")
    others: dict[str, Contract] = {
        name: one for name, one in contract.CONTRACTS.items() if name not in ("weather", "airlines")
    }
    monkeypatch.setattr(contract, "CONTRACTS", others)
    found = deliver(None, "2013-02-12")
    assert found.nulled == {} and found.rows["airlines"] == 16
    assert max(row["wind_speed"] for row in raw(empty, "2013-02-12", "weather")) > 1000


def test_a_run_that_dies_at_any_write_is_mended_by_the_next(
    deliver: Source, empty: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = lives(lambda lake: deliver(bad(3), lake=lake), empty.lake)
    assert deaths >= 11, "raw and receipt of five tables, and the quarantine of planes and flights"
    straight = Source(platform_at(tmp_path / "other"), monkeypatch)
    straight(bad(3))
    assert files(tmp_path / "home") == files(tmp_path / "other")
