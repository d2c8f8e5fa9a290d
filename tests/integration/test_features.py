"""dbt, exports, point-in-time reads and the online store: a feature says what was known."""

from __future__ import annotations

import dataclasses
import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from support import SLUG, copy_home, platform_at

from ml.core.errors import DataError
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import ingest, materialize, transform
from ml.stages.examples import read_events, read_examples
from ml.use_cases import load_spec

pytestmark = pytest.mark.xdist_group("data")
TABLES = load_spec(SLUG).features.tables


@pytest.fixture
def data(data_home: Any, tmp_path: Path, spec: UseCase) -> Platform:
    """A copy of the home with 80 days, to change."""
    return platform_at(copy_home(data_home[0], tmp_path / "home"), spec)


def exported(platform: Platform, keys: list[str]) -> dict[str, str]:
    marts = (platform.spec.label.table, platform.spec.mart)
    areas = dict.fromkeys(TABLES, "features") | dict.fromkeys(marts, "marts")
    return {table: platform.lake.digest(area, table, keys) for table, area in areas.items()}


# --- transform ---


def test_a_range_and_its_days_make_the_same_tables(
    data: Platform, tmp_path: Path, spec: UseCase
) -> None:
    """Ten days at once, or seven at once and three one by one: the same exports, cell by cell."""
    whole, single = (platform_at(tmp_path / name, spec) for name in ("whole", "single"))
    days = spec.partitions("2013-03-05", "2013-03-14")  # with the day of 23 hours
    for platform in (whole, single):
        ingest.run(platform, partitions=days)
    transform.run(whole, partitions=days)
    transform.run(single, partitions=days[:7])
    for day in days[7:]:
        transform.run(single, partitions=[day])
    keys = [day.key for day in days]
    for table in TABLES:
        for key in keys:
            a, b = (p.lake.read("features", table, [key]).to_pandas() for p in (whole, single))
            pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert exported(whole, keys) == exported(single, keys)
    marts = [read_events(p, days) for p in (whole, single)]
    pd.testing.assert_frame_equal(*marts, check_exact=True)


def test_transforming_again_gives_the_same_files(data: Platform, spec: UseCase) -> None:
    days = spec.partitions("2013-02-10", "2013-02-11")
    before = exported(data, [day.key for day in days])
    rows = len(read_events(data, days))
    found = transform.run(data, partitions=days)
    assert found.digests == before and found.changed == {}
    assert len(read_events(data, days)) == rows, "and no row twice"
    assert found.tests > 10 and found.models >= 4


def plant(platform: Platform, key: str, change: Callable[[Any], Any]) -> None:
    """Changes a raw partition behind the contract's back."""
    rows = platform.lake.read("raw", "flights", [key]).drop_columns(["partition_key"])
    platform.lake.write("raw", "flights", key, change(rows))


def duplicate(rows: Any) -> Any:
    import pyarrow as pa

    return pa.concat_tables([rows, rows.slice(0, 1)])


def unknown_destination(rows: Any) -> Any:
    import pyarrow as pa

    position = rows.schema.get_field_index("dest")
    return rows.set_column(position, "dest", pa.array(["QQQ"] * len(rows), rows["dest"].type))


