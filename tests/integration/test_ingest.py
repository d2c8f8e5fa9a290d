"""Ingest on the real source, and on what a source may do wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from support import SLUG

from ml.core.errors import DataError
from ml.core.ports import Platform
from ml.stages import ingest
from ml.use_cases import load_module

pytestmark = pytest.mark.xdist_group("chain")
DAY = "2013-01-05"
Change = Callable[[pl.DataFrame], pl.DataFrame]


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch, empty: Platform) -> Callable[..., Any]:
    """Ingests days whose flights are changed on the way from the source."""
    source = load_module(SLUG, "source")
    read = source.read

    def run(change: Change = lambda rows: rows, *keys: str, **options: Any) -> Any:
        def changed(table: str, partitions: Any) -> pl.DataFrame:
            rows: pl.DataFrame = read(table, partitions)
            return change(rows) if table == "flights" else rows

        monkeypatch.setattr(source, "read", changed)
        keys = keys or (DAY,)
        partitions = empty.spec.partitions(keys[0], keys[-1])
        return ingest.run(empty, partitions=partitions, **options)

    return run


def at(row: int, **values: Any) -> Change:
    """Sets columns of one row."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        here = pl.int_range(pl.len()) == row
        return rows.with_columns(
            pl.when(here)
            .then(pl.lit(value, dtype=rows[name].dtype))
            .otherwise(pl.col(name))
            .alias(name)
            for name, value in values.items()
        )

    return change


def both(*changes: Change) -> Change:
    def change(rows: pl.DataFrame) -> pl.DataFrame:
        for one in changes:
            rows = one(rows)
        return rows

    return change


def raw(platform: Platform, key: str = DAY) -> Any:
    return platform.lake.read("raw", "flights", [key]).to_pylist()


def test_real_days_are_all_good_and_counted(deliver: Callable[..., Any], empty: Platform) -> None:
    found = deliver(lambda rows: rows, "2013-01-01", "2013-01-03")
    counts = [empty.lake.count("raw", "flights", f"2013-01-0{day}") for day in (1, 2, 3)]
    assert counts == [842, 943, 914] and found.rows["flights"] == sum(counts)
    assert found.quarantined == {} and empty.lake.keys("quarantine", "flights") == ()


def test_ingesting_again_gives_the_same_files(deliver: Callable[..., Any], empty: Platform) -> None:
    first = deliver(lambda rows: rows, "2013-01-01", "2013-01-02")
    snapshot = empty.lake.count("raw", "airports", None)
    again = deliver(lambda rows: rows, "2013-01-01", "2013-01-02")
    assert first == again and first.digests["flights"]
    assert empty.lake.count("raw", "airports", None) == snapshot > 1000


def test_a_range_gives_the_same_files_as_its_days(
    deliver: Callable[..., Any], empty: Platform
) -> None:
    whole = deliver(lambda rows: rows, "2013-01-01", "2013-01-03").digests
    for day in ("2013-01-03", "2013-01-01", "2013-01-02"):
        deliver(lambda rows: rows, day)
    keys = ["2013-01-01", "2013-01-02", "2013-01-03"]
    for table in ("flights", "weather"):
        assert empty.lake.digest("raw", table, keys) == whole[table]


def test_a_correction_is_stamped_and_nothing_else_changes(
    deliver: Callable[..., Any], empty: Platform
) -> None:
    deliver()
    before = raw(empty)
    when = datetime(2013, 2, 1, tzinfo=UTC)
    deliver(corrected_at=when)
    after = raw(empty)
    assert {row["corrected_at"] for row in before} == {None}
    assert [row | {"corrected_at": None} for row in after] == before
    assert {row["corrected_at"] for row in after} == {when}


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
    deliver: Callable[..., Any], empty: Platform, change: Change, reasons: list[str]
) -> None:
    good = deliver().rows["flights"]
    before = raw(empty)
    found = deliver(change)
    assert found.quarantined == {"flights": 1} and found.rows["flights"] == good - 1
    (row,) = empty.lake.read("quarantine", "flights", [DAY]).to_pylist()
    assert sorted(row["reasons"]) == sorted(reasons)
    assert raw(empty) == before[:3] + before[4:], "and good rows stay as they were"


def test_both_copies_of_a_key_are_quarantined(deliver: Callable[..., Any], empty: Platform) -> None:
    """Nobody can say which one is right."""
    found = deliver(lambda rows: pl.concat([rows, rows[5:6]]))
    assert found.quarantined == {"flights": 2}
    reasons = empty.lake.read("quarantine", "flights", [DAY]).to_pydict()["reasons"]
    assert reasons == [["primary_key"]] * 2


