"""Mended rows are remembered: the source gives the same again, and they stay."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import dataframely as dy
import polars as pl
import pytest
from faults import (
    DAY,
    Change,
    DyingLake,
    Source,
    at,
    both,
    files,
    listed,
    mend,
    raw,
    receipts,
)

from ml.core.errors import DataError
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import ingest, quarantine
from ml.stages.intake.judge import GIVEN
from ml.stages.intake.memory import recall
from ml.use_cases import load_module

pytestmark = pytest.mark.xdist_group("source")
WHEN, LATER, LATEST = (datetime(2013, 2, day, tzinfo=UTC) for day in (1, 2, 3))
NEXT = "2013-01-06"


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch, empty: Platform) -> Source:
    return Source(empty, monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.parquet"


def short(*rows: int) -> Change:
    """Flights of no distance, which is a bad row each."""
    return both(*(at(row, distance=0) for row in rows))


def right(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(distance=pl.col("distance").replace(0, 100))


def first_right(rows: pl.DataFrame) -> pl.DataFrame:
    return right(rows[:1])


def saved(platform: Platform, path: Path, table: str = "flights") -> Path:
    path.unlink(missing_ok=True)
    quarantine.save(platform, table, DAY, path)
    return path


def contract(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    contracts = load_module("flight_delay", "contract").CONTRACTS
    changed = dataclasses.replace(contracts["flights"], **changes)
    monkeypatch.setitem(contracts, "flights", changed)


@pytest.mark.parametrize("count", [2, 30], ids=["bad rows", "a stopped delivery"])
def test_what_was_mended_stays_until_the_source_gives_something_else(
    deliver: Source, empty: Platform, tmp_path: Path, count: int
) -> None:
    """As when the task is cleared: its ingest is dated, so bad rows would be withdrawn again."""
    fault = both(*(at(row, distance=0) for row in range(count)))
    try:
        deliver(fault)
    except DataError:
        assert count == 30
    path = tmp_path / "rows.parquet"
    quarantine.save(empty, "flights", DAY, path)
    mend(path, lambda rows: rows.with_columns(distance=pl.col("distance").replace(0, 100)))
    quarantine.replay(empty, table="flights", rows=path, revision=WHEN)
    whole = files(tmp_path / "home")
    assert len(raw(empty)) == 720 and listed(empty) == []

    found = deliver(fault, revision=LATER)
    assert found.warnings[-1].startswith(f"flights {DAY}: the source gave again what was mended")
    deliver(fault, DAY, "2013-01-06", revision=LATER)
    kept = {name: digest for name, digest in files(tmp_path / "home").items() if name in whole}
    assert kept == whole

    other = both(fault, at(50, distance=200))
    if count == 2:
        found = deliver(other, revision=LATER)
        assert found.quarantined["flights"] == 2
    else:
        with pytest.raises(DataError, match="30 of 720 rows"):
            deliver(other, revision=LATER)
        found = deliver(revision=LATEST)
    told = [text for text in found.warnings if text.endswith("what was mended is forgotten")]
    assert [text.partition(":")[0] for text in told] == [f"flights {DAY}"]


def test_rows_mended_in_two_steps_are_remembered(
    deliver: Source, empty: Platform, tmp_path: Path
) -> None:
    fault = both(at(0, distance=0), at(1, distance=0), at(2, distance=0))
    deliver(fault)
    path = tmp_path / "rows.csv"
    for expected in (2, 1):
        quarantine.save(empty, "flights", DAY, path)
        mend(path, both(lambda rows: rows[:1], at(0, distance="100")))
        quarantine.replay(empty, table="flights", rows=path, revision=WHEN)
        whole = files(tmp_path / "home")
        deliver(fault, revision=LATER)
        assert files(tmp_path / "home") == whole
        (line,) = listed(empty)
        assert line.startswith(f"flights {DAY}: {expected} rejected")


def test_columns_mended_by_hand_are_remembered(
    deliver: Source, empty: Platform, path: Path
) -> None:
    renamed: Change = lambda rows: rows.rename({"distance": "dist"})  # noqa: E731
    with pytest.raises(DataError, match="another schema"):
        deliver(renamed, DAY, NEXT)
    mend(saved(empty, path), lambda rows: rows.rename({"dist": "distance"}))
    day = empty.spec.partitions(DAY, DAY)
    quarantine.replay(empty, table="flights", partitions=day, rows=path)
    assert len(raw(empty)) == 720
    with pytest.raises(DataError, match="another schema"):
        deliver(renamed, DAY, NEXT)
    assert empty.lake.keys("stopped", "flights") == (NEXT,), "the other day stops alone"
    found = deliver(renamed, DAY)
    assert found.warnings[-1].startswith(f"flights {DAY}: the source gave again")


@pytest.mark.parametrize("deaths", range(6))
def test_a_replay_that_died_is_finished_by_the_next_ingest(
    deliver: Source, empty: Platform, path: Path, deaths: int
) -> None:
    deliver(short(0, 1, 2))
    for step in (WHEN, LATER):
        mend(saved(empty, path), first_right)
        lake = DyingLake(empty.lake, 99 if step == WHEN else deaths)
        dying = dataclasses.replace(empty, lake=lake)
        try:
            quarantine.replay(dying, table="flights", rows=path, revision=step)
        except KeyboardInterrupt:
            assert step == LATER
    deliver(short(0, 1, 2), revision=LATEST)
    left = 1 if deaths else 2
    assert len(raw(empty)) == 720 - left
    assert listed(empty) == [f"flights {DAY}: {left} rejected (distance|min {left})"]


@pytest.mark.parametrize("deaths", range(5))
def test_a_file_with_some_of_the_rows_can_be_replayed_again(
    deliver: Source, empty: Platform, path: Path, deaths: int
) -> None:
    """The others stay in the quarantine, also if the first replay died."""
    deliver(short(0, 1))
    mend(saved(empty, path), first_right)
    for last in (deaths, 99):
        dying = dataclasses.replace(empty, lake=DyingLake(empty.lake, last))
        try:
            quarantine.replay(dying, table="flights", rows=path, revision=WHEN)
        except KeyboardInterrupt:
            assert last == deaths
    assert len(raw(empty)) == 719
    assert listed(empty) == [f"flights {DAY}: 1 rejected (distance|min 1)"]


def test_what_was_mended_goes_with_a_replacement(
    deliver: Source, empty: Platform, path: Path
) -> None:
    deliver(short(0))
    quarantine.replay(empty, table="flights", rows=mend(saved(empty, path), right), revision=WHEN)
    assert deliver(short(1), replace=True).quarantined["flights"] == 1
    assert empty.lake.keys("mended", "flights") == ()
    quarantine.replay(empty, table="flights", rows=mend(saved(empty, path), right), revision=WHEN)
    deliver(short(1), revision=LATER)
    assert len(raw(empty)) == 720 and listed(empty) == []
    assert deliver(short(0), revision=LATEST).quarantined["flights"] == 1, "another delivery"


def test_a_contract_that_is_relaxed_later_changes_only_what_it_is_about(
    deliver: Source, empty: Platform, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = both(short(0), at(1, dest="JFK"))
    deliver(fault)
    mend(saved(empty, path), lambda rows: right(rows.filter(pl.col("distance") == 0)))
    quarantine.replay(empty, table="flights", rows=path, revision=WHEN)
    assert len(raw(empty)) == 719

    class Relaxed(load_module("flight_delay", "contract").Flights):  # type: ignore[misc]
        @dy.rule()
        def leaves_new_york(cls) -> pl.Expr:
            return pl.lit(True)

    contract(monkeypatch, rows=Relaxed)
    for when in (LATER, LATEST):
        deliver(fault, revision=when)
        assert len(raw(empty)) == 720


def test_a_remembered_delivery_that_is_stopped_can_be_mended_further(
    deliver: Source, empty: Platform, path: Path, spec: UseCase
) -> None:
    fault = short(*range(14))
    deliver(fault)
    mend(saved(empty, path), lambda rows: right(rows[:2]))
    quarantine.replay(empty, table="flights", rows=path, revision=WHEN)
    stricter = spec.model_copy(update={"max_quarantine_share": 0.015})
    deliver.platform = strict = dataclasses.replace(empty, spec=stricter)
    with pytest.raises(DataError, match="12 of 720 rows"):
        deliver(fault, revision=LATER)
    quarantine.replay(
        strict, table="flights", rows=mend(saved(strict, path), right), revision=LATER
    )
    deliver(fault, revision=LATEST)
    assert len(raw(empty)) == 720 and listed(empty) == []


def test_the_quarantine_comes_back_after_it_was_cleaned_up(
    deliver: Source, empty: Platform, path: Path
) -> None:
    deliver(short(0, 1))
    mend(saved(empty, path), first_right)
    quarantine.replay(empty, table="flights", rows=path, revision=WHEN)
    before, kept = listed(empty), receipts(empty)
    empty.lake.remove("quarantine", "flights", DAY)
    deliver(short(0, 1), revision=LATER)
    assert listed(empty) == before and receipts(empty) == kept


def test_two_tables_of_one_day_are_mended_one_after_the_other(
    deliver: Source, empty: Platform, tmp_path: Path
) -> None:
    boston: Change = lambda rows: rows.with_columns(origin=pl.lit("BOS"))  # noqa: E731
    deliver.changes = {"flights": short(*range(30)), "weather": boston}
    with pytest.raises(DataError, match="are bad"):
        ingest.run(empty, partitions=empty.spec.partitions(DAY, DAY))
    flights, weather = (saved(empty, tmp_path / f"{t}.csv", t) for t in ("flights", "weather"))
    mend(flights, lambda rows: rows.with_columns(distance=pl.lit("100")))
    mend(weather, lambda rows: rows.with_columns(origin=pl.lit("JFK")).unique("time_hour"))
    with pytest.raises(DataError, match="rows of weather") as refused:
        quarantine.replay(empty, table="flights", rows=flights)
    assert "after a fix of the source" in refused.value.repair
    quarantine.replay(empty, table="weather", rows=weather)
    assert len(raw(empty)) == 720 and listed(empty) == []


# A contract without a primary key.


@pytest.fixture
def keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    class Keyless(load_module("flight_delay", "contract").Flights):  # type: ignore[misc]
        year = dy.Int64()
        month = dy.Int64()
        day = dy.Int64()
        carrier = dy.String()
        flight = dy.Int64()
        origin = dy.String()

    assert not Keyless.primary_key()
    long = {"too_long": ("air_time", pl.col("air_time") > 5000)}
    contract(monkeypatch, rows=Keyless, cells=long)


@pytest.mark.parametrize("count", [1, 30], ids=["bad rows", "a stopped delivery"])
def test_without_a_key_it_is_remembered_too(
    deliver: Source, empty: Platform, path: Path, keyless: None, count: int
) -> None:
    fault = both(short(*range(count)), *([at(40, air_time=6000)] if count == 30 else []))
    try:
        deliver(fault)
    except DataError:
        assert count == 30
    quarantine.replay(empty, table="flights", rows=mend(saved(empty, path), right), revision=WHEN)
    before = files(path.parent / "home")
    for when in (LATER, LATEST):
        deliver(fault, revision=when)
        assert len(raw(empty)) == 720
    assert files(path.parent / "home") == before


def test_without_a_key_a_nulled_row_cannot_be_mended(
    deliver: Source, empty: Platform, path: Path, keyless: None
) -> None:
    """Nobody could say which row of the lake it is."""
    deliver(at(40, air_time=6000))
    before = files(path.parent / "home")
    with pytest.raises(DataError, match="has no primary key"):
        quarantine.replay(empty, table="flights", rows=saved(empty, path), revision=WHEN)
    assert files(path.parent / "home") == before


def test_a_memory_without_what_the_source_gave_is_none(deliver: Source, empty: Platform) -> None:
    """As an older version has written it."""
    deliver(None)
    flights = next(table for table in empty.spec.tables if table.name == "flights")
    rows = empty.lake.read("raw", "flights", [DAY]).drop_columns(["partition_key"])
    empty.lake.write("mended", "flights", DAY, rows, {GIVEN: "0"})
    assert recall(empty, flights, [DAY])[DAY].given == "0"
    empty.lake.write("mended", "flights", DAY, rows)
    assert recall(empty, flights, [DAY]) == {}
