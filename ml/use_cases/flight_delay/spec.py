"""The spec of the reference use case."""

from __future__ import annotations

from datetime import timedelta

from ml.core.partitions import Cadence
from ml.core.plans import (
    CostModel,
    Criterion,
    FloatRange,
    GatePlan,
    IntRange,
    ModelPlan,
    ReleasePlan,
    Rule,
    SearchPlan,
    SegmentPlan,
)
from ml.core.problems import ProblemType
from ml.core.spec import Coverage, DemoPlan, Features, Freshness, Label, Table, UseCase, Volume

SPEC = UseCase(
    slug="flight_delay",
    title="Flight delay",
    description="Will a flight out of New York arrive 15 minutes late or more (the DOT "
    "definition), asked two hours before its scheduled departure?",
    owner="flight-ops",
    contact="https://github.com/flightline/flightline/issues",
    impact_tier=3,
    problem=ProblemType.BINARY,
    cadence=Cadence.DAY,
    zone="America/New_York",
    coverage=Coverage(first="2013-01-01", last="2013-12-31"),
    tables=(
        # Holidays have two thirds of an ordinary day's flights.
        Table(
            name="flights",
            volume=Volume(lower=0.5, upper=1.5),
            freshness=Freshness(column="time_hour", tolerance=timedelta(hours=4)),
        ),
        # Flights are scored without weather, too: the feed has gaps, and ends on December 30th.
        Table(
            name="weather",
            volume=Volume(lower=0.9, upper=1.1, blocks=False),
            freshness=Freshness(column="time_hour", tolerance=timedelta(hours=3), blocks=False),
        ),
        Table(name="planes", is_snapshot=True, volume=Volume(lower=0.9, upper=1.5)),
        Table(name="airports", is_snapshot=True, volume=Volume(lower=0.9, upper=1.5)),
        Table(name="airlines", is_snapshot=True, volume=Volume(lower=0.5, upper=2)),
    ),
    max_quarantine_share=0.02,
    mart="fct_flights",
    key="flight_id",
    decided_at="decided_at",
    decision_lead=timedelta(hours=2),
    # Flights land after midnight: all but 31 of the year are down by noon UTC of the next day.
    label=Label(
        table="fct_labels",
        column="is_late",
        known_at="label_known_at",
        maturity=timedelta(hours=8),
        expected="has_departed",
        lookback_partitions=2,
    ),
    features=Features(
        service="flight_delay_v1",
        tables=(
            "feat_origin_departures",
            "feat_origin_overdue",
            "feat_carrier_departures",
            "feat_destination_arrivals",
            "feat_route_arrivals",
            "feat_flight_number_arrivals",
            "feat_carrier_hour_arrivals",
            "feat_origin_weather",
            "feat_flight_schedule",
        ),
        # 28 days of arrivals, by flights that may have left two days before; and one for the tick.
        lookback=timedelta(days=31),
        on_request=("scheduled_minute", "day_of_week", "distance_miles"),
        categorical=("carrier", "origin", "destination"),
    ),
    select_partitions=14,
    holdout_partitions=28,
    segments=("carrier", "origin"),
    # A late flight that nobody acted upon costs four times the action.
    cost=CostModel(missed=4),
    model=ModelPlan(
        rule=Rule(by=("carrier", "scheduled_hour")),
        parameters={
            "bagging_freq": 1,
            "max_bin": 127,
            "cat_smooth": 100.0,
            "cat_l2": 50.0,
        },
        search=SearchPlan(
            space={
                "learning_rate": FloatRange(low=0.05, high=0.15, log=True),
                "num_leaves": IntRange(low=15, high=63, log=True),
                "min_data_in_leaf": IntRange(low=200, high=3_000, log=True),
                "feature_fraction": FloatRange(low=0.3, high=0.9),
                "bagging_fraction": FloatRange(low=0.5, high=0.95),
                "lambda_l2": FloatRange(low=0.1, high=100, log=True),
            },
        ),
        max_rounds=300,
        early_stopping_rounds=20,
    ),
    gates=GatePlan(
        criteria=(
            Criterion(metric="auc", minimum=0.68),
            Criterion(metric="skill", minimum=0.05),
            Criterion(metric="auc", name="leak", too_good=0.85),
            Criterion(metric="calibration_error", name="calibration", maximum=0.08),
        ),
        margin=0.002,
        minimum_gain=0.0005,
        segments=SegmentPlan(maximum_loss_increase=0.03),
        maximum_cost_increase=0.02,
        maximum_latency_ratio=15.0,
        # Diverted flights have departed and never get a label: 0.8 % of them in July's storms.
        minimum_label_coverage=0.985,
    ),
    release=ReleasePlan(canary_weight_bp=1_000),
    demo=DemoPlan(first_as_of="2013-06-01", retrain_as_of="2013-07-01", single_runs=3),
)
