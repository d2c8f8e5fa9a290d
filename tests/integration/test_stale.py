"""What was built from other data or by other models than today's is found, and mended."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from support import ROOT, SLUG, copy_home, platform_at

from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import ingest, transform
from ml.stages.examples import read_examples
from ml.stages.stale import Stamp, stale_partitions, stored_stamp
from ml.use_cases import load_module

pytestmark = pytest.mark.xdist_group("data")
CORRECTED_DAY = "2013-03-12"
FLIGHT = "20130312-B6-20-JFK"
ANEW = "reads a day that was built or ingested anew"
REVISION = datetime(2013, 3, 14, 12, tzinfo=UTC)


@pytest.fixture
def data(data_home: Any, tmp_path: Path, spec: UseCase) -> Platform:
    """A copy of the home with 80 days, to change."""
    return platform_at(copy_home(data_home[0], tmp_path / "home"), spec)


def correct(monkeypatch: pytest.MonkeyPatch, delay: int = 500) -> None:
    """From now on the source says that one flight of March 12th was hours late."""
    source = load_module(SLUG, "source")
    read = source.read

    def corrected(table: str, partitions: Any) -> pl.DataFrame:
        rows: pl.DataFrame = read(table, partitions)
        if table != "flights":
            return rows
        here = (
            (pl.col("partition_key") == CORRECTED_DAY)
            & (pl.col("carrier") == "B6")
            & (pl.col("flight") == 20)
            & (pl.col("origin") == "JFK")
        )
        value = pl.when(here).then(delay)
        return rows.with_columns(
            dep_delay=value.otherwise("dep_delay"), arr_delay=value.otherwise("arr_delay")
        )

    monkeypatch.setattr(source, "read", corrected)


def stored(platform: Platform) -> Stamp:
    found = stored_stamp(platform, CORRECTED_DAY)
    assert found
    return found


def reasons(platform: Platform) -> dict[str, str]:
    return {one.partition.key: one.reason for one in stale_partitions(platform)}


def test_what_was_just_built_is_not_stale(data: Platform) -> None:
    assert reasons(data) == {}
    assert transform.run_stale(data) == ()


def test_a_correction_makes_the_days_stale_that_read_it(
    data: Platform, spec: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct(monkeypatch)
    days = spec.partitions(CORRECTED_DAY, CORRECTED_DAY)
    ingest.run(data, partitions=days, revision=REVISION)
    found = reasons(data)
    assert list(found) == [day.key for day in spec.partitions(CORRECTED_DAY, "2013-03-21")]
    assert found.pop(CORRECTED_DAY) == "ingested anew"
    assert set(found.values()) == {ANEW}
    results = transform.run_stale(data)
    assert [result.partitions for result in results] == [10]
    assert reasons(data) == {}
    changed = results[0].changed
    assert changed["feat_origin_departures"] == 1, "a state of hours reaches no other day"
    assert changed["feat_carrier_hour_arrivals"] == 9, "a history of 28 days does"


def test_a_correction_is_seen_by_decisions_after_it_and_by_no_other(
    data: Platform, spec: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was known then stays readable: a training as of today learns from what was served."""
    days = spec.partitions("2013-03-12", "2013-03-18")
    before = read_examples(data, days).set_index("flight_id")
    correct(monkeypatch)
    ingest.run(data, partitions=days[:1], revision=REVISION)
    transform.run_stale(data)
    after = read_examples(data, days).set_index("flight_id")
    is_earlier = before["decided_at"] < REVISION
    columns = list(data.features.columns)
    pd.testing.assert_frame_equal(before.loc[is_earlier, columns], after.loc[is_earlier, columns])
    later = (before[~is_earlier][columns] != after[~is_earlier][columns]) & before[~is_earlier][
        columns
    ].notna()
    assert later["carrier_hour_arrivals__arrival_delay_mean_28d_min"].any()
    assert after.loc[FLIGHT, "label_known_at"] == REVISION


