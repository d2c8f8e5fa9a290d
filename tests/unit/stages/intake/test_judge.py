"""Columns and rows against a contract."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from ml.stages.intake.judge import KEY, ROW, conform, judge, reason_counts
from ml.use_cases.contracts import Contract


class Readings(dy.Schema):
    sensor = dy.String(primary_key=True)
    at = dy.Datetime(primary_key=True, time_zone="UTC", time_unit="us")
    value = dy.Float64(nullable=True, max=100)
    count = dy.Int64(nullable=False, min=0)


CONTRACT = Contract(
    rows=Readings,
    cells={
        "too_high": ("value", pl.col("value") > 1000),
        "impossible": ("value", pl.col("value").is_infinite()),
    },
    flags={"large": pl.col("value") > 50, "many": pl.col("count") > 5},
)
NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)


def readings(*values: float | None, **columns: Any) -> pl.DataFrame:
    rows = len(values)
    content = {
        "sensor": [f"s{row}" for row in range(rows)],
        "at": [NOON] * rows,
        "value": list(values),
        "count": [1] * rows,
        KEY: ["2020-01-01"] * rows,
    }
    schema = {**CONTRACT.columns, KEY: pl.String}
    return pl.DataFrame({**content, **columns}, schema=schema, strict=False)


def verdicts(rows: pl.DataFrame, contract: Contract | None = CONTRACT) -> Any:
    good, found = judge(rows.with_row_index(ROW), contract)
    return good, {row: (outcome, reasons) for row, outcome, reasons in found.iter_rows()}


def test_good_rows_go_on_in_the_order_of_their_key() -> None:
    good, found = verdicts(readings(1.0, None, 60.0).reverse())
    assert found == {} and good["sensor"].to_list() == ["s0", "s1", "s2"]
    assert good["flags"].to_list() == [[], [], ["large"]]


def test_a_bad_row_has_all_its_reasons_and_a_nulled_cell_is_one_of_them() -> None:
    good, found = verdicts(
        readings(1.0, 200.0, 2000.0, float("inf"), 3000.0, count=[1, 1, 1, 1, -1])
    )
    assert found == {
        1: ("rejected", ["value|max"]),
        2: ("nulled", ["too_high"]),
        3: ("nulled", ["too_high", "impossible"]),
        4: ("rejected", ["too_high", "count|min"]),
    }
    assert good["value"].to_list() == [1.0, None, None]


def test_a_key_is_unique_within_a_partition() -> None:
    """So a range is judged as its partitions are one by one."""
    rows = readings(1.0, 2.0, 3.0, sensor=["a", "a", "a"])
    days = pl.Series(KEY, ["2020-01-01", "2020-01-02", "2020-01-02"])
    _, found = verdicts(rows.with_columns(days))
    assert found == {1: ("rejected", ["primary_key"]), 2: ("rejected", ["primary_key"])}


def test_without_a_contract_and_without_rows_nothing_is_found() -> None:
    good, found = verdicts(readings(1.0, 5000.0), None)
    assert len(good) == 2 and found == {} and good["flags"].to_list() == [[], []]
    good, found = verdicts(readings())
    assert good.is_empty() and found == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.drop("count"), ["count is missing"]),
        (
            lambda rows: rows.rename({"sensor": "sensor_id"}),
            ["sensor is missing, sensor_id is new: renamed?"],
        ),
        (
            lambda rows: rows.rename({"sensor": "x", "value": "value_mm"}),
            [
                "sensor is missing",
                "value is missing, value_mm is new: renamed?",
                "x (String) is new",
            ],
        ),
        (
            lambda rows: rows.rename({"sensor": "count2"}).drop("count"),
            ["sensor is missing", "count is missing", "count2 (String) is new"],
        ),
        (
            lambda rows: rows.with_columns(pl.col("count").cast(pl.Float64)),
            ["count is Float64 instead of Int64"],
        ),
        (
            lambda rows: rows.with_columns(pl.lit(2**63, dtype=pl.UInt64).alias("count")),
            ["count is UInt64 instead of Int64"],
        ),
        (
            lambda rows: rows.with_columns(
                pl.lit(NOON.replace(microsecond=5)).cast(pl.Datetime("ns", "UTC")).alias("at")
                + pl.duration(nanoseconds=1)
            ),
            [f"at is {pl.Datetime('ns', 'UTC')} instead of {pl.Datetime('us', 'UTC')}"],
        ),
        (lambda rows: rows.with_columns(pl.lit(1).alias("extra")), ["extra (Int32) is new"]),
    ],
    ids=[
        "missing",
        "renamed",
        "two of them",
        "another type",
        "retyped",
        "too large",
        "nanoseconds",
        "extra",
    ],
)
def test_another_schema_is_told_column_by_column(change: Any, told: list[str]) -> None:
    given = change(readings(1.0))
    rows, differences = conform(given, CONTRACT, is_snapshot=False)
    assert list(differences) == told and rows is given


def test_casts_that_lose_nothing_are_made() -> None:
    given = readings(1.0, 2.0).with_columns(
        pl.col("value").cast(pl.Int16),
        pl.col("count").cast(pl.UInt8),
        pl.col("at").cast(pl.Datetime("ms", "UTC")),
        pl.lit(None).alias("sensor"),
    )
    rows, differences = conform(given.select(pl.all().reverse()), CONTRACT, is_snapshot=False)
    assert differences == () and rows.schema == readings().schema


def test_a_delivery_without_rows_has_the_right_columns_whatever_it_had() -> None:
    rows, differences = conform(pl.DataFrame(), CONTRACT, is_snapshot=True)
    assert differences == () and rows.schema == CONTRACT.columns


def test_reasons_are_counted_the_most_frequent_first() -> None:
    rows = pl.DataFrame({"reasons": [["b"], ["a", "b"], ["c"], []]})
    assert list(reason_counts(rows).items()) == [("b", 2), ("a", 1), ("c", 1)]
