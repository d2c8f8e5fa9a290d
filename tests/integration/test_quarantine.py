"""The quarantine: what was kept out is listed, looked at, mended and taken in."""

from __future__ import annotations

import contextlib
import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from faults import (
    DAY,
    Change,
    Source,
    bad,
    both,
    files,
    listed,
    lives,
    mend,
    raw,
    receipts,
    without,
)
from support import SLUG, platform_at
from typer.testing import CliRunner

from ml.cli import app
from ml.core.errors import ConfigError, DataError, TransientError
from ml.core.ports import Platform
from ml.settings import Settings
from ml.stages import quarantine
from ml.use_cases import load_module
from ml.use_cases.contracts import Contract

pytestmark = pytest.mark.xdist_group("source")
WHEN = datetime(2013, 2, 1, tzinfo=UTC)


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch, empty: Platform) -> Source:
    return Source(empty, monkeypatch)


@pytest.fixture
def never_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of a lake whose source was right from the beginning."""
    Source(platform_at(tmp_path / "never_bad"), monkeypatch)()
    return files(tmp_path / "never_bad")


# Stop, list, fix, replay: as if it had never been bad.

FAULTS: dict[str, tuple[Change, str]] = {
    "share": (bad(21), "21 rejected (origin_is_in_new_york 21)"),
    "schema": (lambda rows: rows.rename({"dest": "destination"}), "another schema: dest is"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fix_of_the_source_all_is_as_if_it_had_never_been_bad(
    deliver: Source,
    empty: Platform,
    tmp_path: Path,
    never_bad: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    source = Source(empty, monkeypatch)
    change, told = FAULTS[fault]
    with pytest.raises(DataError) as stopped:
        source(change)
    assert "flightline quarantine list flight_delay" in stopped.value.repair
    assert told in "; ".join(listed(empty)) and empty.lake.keys("raw", "flights") == ()
    shown = quarantine.rows(empty, "flights", DAY)
    assert len(shown) == 720 and "stopped" in set(shown["outcome"])
    source.changes = {}
    found = quarantine.replay(empty)
    assert found.replayed == (f"flights {DAY}",) and found.ingested.rows["flights"] == 720
    assert found.ingested.rows["weather"] == 72, "what was held back came with it"
    assert found.remaining == ("planes: 34 rejected (seats|min 34)",) and listed(empty) == []
    assert files(tmp_path / "home") == never_bad


def test_after_a_fix_of_the_contract_too(
    deliver: Source, empty: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = load_module(SLUG, "contract")

    class Stricter(contract.Flights):  # type: ignore[name-defined,misc]  # loaded by its slug
        distance = dy.Int64(nullable=False, max=500)

    whole = deliver().digests
    deliver(replace=True)
    monkeypatch.setitem(contract.CONTRACTS, "flights", Contract(rows=Stricter))
    with pytest.raises(DataError, match=r"distance\|max"):
        deliver(replace=True)
    monkeypatch.setitem(contract.CONTRACTS, "flights", Contract(rows=contract.Flights))
    found = quarantine.replay(empty, table="flights")
    assert listed(empty) == [] and found.ingested.digests["flights"] == whole["flights"]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_after_mending_the_rows_by_hand_too(
    empty: Platform,
    tmp_path: Path,
    never_bad: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    """The file of a stopped delivery is the whole delivery; the source is not asked for it."""
    source = Source(empty, monkeypatch)
    boston = pl.when(pl.col("origin") == "JFK").then(pl.lit("BOS")).otherwise("origin")
    with pytest.raises(DataError):
        source(lambda rows: rows.with_columns(origin=boston))
    path = tmp_path / f"rows{suffix}"
    assert quarantine.save(empty, "flights", DAY, path) == 720
    again = pl.when(pl.col("origin") == "BOS").then(pl.lit("JFK")).otherwise("origin")
    mend(path, lambda rows: rows.with_columns(origin=again))

    def fail(rows: pl.DataFrame) -> pl.DataFrame:
        raise TimeoutError

    source.changes = {"flights": fail}
    with pytest.raises(TransientError):
        quarantine.replay(empty)
    found = quarantine.replay(empty, rows=path)
    assert found.ingested.rows["flights"] == 720 and listed(empty) == []
    after = files(tmp_path / "home")
    (given,) = after.keys() - never_bad.keys()
    assert "lake/mended/" in given and empty.lake.count("mended", "flights", DAY) == 720
    assert {name: digest for name, digest in after.items() if name != given} == never_bad


def test_a_stop_leaves_the_quarantine_of_what_is_in_the_lake(
    deliver: Source, empty: Platform
) -> None:
    deliver(bad(1))
    before = listed(empty)
    with pytest.raises(DataError, match="another schema"):
        deliver(lambda rows: rows.rename({"dest": "destination"}))
    assert before[0] in listed(empty) and len(listed(empty)) == 2
    deliver(bad(1))
    assert listed(empty) == before, "and what was stopped goes with the next good delivery"


def test_a_replay_that_dies_at_any_write_is_mended_by_the_next(
    empty: Platform, tmp_path: Path, never_bad: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(empty, monkeypatch)
    with pytest.raises(DataError):
        source(bad(100))
    source.changes = {}

    def replay(lake: Any) -> None:
        quarantine.replay(dataclasses.replace(empty, lake=lake), table="flights")

    with contextlib.suppress(ConfigError):  # it died when flights had left the quarantine
        lives(replay, empty.lake)
    source()
    assert files(tmp_path / "home") == never_bad


def test_a_fault_that_is_still_there_stops_the_replay_too(
    deliver: Source, empty: Platform, tmp_path: Path
) -> None:
    with pytest.raises(DataError):
        deliver(bad(21))
    before = files(tmp_path / "home")
    with pytest.raises(DataError, match="21 of 720"):
        quarantine.replay(empty)
    assert files(tmp_path / "home") == before


def test_a_stopped_volume_is_accepted_by_a_replay(
    deliver: Source, empty: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(None, "2013-01-07", "2013-01-13")
    with pytest.raises(DataError, match="2013-01-14 has 400 rows") as stopped:
        deliver(lambda rows: rows[:400], "2013-01-14")
    assert "--accept-anomalies" in stopped.value.repair
    (entry,) = [one for one in quarantine.listing(empty) if one.table == "flights"]
    assert (entry.outcome, entry.rows) == ("stopped", 400)
    assert any(reason.startswith("volume: flights 2013-01-14 has 400") for reason in entry.reasons)
    assert any(reason.startswith("freshness: ") for reason in entry.reasons), "and every reason"
    here = Settings(home=tmp_path / "home")
    monkeypatch.setattr("ml.local.quarantine.settings", lambda: here)
    told = CliRunner().invoke(app, ["quarantine", "list", SLUG]).output
    assert "2013-01-14 has 400 rows, expected" in " ".join(told.split())
    assert f"flightline quarantine show {SLUG} flights 2013-01-14" in told, "not the planes"
    assert f"right: flightline ingest {SLUG} 2013-01-14 --accept-anomalies" in told
    with pytest.raises(DataError):
        quarantine.replay(empty)
    found = quarantine.replay(empty, accept_anomalies=True)
    assert found.ingested.rows["flights"] == 400 and "400 rows" in found.ingested.warnings[0]
    assert listed(empty) == []


# Rows that were kept out of a partition that is in the lake.


def test_rows_that_come_back_were_not_known_before(deliver: Source, empty: Platform) -> None:
    deliver(bad(3))
    assert listed(empty) == [f"flights {DAY}: 3 rejected (origin_is_in_new_york 3)"]
    deliver.changes = {}
    with pytest.raises(ConfigError, match="3 added"):
        quarantine.replay(empty, table="flights")
    found = quarantine.replay(empty, table="flights", revision=WHEN)
    assert found.ingested.rows == {"flights": 720} and listed(empty) == []
    assert sum(row["corrected_at"] == WHEN for row in raw(empty)) == 3
    assert [(r["rows"], r["quarantined"], r["added"]) for r in receipts(empty)] == [
        (717, 3, 717),
        (720, 0, 3),
    ]


def test_a_quarantine_is_emptied_when_the_source_was_mended(
    deliver: Source, empty: Platform
) -> None:
    deliver(both(bad(1), without(700)))
    assert len(listed(empty)) == 1
    deliver(revision=WHEN)
    assert listed(empty) == []
