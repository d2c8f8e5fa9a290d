"""Definitions, exports and databases that are wrong: one clear error, and nothing has changed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from toy_features import ALL, DAY, DAY_BEFORE, OLD_DAY, T0, Toy, entities, hours, one, two_days

from ml.core.errors import ConfigError, DataError, TransientError
from ml.core.online import OnlineStatus

pytestmark = pytest.mark.xdist_group("toy")

FRESH = OnlineStatus.FRESH


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    return two_days(tmp_path, monkeypatch)


# --- definitions ---


def registered(toy: Toy) -> list[str]:
    with sqlite3.connect(toy.home / "feast" / "registry.sqlite") as connection:
        kinds = ("entities", "feature_views", "feature_services")
        return [str(row) for kind in kinds for row in connection.execute(f"select * from {kind}")]


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        (
            [("[ticks, routes", '[ticks[["count", "pace"]], routes')],
            "in toy_v1: ValueError: .*pace",
        ),
        ([("routes = view", "# routes = view")], "in toy_v1: NameError: .*routes"),
        ([("72, share=Float64", "72, part=Float64")], "service toy_v1 names routes:share"),
        (
            [("72, share=Float64", "72, part=Float64"), ('"toy_v1"', '"toy_v2"')],
            "service toy_v1 names routes:share",
        ),
        (
            [
                ('numbers = view("numbers", [carrier, number], 72, count=Int64)', ""),
                ("routes, numbers]", "routes]"),
            ],
            "service toy_v1 names numbers:count",
        ),
        ([("import timedelta", "import timespan")], "line 2: ImportError"),
    ],
    ids=["picked", "view gone", "renamed", "of an earlier service", "view removed", "no module"],
)
def test_a_service_that_names_what_is_not_defined_changes_nothing(
    toy: Toy, changes: list[tuple[str, str]], seen: str
) -> None:
    toy.materialize(DAY)
    before = registered(toy)
    for change in changes:
        toy.change(*change)
    features = toy.features()
    for call in (features.apply, lambda: features.historical(ALL.assign(at=T0), "at")):
        with pytest.raises(ConfigError, match=f"(?s){seen}") as refused:
            call()
        assert "feature_repo/toy/features.py" in str(refused.value)
    assert registered(toy) == before


def test_historical_registers_what_the_code_defines_now(toy: Toy) -> None:
    toy.materialize(DAY)
    toy.change("[origin], 2,", "[origin], 30,")
    events = entities(("OLD", "BOS", "AA", 1)).assign(at=T0)
    assert toy.features().historical(events, "at")["ticks__count"][0] == 9


def test_reading_the_past_does_not_delete_what_another_checkout_serves(toy: Toy) -> None:
    toy.change("[ticks, routes, numbers]", "[ticks, routes]")
    toy.materialize(DAY)
    toy.change('numbers = view("numbers", [carrier, number], 72, count=Int64)\n', "")
    toy.features().historical(ALL.assign(at=T0), "at")
    assert "toy_numbers" in tables(toy)


def test_a_removed_view_goes_with_its_rows(toy: Toy) -> None:
    toy.change("[ticks, routes, numbers]", "[ticks, routes]")
    toy.materialize(DAY)
    assert "toy_numbers" in tables(toy)
    toy.change('numbers = view("numbers", [carrier, number], 72, count=Int64)\n', "")
    features = toy.materialize(DAY)
    assert "toy_numbers" not in tables(toy)
    assert one(features, ("JFK",))["ticks"] == FRESH


def tables(toy: Toy) -> set[str]:
    with sqlite3.connect(toy.home / "feast" / "toy.online.sqlite") as connection:
        return {name for (name,) in connection.execute("select name from sqlite_master")}


# --- exports ---


@pytest.mark.parametrize(
    ("view", "row", "types", "seen"),
    [
        ("ticks", ("JFK", "1", 1.5), {"count": pa.string()}, "ticks:count is VARCHAR"),
        ("ticks", ("JFK", 1.0, 1.5), {"count": pa.float64()}, "ticks:count is DOUBLE"),
        ("ticks", ("JFK", 1, 1), {"delay": pa.int64()}, "ticks:delay is BIGINT"),
        ("ticks", (1, 1, 1.5), {"origin": pa.int64()}, "key origin of ticks is BIGINT"),
        ("numbers", ("AA", "1", 1), {"number": pa.string()}, "key number of numbers is VARCHAR"),
        (
            "numbers",
            ("AA", 1, 1),
            {"event_at": pa.timestamp("us")},
            "event_at of .* is TIMESTAMP in",
        ),
        (
            "numbers",
            ("AA", 1, 1),
            {"created_at": pa.timestamp("ns", "UTC")},
            "created_at of .* is TIME",
        ),
        ("numbers", ("AA", 1, 1), {"created_at": pa.date32()}, "created_at of numbers is DATE"),
    ],
)
def test_a_retyped_column_of_an_older_partition_is_refused(
    toy: Toy, view: str, row: tuple[Any, ...], types: dict[str, Any], seen: str
) -> None:
    """Or the store would read it as another type, or as nulls, without a word."""
    toy.materialize(DAY)
    before = registered(toy)
    toy.export(view, OLD_DAY, [(*row, datetime(2020, 3, 1), datetime(2020, 3, 1))], **types)
    features = toy.features()
    for call in (features.apply, lambda: features.historical(ALL.assign(at=T0), "at")):
        with pytest.raises(DataError, match=f"{seen}.*partition_key={OLD_DAY}"):
            call()
    assert registered(toy) == before


def test_a_column_that_an_older_partition_lacks_is_refused(toy: Toy) -> None:
    toy.change("share=Float64", "share=Float64, count=Int64")
    toy.export("routes", DAY, [("LGA", "BOS", 0.5, 8, hours(-15))], "count")
    with pytest.raises(DataError, match=f"routes:count is missing in .*={DAY_BEFORE}"):
        toy.features().apply()


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("share=Float64", "share=String", "routes:share is declared as String"),
        ("ValueType.INT64", "ValueType.DOUBLE", "key number of numbers is declared as DOUBLE"),
    ],
)
def test_a_feature_that_is_no_number_and_a_key_of_another_type_are_refused(
    toy: Toy, old: str, new: str, seen: str
) -> None:
    toy.change(old, new)
    with pytest.raises(ConfigError, match=seen):
        toy.features().apply()


def test_a_replaced_file_is_looked_at_again(toy: Toy) -> None:
    features = toy.materialize(DAY)
    toy.export("numbers", DAY, [("AA", "1", 1, hours(-1))], number=pa.string())
    with pytest.raises(DataError, match="key number"):
        features.apply()


@pytest.mark.parametrize("damage", ["cut", "rows"])
def test_a_damaged_file_is_named(toy: Toy, damage: str) -> None:
    features = toy.materialize(DAY)
    path = toy.path("routes", DAY)
    stat, content = path.stat(), path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:  # behind the back of whoever looks at sizes and times
        path.write_bytes(content[:4] + b"\xff" * 60 + content[64:])
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError, match=f"cannot read .*{path.parent.name}"):
        features.historical(ALL.assign(at=T0), "at")
    with pytest.raises(DataError, match=f"cannot read .*{path.parent.name}"):
        features.materialize(toy.partitions(DAY))
    path.write_bytes(content)
    assert one(toy.materialize(DAY), ("JFK", "BOS"))["routes"] == FRESH


def test_events_with_keys_of_another_type_are_refused(toy: Toy) -> None:
    features = toy.materialize(DAY)
    with pytest.raises(DataError, match=r"cannot join .*'x'"):
        features.historical(ALL.assign(at=T0, number="x"), "at")
    with pytest.raises(ConfigError, match="no column number"):
        features.historical(ALL.assign(at=T0).drop(columns="number"), "at")


# --- other processes ---


@contextmanager
def locked(path: Path) -> Iterator[None]:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")
    try:
        yield
    finally:
        other.rollback()
        other.close()


def test_a_locked_online_store_is_tried_again_later(toy: Toy) -> None:
    features = toy.materialize(DAY)
    with locked(toy.home / "feast" / "toy.online.sqlite"):
        with pytest.raises(TransientError, match="is busy"):
            features.materialize(toy.partitions(DAY))
        assert one(features, ("JFK",))["ticks"] == FRESH, "readers do not wait for a writer"
    features.materialize(toy.partitions(DAY))


def test_a_locked_registry_is_tried_again_later(toy: Toy) -> None:
    features = toy.materialize(DAY)
    with (
        locked(toy.home / "feast" / "registry.sqlite"),
        pytest.raises(TransientError, match="is busy"),
    ):
        features.apply()
    features.apply()