def test_a_correction_twice_keeps_each_version(
    data: Platform, spec: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = spec.partitions(CORRECTED_DAY, CORRECTED_DAY)
    for delay, later in ((500, 0), (600, 1)):
        with monkeypatch.context() as patch:
            correct(patch, delay)
            ingest.run(data, partitions=days, revision=REVISION + timedelta(days=later))
        transform.run(data, partitions=days)
    table = "feat_carrier_departures"
    rows = data.lake.read("features", table, [CORRECTED_DAY]).to_pandas()
    versions = rows.groupby([*data.features.keys(table), "event_at"])["created_at"].nunique()
    assert versions.max() == 3
    digest = data.lake.digest("features", table, [CORRECTED_DAY])
    assert transform.run(data, partitions=days).changed == {}, "and building again keeps them"
    assert data.lake.digest("features", table, [CORRECTED_DAY]) == digest


def test_a_day_that_comes_late_makes_the_days_after_it_stale(tmp_path: Path, spec: UseCase) -> None:
    platform = platform_at(tmp_path / "late", spec)
    days = spec.partitions("2013-02-01", "2013-02-05")
    in_time = [*days[:2], *days[3:]]
    for day in in_time:
        ingest.run(platform, partitions=[day])
        transform.run(platform, partitions=[day])
    assert reasons(platform) == {}
    ingest.run(platform, partitions=[days[2]])
    after_it = {"2013-02-04": ANEW, "2013-02-05": ANEW}
    assert reasons(platform) == {"2013-02-03": "not built yet", **after_it}


def test_a_day_that_was_skipped_makes_the_days_after_it_stale(
    tmp_path: Path, spec: UseCase
) -> None:
    """Ingested, but its transformation failed: the next day is built from tables without it."""
    whole, platform = (platform_at(tmp_path / name, spec) for name in ("whole", "gap"))
    days = spec.partitions("2013-02-01", "2013-02-04")
    for one in (whole, platform):
        ingest.run(one, partitions=days)
    transform.run(whole, partitions=days)
    transform.run(platform, partitions=days[:2])
    transform.run(platform, partitions=days[3:])
    assert reasons(platform) == {"2013-02-03": "not built yet", "2013-02-04": ANEW}
    transform.run_stale(platform)
    assert reasons(platform) == {}
    for table in spec.features.tables:
        assert platform.lake.digest("features", table) == whole.lake.digest("features", table)


def test_a_correction_that_was_not_built_is_not_taken_for_built(
    data: Platform, spec: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later day that is built meanwhile read the old rows, whatever the lake has now."""
    correct(monkeypatch)
    ingest.run(data, partitions=spec.partitions(CORRECTED_DAY, CORRECTED_DAY), revision=REVISION)
    transform.run(data, partitions=spec.partitions("2013-03-15", "2013-03-15"))
    assert reasons(data)["2013-03-15"] == ANEW


def test_another_model_makes_everything_stale_and_is_named(
    data: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "dbt_project", repository / "dbt_project")
    monkeypatch.setattr("ml.settings.REPOSITORY", repository)
    assert reasons(data) == {}
    model = "models/flight_delay/marts/feat_origin_overdue.sql"
    path = repository / "dbt_project" / model
    text = path.read_text()
    path.write_text(f"{{#- a note -#}}\n{text}\n\n-- another note\n")
    assert reasons(data) == {}, "a comment changes nothing"
    path.write_text(text.replace("[2, 6]", "[2, 7]"))
    found = reasons(data)
    assert set(found.values()) == {f"changed: {model}"}
    assert len(found) == 80
    changed = {
        table
        for table in data.spec.features.tables
        if not stored(data).is_of(data.warehouse.models(table))
    }
    assert changed == {"feat_origin_overdue"}, "what is made of other files is not touched"


def test_a_kill_before_the_mart_leaves_the_day_unbuilt(data: Platform, spec: UseCase) -> None:
    data.lake.remove("marts", spec.mart, "2013-03-20")
    assert reasons(data) == {"2013-03-20": "not built yet"}
    assert [result.partitions for result in transform.run_stale(data)] == [1]
    assert reasons(data) == {}
