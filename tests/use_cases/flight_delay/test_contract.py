"""The contracts of flight_delay over the whole real source: exactly what the audit found."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from faults import real
from support import SLUG

from ml.stages.intake.judge import KEY, ROW, conform, contracts, judge

TABLES = ("flights", "weather", "planes", "airports", "airlines")


@pytest.fixture(scope="module")
def judged() -> dict[str, tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]]:
    """By table: rows as delivered, good rows, verdicts."""
    found = {}
    for table in TABLES:
        given, contract = real(table), contracts(SLUG)[table]
        rows, differences = conform(given, contract, is_snapshot=KEY not in given.columns)
        assert differences == ()
        rows = rows.with_row_index(ROW)
        found[table] = (rows, *judge(rows, contract))
    return found


@pytest.mark.parametrize(
    ("table", "rows", "verdicts", "flags"),
    [
        (
            "flights",
            336_776,
            {("rejected", "leaves_new_york"): 1},
            {
                "departed_over_1000_min_late": 5,
                "faster_than_650_mph": 2,
                "malformed_tail_number": 4,
            },
        ),
        ("weather", 26_115, {("nulled", "wind_speed_over_150_mph"): 1}, {"no_observation": 1}),
        ("planes", 3_322, {("rejected", "seats|min"): 34}, {}),
        ("airports", 1_458, {}, {"no_usable_time_zone": 5}),
        ("airlines", 16, {}, {}),
    ],
)
def test_what_is_found_is_what_the_audit_found(
    judged: Any, table: str, rows: int, verdicts: dict[Any, int], flags: dict[str, int]
) -> None:
    given, good, found = judged[table]
    assert len(given) == rows
    told = found.explode("reasons").group_by("outcome", "reasons").len()
    assert {(outcome, reason): n for outcome, reason, n in told.iter_rows()} == verdicts
    assert len(good) == rows - (found["outcome"] == "rejected").sum()
    assert dict(good["flags"].explode().drop_nulls().value_counts().iter_rows()) == flags


def test_the_one_flight_within_new_york_is_the_one_that_is_rejected(judged: Any) -> None:
    rows, _, found = judged["flights"]
    (row,) = rows.join(found, on=ROW).to_dicts()
    assert (row["origin"], row["dest"], row[KEY]) == ("EWR", "LGA", "2013-07-27")


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        (pl.col("dep_time").is_null(), 8_255 - 1),  # one is the flight within New York
        (pl.col("dep_time").is_not_null() & pl.col("arr_delay").is_null(), 1_175),
        (pl.col("dep_time") == 2400, 29),
        (pl.col("arr_time") == 2400, 150),
        (pl.col("tailnum").is_null(), 2_512 - 1),
        (pl.col("dep_delay") < -30, 3),
    ],
    ids=["cancelled", "diverted", "24:00 out", "24:00 in", "no tail number", "early"],
)
def test_odd_but_right_flights_are_kept(judged: Any, condition: pl.Expr, count: int) -> None:
    assert judged["flights"][1].filter(condition).height == count


def test_the_repeated_hour_is_kept(judged: Any) -> None:
    good = judged["weather"][1].filter((pl.col(KEY) == "2013-11-03") & (pl.col("hour") == 1))
    assert len(good) == 6 and good["time_hour"].n_unique() == 2


def test_a_bad_wind_is_nulled_and_nothing_else_of_its_row(judged: Any) -> None:
    rows, good, found = judged["weather"]
    (before,) = rows.join(found, on=ROW).to_dicts()
    same = (pl.col("time_hour") == before["time_hour"]) & (pl.col("origin") == before["origin"])
    (after,) = good.filter(same).to_dicts()
    changed = {name for name in after if name != "flags" and after[name] != before[name]}
    assert changed == {"wind_speed"} and after["wind_speed"] is None


@pytest.mark.parametrize(
    ("table", "values", "reason"),
    [
        ("weather", {"origin": "BOS"}, "origin_is_in_new_york"),
        ("weather", {"humid": 101.0}, "humid|max"),
        ("weather", {"pressure": 0.0}, "pressure|min"),
        ("weather", {"wind_dir": 361}, "wind_dir|max"),
        ("weather", {"wind_gust": 300.0}, "wind_gust|max"),
        ("weather", {"time_hour": None}, "time_hour|nullability"),
        ("planes", {"seats": 9}, "seats|min"),
        ("planes", {"tailnum": "D942DN"}, "tailnum|regex"),
        ("airports", {"faa": "?"}, "faa|regex"),
        ("airports", {"lat": 91.0}, "lat|max"),
        ("airlines", {"carrier": "ABC"}, "carrier|regex"),
        ("airlines", {"name": None}, "name|nullability"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_table_has_rules_that_trip(table: str, values: dict[str, Any], reason: str) -> None:
    rows = real(table)[:1].with_columns(
        pl.lit(value, dtype=real(table).schema[name]).alias(name) for name, value in values.items()
    )
    good, found = judge(rows.with_row_index(ROW), contracts(SLUG)[table])
    assert good.is_empty() and found["reasons"].to_list() == [[reason]]
