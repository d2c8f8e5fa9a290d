"""Nothing sees the future: every feature, recomputed from the raw files by knowledge time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from oracle import Oracle
from support import copy_home, platform_at

from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import ingest, transform
from ml.stages.examples import read_events

pytestmark = pytest.mark.xdist_group("data")
LAST = "2013-03-21"
SAMPLE = 2_000


@pytest.fixture(scope="module")
def oracle(data_home: tuple[Path, Any, Any], spec: UseCase) -> Oracle:
    return Oracle(platform_at(data_home[0], spec))


@pytest.fixture(scope="module")
def expected(oracle: Oracle) -> dict[str, pd.DataFrame]:
    """What 2,000 random flights must see: by view the keys, the row's time and its columns."""
    return recomputed(oracle, SAMPLE)


def recomputed(oracle: Oracle, size: int) -> dict[str, pd.DataFrame]:
    chosen = oracle.flights.index.to_series().sample(size, random_state=11)
    found: dict[str, list[dict[str, Any]]] = {}
    for flight_id in chosen:
        for one in oracle.expect(oracle.of(flight_id)):
            row = {"flight_id": flight_id, **one.keys, "event_at": one.event_at, **one.values}
            found.setdefault(one.view, []).append(row)
    return {view: pd.DataFrame(rows) for view, rows in found.items()}


def differ(found: pd.Series, wanted: pd.Series) -> np.ndarray:
    a, b = (column.to_numpy("float64") for column in (found, wanted))
    return ~np.isclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True)


def wrong_cells(
    platform: Platform, expected: dict[str, pd.DataFrame], days: Sequence[Partition] = ()
) -> dict[str, int]:
    """How often each feature of the service is not what was known, by feature."""
    days = days or platform.spec.partitions(platform.spec.coverage.first, LAST)
    events = read_events(platform, days)
    events = events[events["flight_id"].isin(expected["flight_schedule"]["flight_id"])]
    rows = platform.features.historical(events, platform.spec.decided_at).set_index("flight_id")
    wrong = {}
    for column in platform.features.columns:
        view, name = column.split("__")
        known = expected[view].set_index("flight_id")[name].reindex(rows.index)
        wrong[column] = int(differ(rows[column], known).sum())
    return {column: count for column, count in wrong.items() if count}


def wrong_rows(
    platform: Platform, expected: dict[str, pd.DataFrame], views: Sequence[str] = ()
) -> dict[str, int]:
    """How often an exported row is missing at its time or differs in any column, by view."""
    wrong = {}
    for view in views or expected:
        keys = [*platform.features.keys(f"feat_{view}"), "event_at"]
        exported = platform.lake.read("features", f"feat_{view}").to_pandas()
        wanted = expected[view].loc[:, lambda rows: ~rows.columns.duplicated()]
        both = wanted.merge(exported, on=keys, how="left", suffixes=("", " found"), indicator=True)
        assert len(both) == len(wanted)
        names = [name for name in wanted.columns if name not in ("flight_id", *keys)]
        is_wrong = (both["_merge"] == "left_only").to_numpy()
        for name in names:
            is_wrong |= differ(both[f"{name} found"], both[name])
        wrong[view] = int(is_wrong.sum())
    return {view: count for view, count in wrong.items() if count}


def test_every_feature_is_what_was_known_at_the_decision(
    data_home: Any, spec: UseCase, expected: dict[str, pd.DataFrame]
) -> None:
    platform = platform_at(data_home[0], spec)
    assert set(expected) == {name.removeprefix("feat_") for name in spec.features.tables}
    assert len(expected["flight_schedule"]) == len(expected["origin_departures"]) == SAMPLE
    assert wrong_cells(platform, expected) == {}


def test_the_same_over_the_hour_that_comes_twice(tmp_path: Path, spec: UseCase) -> None:
    """A week with November 3rd, and with a day of which weather is missing."""
    platform = platform_at(tmp_path / "autumn", spec)
    days = spec.partitions("2013-10-30", "2013-11-05")
    ingest.run(platform, partitions=days)
    transform.run(platform, partitions=days)
    expected = recomputed(Oracle(platform), 500)
    assert wrong_cells(platform, expected, days) == {}
    assert wrong_rows(platform, expected) == {}


def test_every_exported_row_is_there_at_its_time_with_all_columns(
    data_home: Any, spec: UseCase, expected: dict[str, pd.DataFrame]
) -> None:
    assert wrong_rows(platform_at(data_home[0], spec), expected) == {}


def shift(platform: Platform, view: str, hours: int) -> None:
    """Makes a view's rows known earlier than they were, or later."""
    table = f"feat_{view}"
    earlier = pa.scalar(timedelta(hours=hours))
    for key in platform.lake.keys("features", table):
        rows = platform.lake.read("features", table, [key]).drop_columns(["partition_key"])
        for name in ("event_at", "created_at"):
            position, kind = rows.schema.get_field_index(name), rows[name].type
            shifted = pc.subtract(rows[name], earlier).cast(kind)
            rows = rows.set_column(position, name, shifted)
        platform.lake.write("features", table, key, rows)


@pytest.mark.parametrize(
    ("view", "hours"),
    [
        ("origin_departures", 1),
        ("origin_overdue", 1),
        ("carrier_departures", 1),
        ("destination_arrivals", 1),
        ("route_arrivals", 1),
        ("flight_number_arrivals", 1),
        ("carrier_hour_arrivals", 1),
        ("origin_weather", 1),
        ("origin_weather", 3),  # the hour of the departure itself, as many tutorials join it
        ("flight_schedule", -35),  # published 36 hours ahead: later than the decision
    ],
)
def test_a_view_that_sees_the_future_is_found(
    data_home: Any,
    tmp_path: Path,
    spec: UseCase,
    expected: dict[str, pd.DataFrame],
    view: str,
    hours: int,
) -> None:
    platform = platform_at(copy_home(data_home[0], tmp_path / "home"), spec)
    shift(platform, view, hours)
    assert set(wrong_rows(platform, expected, [view])) == {view}
    assert {name.split("__")[0] for name in wrong_cells(platform, expected)} == {view}
