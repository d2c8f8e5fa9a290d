"""dbt, exports, point-in-time reads and the online store: a feature says what was known."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from support import copy_home, platform_at

from ml.core.errors import DataError
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import ingest, materialize, transform
from ml.stages.examples import read_events, read_examples

pytestmark = pytest.mark.xdist_group("chain")
TABLES = ("feat_origin_departures", "feat_carrier_hour_arrivals")


@pytest.fixture
def data(data_home: Any, tmp_path: Path, spec: UseCase) -> Platform:
    """A copy of the home with 80 days, to change."""
    return platform_at(copy_home(data_home[0], tmp_path / "home"), spec)


def exported(platform: Platform, keys: list[str]) -> dict[str, str]:
    mart = platform.spec.mart
    found = {table: platform.lake.digest("features", table, keys) for table in TABLES}
    return {mart: platform.lake.digest("marts", mart, keys), **found}


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
    assert found.digests == before
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
    with pytest.raises(DataError, match=named):
        transform.run(data, partitions=days)
    assert exported(data, ["2013-03-20"]) == before


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


# --- exactness: the same figures with plain pandas, without dbt and Feast ---


@pytest.fixture(scope="module")
def flights(data_home: Any, spec: UseCase) -> pd.DataFrame:
    """Raw flights with the times that features need; arrivals as the mart has them."""
    platform = platform_at(data_home[0], spec)
    rows = platform.lake.read("raw", "flights").to_pandas()
    start = rows["time_hour"] + pd.to_timedelta(rows["minute"], unit="min")
    found = pd.DataFrame(
        {
            "flight_id": rows["partition_key"].str.replace("-", "")
            + "-" + rows["carrier"] + "-" + rows["flight"].astype(str) + "-" + rows["origin"],
            "origin": rows["origin"],
            "carrier": rows["carrier"],
            "hour": rows["hour"],
            "departed_at": start + pd.to_timedelta(rows["dep_delay"], unit="min"),
            "dep_delay": rows["dep_delay"],
            "arr_delay": rows["arr_delay"],
        }
    )  # fmt: skip
    days = spec.partitions(spec.coverage.first, "2013-03-21")
    arrived = read_events(platform, days)[["flight_id", "arrived_at"]]
    return found.merge(arrived, on="flight_id", validate="one_to_one")


@pytest.fixture(scope="module")
def sample(data_home: Any, spec: UseCase) -> pd.DataFrame:
    platform = platform_at(data_home[0], spec)
    platform.features.apply()
    examples = read_examples(platform, spec.partitions("2013-01-01", "2013-03-21"))
    chosen = examples.sample(300, random_state=4)
    return pd.concat([examples.head(20), chosen]).reset_index(drop=True)


def same(found: float, expected: float) -> bool:
    return (np.isnan(found) and np.isnan(expected)) or bool(np.isclose(found, expected, rtol=1e-9))


def test_departures_of_the_last_hours_are_those_that_were_known(
    sample: pd.DataFrame, flights: pd.DataFrame
) -> None:
    """At the newest quarter of an hour before the decision, windows `(t - w, t]`."""
    wrong = []
    for row in sample.itertuples():
        origin = row.flight_id.rsplit("-", 1)[1]
        tick = row.decided_at.floor("15min")
        departed = flights[flights["origin"] == origin]
        if tick < pd.Timestamp("2013-01-01 05:00", tz="UTC"):
            continue  # before the first partition begins, in New York
        for hours in (1, 2, 6):
            time = departed["departed_at"]
            delay = departed.loc[
                (time > tick - pd.Timedelta(hours=hours)) & (time <= tick), "dep_delay"
            ]
            expected = {
                f"departure_count_{hours}h": len(delay),
                f"departure_delay_mean_{hours}h_min": delay.mean(),
                f"departure_late_share_{hours}h": (delay >= 15).mean(),
            }
            for name, value in expected.items():
                found = getattr(row, f"origin_departures__{name}")
                if not same(found, value):
                    wrong.append((row.flight_id, name, found, value))
    assert wrong == []


def test_arrivals_of_a_carriers_hour_are_those_that_were_known(
    sample: pd.DataFrame, flights: pd.DataFrame
) -> None:
    """As of the newest 09:00 UTC before the decision: 28 days, shrunk by 50 average flights."""
    landed = flights[flights["arrived_at"].notna()]
    wrong, compared = [], 0
    for row in sample.itertuples():
        snapshot = (row.decided_at - pd.Timedelta(hours=9)).floor("D") + pd.Timedelta(hours=9)
        time = landed["arrived_at"]
        known = landed[(time > snapshot - pd.Timedelta(days=28)) & (time <= snapshot)]
        event = flights[flights["flight_id"] == row.flight_id].iloc[0]
        mine = known[(known["carrier"] == event["carrier"]) & (known["hour"] == event["hour"])]
        if known.empty or mine.empty:
            continue  # no row, or one of the days before within the TTL: see the next test
        late = (mine["arr_delay"] >= 15).sum()
        share = (known["arr_delay"] >= 15).mean()
        expected = {
            "arrival_count_28d": len(mine),
            "arrival_delay_mean_28d_min": mine["arr_delay"].mean(),
            "arrival_late_share_28d": (late + 50 * share) / (len(mine) + 50),
        }
        compared += 1
        for name, value in expected.items():
            found = getattr(row, f"carrier_hour_arrivals__{name}")
            if not same(found, value):
                wrong.append((row.flight_id, name, found, value))
    assert wrong == [] and compared > 250


def test_nothing_is_known_before_the_first_departure(sample: pd.DataFrame) -> None:
    first = sample.head(5)
    assert first["carrier_hour_arrivals__arrival_count_28d"].isna().all()


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


def online(platform: Platform) -> dict[str, Any]:
    store: Any = platform.features._store  # type: ignore[attr-defined]  # the adapter's
    found: dict[str, Any] = store.get_online_features(
        features=[
            "origin_departures:departure_count_6h",
            "origin_departures:departure_delay_mean_6h_min",
        ],
        entity_rows=[{"origin": origin} for origin in ("EWR", "JFK", "LGA")],
    ).to_dict()
    return found


def newest(platform: Platform, key: str) -> dict[str, int]:
    rows = platform.lake.read("features", "feat_origin_departures", [key]).to_pandas()
    last = rows[rows["event_at"] == rows["event_at"].max()]
    return dict(zip(last["origin"], last["departure_count_6h"], strict=True))


def test_the_online_store_holds_the_newest_row_of_each_key(data: Platform, spec: UseCase) -> None:
    found = materialize.run(data, partitions=spec.partitions("2013-03-19", "2013-03-21"))
    assert (found.partitions, found.views) == (3, 2)
    values = online(data)
    assert dict(zip(values["origin"], values["departure_count_6h"], strict=True)) == newest(
        data, "2013-03-21"
    )


def test_an_older_partition_run_again_leaves_newer_values(data: Platform, spec: UseCase) -> None:
    materialize.run(data, partitions=spec.partitions("2013-03-20", "2013-03-21"))
    before = online(data)
    for key in ("2013-02-01", "2013-03-20", "2013-03-21"):
        materialize.run(data, partitions=spec.partitions(key, key))
        assert online(data) == before, key


def test_a_correction_of_the_newest_partition_is_taken(data: Platform, spec: UseCase) -> None:
    days = spec.partitions("2013-03-21", "2013-03-21")
    materialize.run(data, partitions=days)
    before = online(data)
    rows = data.lake.read("features", "feat_origin_departures", ["2013-03-21"]).drop_columns(
        ["partition_key"]
    )
    frame = rows.to_pandas().assign(departure_count_6h=777)
    import pyarrow as pa

    data.lake.write(
        "features",
        "feat_origin_departures",
        "2013-03-21",
        pa.Table.from_pandas(frame, schema=rows.schema, preserve_index=False),
    )
    materialize.run(data, partitions=days)
    after = online(data)
    assert after != before and set(after["departure_count_6h"]) == {777}


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


def test_a_home_is_bound_to_its_platform(data: Platform, chain: Any) -> None:
    """Two platforms in one process read their own features, not those of the process's settings."""
    day = data.spec.partitions("2013-03-20", "2013-03-20")
    data.features.apply()
    before = read_examples(chain.platform, day)
    shutil.rmtree(data.lake.folder("features", TABLES[0]))  # type: ignore[attr-defined]  # the adapter's
    with pytest.raises(DataError, match="has no data"):
        read_examples(data, day)
    pd.testing.assert_frame_equal(read_examples(chain.platform, day), before)


