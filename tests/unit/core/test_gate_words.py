"""What people read of a verdict, and that a stored one is judged alike."""

from __future__ import annotations

import json
from dataclasses import replace
from math import nan
from typing import Any

import pytest
from gate_evidence import (
    BAD,
    CONTRACT,
    GATES,
    HEALTHY,
    PLAN,
    anything,
    contract,
    estimate,
    judged,
    segment,
)
from hypothesis import given
from hypothesis import strategies as st

from ml.core.evidence import Evidence, SegmentEvidence
from ml.core.gates import (
    Verdict,
    contract_gate,
    criterion_gate,
    judge,
)
from ml.core.statistics import MISSING, Estimate

SHORT = "upper bound < 0.002 and mean <= -0.0005"
GOOD, POOR, OPEN = (-0.005, -0.009, -0.001), (0.005, 0.001, 0.009), (0.0, -0.001, 0.001)
FEW = Estimate(0.1, nan, nan, rows=900, clusters=6)
SAID: list[tuple[str, Estimate, str, str]] = [
    ("floor", estimate(0.08, 0.06, 0.1), ">= 0.05", "lower bound 0.0600 reaches 0.05"),
    ("floor", estimate(0.02, 0.01, 0.04), ">= 0.05", "upper bound 0.0400 is below 0.05"),
    ("floor", estimate(0.06, 0.04, 0.1), ">= 0.05", "the interval lies astride 0.05"),
    ("ceiling", estimate(0.7, 0.6, 0.8), "<= 0.85", "upper bound 0.8000 is under 0.85"),
    ("ceiling", estimate(0.9, 0.88, 0.95), "<= 0.85", "lower bound 0.8800 is above 0.85"),
    ("ceiling", estimate(0.8, 0.7, 0.9), "<= 0.85", "the interval lies astride 0.85"),
    (
        "better",
        estimate(*GOOD),
        SHORT,
        "better on average, and not worse by 0.002: mean -0.00500, bounds -0.00900 to -0.00100",
    ),
    (
        "better",
        estimate(*POOR),
        SHORT,
        "worse than the champion: mean +0.00500, bounds +0.00100 to +0.00900",
    ),
    (
        "better",
        estimate(*OPEN),
        SHORT,
        "not shown to be better: mean +0.00000, bounds -0.00100 to +0.00100",
    ),
    ("better", MISSING, SHORT, "the evidence is missing, empty or not a number"),
    ("ceiling", MISSING, "<= 0.85", "the evidence is missing, empty or not a number"),
    ("floor", FEW, ">= 0.05", "6 clusters, at least 7 are needed"),
    ("floor", replace(FEW, clusters=7), ">= 0.05", "its bounds are not numbers"),
]


@pytest.mark.parametrize(("gate", "figure", "threshold", "reason"), SAID)
def test_a_gate_says_its_threshold_and_its_reason(
    gate: str, figure: Estimate, threshold: str, reason: str
) -> None:
    found = GATES[gate](figure)
    assert (found.threshold, found.reason) == (threshold, reason)
    assert found.name == {"floor": "skill", "ceiling": "leak"}.get(gate, gate)
    assert found.estimate is figure


@pytest.mark.parametrize(
    ("criterion", "figure", "threshold", "reason"),
    [
        (0, None, "auc >= 0.7", "nobody computed the metric auc"),
        (1, estimate(0.76, 0.74, 0.78), "auc <= 0.85", "upper bound 0.7800 is under 0.85"),
        (3, estimate(0.4, 0.3, 0.5), "log_loss >= 0.05", "lower bound 0.3000 reaches 0.05"),
    ],
)
def test_a_criterion_says_its_metric_too(
    criterion: int, figure: Estimate | None, threshold: str, reason: str
) -> None:
    found = criterion_gate(PLAN.criteria[criterion], figure)
    assert (found.threshold, found.reason) == (threshold, reason)
    assert found.estimate is (figure or MISSING)


