"""The spec of a small use case with several classes, on data that scikit-learn brings."""

from __future__ import annotations

from datetime import timedelta

from ml.core.partitions import Cadence
from ml.core.plans import (
    CostMatrix,
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

CLASSES = ("zero", "one", "two", "three", "four")

SPEC = UseCase(
    slug="digits",
    title="Digits",
    description="Which digit stands in a box of a form, asked when it is scanned? The pictures "
    "are real (from scikit-learn); desks and all times are made up.",
    owner="forms-team",
    contact="mailto:forms-team@example.com",
    impact_tier=4,
    problem=ProblemType.MULTICLASS,
    cadence=Cadence.HOUR,
    zone="UTC",
    coverage=Coverage(first="2020-01-06T00Z", last="2020-01-09T02Z"),
    tables=(
        Table(
            name="scans",
            files=Files(path="$DIGITS_DATA", time="scanned_at"),
            volume=Volume(lower=0.5, upper=2),
            freshness=Freshness(column="scanned_at", tolerance=timedelta(minutes=30)),
        ),
    ),
    max_quarantine_share=0.1,
    mart="fct_scans",
    key="scan_id",
    decided_at="decided_at",
    decision_lead=timedelta(0),
    # Somebody reads what was scanned within two hours.
    label=Label(
        table="fct_labels",
        column="digit",
        known_at="label_known_at",
        maturity=timedelta(hours=2),
        classes=CLASSES,
        lookback_partitions=2,
    ),
    features=Features(
        service="digits_v1",
        tables=("feat_scan_rows", "feat_desk_scans"),
        lookback=timedelta(hours=7),
        on_request=tuple(f"column_{number}_ink" for number in range(8)),
        categorical=("desk",),
    ),
    select_partitions=12,
    holdout_partitions=24,
    segments=("desk",),
    # A wrong digit costs 1; somebody who would have to look again does not exist.
    cost=CostMatrix(costs=tuple(tuple(float(t != d) for d in range(5)) for t in range(5))),
    model=ModelPlan(
        rule=Rule(by=("desk",)),
        parameters={"bagging_freq": 1},
        search=SearchPlan(
            space={
                "learning_rate": FloatRange(low=0.05, high=0.2, log=True),
                "num_leaves": IntRange(low=4, high=15),
                "min_data_in_leaf": IntRange(low=3, high=15),
            },
        ),
        max_rounds=60,
        early_stopping_rounds=10,
    ),
    gates=GatePlan(
        criteria=(
            Criterion(metric="skill", minimum=0.3),
            Criterion(metric="macro_recall", minimum=0.6),
            Criterion(metric="recall_zero", minimum=0.6),
            Criterion(metric="accuracy", name="leak", too_good=0.999),
            Criterion(metric="calibration_error", name="calibration", maximum=0.2),
        ),
        margin=0.05,
        minimum_gain=0.001,
        segments=SegmentPlan(minimum_rows=30, minimum_positives=0, maximum_loss_increase=0.5),
        maximum_cost_increase=0.1,
        # The times are made up: hours share no shock.
        cluster_partitions=1,
    ),
    release=ReleasePlan(canary_weight_bp=2_000),
    demo=DemoPlan(first_as_of="2020-01-08T16Z", retrain_as_of="2020-01-08T19Z", single_runs=2),
)
