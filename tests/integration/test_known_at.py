"""Features come with the time at which they became known: worked out by hand, never the future."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from asof_stores import Stores, hours, questions, story
from toy_features import ALL, DAY, T0, Toy, entities, two_days
from toy_features import hours as after

from ml.adapters.asof_store import known_at_column
from ml.adapters.features import FEATURES_KNOWN_AT

pytestmark = pytest.mark.xdist_group("toy")


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    found = two_days(tmp_path, monkeypatch)
    found.materialize(DAY)
    return found


def known_at(toy: Toy, events: pd.DataFrame, at: Any = T0) -> list[Any]:
    found = toy.features().historical(events.assign(at=at), "at")
    assert [name for name in found.columns if "known" in name] == [FEATURES_KNOWN_AT]
    assert str(found[FEATURES_KNOWN_AT].dtype) == "datetime64[us, UTC]"
    assert not (found[FEATURES_KNOWN_AT] > found["at"]).any(), "never the future"
    return [None if pd.isna(time) else time for time in found[FEATURES_KNOWN_AT]]


# --- the store ---


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores(tmp_path_factory.mktemp("known"), story())


def of_view(stores: Stores, view: str, question: tuple[Any, ...], *, known_then: bool) -> Any:
    stores.ours.config.offline_store.known_at = True
    try:
        job = stores.ours.get_historical_features(
            questions([question]), [f"{view}:x"], filter_by_created_timestamp=known_then
        )
        time = job.to_df()[known_at_column(view)][0]
    finally:
        stores.ours.config.offline_store.known_at = False
    return None if pd.isna(time) else time


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (("a", 1, hours(-0.5)), hours(-1)),
        (("a", 1, hours(9)), hours(0)),  # the newest event, not the correction of an older one
        (("a", 1, hours(-99)), None),
        (("d", 3, hours(0)), hours(-1)),  # happened at -1.5, known at -1
        (("e", 4, hours(5)), hours(-1)),
        (("f", 5, hours(0)), None),  # nobody knows when it became known
    ],
)
def test_the_later_of_event_and_created_time_of_the_row_that_was_used(
    stores: Stores, question: tuple[Any, ...], expected: Any
) -> None:
    assert of_view(stores, "ever", question, known_then=True) == expected


def test_a_row_that_is_too_old_was_not_used(stores: Stores) -> None:
    assert of_view(stores, "short", ("c", 1, hours(0)), known_then=True) is None
    assert of_view(stores, "ever", ("c", 1, hours(0)), known_then=True) == hours(-30)


def test_a_store_that_is_asked_without_created_times_shows_that_it_saw_the_future(
    stores: Stores,
) -> None:
    assert of_view(stores, "ever", ("a", 1, hours(-0.5)), known_then=False) == hours(9)


def test_the_columns_come_only_where_they_are_asked_for(stores: Stores) -> None:
    """Off, it is the stock store."""
    job = stores.ours.get_historical_features(questions([("a", 1, hours(0))]), ["ever:x"])
    assert known_at_column("ever") not in job.to_df()


# --- the port ---


def test_the_newest_over_the_views(toy: Toy) -> None:
    """Flights from JFK, LGA, EWR and JFK, of a closed airport, and of nobody."""
    expected = [after(-0.5), after(-2), after(-0.5), after(-0.5), after(-15), None]
    assert known_at(toy, ALL) == expected


def test_a_correction_that_came_later_is_not_known_yet(toy: Toy) -> None:
    toy.export("ticks", DAY, [("JFK", 2, 2.5, after(-1)), ("JFK", 9, 9.5, after(-1), after(-0.25))])
    flight = entities(("JFK",))
    assert known_at(toy, flight, after(-0.5)) == [after(-1)]
    assert known_at(toy, flight, after(-0.25)) == [after(-0.25)]


def test_a_row_of_nulls_was_known_too(toy: Toy) -> None:
    assert known_at(toy, entities(("EWR",))) == [after(-0.5)]


def test_a_store_that_does_not_say_leaves_it_open(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation counts that as a feature of which nobody knows when it was known."""
    features = toy.features()
    monkeypatch.setattr(features._store.config.offline_store, "known_at", False)
    found = features.historical(ALL.assign(at=T0), "at")
    assert found["ticks__count"].notna().any() and found[FEATURES_KNOWN_AT].isna().all()
