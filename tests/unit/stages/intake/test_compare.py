"""Two deliveries of one partition, row by row."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from ml.stages.intake.compare import (
    FLAGS,
    STAMP,
    STATUS,
    compare,
    content_digest,
    counts,
    no_stamp,
)

WHEN = datetime(2020, 1, 1, tzinfo=UTC)
NEW = pl.DataFrame({"id": [1, 2, 3], "x": [1.0, None, float("nan")], FLAGS: [["a"], [], []]})


def test_rows_are_matched_by_their_key_and_compared_by_value() -> None:
    old = NEW.with_columns(no_stamp(), x=pl.Series([1.0, 2.0, float("nan")]))
    old = old.with_columns(id=pl.Series([1, 2, 4]))
    found = compare(old, NEW, ["id"])
    assert found[STATUS].to_list() == ["same", "changed", "added", "removed"]
    assert counts(found) == {"added": 1, "changed": 1, "removed": 1}


def test_null_and_not_a_number_are_equal_to_themselves_and_keep_their_stamp() -> None:
    old = NEW.with_columns(pl.lit(WHEN).cast(pl.Datetime("us", "UTC")).alias(STAMP))
    found = compare(old, NEW, ["id"])
    assert set(found[STATUS]) == {"same"} and set(found[STAMP]) == {WHEN}


def test_flags_are_our_own_and_no_correction() -> None:
    old = NEW.with_columns(no_stamp(), pl.lit([], dtype=pl.List(pl.String)).alias(FLAGS))
    found = compare(old, NEW, ["id"])
    assert set(found[STATUS]) == {"same"} and found[FLAGS].to_list() == NEW[FLAGS].to_list()


def test_a_lake_of_an_older_version_has_no_stamps_and_other_columns() -> None:
    old = NEW.drop(FLAGS).with_columns(gone=pl.lit(1)).drop("x")
    found = compare(old, NEW, ["id"])
    assert found[STATUS].to_list() == ["changed", "same", "changed"], "x was null before"


def test_a_table_with_nothing_but_its_key_can_only_grow_or_shrink() -> None:
    new = NEW.select("id", FLAGS)
    assert counts(compare(new.with_columns(no_stamp())[1:], new, ["id"])) == {
        "added": 1,
        "changed": 0,
        "removed": 0,
    }


@pytest.mark.parametrize(
    "other",
    [
        pl.DataFrame({"a": ["x", None], "b": [1.0, 2.5]}),
        pl.DataFrame({"a": ["x", "NULL"], "b": [1.0, 2.5]}),
        pl.DataFrame({"a": ["x", ""], "b": [1.0, 2.50000001]}),
        pl.DataFrame({"a": ["", "x"], "b": [2.5, 1.0]}),
        pl.DataFrame({"c": ["x", ""], "b": [1.0, 2.5]}),
        pl.DataFrame({"a": ["x", ""], "b": [1.0, 2.5]}, schema_overrides={"b": pl.Float32}),
    ],
    ids=["null", "the word", "value", "order", "name", "type"],
)
def test_the_digest_tells_any_difference(other: pl.DataFrame) -> None:
    one = pl.DataFrame({"a": ["x", ""], "b": [1.0, 2.5]})
    assert content_digest(one) != content_digest(other)
    assert content_digest(one) == content_digest(one[:1].extend(one[1:]))


def test_the_digest_takes_nested_and_binary_columns() -> None:
    rows = pl.DataFrame({"a": [[1, 2], None], "b": [{"x": 1}, {"x": None}], "c": [b"\xff", None]})
    other = rows.with_columns(a=pl.Series([[1, 3], None]))
    assert content_digest(rows) != content_digest(other)
    assert content_digest(rows) == content_digest(rows.clone())


def test_columns_of_a_table_may_be_called_as_ours_might() -> None:
    """Or the first correction of a table with a column `status` could never be taken."""
    new = NEW.with_columns(status=pl.lit("open"), known=pl.lit(None, dtype=pl.Boolean))
    old = new.filter(pl.col("id") < 3).with_columns(no_stamp())
    found = compare(old, new, ["id"])
    assert found[STATUS].to_list() == ["same", "same", "added"]
    assert found.select("status", "known").equals(new.select("status", "known"))