@contextmanager
def not_by_chance() -> Iterator[None]:
    """Whatever keeps a connection alive is not collected at a lucky moment."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("fault", "named"),
    [(duplicate, "unique_fct_flights_flight_id"), (unknown_destination, "relationships")],
    ids=["a key twice", "a destination that nobody knows"],
)
def test_a_failed_test_leaves_the_exports_as_they_were(
    data: Platform, spec: UseCase, fault: Callable[[Any], Any], named: str
) -> None:
    days = spec.partitions("2013-03-20", "2013-03-20")
    before = exported(data, ["2013-03-20"])
    plant(data, "2013-03-20", fault)
    with not_by_chance(), pytest.raises(DataError, match=named) as caught:
        transform.run(data, partitions=days)
    assert exported(data, ["2013-03-20"]) == before
    found = next(one for one in caught.value.details if named in one["test"])
    assert found["rows"] and found["sample"], "with a sample of the rows"
    assert next(iter(found["sample"][0])) in str(caught.value)


def test_rows_that_failed_their_tests_cannot_be_trained_on(data: Platform, spec: UseCase) -> None:
    """A failed data test stops everything downstream; training reads the mart directly."""
    days = spec.partitions("2013-03-20", "2013-03-20")
    data.features.apply()
    plant(data, "2013-03-20", duplicate)
    with pytest.raises(DataError):
        transform.run(data, partitions=days)
    try:
        examples = read_examples(data, days)
    except DataError:
        return
    assert examples["flight_id"].is_unique


def test_a_missing_warehouse_is_said_with_the_repair(empty: Platform, spec: UseCase) -> None:
    with pytest.raises(DataError, match="flightline transform"):
        next(empty.warehouse.export(spec.mart, spec.partitions("2013-01-01", "2013-01-01")))


def test_transforming_what_was_not_ingested_is_bad_data(data: Platform, spec: UseCase) -> None:
    """Or a hole in the data would look like a day without flights."""
    days = spec.partitions("2013-03-22", "2013-03-22")
    with pytest.raises(DataError):
        transform.run(data, partitions=days)


# --- point-in-time reads ---


def test_no_feature_row_is_newer_than_its_question(data: Platform, spec: UseCase) -> None:
    """Changing the future changes no feature of the past."""
    data.features.apply()
    day = spec.partitions("2013-03-15", "2013-03-15")
    before = read_examples(data, day)
    later = spec.partitions("2013-03-16", "2013-03-16")
    for table in TABLES:
        rows = data.lake.read("features", table, ["2013-03-16"]).drop_columns(["partition_key"])
        data.lake.write("features", table, "2013-03-16", rows.slice(0, 1))
    pd.testing.assert_frame_equal(read_examples(data, day), before)
    assert not read_examples(data, later).equals(before)


# --- the online store ---


DELAY = "origin_departures__departure_delay_mean_6h_min"


def online(platform: Platform, **changes: Any) -> pd.DataFrame:
    """What the store says at the end of the newest day, of every key that its flights have."""
    day = platform.spec.partitions("2013-03-21", "2013-03-21")
    entities = read_events(platform, day)
    found = platform.features.online(entities, day[0].end)
    return found.values.assign(flight_id=entities["flight_id"].to_numpy(), **changes)


def test_the_online_store_holds_the_newest_row_of_each_key(data: Platform, spec: UseCase) -> None:
    found = materialize.run(data, partitions=spec.partitions("2013-03-19", "2013-03-21"))
    assert (found.partitions, found.views) == (3, 9)


@pytest.mark.parametrize(
    ("at", "fresh"),
    [
        ("2013-03-21T20:10", 9),  # in the afternoon: every view has rows in use
        ("2013-03-22T04:00", 7),  # midnight: no decision was due for two hours
        ("2013-03-22T07:00", 5),
        ("2013-03-26T04:00", 0),  # older than any time to live
    ],
)
def test_online_is_offline_at_the_same_time(
    data: Platform, spec: UseCase, at: str, fresh: int
) -> None:
    """On the real spine, over every view; what is older than its time to live is in neither."""
    time = datetime.fromisoformat(at).replace(tzinfo=UTC)
    *before, last = spec.partitions("2013-03-19", "2013-03-21")
    until = dataclasses.replace(last, end=min(time, last.end))
    materialize.run(data, partitions=[*before, until])
    asked = read_events(data, [*before, last])
    offline = data.features.historical(asked.assign(asked_at=time), "asked_at")
    found = data.features.online(asked, time)
    columns = list(data.features.columns)
    pd.testing.assert_frame_equal(found.values[columns], offline[columns])
    assert (found.status == "fresh").any().sum() == fresh
    known = {name.split("__")[0] for name in columns if offline[name].notna().any()}
    assert len(known) == fresh, "the older it gets, the less there is, in both"


def test_an_older_partition_run_again_leaves_newer_values(data: Platform, spec: UseCase) -> None:
    materialize.run(data, partitions=spec.partitions("2013-03-20", "2013-03-21"))
    before = online(data)
    assert before[DELAY].notna().any()
    for key in ("2013-02-01", "2013-03-20", "2013-03-21"):
        materialize.run(data, partitions=spec.partitions(key, key))
        pd.testing.assert_frame_equal(online(data), before)


def test_a_correction_of_the_newest_partition_is_taken(data: Platform, spec: UseCase) -> None:
    days = spec.partitions("2013-03-21", "2013-03-21")
    materialize.run(data, partitions=days)
    before = online(data)
    rows = data.lake.read("features", "feat_origin_departures", ["2013-03-21"]).drop_columns(
        ["partition_key"]
    )
    frame = rows.to_pandas().assign(departure_delay_mean_6h_min=777.0)
    import pyarrow as pa

    data.lake.write(
        "features",
        "feat_origin_departures",
        "2013-03-21",
        pa.Table.from_pandas(frame, schema=rows.schema, preserve_index=False),
    )
    materialize.run(data, partitions=days)
    assert set(before[DELAY]) != {777.0} and set(online(data)[DELAY]) == {777.0}


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("* exclude (departure_count_6h)", "is missing"),
        ("* replace (departure_count_6h::varchar as departure_count_6h)", "is VARCHAR"),
        ("* replace (departure_count_6h::double as departure_count_6h)", "is DOUBLE"),
    ],
)
def test_a_feature_that_is_missing_or_retyped_is_refused(
    data: Platform, spec: UseCase, change: str, seen: str
) -> None:
    """Feast's own `apply` accepts anything."""
    days = spec.partitions("2013-03-21", "2013-03-21")
    rows = data.lake.read("features", "feat_origin_departures", ["2013-03-21"])
    changed = duckdb.sql(f"select {change} from rows").to_arrow_table()
    assert len(rows) == len(changed)
    data.lake.write(
        "features", "feat_origin_departures", "2013-03-21", changed.drop_columns(["partition_key"])
    )
    with pytest.raises(DataError, match=f"origin_departures:departure_count_6h {seen}"):
        materialize.run(data, partitions=days)


