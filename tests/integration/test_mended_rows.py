"""Quarantined rows that are mended by hand, and what may be wrong with that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from faults import DAY, Source, at, bad, both, files, listed, lives, mend, raw, real
from support import platform_at

from ml.core.errors import ConfigError, DataError
from ml.core.ports import Platform
from ml.stages import quarantine

pytestmark = pytest.mark.xdist_group("source")
WHEN = datetime(2013, 2, 1, tzinfo=UTC)


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch, empty: Platform) -> Source:
    return Source(empty, monkeypatch)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_mended_rows_are_merged_by_their_key(
    deliver: Source, empty: Platform, tmp_path: Path, suffix: str
) -> None:
    deliver()
    whole = raw(empty)
    deliver(bad(3), replace=True)
    path = tmp_path / f"rows{suffix}"
    assert quarantine.save(empty, "flights", DAY, path) == 3
    origins = real("flights").filter(pl.col("partition_key") == DAY)["origin"][:3]
    change = both(*(at(row, origin=origin) for row, origin in enumerate(origins)))
    quarantine.replay(empty, table="flights", rows=mend(path, change), revision=WHEN)
    after = raw(empty)
    assert [row | {"corrected_at": None} for row in after] == whole
    assert sum(row["corrected_at"] is not None for row in after) == 3


def test_rows_that_are_left_out_of_the_file_stay_in_the_quarantine(
    deliver: Source, empty: Platform, tmp_path: Path
) -> None:
    deliver(both(at(0, distance=0), at(1, distance=0), at(2, distance=0)))
    path = tmp_path / "rows.csv"
    quarantine.save(empty, "flights", DAY, path)
    mend(path, both(lambda rows: rows[1:2], at(0, distance="100")))
    found = quarantine.replay(empty, table="flights", rows=path, revision=WHEN)
    assert found.remaining == (f"flights {DAY}: 2 rejected (distance|min 2)",)
    assert found.ingested.rows == {"flights": 718}


def test_a_file_as_long_as_the_quarantine_replaces_all_of_it(
    deliver: Source, empty: Platform, tmp_path: Path
) -> None:
    """A row whose key was what was wrong has no key to be found by."""
    deliver(both(at(0, carrier=None), at(1, flight=-1)))
    path = tmp_path / "rows.parquet"
    quarantine.save(empty, "flights", DAY, path)
    mend(path, both(at(0, carrier="XX"), at(1, carrier="XX", flight=1)))
    found = quarantine.replay(empty, table="flights", rows=path, revision=WHEN)
    assert found.remaining == () and found.ingested.rows == {"flights": 720}


def test_a_mended_row_does_not_take_the_place_of_another_one(
    deliver: Source, empty: Platform, tmp_path: Path
) -> None:
    deliver(both(at(0, carrier=None), at(1, distance=0)))
    before, path = files(tmp_path / "home"), tmp_path / "rows.parquet"
    quarantine.save(empty, "flights", DAY, path)
    taken = {name: raw(empty)[7][name] for name in ("carrier", "flight", "origin")}
    mend(path, at(0, **taken))
    with pytest.raises(DataError, match=r"1 rows of .* have the keys of other rows of flights"):
        quarantine.replay(empty, table="flights", rows=path, revision=WHEN)
    assert files(tmp_path / "home") == before


def test_a_replay_of_mended_rows_that_dies_at_any_write_is_mended_by_the_next(
    empty: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = {"home": empty, "other": platform_at(tmp_path / "other")}
    for name, platform in homes.items():
        Source(platform, monkeypatch)(both(at(0, carrier=None), at(1, distance=0)))
        path = tmp_path / f"{name}.parquet"
        quarantine.save(platform, "flights", DAY, path)
        mend(path, both(at(0, carrier="XX"), at(1, distance=100)))

    def replay(platform: Platform, name: str) -> None:
        path = tmp_path / f"{name}.parquet"
        quarantine.replay(platform, table="flights", rows=path, revision=WHEN)

    replay(homes["other"], "other")
    deaths = lives(lambda lake: replay(dataclasses.replace(empty, lake=lake), "home"), empty.lake)
    assert deaths == 4, "what was given, raw, receipt, and the quarantine goes"
    assert files(tmp_path / "home") == files(tmp_path / "other")


@pytest.mark.parametrize("count", [3, 30], ids=["bad rows", "a stopped delivery"])
def test_a_refused_file_changes_nothing_and_can_be_corrected(
    deliver: Source, empty: Platform, tmp_path: Path, count: int
) -> None:
    try:
        deliver(both(*(at(row, distance=0) for row in range(count))))
    except DataError:
        assert count == 30
    before, path = files(tmp_path / "home"), tmp_path / "rows.csv"
    quarantine.save(empty, "flights", DAY, path)
    mend(path, lambda rows: rows.with_columns(distance=pl.lit("100")))
    good = path.read_bytes()
    more = [mend(path, at(0, flight=str(-number))).read_bytes() for number in range(1, 31)]
    path.write_bytes(b"\n".join([good.strip(), *(one.splitlines()[1] for one in more)]))
    with pytest.raises(DataError, match="rows of flights 2013-01-05 are bad: flight") as refused:
        quarantine.replay(empty, table="flights", rows=path, revision=WHEN)
    command = f"quarantine replay flight_delay flights {DAY} --rows {path} --revision {WHEN:%Y}"
    assert f"after a fix of the rows: flightline {command}" in refused.value.repair
    assert files(tmp_path / "home") == before

    path.write_bytes(good)
    quarantine.replay(empty, table="flights", rows=path, revision=WHEN)
    assert len(raw(empty)) == 720 and listed(empty) == []


def test_a_nulled_value_can_be_mended(deliver: Source, empty: Platform, tmp_path: Path) -> None:
    deliver(None, "2013-02-12")
    assert listed(empty) == ["weather 2013-02-12: 1 nulled (wind_speed_over_150_mph 1)"]
    path = tmp_path / "rows.csv"
    quarantine.save(empty, "weather", "2013-02-12", path)
    mend(path, lambda rows: rows.with_columns(wind_speed=pl.lit("10.48")))
    quarantine.replay(empty, table="weather", rows=path, revision=WHEN)
    assert listed(empty) == []
    rows = raw(empty, "2013-02-12", "weather")
    assert [row["wind_speed"] for row in rows if row["corrected_at"] == WHEN] == [10.48]


def test_rows_of_a_snapshot_can_be_mended(deliver: Source, empty: Platform, tmp_path: Path) -> None:
    deliver()
    path = tmp_path / "planes.csv"
    assert quarantine.save(empty, "planes", "", path) == 34
    mend(path, lambda rows: rows.with_columns(seats=pl.lit("150")))
    found = quarantine.replay(empty, table="planes", rows=path)
    assert found.ingested.rows == {"planes": 3322} and quarantine.listing(empty) == ()
    deliver(None, "2013-01-06")
    assert quarantine.listing(empty) == (), "the next day delivers all planes again"
    deliver(replace=True)
    assert quarantine.listing(empty) == (), "only the lake's copy of the day was wrong"
    assert "partition_key" not in pl.read_csv(path).columns


# What may be wrong with a replay.


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (None, ConfigError, "no file"),
        ("year,month\n2013,1\n", DataError, "day is missing; dep_time is missing"),
        ("year\nlast\n", DataError, "cannot read .*last"),
        ("", DataError, "cannot read"),
    ],
    ids=["no file", "columns missing", "not a number", "empty"],
)
def test_a_file_that_cannot_be_used_leaves_the_quarantine_as_it_is(
    deliver: Source,
    empty: Platform,
    tmp_path: Path,
    content: str | None,
    error: type[Exception],
    told: str,
) -> None:
    deliver(bad(3))
    before = files(tmp_path / "home")
    path = tmp_path / "rows.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=told):
        quarantine.replay(empty, table="flights", rows=path, revision=WHEN)
    assert files(tmp_path / "home") == before


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda p, f: quarantine.replay(p, table="flights"), "nothing of flights is in the quar"),
        (lambda p, f: quarantine.replay(p, table="trains"), "has no table 'trains'"),
        (lambda p, f: quarantine.rows(p, "trains", DAY), "has no table 'trains'"),
        (lambda p, f: quarantine.save(p, "planes", None, f / "x.xlsx"), "unknown kind of file"),
        (lambda p, f: quarantine.save(p, "planes", None, f / "no" / "x.csv"), "cannot write"),
        (
            lambda p, f: quarantine.replay(
                p, table="flights", partitions=p.spec.partitions("2013-01-06", "2013-01-07")
            ),
            "nothing of flights, 2013-01-06 to 2013-01-07, is in",
        ),
        (lambda p, f: quarantine.replay(p, rows=f / "x.csv"), "one partition of one table, not"),
    ],
    ids=["clean", "no table", "show no table", "xlsx", "no folder", "not these", "several"],
)
def test_a_wrong_call_says_what_would_be_right(
    deliver: Source,
    empty: Platform,
    tmp_path: Path,
    call: Callable[[Platform, Path], Any],
    told: str,
) -> None:
    deliver(None, "2013-02-12")
    with pytest.raises(ConfigError, match=told):
        call(empty, tmp_path)


def test_nothing_is_mended_in_a_partition_that_is_not_there(
    deliver: Source, empty: Platform, tmp_path: Path
) -> None:
    """Its good rows would be missing."""
    deliver(bad(3))
    path = tmp_path / "rows.csv"
    quarantine.save(empty, "flights", DAY, path)
    empty.lake.remove("raw", "flights", DAY)
    with pytest.raises(DataError, match=f"flights {DAY} is not in the lake"):
        quarantine.replay(empty, table="flights", rows=path)