CALM = estimate(0.0, -0.01, 0.01)
AS_TRAINED = "as trained, labels >= 99.0%"
LONG = "0123456789abcdef"
TOLD: list[tuple[dict[str, Any], str, str, str]] = [
    ({}, "contract", AS_TRAINED, "as trained; 99.70% of the labels in time"),
    (
        contract(found=LONG, missing_columns=("x", "y"), late_features=3),
        "contract",
        AS_TRAINED,
        (
            "columns or categories are not those of the training: 0123456789ab, recorded c0ffee; "
            "the features lack x, y; 3 row(s) with a feature from after the decision"
        ),
    ),
    (
        contract(found="", recorded=LONG),
        "contract",
        AS_TRAINED,
        "columns or categories are not those of the training: none, recorded 0123456789ab",
    ),
    (
        contract(recorded=""),
        "contract",
        AS_TRAINED,
        "columns or categories are not those of the training: c0ffee, recorded none",
    ),
    (
        contract(expected_labels=2000, known_labels=1900),
        "contract",
        AS_TRAINED,
        "1,900 of 2,000 expected labels were known in time",
    ),
    ({}, "segments", "loss of each <= +0.03", "2 segments evaluated, 1 too small"),
    (
        {"segments": ()},
        "segments",
        "loss of each <= +0.03",
        "0 segments evaluated, 0 too small; the evaluated ones hold too few of the rows: none 0%",
    ),
    (
        {"segments": (segment("UA", 600), SegmentEvidence("origin", "EWR", 700, 99, CALM))},
        "segments",
        "loss of each <= +0.03",
        (
            "2 segments evaluated, 0 too small; "
            "the evaluated ones hold too few of the rows: carrier 60%, origin 70%"
        ),
    ),
    (
        {"segments": tuple(SegmentEvidence("origin", one, 500, 99, BAD) for one in ("EWR", "JFK"))},
        "segments",
        "loss of each <= +0.03",
        (
            "origin EWR: lower bound 0.1000 is above 0.03; "
            "origin JFK: lower bound 0.1000 is above 0.03"
        ),
    ),
    ({}, "cost", "cost over champion <= +0.01", "upper bound 0.0050 is under 0.01"),
    (
        {"opponent": "rule"},
        "cost",
        "cost over always or never acting <= 0",
        "the interval lies astride 0",
    ),
    (
        {},
        "latency",
        "<= 3 times the champion's or <= 50 µs a row",
        "20.0 µs a row, the champion 10.0 µs",
    ),
    (
        {"latency_us": None},
        "latency",
        "<= 3 times the champion's or <= 50 µs a row",
        "the CPU time of one of the two was not measured",
    ),
    ({"opponent_fault": "it is gone"}, "better", SHORT, "it is gone"),
    (
        {"metrics": {}, "gaps": ("no row is of class low", "no row is of class high")},
        "auc",
        "auc >= 0.7",
        "nobody computed the metric auc; no row is of class low; no row is of class high",
    ),
]


@pytest.mark.parametrize("case", range(len(TOLD)))
def test_the_whole_verdict_says_what_was_seen(case: int) -> None:
    change, name, threshold, reason = TOLD[case]
    found = next(one for one in judge(PLAN, replace(HEALTHY, **change)) if one.name == name)
    assert (found.threshold, found.reason) == (threshold, reason)


def test_exactly_the_share_of_labels_that_is_asked_for_is_enough() -> None:
    found = replace(CONTRACT, known_labels=990)
    assert contract_gate(found, minimum_label_coverage=0.99).verdict is Verdict.PASS


def test_a_verdict_shows_the_figure_that_it_rests_on() -> None:
    found = {one.name: one.estimate for one in judge(PLAN, HEALTHY)}
    assert found["contract"] == Estimate(0.997, 0.997, 0.997, rows=1000, clusters=0)
    assert found["auc"] == found["leak"] == HEALTHY.metrics["auc"]
    assert found["better"] == HEALTHY.difference and found["cost"] == HEALTHY.cost_difference
    assert found["segments"] == HEALTHY.segments[0].difference
    assert found["latency"] == Estimate(2.0, 2.0, 2.0, rows=1000, clusters=0)
    worse = replace(HEALTHY, segments=(*HEALTHY.segments, segment("WN", 500, upper=0.02)))
    shown = {one.name: one.estimate for one in judge(PLAN, worse)}
    assert shown["segments"].upper == 0.02, "the highest of those that were evaluated"


@given(st.tuples(anything, anything, anything), st.integers(0, 40), st.none() | anything)
def test_evidence_is_judged_alike_after_it_was_stored(
    three: tuple[float, float, float], clusters: int, time: float | None
) -> None:
    """JSON has neither NaN nor infinity, and neither may turn into a pass on the way."""
    found = Estimate(*three, rows=900, clusters=clusters)
    evidence = replace(
        HEALTHY,
        metrics=dict.fromkeys(HEALTHY.metrics, found),
        difference=found,
        cost_difference=found,
        segments=(SegmentEvidence("carrier", "UA", 1000, 200, found),),
        latency_us=time,
    )
    stored = json.loads(json.dumps(evidence.to_plain(), allow_nan=False))
    assert judged(Evidence.from_plain(stored)) == judged(evidence)
