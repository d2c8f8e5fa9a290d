"""The spec of the reference use case."""

from __future__ import annotations

from datetime import timedelta

from ml.core.partitions import Cadence
from ml.core.problems import ProblemType
from ml.core.spec import (
    Coverage,
    DemoPlan,
    Features,
    GatePlan,
    Label,
    ModelPlan,
    ReleasePlan,
    Table,
    UseCase,
)

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
        Table(name="flights"),
        Table(name="weather"),
        Table(name="planes", is_snapshot=True),
        Table(name="airports", is_snapshot=True),
        Table(name="airlines", is_snapshot=True),
    ),
    max_quarantine_share=0.02,
    mart="fct_flights",
    key="flight_id",
    decided_at="decided_at",
    decision_lead=timedelta(hours=2),
    # Flights land after midnight: all but 31 of the year are down by noon UTC of the next day.
    label=Label(column="is_late", known_at="label_known_at", maturity=timedelta(hours=8)),
    features=Features(
        service="flight_delay_v1",
        tables=("feat_origin_departures", "feat_carrier_hour_arrivals"),
        on_request=("scheduled_minute", "day_of_week", "distance_miles"),
    ),
    select_partitions=14,
    holdout_partitions=28,
    model=ModelPlan(
        parameters={
            "learning_rate": 0.05,
            "num_leaves": 31,
            "min_data_in_leaf": 1000,
            "feature_fraction": 0.5,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "lambda_l2": 10.0,
            "max_bin": 127,
        },
        max_rounds=400,
        early_stopping_rounds=30,
    ),
    gates=GatePlan(minimum_skill=0.05, maximum_auc=0.85, margin=0.002, minimum_gain=0.0005),
    release=ReleasePlan(canary_weight_bp=1_000),
    demo=DemoPlan(first_as_of="2013-06-01", retrain_as_of="2013-07-01", single_runs=3),
)