def test_features_do_not_depend_on_the_order_of_questions(data: Platform, spec: UseCase) -> None:
    data.features.apply()
    events = read_events(data, spec.partitions("2013-03-15", "2013-03-15"))
    shuffled = events.sample(frac=1, random_state=1)
    one = data.features.historical(events, "decided_at").set_index("flight_id").sort_index()
    other = data.features.historical(shuffled, "decided_at").set_index("flight_id").sort_index()
    pd.testing.assert_frame_equal(one, other)


def test_an_export_is_replaced_whole(data: Platform, spec: UseCase, monkeypatch: Any) -> None:
    """A writer that dies in the middle leaves the old export."""
    import pyarrow.parquet as pq

    path = data.lake.folder("features", TABLES[0]) / "partition_key=2013-03-21" / "data.parquet"  # type: ignore[attr-defined]  # the adapter's
    before = hashlib.sha256(path.read_bytes()).hexdigest()

    def die(table: Any, where: Any, **_: Any) -> None:
        Path(where).write_bytes(b"PAR1 half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", die)
    with pytest.raises(KeyboardInterrupt):
        data.lake.write(
            "features",
            TABLES[0],
            "2013-03-21",
            data.lake.read("features", TABLES[0], ["2013-03-21"]),
        )
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [p.name for p in path.parent.iterdir()] == ["data.parquet"]
    assert dataclasses.is_dataclass(data.lake)


def test_a_corrected_label_is_known_when_it_was_corrected(data: Platform, spec: UseCase) -> None:
    """Training as of an earlier time does not see what was corrected later."""
    days = spec.partitions("2013-03-18", "2013-03-18")
    when = datetime(2013, 8, 1, tzinfo=UTC)
    assert (read_events(data, days)["label_known_at"].dropna() < when).all()
    ingest.run(data, partitions=days, corrected_at=when)
    transform.run(data, partitions=days)
    events = read_events(data, days)
    assert (events["label_known_at"].dropna() == when).all()
    assert (events["label_known_at"].isna() == events["is_late"].isna()).all()
