"""Versions of feature rows: what a correction replaces stays, with its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from ml.stages.superseded import with_superseded

TICK = datetime(2013, 3, 1, 12, tzinfo=UTC)
FIRST, SECOND = TICK + timedelta(days=1), TICK + timedelta(days=2)
TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [("key", pa.string()), ("event_at", TIME), ("value", pa.float64()), ("created_at", TIME)]
)


def table(*rows: tuple[str, float | None, datetime], event_at: datetime = TICK) -> pa.Table:
    plain = [
        {"key": key, "event_at": event_at, "value": value, "created_at": created}
        for key, value, created in rows
    ]
    return pa.Table.from_pylist(plain, schema=SCHEMA)


def merged(old: pa.Table, new: pa.Table, known_at: datetime = FIRST) -> pa.Table:
    return with_superseded(old, new, identity=["key", "event_at"], known_at=known_at)


def versions(rows: pa.Table) -> set[tuple[Any, ...]]:
    return {(row["key"], row["value"], row["created_at"]) for row in rows.to_pylist()}


def test_a_changed_row_keeps_what_was_known_before() -> None:
    found = merged(table(("a", 1, TICK)), table(("a", 2, FIRST)))
    assert versions(found) == {("a", 1, TICK), ("a", 2, FIRST)}


def test_a_change_that_no_row_of_the_window_explains_is_dated() -> None:
    """A corrected flight has left the window: nothing in it says so."""
    found = merged(table(("a", 1, TICK)), table(("a", 2, TICK)))
    assert versions(found) == {("a", 1, TICK), ("a", 2, FIRST)}


def test_a_row_of_the_same_value_is_as_old_as_it_was() -> None:
    found = merged(table(("a", 1, TICK)), table(("a", 1, FIRST)))
    assert versions(found) == {("a", 1, TICK)}


def test_a_row_that_is_no_more_has_a_successor_without_values() -> None:
    found = merged(table(("a", 1, TICK), ("b", 3, TICK)), table(("b", 3, TICK)))
    assert versions(found) == {("a", 1, TICK), ("a", None, FIRST), ("b", 3, TICK)}


def test_the_successor_of_a_row_that_is_no_more_does_not_hide_the_row_before_it() -> None:
    earlier = TICK - timedelta(hours=1)
    left = table(("a", 7, earlier), event_at=earlier)
    found = merged(pa.concat_tables([left, table(("a", 1, TICK))]), left)
    assert versions(found) == {("a", 7, earlier), ("a", 1, TICK), ("a", 7, FIRST)}
    assert merged(found, left).equals(found)


def test_a_row_that_comes_back_is_known_again_since_then() -> None:
    gone = merged(table(("a", 1, TICK)), table())
    found = merged(gone, table(("a", 1, TICK)), SECOND)
    assert versions(found) == {("a", 1, TICK), ("a", None, FIRST), ("a", 1, SECOND)}


@pytest.mark.parametrize(
    "new", [table(("a", 2, TICK)), table(), table(("a", 1, TICK), ("c", 5, TICK))]
)
def test_merging_again_changes_nothing(new: pa.Table) -> None:
    once = merged(table(("a", 1, TICK)), new)
    assert merged(once, new).equals(once)


def test_the_schema_stays() -> None:
    assert merged(table(("a", 1, TICK)), table(("a", 2, TICK))).schema == SCHEMA
