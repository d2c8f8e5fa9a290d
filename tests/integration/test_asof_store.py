"""Our offline store gives the cells of the stock one: ties, nulls, time to live, zones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.xdist_group("chain")


T0 = datetime(2013, 6, 1, 12, tzinfo=UTC)


def hours(number: float) -> datetime:
    return T0 + timedelta(hours=number)


@pytest.fixture(scope="module")
def two_stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., pd.DataFrame]:
    """Asks the same question of our store and of the stock one."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64

    folder = tmp_path_factory.mktemp("stores")
    rows = [
        # key, hour, event, created, x, n
        ("a", 1, hours(-5), hours(-5), 1.0, 1),
        ("a", 1, hours(-1), hours(-1), 2.0, None),
        ("a", 1, hours(-1), hours(+9), 2.5, 3),  # a correction beats its original
        ("a", 1, hours(0), hours(0), None, 4),  # a null is a value
        ("a", 2, hours(-3), hours(-3), 5.0, 5),
        ("b", 1, hours(-2), hours(-2), 6.0, 6),
        ("b", 1, hours(+1), hours(+1), 7.0, 7),
        ("c", 1, hours(-30), hours(-30), 8.0, 8),
    ]
    columns = ["key", "hour", "event_at", "created_at", "x", "n"]
    frame = pd.DataFrame(rows, columns=columns).astype({"n": "Int64"})
    for name in ("event_at", "created_at"):
        frame[name] = frame[name].astype("datetime64[us, UTC]")
    path = folder / "rows.parquet"
    frame.to_parquet(path)
    entities = [
        Entity(name="key", join_keys=["key"], value_type=ValueType.STRING),
        Entity(name="hour", join_keys=["hour"], value_type=ValueType.INT64),
    ]
    source = FileSource(
        name="rows",
        path=str(path),
        timestamp_field="event_at",
        created_timestamp_column="created_at",
    )
    schema = [Field(name="x", dtype=Float64), Field(name="n", dtype=Int64)]
    views = [
        FeatureView(name=name, entities=entities, ttl=ttl, schema=schema, source=source)
        for name, ttl in (("short", timedelta(hours=3)), ("ever", timedelta(0)))
    ]

    def store(kind: str) -> FeatureStore:
        config = RepoConfig(
            project="compare",
            provider="local",
            registry={"registry_type": "sql", "path": f"sqlite:///{folder}/{kind[:4]}.db"},
            offline_store={"type": kind},
            online_store={"type": "sqlite", "path": str(folder / f"{kind[:4]}.online.db")},
            entity_key_serialization_version=3,
        )
        found = FeatureStore(config=config, repo_path=str(folder))
        found.apply([*entities, *views])
        return found

    ours, stock = store("ml.adapters.asof_store.AsofDuckDBOfflineStore"), store("duckdb")

    def ask(events: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        features = [f"{view.name}:{name}" for view in views for name in ("x", "n")]
        first, second = (
            store.get_historical_features(events, features, full_feature_names=True).to_df()
            for store in (ours, stock)
        )
        order = ["row"]
        kept = ["row", *(f.replace(":", "__") for f in features)]
        return tuple(  # type: ignore[return-value]  # two of them
            f.sort_values(order)[kept].reset_index(drop=True).astype("float64")
            for f in (first, second)
        )

    return ask


def questions(rows: list[tuple[Any, Any, Any]], zone: str = "UTC") -> pd.DataFrame:
    events = pd.DataFrame(rows, columns=["key", "hour", "event_timestamp"])
    time = pd.to_datetime(events["event_timestamp"], utc=True).dt.tz_convert(zone)
    return events.assign(event_timestamp=time, row=range(len(events)))


SECOND, MICRO = timedelta(seconds=1), timedelta(microseconds=1)
CASES = {
    "exactly at the row": [("a", 1, hours(-1)), ("a", 1, hours(0)), ("b", 1, hours(1))],
    "just before the row": [("a", 1, hours(0) - MICRO), ("b", 1, hours(1) - MICRO)],
    "edges of the age": [
        ("b", 1, hours(1) - MICRO),
        ("a", 2, hours(0)),
        ("a", 2, hours(0) + MICRO),
        ("a", 2, hours(0) + SECOND),
        ("a", 2, hours(0) - SECOND),
    ],
    "too old, or never": [("c", 1, hours(0)), ("d", 1, hours(0)), ("a", 1, hours(-99))],
    "a null value is not the value before": [("a", 1, hours(0.5))],
    "a correction": [("a", 1, hours(-0.5)), ("a", 1, hours(+20))],
    "many at once": [(k, h, hours(t)) for k in "abcd" for h in (1, 2) for t in range(-8, 9)],
}


@pytest.mark.parametrize("rows", CASES.values(), ids=CASES)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_our_store_and_feasts_give_the_same_cells(
    two_stores: Any, rows: list[tuple[Any, Any, Any]], zone: str
) -> None:
    ours, stock = two_stores(questions(rows, zone))
    pd.testing.assert_frame_equal(ours, stock)


def test_a_question_asked_twice_is_answered_twice(two_stores: Any) -> None:
    ours, _ = two_stores(questions([("a", 1, hours(0)), ("a", 1, hours(0)), ("b", 1, hours(0))]))
    assert len(ours) == 3
    assert ours.drop(columns="row").iloc[0].equals(ours.drop(columns="row").iloc[1])


def test_a_question_without_a_key_has_no_answer(two_stores: Any) -> None:
    ours, _ = two_stores(questions([(None, 1, hours(0)), ("b", 1, hours(0))]))
    assert ours.loc[0, "ever__x"] != ours.loc[0, "ever__x"] and ours.loc[1, "ever__x"] == 6.0


def test_known_answers(two_stores: Any) -> None:
    """Both could be wrong together: these were worked out by hand."""
    ours, _ = two_stores(
        questions(
            [("a", 1, hours(-0.5)), ("a", 1, hours(0.5)), ("c", 1, hours(0)), ("a", 2, hours(0))]
        )
    )
    assert ours["short__x"].tolist()[:1] == [2.5] and np.isnan(ours["short__x"][1])
    assert ours["short__n"].tolist()[:2] == [3.0, 4.0]
    assert np.isnan(ours["short__x"][2]) and ours["ever__x"][2] == 8.0
    assert ours["short__x"][3] == 5.0, "three hours old is not older than three hours"
