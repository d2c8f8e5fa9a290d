"""Evidence of a healthy candidate, and ways to spoil it: what the tests of the gates share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from ml.core.evidence import ContractEvidence, Evidence, SegmentEvidence
from ml.core.gates import (
    GateResult,
    better_gate,
    ceiling_gate,
    floor_gate,
    judge,
)
from ml.core.plans import Criterion, GatePlan, SegmentPlan
from ml.core.statistics import Estimate

GATES: dict[str, Callable[[Estimate], GateResult]] = {
    "floor": lambda e: floor_gate("skill", e, minimum=0.05),
    "ceiling": lambda e: ceiling_gate("leak", e, maximum=0.85),
    "better": lambda e: better_gate("better", e, margin=0.002, minimum_gain=0.0005),
}
UNSURE = "INSUFFICIENT"
every_gate = pytest.mark.parametrize("gate", GATES.values(), ids=GATES.keys())


def estimate(value: float, lower: float, upper: float) -> Estimate:
    return Estimate(value, lower, upper, rows=900, clusters=28)


anything = st.floats(allow_nan=True, allow_infinity=True)
finite = st.floats(-1, 1)

PLAN = GatePlan(
    criteria=(
        Criterion(metric="auc", minimum=0.7),
        Criterion(metric="auc", name="leak", too_good=0.85),
        Criterion(metric="calibration_error", name="calibration", maximum=0.05),
        Criterion(metric="log_loss", name="foresight", too_good=0.05),
    ),
    margin=0.002,
    minimum_gain=0.0005,
    segments=SegmentPlan(
        minimum_rows=500, minimum_positives=50, minimum_coverage=0.9, maximum_loss_increase=0.03
    ),
    maximum_cost_increase=0.01,
    maximum_latency_ratio=3.0,
)
CONTRACT = ContractEvidence("c0ffee", "c0ffee", (), 1000, 997, 0)


def segment(value: str, rows: int, upper: float = 0.01, positives: int = 200) -> SegmentEvidence:
    return SegmentEvidence("carrier", value, rows, positives, estimate(0.0, -0.01, upper))


HEALTHY = Evidence(
    rows=1000,
    positives=250,
    opponent="champion 1",
    opponent_fault="",
    contract=CONTRACT,
    metrics={
        "auc": estimate(0.76, 0.74, 0.78),
        "calibration_error": estimate(0.02, 0.01, 0.04),
        "log_loss": estimate(0.45, 0.40, 0.50),
    },
    difference=estimate(-0.005, -0.009, -0.001),
    cost_difference=estimate(-0.01, -0.02, 0.005),
    segments=(segment("UA", 600), segment("OO", 40, upper=9.0), segment("AA", 360 + 140)),
    latency_us=20.0,
    opponent_latency_us=10.0,
)
ALONE = replace(HEALTHY, opponent="rule", difference=None, opponent_latency_us=None)


def judged(evidence: Evidence, plan: GatePlan = PLAN) -> dict[str, str]:
    return {found.name: found.verdict.value for found in judge(plan, evidence)}


def contract(**changes: object) -> dict[str, Any]:
    return {"contract": replace(CONTRACT, **changes)}


def metric(name: str, *figures: float) -> dict[str, Any]:
    return {"metrics": {**HEALTHY.metrics, name: estimate(*figures)}}


BAD = estimate(0.2, 0.1, 0.3)