def test_materializing_what_was_not_transformed_is_bad_data(empty: Platform, spec: UseCase) -> None:
    with pytest.raises(DataError, match="not transformed yet: 2013-01-01"):
        materialize.run(empty, partitions=spec.partitions("2013-01-01", "2013-01-01"))


def test_a_home_is_bound_to_its_platform(data: Platform, data_home: Any, spec: UseCase) -> None:
    """Two platforms in one process read their own features, not those of the process's settings."""
    other = platform_at(data_home[0], spec)
    day = data.spec.partitions("2013-03-20", "2013-03-20")
    data.features.apply()
    before = read_examples(other, day)
    shutil.rmtree(Path(data.lake.address("features", TABLES[0], None)).parent)
    with pytest.raises(DataError, match="has no data"):
        read_examples(data, day)
    pd.testing.assert_frame_equal(read_examples(other, day), before)


def test_features_do_not_depend_on_the_order_of_questions(data: Platform, spec: UseCase) -> None:
    data.features.apply()
    events = read_events(data, spec.partitions("2013-03-15", "2013-03-15"))
    shuffled = events.sample(frac=1, random_state=1)
    one = data.features.historical(events, "decided_at").set_index("flight_id").sort_index()
    other = data.features.historical(shuffled, "decided_at").set_index("flight_id").sort_index()
    pd.testing.assert_frame_equal(one, other)
