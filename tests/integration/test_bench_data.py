"""The plain way that the bench compares with gives the same result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from support import platform_at

from ml.core.spec import UseCase
from ml.local.bench import data
from ml.stages.examples import read_events

pytestmark = pytest.mark.xdist_group("data")


def test_the_join_by_hand_gives_what_feast_gives(data_home: Any, spec: UseCase) -> None:
    platform = platform_at(data_home[0], spec)
    events = read_events(platform, spec.partitions("2013-03-01", "2013-03-21"))
    exports = Path(data_home[0]) / "lake" / "features"
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("events", events)
        query = data._asof_join(platform, exports)
        by_hand = connection.sql(query).df().set_index("flight_id").sort_index()
    feast = platform.features.historical(events, "decided_at").set_index("flight_id").sort_index()
    columns = list(platform.features.columns)
    pd.testing.assert_frame_equal(
        by_hand[columns].astype("float64"), feast[columns], check_dtype=False
    )
