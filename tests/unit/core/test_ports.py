from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from support import small_spec

from ml.core.errors import DataError
from ml.core.ports import BuildResult, Finding, Platform
from ml.core.spec import Table


class Keys:
    """A lake that knows which partitions of which raw table it has."""

    def __init__(self, **tables: list[str]) -> None:
        self.tables = tables

    def keys(self, area: str, table: str) -> list[str]:
        assert area == "raw"
        return self.tables.get(table, [])


def platform(lake: Any) -> Platform:
    spec = small_spec(tables=(Table(name="places", is_snapshot=True), Table(name="events")))
    nothing: Any = None
    return Platform(spec, lake, nothing, nothing, nothing, nothing, "c0de", {})


def test_data_time_is_the_end_of_the_newest_partition() -> None:
    """Of the first table with partitions: a snapshot is as new as its last ingest."""
    found = platform(Keys(events=["2020-01-01", "2020-01-05"], places=["2020-03-01"])).data_time()
    assert found == datetime(2020, 1, 6, tzinfo=UTC)


def test_without_data_there_is_no_data_time() -> None:
    with pytest.raises(DataError) as caught:
        platform(Keys(places=["2020-03-01"])).data_time()
    assert str(caught.value) == (
        "nothing of toy was ingested yet\n  repair: run: flightline ingest toy 2020-01-01"
    )


def test_a_finding_says_how_many_rows_or_what_went_wrong() -> None:
    found = Finding("fct_events", "unique_key", "fail", rows=3, message="Got 3 results")
    assert str(found) == "unique_key of fct_events: 3 row(s)"
    broken = Finding("fct_events", "unique_key", "error", rows=0, message="no such column")
    assert str(broken) == "unique_key: no such column"


def test_a_build_counts_what_ended_how() -> None:
    nodes = {"a": ("pass", 0.1), "b": ("fail", 0.1), "c": ("pass", 0.2), "d": ("skipped", 0.0)}
    assert BuildResult(nodes).count("pass") == 2
    assert BuildResult(nodes).count("fail", "skipped", "error") == 2
