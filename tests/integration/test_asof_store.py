"""Our offline store gives the cells of the stock one, and those that the definition gives."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from asof_stores import T0, Stores, hours, questions, story

from ml.adapters import asof_store

pytestmark = pytest.mark.xdist_group("toy")

MICRO = timedelta(microseconds=1)


def chance(seed: int, rows: int = 300) -> list[tuple[Any, ...]]:
    """Rows on a coarse grid, so that everything ties with something.

    Only what no rule decides is left out: other values for the same key and the same two times.
    Each row is there twice.
    """
    dice = random.Random(seed)
    found: dict[Any, tuple[Any, ...]] = {}
    for _ in range(rows):
        key, hour = dice.choice(["a", "b", "", None]), dice.choice([0, 1, -(2**60), None])
        event = hours(dice.randrange(-16, 16) / 2)
        delay = dice.choice([0, 0, 0, 0.5, 1, 3, 12, -1, None])
        created = None if delay is None else event + timedelta(hours=delay)
        x, n = dice.choice([None, dice.random()]), dice.choice([None, dice.randrange(100)])
        row = (key, hour, event, created, x, n)
        if not {(0, key, event, created), (1, hour, event, created)} & set(found):
            found |= {(0, key, event, created): row, (1, hour, event, created): row}
    return list(found.values())


def everywhere(seed: int, zone: str) -> pd.DataFrame:
    """Questions on the grid and one microsecond beside it, in any order, some of them twice."""
    dice = random.Random(seed)
    steps = [t / 2 for t in range(-16, 32)]
    rows = [
        (
            dice.choice(["a", "b", "", "never", None]),
            dice.choice([0, 1, -(2**60), 9, None]),
            hours(dice.choice(steps)) + dice.choice([-1, 0, 0, 1]) * MICRO,
        )
        for _ in range(250)
    ]
    return questions(rows + rows[:20], zone)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores(tmp_path_factory.mktemp("story"), story())


@contextmanager
def process_in(zone: str) -> Iterator[None]:
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        os.environ["TZ"] = "UTC"
        time.tzset()


CASES = {
    "exactly at the row": [("a", 1, hours(-1)), ("a", 1, hours(0)), ("b", 1, hours(1))],
    "just before the row": [("a", 1, hours(0) - MICRO), ("b", 1, hours(1) - MICRO)],
    "edges of the age": [
        ("b", 1, hours(1) - MICRO),
        ("a", 2, hours(0)),
        ("a", 2, hours(0) + MICRO),
        ("a", 2, hours(0) - MICRO),
        ("a", 2, hours(-1) + MICRO),
        ("a", 2, hours(-1) + 2 * MICRO),
    ],
    "too old, or never": [("c", 1, hours(0)), ("never", 1, hours(0)), ("a", 1, hours(-99))],
    "a null value is not the value before": [("a", 1, hours(0.5))],
    "a correction": [("a", 1, hours(t)) for t in (-0.5, 8, 9, 20)],
    "known later than it happened": [
        (key, hour, hours(t))
        for key, hour in zip("def", (3, 4, 5), strict=True)
        for t in (-2, -1, 0, 1, 2)
    ],
    "no key": [(None, 1, hours(0)), ("a", None, hours(0)), (None, None, hours(0))],
    "twice": [("a", 1, hours(0)), ("b", 1, hours(0)), ("a", 1, hours(0))],
}


@pytest.mark.parametrize("known_then", [False, True], ids=["any", "known then"])
@pytest.mark.parametrize("rows", CASES.values(), ids=CASES)
def test_our_store_the_stock_one_and_the_definition_give_the_same_cells(
    stores: Stores, rows: list[tuple[Any, Any, Any]], known_then: bool
) -> None:
    events = questions(rows)
    ours = stores.ask(stores.ours, events, known_then=known_then)
    pd.testing.assert_frame_equal(ours, stores.define(events, known_then=known_then))
    pd.testing.assert_frame_equal(ours, stores.ask(stores.stock, events, known_then=known_then))


@pytest.mark.parametrize(
    ("seed", "kind", "zone", "process"),
    [
        (1, pa.timestamp("us", "UTC"), "UTC", "UTC"),
        (2, pa.timestamp("us"), "America/New_York", "America/New_York"),
        (3, pa.timestamp("us", "America/New_York"), "Asia/Kolkata", "UTC"),
        (4, pa.timestamp("ns", "UTC"), "UTC", "America/New_York"),
    ],
    ids=["plain", "times without zone", "times of a zone", "nanoseconds"],
)
def test_the_same_cells_over_ties_nulls_duplicates_corrections_and_zones(
    tmp_path: Path, seed: int, kind: Any, zone: str, process: str
) -> None:
    events = everywhere(seed, zone)
    with process_in(process):
        found = Stores(tmp_path, chance(seed), kind)
        for known_then in (False, True):
            ours = found.ask(found.ours, events, known_then=known_then)
            assert 0.2 < ours.isna().to_numpy().mean() < 0.9, "answers of both kinds"
            pd.testing.assert_frame_equal(ours, found.define(events, known_then=known_then))
            stock = found.ask(found.stock, events, known_then=known_then)
            pd.testing.assert_frame_equal(ours, stock)


def test_a_correction_is_seen_from_when_it_was_known(stores: Stores) -> None:
    """Both could be wrong together: these were worked out by hand."""
    events = questions([("a", 1, hours(t)) for t in (-0.5, 8, 9)])
    then = stores.ask(stores.ours, events, known_then=True)
    assert then["ever__n"].isna().tolist() == [True, False, False]
    assert then["ever__x"][0] == 2.0, "the original"
    assert stores.ask(stores.ours, events, known_then=False)["ever__x"][0] == 2.5, "the future"
    late = stores.ask(stores.ours, questions([("e", 4, hours(5))]), known_then=True)
    assert late["ever__x"][0] == 12.0, "the newest event, not the newest delivery"


def test_known_answers(stores: Stores) -> None:
    rows = [("a", 1, hours(0.5)), ("c", 1, hours(0)), ("a", 2, hours(0)), ("f", 5, hours(0))]
    ours = stores.ask(stores.ours, questions(rows), known_then=False)
    assert np.isnan(ours["short__x"][0]) and ours["short__n"][0] == 4.0
    assert np.isnan(ours["short__x"][1]) and ours["ever__x"][1] == 8.0
    assert ours["short__x"][2] == 5.0, "three hours old is not older than three hours"
    assert ours["ever__x"][3] == 13.0
    then = stores.ask(stores.ours, questions(rows), known_then=True)
    assert np.isnan(then["ever__x"][3]), "nobody knows when it became known"


def test_our_store_answers_itself(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the comparison would be one of the stock store with itself."""
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(DuckDBOfflineStore, "get_historical_features", staticmethod(refuse))
    for known_then in (False, True):
        stores.ask(stores.ours, questions(CASES["a correction"]), known_then=known_then)
    with pytest.raises(AssertionError):
        stores.ask(stores.stock, questions(CASES["a correction"]), known_then=False)


