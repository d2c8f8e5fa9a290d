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
from ml.stages.stale import stale_partitions
from ml.use_cases import load_module

pytestmark = pytest.mark.xdist_group("chain")
CORRECTED_DAY = "2013-03-12"
FLIGHT = "20130312-B6-20-JFK"
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
    assert set(found.values()) == {"raw data that it reads was ingested anew"}
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
    anew = "raw data that it reads was ingested anew"
    assert reasons(platform) == {
        "2013-02-03": "not built yet", "2013-02-04": anew, "2013-02-05": anew
    }  # fmt: skip


def test_another_model_makes_everything_stale_and_is_named(
    data: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "dbt_project", repository / "dbt_project")
    monkeypatch.setattr("ml.settings.REPOSITORY", repository)
    assert reasons(data) == {}
    model = "models/flight_delay/marts/feat_origin_overdue.sql"
    path = repository / "dbt_project" / model
    path.write_text(path.read_text() + "\n-- another rule\n")
    found = reasons(data)
    assert set(found.values()) == {f"changed: {model}"}
    assert len(found) == 80


def test_a_kill_before_the_mart_leaves_the_day_unbuilt(data: Platform, spec: UseCase) -> None:
    data.lake.remove("marts", spec.mart, "2013-03-20")
    assert reasons(data) == {"2013-03-20": "not built yet"}
    assert [result.partitions for result in transform.run_stale(data)] == [1]
    assert reasons(data) == {}
