"""Corrections: what is new or changed is known from its revision on, and all else as before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from faults import DAY, Source, at, bad, both, files, lives, raw, receipts, without
from support import SLUG, platform_at

from ml.core.errors import ConfigError
from ml.core.ports import Platform
from ml.use_cases import load_module

pytestmark = pytest.mark.xdist_group("source")
FIRST, SECOND = datetime(2013, 2, 1, tzinfo=UTC), datetime(2013, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch, empty: Platform) -> Source:
    return Source(empty, monkeypatch)


def stamps(platform: Platform, key: str = DAY, table: str = "flights") -> dict[Any, int]:
    """How many rows are known since when."""
    found = pl.Series([row["corrected_at"] for row in raw(platform, key, table)])
    return dict(found.value_counts().iter_rows())


def plain(platform: Platform) -> dict[Any, dict[str, Any]]:
    """Rows by their number and airport, without what ingest added."""
    return {
        (row["carrier"], row["flight"], row["origin"]): row
        for row in raw(platform)
        if row.pop("flags") is not None
    }


def test_a_first_delivery_is_known_as_it_happened(deliver: Source, empty: Platform) -> None:
    """Whatever the revision: it corrects nothing."""
    whole = deliver().digests
    assert stamps(empty) == {None: 720}
    (receipt,) = receipts(empty)
    assert receipt["revision"] == 1 and receipt["revision_at"] is None
    assert (receipt["rows"], receipt["added"], receipt["changed"]) == (720, 720, 0)
    assert receipt["newest"] == datetime(2013, 1, 6, 4, tzinfo=UTC)
    assert receipt["lag_seconds"] == timedelta(hours=1).total_seconds()
    deliver(None, "2013-01-06", revision=FIRST)
    assert stamps(empty, "2013-01-06") == {None: 832}
    assert deliver(revision=FIRST).digests == whole, "and the same again is no correction"


def test_only_new_and_changed_rows_are_known_from_the_revision_on(
    deliver: Source, empty: Platform
) -> None:
    deliver(without(7))
    before = plain(empty)
    found = deliver(at(3, arr_delay=77), revision=FIRST)
    after = plain(empty)
    assert stamps(empty) == {None: 718, FIRST: 2} and found.revisions == {f"flights {DAY}": 2}
    new = [key for key in after if key not in before]
    changed = [key for key in before if after[key] != before[key]]
    assert len(new) == 1 and len(changed) == 1
    assert {after[key]["corrected_at"] for key in (*new, *changed)} == {FIRST}
    assert after[changed[0]] == before[changed[0]] | {"arr_delay": 77, "corrected_at": FIRST}


def test_several_revisions_can_be_told_apart(deliver: Source, empty: Platform) -> None:
    deliver(without(7))
    deliver(at(3, arr_delay=77), revision=FIRST)
    deliver(both(at(3, arr_delay=78), at(4, arr_delay=5)), revision=SECOND)
    assert stamps(empty) == {None: 717, FIRST: 1, SECOND: 2}
    told = [(r["revision"], r["revision_at"], r["added"], r["changed"]) for r in receipts(empty)]
    assert told == [(1, None, 719, 0), (2, FIRST, 1, 1), (3, SECOND, 0, 2)]
    assert len({r["content"] for r in receipts(empty)}) == 3
    stored = empty.lake.metadata("raw", "flights", DAY)
    last = receipts(empty)[-1]
    assert stored["flightline.revision"] == "3" and stored["flightline.content"] == last["content"]
    assert stored["flightline.revision_at"] == SECOND.isoformat()


def test_what_is_corrected_back_is_known_from_then_on(deliver: Source, empty: Platform) -> None:
    deliver()
    deliver(at(3, arr_delay=77), revision=FIRST)
    deliver(revision=SECOND)
    assert stamps(empty) == {None: 719, SECOND: 1}
    contents = [receipt["content"] for receipt in receipts(empty)]
    assert contents[0] == contents[2] != contents[1]


def test_the_same_revision_again_changes_nothing(deliver: Source, tmp_path: Path) -> None:
    deliver(without(7))
    first = deliver(at(3, arr_delay=77), revision=FIRST)
    before = files(tmp_path / "home")
    for revision in (FIRST, FIRST, SECOND, None):
        assert deliver(at(3, arr_delay=77), revision=revision) == first
        assert files(tmp_path / "home") == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (at(3, arr_delay=77), "1 changed"),
        (at(3, flight=9999), "1 added, 1 removed"),
        (without(3), "1 removed"),
        (bad(1), "1 removed"),
        (both(at(3, tailnum=None), at(4, tailnum="N1"), without(9)), "2 changed, 1 removed"),
    ],
    ids=["changed", "another key", "gone", "bad now", "several"],
)
def test_a_correction_without_its_time_is_refused(
    deliver: Source, tmp_path: Path, change: Any, told: str
) -> None:
    """Otherwise it would count as known from the beginning."""
    deliver()
    before = files(tmp_path / "home")
    with pytest.raises(ConfigError) as error:
        deliver(change)
    assert error.value.seen == f"the rows of flights {DAY} are others than the lake has: {told}"
    assert "--revision" in error.value.repair and "--replace" in error.value.repair
    assert files(tmp_path / "home") == before


def test_all_partitions_with_a_correction_are_counted(deliver: Source, tmp_path: Path) -> None:
    days = ("2013-01-04", "2013-01-06")
    deliver(None, *days)
    before = files(tmp_path / "home")
    with pytest.raises(ConfigError, match=r"2013-01-04 .*915 changed, and 2 more partitions"):
        deliver(lambda rows: rows.with_columns(pl.col("distance") + 1), *days)
    assert files(tmp_path / "home") == before


def test_an_older_revision_than_the_lake_has_is_refused(deliver: Source, tmp_path: Path) -> None:
    deliver()
    deliver(at(3, arr_delay=77), revision=SECOND)
    before = files(tmp_path / "home")
    with pytest.raises(ConfigError, match=r"2013-02-01.* is older than 2013-03-01T12"):
        deliver(revision=FIRST)
    assert files(tmp_path / "home") == before
    deliver(at(3, arr_delay=77), revision=FIRST)
    assert files(tmp_path / "home") == before, "what differs from nothing is dated by nothing"
    deliver(None, "2013-01-06", revision=FIRST)  # other partitions have their own past


def test_a_revision_needs_a_time_zone(deliver: Source) -> None:
    with pytest.raises(ConfigError, match="has no time zone"):
        deliver(revision=datetime(2013, 2, 1))


def test_withdrawn_rows_are_counted_and_told(deliver: Source, empty: Platform) -> None:
    deliver()
    found = deliver(without(3, 4), revision=FIRST)
    assert receipts(empty)[-1]["removed"] == 2 and stamps(empty) == {None: 718}
    (warning,) = found.warnings
    assert warning.startswith(f"flights {DAY}: revision 2 withdrew 2 rows")


def test_a_replacement_forgets_what_was_wrong_in_the_lake_alone(
    deliver: Source, empty: Platform, tmp_path: Path
) -> None:
    whole = deliver().digests
    before = files(tmp_path / "home")
    deliver(at(3, arr_delay=77), revision=FIRST)
    assert deliver(replace=True).digests == whole and files(tmp_path / "home") == before
    with pytest.raises(ConfigError, match="both a revision and a replacement"):
        deliver(revision=FIRST, replace=True)


def test_a_lost_raw_file_is_made_anew_only_if_nothing_was_corrected(
    deliver: Source, empty: Platform
) -> None:
    whole = deliver().digests
    empty.lake.remove("raw", "flights", DAY)
    assert deliver().digests == whole and len(receipts(empty)) == 1
    deliver(at(3, arr_delay=77), revision=FIRST)
    empty.lake.remove("raw", "flights", DAY)
    with pytest.raises(ConfigError, match=r"the raw rows of flights .* are gone") as caught:
        deliver(at(3, arr_delay=77), revision=SECOND)
    assert "--replace" in caught.value.repair
    assert deliver(replace=True).digests == whole


def test_a_damaged_raw_file_is_made_anew(deliver: Source, empty: Platform, tmp_path: Path) -> None:
    deliver()
    before = files(tmp_path / "home")
    path = Path(empty.lake.address("raw", "flights", DAY))
    content = bytearray(path.read_bytes())
    content[100:120] = bytes(20)
    path.write_bytes(content)
    deliver()
    assert files(tmp_path / "home") == before


def test_a_snapshot_needs_no_revision_but_has_receipts(deliver: Source, empty: Platform) -> None:
    """Its rows belong to no time, so nothing is dated by them."""
    deliver()
    deliver(at(0, name="Another Air"), table="airlines")
    deliver(at(0, name="Another Air"), "2013-01-06", table="airlines")
    told = [(r["revision"], r["changed"], r["rows"]) for r in receipts(empty, None, "airlines")]
    assert told == [(1, 0, 16), (2, 1, 16)]
    assert "corrected_at" not in raw(empty, None, "airlines")[0]


def test_a_new_column_of_the_contract_is_no_correction_while_it_is_empty(
    deliver: Source, empty: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataframely as dy

    from ml.use_cases.contracts import Contract

    deliver()
    contract = load_module(SLUG, "contract")

    class Wider(contract.Flights):  # type: ignore[name-defined,misc]  # loaded by its slug
        gate = dy.String(nullable=True)

    monkeypatch.setitem(contract.CONTRACTS, "flights", Contract(rows=Wider))
    deliver(lambda rows: rows.with_columns(gate=pl.lit(None, dtype=pl.String)))
    assert stamps(empty) == {None: 720} and raw(empty)[0]["gate"] is None
    with pytest.raises(ConfigError, match="720 changed"):
        deliver(lambda rows: rows.with_columns(gate=pl.lit("A1")))


def test_rows_of_a_table_without_a_key_are_all_new_if_one_is(
    deliver: Source, empty: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell which of them was corrected."""
    monkeypatch.delitem(load_module(SLUG, "contract").CONTRACTS, "weather")
    deliver()
    assert deliver(revision=FIRST).revisions == {}
    deliver(at(3, temp=70.0), table="weather", revision=FIRST)
    last = receipts(empty, DAY, "weather")[-1]
    assert (last["added"], last["changed"], last["removed"]) == (72, 0, 72)
    assert stamps(empty, DAY, "weather") == {FIRST: 72}


@pytest.mark.parametrize("options", [{"revision": FIRST}, {"replace": True}])
def test_a_correction_that_dies_at_any_write_is_mended_by_the_next(
    deliver: Source,
    empty: Platform,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
) -> None:
    def story(source: Source, **how: Any) -> None:
        source(both(bad(1), without(7)))
        source(both(bad(2), without(9)), revision=FIRST - timedelta(days=1))
        for table in ("weather", "planes"):
            source(without(3), table=table, revision=FIRST - timedelta(days=1))

    story(deliver)
    last = at(3, arr_delay=77)
    deaths = lives(lambda lake: deliver(last, lake=lake, **options), empty.lake)
    assert deaths >= 9
    straight = Source(platform_at(tmp_path / "other"), monkeypatch)
    story(straight)
    straight(last, **options)
    assert files(tmp_path / "home") == files(tmp_path / "other")
