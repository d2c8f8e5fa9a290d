"""What is special about `co2_trend`: weeks in files, gaps, and features that reach back years."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import platform_at

from ml.core.gates import Verdict, criterion_gate
from ml.core.metrics import evaluate
from ml.core.ports import Platform
from ml.core.statistics import Resampling
from ml.stages import ingest, transform
from ml.use_cases import available, load_spec

SLUG = "co2_trend"
FIRST, LAST = "1961-12-25", "1965-12-27"
pytestmark = [
    pytest.mark.xdist_group(SLUG),
    pytest.mark.skipif(SLUG not in available(), reason="the use case was removed"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Four years around the longest gap, built at once; then the last week by itself."""
    spec = load_spec(SLUG)
    platform = platform_at(tmp_path_factory.mktemp(SLUG) / "home", spec)
    weeks = spec.partitions(FIRST, LAST)
    ingest.run(platform, partitions=weeks)
    transform.run(platform, partitions=weeks)
    return platform


def table(platform: Platform, area: str, name: str) -> pd.DataFrame:
    return platform.lake.read(area, name).to_pandas().set_index("partition_key").sort_index()


def test_features_are_those_of_the_readings_that_were_known(built: Platform) -> None:
    """Computed anew from the source's rows by pandas, gaps included."""
    rows = table(built, "raw", "readings")
    level = rows["co2"].ffill()
    growth = level.diff(52)
    found = table(built, "features", "feat_station_readings")
    expected = {
        "level_ppm": level,
        "change_1w_ppm": level.diff(1),
        "change_52w_ppm": growth,
        "growth_deviation_26w_ppm": growth - growth.rolling(26, min_periods=1).mean(),
        "deviation_4w_ppm": level - level.rolling(4, min_periods=1).mean(),
        "deviation_52w_ppm": level - level.rolling(52, min_periods=1).mean(),
        "change_next_4w_1y_ago_ppm": level.shift(48) - level.shift(52),
        "seasonal_naive_ppm": level + level.shift(48) - level.shift(52),
    }
    for name, values in expected.items():
        pd.testing.assert_series_equal(found[name], values, check_names=False, rtol=1e-6, atol=1e-6)
    assert found["level_age_weeks"].max() == 18
    assert (found["event_at"] == rows["date"] + pd.Timedelta(days=1)).all()


def test_a_label_is_the_reading_four_weeks_later_and_a_gap_expects_none(built: Platform) -> None:
    readings = table(built, "raw", "readings")
    labels = table(built, "marts", "fct_labels")
    pd.testing.assert_series_equal(labels["co2_ppm"], readings["co2"].shift(-4), check_names=False)
    pending = labels.index[-4:]
    assert labels.loc[pending, "is_expected"].all()
    closed = labels.drop(pending)
    assert (closed["is_expected"] == closed["co2_ppm"].notna()).all()
    known = closed.dropna()
    forecasts = table(built, "marts", "fct_forecasts").loc[known.index]
    assert (known["label_known_at"] == forecasts["target_at"] + pd.Timedelta(days=1)).all()
    assert (known["label_known_at"] - forecasts["decided_at"] == pd.Timedelta(days=28)).all()


def test_a_week_by_itself_gives_what_the_whole_history_gave(built: Platform) -> None:
    tables = [("features", "feat_station_readings"), ("marts", "fct_labels")]
    before = [built.lake.digest(area, name, None) for area, name in tables]
    transform.run(built, partitions=built.spec.partitions(LAST, LAST))
    assert [built.lake.digest(area, name, None) for area, name in tables] == before


def test_a_week_that_was_lost_is_still_expected(tmp_path: Path) -> None:
    """A gap has a row without a number and expects no label; a lost week has no row at all."""
    spec = load_spec(SLUG)
    platform = platform_at(tmp_path / "home", spec)
    weeks = spec.partitions("1963-11-25", "1964-06-29")
    lost, gap, newest = "1963-12-30", "1964-02-24", weeks[-1].key
    there = [week for week in weeks if week.key != lost]
    ingest.run(platform, partitions=there)
    transform.run(platform, partitions=there)
    labels = table(platform, "marts", "fct_labels")
    asked = {
        target: spec.calendar.containing(spec.partition(target).start - pd.Timedelta(weeks=4)).key
        for target in (lost, gap, "1963-12-23")
    }
    assert labels.loc[list(asked.values()), "co2_ppm"].isna().tolist() == [True, True, False]
    assert labels.loc[list(asked.values()), "is_expected"].tolist() == [True, False, True]
    assert labels.loc[newest, "is_expected"] and pd.isna(labels.loc[newest, "co2_ppm"])
    # Once it comes, the label is there, and what was expected is known.
    ingest.run(platform, partitions=spec.partitions(lost, lost))
    transform.run(platform, partitions=weeks)
    assert table(platform, "marts", "fct_labels").loc[asked[lost], ["co2_ppm"]].notna().all()


@pytest.mark.parametrize(
    ("candidate", "gate"),
    [
        ("rule", "skill"),
        ("persistence", "skill"),
        ("seasonal_naive", "skill_seasonal_naive"),
    ],
)
def test_what_costs_nothing_is_no_candidate(built: Platform, candidate: str, gate: str) -> None:
    """The rule and the naive forecasts, offered as models, fail a gate on two years of real data.

    The rule is the mean change into each month of the years before.
    """
    spec = built.spec
    tables = [("marts", "fct_forecasts"), ("marts", "fct_labels")]
    rows = table(built, "features", "feat_station_readings")
    for area, name in tables:
        found = table(built, area, name)
        rows = rows.join(found[found.columns.difference(rows.columns)])
    rows = rows.dropna(subset="co2_ppm")
    past, rows = rows.iloc[:-104], rows.iloc[-104:]
    change = (past["co2_ppm"] - past["level_ppm"]).groupby(past["target_month"]).mean()
    answers = {
        "rule": rows["level_ppm"] + rows["target_month"].map(change),
        "persistence": rows["level_ppm"],
        "seasonal_naive": rows["seasonal_naive_ppm"],
    }
    said = {name: values.to_numpy("float64") for name, values in answers.items()}
    metrics = evaluate(
        spec.scope,
        rows["co2_ppm"].to_numpy("float64"),
        said[candidate],
        rule=said.pop("rule"),
        resampling=Resampling(
            np.asarray(spec.clusters(rows.index)), replicates=spec.gates.replicates, seed=1
        ),
        cost=spec.cost,
        naive=said,
        interval=np.column_stack([answers[candidate] - 1, answers[candidate] + 1]),
    )
    missed = {
        found.name: found.verdict
        for criterion in spec.gates.criteria
        if (found := criterion_gate(criterion, metrics[criterion.metric])).verdict != Verdict.PASS
    }
    assert missed.get(gate) == Verdict.FAIL, missed
