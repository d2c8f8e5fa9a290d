"""The spec of a forecast: one series, weekly, learned as a difference from its newest value."""

from __future__ import annotations

from datetime import timedelta

from ml.core.partitions import Cadence
from ml.core.plans import (
    Criterion,
    FloatRange,
    GatePlan,
    IntRange,
    ModelPlan,
    ReleasePlan,
    Rule,
    SearchPlan,
    UnitCost,
)
from ml.core.problems import ProblemType
from ml.core.spec import (
    Coverage,
    DemoPlan,
    Features,
    Files,
    Freshness,
    Label,
    Schedules,
    Table,
    UseCase,
    Volume,
)

SPEC = UseCase(
    slug="co2_trend",
    title="CO2 trend",
    description="How much CO2 will be in the air at Mauna Loa in four weeks, in ppm, asked each "
    "week when its reading is known?",
    owner="atmosphere",
    contact="https://github.com/flightline/flightline/issues",
    impact_tier=4,
    problem=ProblemType.REGRESSION,
    cadence=Cadence.WEEK,
    zone="UTC",
    coverage=Coverage(first="1958-03-24", last="2001-12-24"),
    tables=(
        Table(
            name="readings",
            files=Files(
                package="statsmodels",
                path="datasets/co2/co2.csv",
                time="date",
                time_format="%Y%m%d",
            ),
            volume=Volume(lower=1, upper=1),
            freshness=Freshness(column="date", tolerance=timedelta(0)),
        ),
    ),
    max_quarantine_share=0,
    mart="fct_forecasts",
    key="forecast_id",
    decided_at="decided_at",
    # From Sunday, when the week's reading is known, to the Saturday of the fourth week after.
    decision_lead=timedelta(days=27),
    # That reading is known on the Sunday: 28 days after the decision, 27 after its week's end.
    label=Label(
        table="fct_labels",
        column="co2_ppm",
        known_at="label_known_at",
        maturity=timedelta(days=27),
        expected="is_expected",
        lookback_partitions=4,
    ),
    features=Features(
        service="co2_trend_v1",
        tables=("feat_station_readings",),
        lookback=timedelta(weeks=104),
        on_request=tuple(
            f"{w}_{f}" for w in ("season", "half_year", "third_year") for f in ("sin", "cos")
        ),
    ),
    select_partitions=104,
    holdout_partitions=104,
    # An error costs its size, whichever way: the gate on cost is one on the mean absolute error.
    cost=UnitCost(over=1, under=1),
    model=ModelPlan(
        # What a calendar says: the mean change into this month.
        rule=Rule(by=("target_month",), smoothing=4),
        parameters={"bagging_freq": 1},
        search=SearchPlan(
            space={
                "learning_rate": FloatRange(low=0.02, high=0.1, log=True),
                "num_leaves": IntRange(low=4, high=31, log=True),
                "min_data_in_leaf": IntRange(low=5, high=60, log=True),
                "feature_fraction": FloatRange(low=0.3, high=0.9),
                "bagging_fraction": FloatRange(low=0.5, high=0.95),
                "lambda_l2": FloatRange(low=0.1, high=100, log=True),
            },
        ),
        max_rounds=400,
        early_stopping_rounds=30,
        # Trees know no level that they have not seen, and this one has only ever risen.
        difference_from="station_readings__level_ppm",
        naive={
            "persistence": "station_readings__level_ppm",
            "seasonal_naive": "station_readings__seasonal_naive_ppm",
        },
        interval=0.9,
    ),
    gates=GatePlan(
        criteria=(
            # Of the rule itself 0, of persistence far below; of the seasonal naive forecast 0, too.
            Criterion(metric="skill", minimum=0.02),
            Criterion(metric="skill_seasonal_naive", minimum=0.05),
            Criterion(metric="skill_persistence", name="leak", too_good=0.97),
            Criterion(metric="bias", maximum=0.5),
            Criterion(metric="interval_coverage", name="coverage", minimum=0.7),
        ),
        margin=0.03,
        minimum_gain=0.002,
        maximum_cost_increase=0.05,
        maximum_latency_ratio=20.0,
        # Of the holdout's labels, two may be lost, or corrected after they closed.
        minimum_label_coverage=0.98,
        # Horizons of four weeks overlap: errors of neighbouring weeks correlate by 0.46, those of
        # the fifth week by 0. Of two clusters of eight weeks only the edges do.
        cluster_partitions=8,
    ),
    release=ReleasePlan(canary_weight_bp=1_000),
    demo=DemoPlan(first_as_of="1978-01-30", retrain_as_of="1980-01-28", single_runs=2),
    schedules=Schedules(retrain="0 6 1 1 *"),
)