def test_the_order_of_questions_is_kept(stores: Stores) -> None:
    events = questions(CASES["known later than it happened"])
    shuffled = events.sample(frac=1, random_state=1)
    job = stores.ours.get_historical_features(shuffled, ["ever:x"], full_feature_names=True)
    assert job.to_df()["event_timestamp"].tolist() == shuffled["event_timestamp"].tolist()


def test_columns_that_would_hide_each_other_are_refused(stores: Stores) -> None:
    events = questions(CASES["twice"]).assign(x=1.0)
    job = stores.ours.get_historical_features(events, ["ever:x"], full_feature_names=False)
    with pytest.raises(ValueError, match=r"\['x'\] occur twice"):
        job.to_df()


def test_files_without_a_row_answer_nothing(tmp_path: Path) -> None:
    found = Stores(tmp_path, [])
    events = questions(CASES["twice"])
    for known_then in (False, True):
        ours = found.ask(found.ours, events, known_then=known_then)
        assert ours.isna().all(axis=None)
        pd.testing.assert_frame_equal(ours, found.ask(found.stock, events, known_then=known_then))


def _partition_files(folder: Path, keys: tuple[str, ...]) -> None:
    for key in keys:
        (folder / f"partition_key={key}").mkdir(parents=True)
        (folder / f"partition_key={key}" / "data.parquet").touch()


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        (("2013-09-29", "2013-10-01", "2013-10-02", "2013-11-03"), 3),
        (("2013-09-30T23", "2013-10-02T00", "2014-01-01T00"), 2),
        (("2013-08", "2013-09", "2013-10", "2013-11", "2013-12"), 3),
    ],
    ids=["days and weeks", "hours", "months"],
)
def test_only_files_that_may_hold_newer_rows_are_opened(
    tmp_path: Path, keys: tuple[str, ...], kept: int
) -> None:
    _partition_files(tmp_path, keys)
    found = asof_store._files_since(tmp_path, T0 - timedelta(days=1))
    assert [file.parent.name.removeprefix("partition_key=") for file in found] == [*keys[-kept:]]


def test_without_a_limit_all_files_are_opened(tmp_path: Path) -> None:
    _partition_files(tmp_path, ("1970-01-01", "2013-01-01"))
    assert len(asof_store._files_since(tmp_path, datetime(1970, 1, 1, tzinfo=UTC))) == 2
    assert asof_store._files_since(tmp_path / "none", T0) == []