def test_a_quarantine_is_emptied_when_the_source_was_mended(
    deliver: Callable[..., Any], empty: Platform
) -> None:
    whole = deliver().digests
    deliver(at(3, origin="BOS"))
    assert empty.lake.keys("quarantine", "flights") == (DAY,)
    assert deliver().digests == whole
    assert empty.lake.keys("quarantine", "flights") == ()


def test_too_many_bad_rows_stop_the_partition_and_leave_the_lake_as_it_was(
    deliver: Callable[..., Any], empty: Platform
) -> None:
    before = deliver().digests
    faults = both(*(at(row, origin="BOS") for row in range(20)), at(30, dest="JFK"))
    with pytest.raises(DataError, match=r"21 of 720 rows of flights 2013-01-05 are bad") as caught:
        deliver(faults)
    text = str(caught.value)
    assert "origin_is_in_new_york 20" in text and "leaves_new_york 1" in text and "2.0%" in text
    keys = [DAY]
    assert {t: empty.lake.digest("raw", t, keys) for t in before} == before
    assert empty.lake.count("quarantine", "flights", DAY) == 21, "and they can be looked at"


def test_one_bad_day_of_a_range_stops_the_whole_range(
    deliver: Callable[..., Any], empty: Platform
) -> None:
    def spoil(rows: pl.DataFrame) -> pl.DataFrame:
        bad = pl.when(pl.col("partition_key") == "2013-01-02").then(pl.lit("BOS"))
        return rows.with_columns(origin=bad.otherwise("origin"))

    with pytest.raises(DataError, match="943 of 943 rows of flights 2013-01-02"):
        deliver(spoil, "2013-01-01", "2013-01-03")
    assert empty.lake.keys("raw", "flights") == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: rows.drop("arr_delay"), "arr_delay"),
        (lambda rows: rows.rename({"dest": "destination"}), "dest"),
        (lambda rows: rows.with_columns(pl.col("flight").cast(pl.String)), "flight"),
        (lambda rows: rows.with_columns(pl.col("time_hour").cast(pl.Datetime("ms"))), "time_hour"),
    ],
    ids=["missing", "renamed", "retyped", "time zone lost"],
)
def test_another_schema_is_refused_by_the_name_of_its_column(
    deliver: Callable[..., Any], empty: Platform, change: Change, named: str
) -> None:
    before = deliver().digests
    with pytest.raises(DataError, match=f"(?s)flights of {SLUG} has another schema.*{named}"):
        deliver(change)
    assert empty.lake.digest("raw", "flights", [DAY]) == before["flights"]


def test_a_row_without_a_partition_is_not_lost(
    deliver: Callable[..., Any], empty: Platform
) -> None:
    """Bad rows are quarantined, never dropped: a row that belongs nowhere must be said."""
    try:
        found = deliver(at(3, partition_key=None))
    except DataError:
        return
    assert found.quarantined == {"flights": 1}
    assert sum(
        len(empty.lake.read("quarantine", "flights", [k]))
        for k in empty.lake.keys("quarantine", "flights")
    )


def test_a_row_of_a_partition_that_was_not_asked_for_is_not_lost(
    deliver: Callable[..., Any],
) -> None:
    try:
        found = deliver(at(3, partition_key="2013-01-06"))
    except DataError:
        return
    assert found.rows["flights"] + found.quarantined.get("flights", 0) == 720
    assert found.quarantined


def test_a_delivery_without_rows_does_not_replace_a_good_partition(
    deliver: Callable[..., Any], empty: Platform
) -> None:
    """Missing data is an alarm, never a pass."""
    before = deliver().digests
    with pytest.raises(DataError):
        deliver(lambda rows: rows.clear())
    assert empty.lake.digest("raw", "flights", [DAY]) == before["flights"]


def test_a_snapshot_may_have_a_contract_too(
    deliver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, empty: Platform
) -> None:
    import dataframely as dy

    class Airlines(dy.Schema):
        carrier = dy.String(primary_key=True)
        name = dy.String(nullable=False)

    contract = load_module(SLUG, "contract")
    monkeypatch.setattr(contract, "CONTRACTS", {**contract.CONTRACTS, "airlines": Airlines})
    assert deliver().rows["airlines"] == empty.lake.count("raw", "airlines", None) == 16
