"""All gates together: each trips on its fault, and without it the fault gets through."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from gate_evidence import (
    ALONE,
    BAD,
    HEALTHY,
    PLAN,
    UNSURE,
    anything,
    contract,
    estimate,
    judged,
    metric,
    segment,
)
from hypothesis import given
from hypothesis import strategies as st

from ml.core.evidence import Evidence, SegmentEvidence
from ml.core.gates import (
    GATES as ALL_GATES,
)
from ml.core.gates import (
    Decision,
    Verdict,
    criterion_gate,
    decide,
    judge,
    segments_gate,
)
from ml.core.plans import Criterion, GatePlan
from ml.core.problems import ProblemType
from ml.core.statistics import MISSING, Estimate, Resampling


def test_a_healthy_candidate_passes_every_gate() -> None:
    names = ["contract", "auc", "leak", "calibration", "foresight", "better", "segments", "cost"]
    assert judged(HEALTHY) == dict.fromkeys([*names, "latency"], "PASS")


def test_the_first_model_has_no_champion_to_be_compared_with() -> None:
    found = judged(replace(ALONE, cost_difference=estimate(-0.1, -0.2, -0.01)))
    assert set(found.values()) == {"PASS"} and not {"better", "latency"} & set(found)


FAULTS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "other categories": (contract(found="dec0de"), "contract", "FAIL", "not those of the training"),
    "no contract": (contract(found=""), "contract", "FAIL", "none"),
    "a column is gone": (contract(missing_columns=("x",)), "contract", "FAIL", "features lack x"),
    "a look ahead": (contract(late_features=3), "contract", "FAIL", "3 row.s. with a feature"),
    "labels late": (contract(known_labels=900), "contract", "INVALID", "900 of 1,000"),
    "no labels": (contract(expected_labels=0, known_labels=0), "contract", "INVALID", "0 of 0"),
    "weak": (metric("auc", 0.6, 0.58, 0.62), "auc", "FAIL", "below 0.7"),
    "leak": (metric("auc", 0.92, 0.91, 0.93), "leak", "FAIL", "above 0.85"),
    "too good a loss": (metric("log_loss", 0.02, 0.01, 0.03), "foresight", "FAIL", "below 0.05"),
    "uncalibrated": (metric("calibration_error", 0.1, 0.08, 0.12), "calibration", "FAIL", "above"),
    "metric is nan": (
        metric("calibration_error", nan, nan, nan),
        "calibration",
        "INVALID",
        "not a number",
    ),
    "worse": ({"difference": estimate(0.01, 0.005, 0.02)}, "better", "FAIL", "worse"),
    "no difference": ({"difference": None}, "better", "INVALID", "missing"),
    "no champion": ({"opponent_fault": "it is gone"}, "better", "INVALID", "it is gone"),
    "a bad segment": (
        {"segments": (*HEALTHY.segments, SegmentEvidence("origin", "EWR", 1000, 99, BAD))},
        "segments",
        "FAIL",
        "origin EWR",
    ),
    "an unsure segment": (
        {"segments": (segment("UA", 1000, upper=0.04),)},
        "segments",
        "INSUFFICIENT",
        "carrier UA: the interval lies astride 0.03",
    ),
    "small segments": (
        {"segments": tuple(segment(str(n), 100) for n in range(10))},
        "segments",
        "INSUFFICIENT",
        "carrier 0%",
    ),
    "few positives": (
        {"segments": (segment("UA", 1000, positives=10),)},
        "segments",
        "INSUFFICIENT",
        "carrier 0%",
    ),
    "no segments": ({"segments": ()}, "segments", "INSUFFICIENT", "none 0%"),
    "dear": ({"cost_difference": estimate(0.05, 0.03, 0.07)}, "cost", "FAIL", "above 0.01"),
    "no cost": ({"cost_difference": None}, "cost", "INVALID", "missing"),
    "slow": ({"latency_us": 51.0}, "latency", "FAIL", "51.0 µs a row, the champion 10.0 µs"),
    "never timed": ({"latency_us": None}, "latency", "INVALID", "not measured"),
    "no time": ({"latency_us": 0.0}, "latency", "INVALID", "not measured"),
    "a clock that ran back": ({"latency_us": -1.0}, "latency", "INVALID", "not measured"),
    "champion's is infinite": ({"opponent_latency_us": inf}, "latency", "INVALID", "not measured"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_gate_trips_on_its_fault_and_no_other_does(fault: str) -> None:
    change, gate, verdict, reason = FAULTS[fault]
    found = {result.name: result for result in judge(PLAN, replace(HEALTHY, **change))}
    assert found[gate].verdict == verdict
    assert re.search(reason, found[gate].reason), found[gate].reason
    others = {name for name, result in found.items() if result.verdict != "PASS"} - {gate}
    assert not others


@pytest.mark.parametrize("fault", FAULTS)
def test_without_its_gate_a_fault_gets_through(fault: str, monkeypatch: Any) -> None:
    change, name, *_ = FAULTS[fault]
    gate = "criteria" if name not in ALL_GATES else name
    monkeypatch.delitem(ALL_GATES, gate)
    assert decide(judge(PLAN, replace(HEALTHY, **change))) is Decision.ACCEPTED


@pytest.mark.parametrize(
    ("mine", "champion", "verdict"),
    [
        (5.0, 0.2, "PASS"),  # 25 times, after a naive forecast
        (50.0, 0.2, "PASS"),
        (50.1, 0.2, "FAIL"),
        (90.0, 30.0, "PASS"),  # above the floor, and three times
        (90.1, 30.0, "FAIL"),
    ],
)
def test_a_champion_that_costs_nothing_locks_nobody_out(
    mine: float, champion: float, verdict: str
) -> None:
    times = replace(HEALTHY, latency_us=mine, opponent_latency_us=champion)
    found = next(one for one in judge(PLAN, times) if one.name == "latency")
    assert found.verdict == verdict
    assert found.threshold == "<= 3 times the champion's or <= 50 µs a row"


def test_no_evaluated_segment_is_no_reason_to_pass() -> None:
    """Whatever share of the rows is asked for; the plan itself refuses 0."""
    assert PLAN.segments is not None
    plan = PLAN.segments.model_copy(update={"minimum_coverage": 0.0})
    for segments in ((), (segment("UA", 499), segment("AA", 501, positives=49))):
        found = segments_gate(segments, plan, rows=1000)
        assert found.verdict is Verdict.INSUFFICIENT
        assert found.reason == f"0 segments evaluated, {len(segments)} too small"
    assert segments_gate((segment("UA", 500),), plan, rows=1000).verdict is Verdict.PASS


def test_segments_that_hold_exactly_the_share_are_enough() -> None:
    assert PLAN.segments is not None
    for rows, verdict in ((1000, "PASS"), (1001, "INSUFFICIENT")):
        assert segments_gate((segment("UA", 900),), PLAN.segments, rows=rows).verdict == verdict


def test_without_a_fair_comparison_nothing_else_is_compared() -> None:
    """What the champion would have to be compared with says nothing, good or bad."""
    compared = {"segments", "cost", "latency"}
    found = judged(replace(HEALTHY, opponent_fault="it is gone"))
    assert set(found) == set(judged(HEALTHY)) - compared
    assert {name for name, verdict in found.items() if verdict != "PASS"} == {"better"}


@pytest.mark.parametrize(
    ("field", "gate"),
    [
        ("segments", "segments"),
        ("maximum_cost_increase", "cost"),
        ("maximum_latency_ratio", "latency"),
    ],
)
def test_a_gate_that_the_plan_leaves_out_says_nothing(field: str, gate: str) -> None:
    found = judged(HEALTHY, PLAN.model_copy(update={field: None}))
    assert set(judged(HEALTHY)) - set(found) == {gate}


figures = st.tuples(anything, anything, anything)
groups = st.builds(
    SegmentEvidence,
    st.sampled_from(["carrier", "origin"]),
    st.sampled_from("ABC"),
    st.integers(0, 1500),
    st.integers(0, 200),
    st.builds(lambda three: estimate(*three), figures | st.just((nan, nan, nan))),
)


@given(st.lists(groups, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_segments_says_nothing(segments: list[SegmentEvidence], random: Any) -> None:
    assert PLAN.segments is not None
    shuffled = random.sample(segments, len(segments))
    one, other = (segments_gate(each, PLAN.segments, rows=1000) for each in (segments, shuffled))
    assert one.verdict is other.verdict
    assert repr(one.estimate.upper) == repr(other.estimate.upper)  # NaN is not equal to itself


@given(st.lists(groups, max_size=6))
def test_no_good_segment_outvotes_a_bad_one(segments: list[SegmentEvidence]) -> None:
    assert PLAN.segments is not None
    bad = SegmentEvidence("carrier", "BAD", 500, 50, BAD)
    found = segments_gate([*segments, bad], PLAN.segments, rows=1000)
    assert found.verdict in (Verdict.FAIL, Verdict.INVALID)


def test_the_first_model_must_be_cheaper_than_no_model() -> None:
    """A champion's slack is not for it: it must save something over always or never acting."""
    cost = estimate(0.001, -0.002, 0.005)
    assert judged(replace(HEALTHY, cost_difference=cost))["cost"] == "PASS"
    assert judged(replace(ALONE, cost_difference=cost))["cost"] == "INSUFFICIENT"


@pytest.mark.parametrize("days", [1, 5, 6, 7, 8])
def test_a_new_carrier_is_too_little_to_say_and_no_fault_of_the_evidence(days: int) -> None:
    """Some replicates draw none of its days, so its bounds may be no numbers."""
    day = np.repeat([f"{number:02}" for number in range(28)], 100)
    draws = Resampling(day, replicates=2000, seed=7).among(day >= f"{28 - days:02}")
    new = SegmentEvidence("carrier", "NEW", 600, 99, draws.mean(np.zeros(draws.rows)))
    found = replace(HEALTHY, segments=(*HEALTHY.segments, new))
    wanted = "PASS" if days >= 7 else "INSUFFICIENT"
    assert judged(found)["segments"] == wanted


def test_a_metric_that_nobody_computed_does_not_pass() -> None:
    found = judge(PLAN, replace(HEALTHY, metrics={}))
    lacking = [result for result in found if result.name in ("auc", "leak", "calibration")]
    assert {result.verdict.value for result in lacking} == {"INVALID"}
    assert lacking[0].reason == "nobody computed the metric auc"


OTHERS: dict[str, tuple[Criterion, tuple[float, float, float], str]] = {
    "of one class": (Criterion(metric="recall_low", minimum=0.5), (0.4, 0.3, 0.49), "FAIL"),
    "of one class, good": (Criterion(metric="recall_low", minimum=0.5), (0.6, 0.5, 0.7), "PASS"),
    "auc of one class": (Criterion(metric="auc_of_low", minimum=0.7), (0.7, 0.6, 0.8), UNSURE),
    "calibration of one": (
        Criterion(metric="calibration_error_of_low", maximum=0.1),
        (0.2, 0.15, 0.3),
        "FAIL",
    ),
    "over classes": (Criterion(metric="macro_f1", minimum=0.5), (0.4, 0.3, 0.45), "FAIL"),
    "seen the outcome": (Criterion(metric="macro_auc", too_good=0.99), (1, 0.995, 1), "FAIL"),
    "biased": (Criterion(metric="bias", maximum=0.2), (0.5, 0.3, 0.7), "FAIL"),
    "perhaps biased": (Criterion(metric="bias", maximum=0.2), (0.1, 0.0, 0.3), UNSURE),
    "unbiased": (Criterion(metric="bias", maximum=0.2), (0.1, 0.0, 0.2), "PASS"),
    "covers too little": (
        Criterion(metric="interval_coverage", minimum=0.85),
        (0.8, 0.75, 0.84),
        "FAIL",
    ),
    "covers": (Criterion(metric="interval_coverage", minimum=0.85), (0.9, 0.86, 0.93), "PASS"),
    "covers everything": (
        Criterion(metric="interval_coverage", too_good=0.98),
        (1.0, 0.99, 1.0),
        "FAIL",
    ),
    "wide": (Criterion(metric="interval_width", maximum=2), (3, 2.5, 3.5), "FAIL"),
    "no better than last": (
        Criterion(metric="skill_persistence", minimum=0.1),
        (0.0, -0.1, 0.05),
        "FAIL",
    ),
    "no better than last year": (
        Criterion(metric="skill_seasonal_naive", minimum=0.1),
        (nan, nan, nan),
        "INVALID",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_bound_on_a_metric_of_another_problem(case: str) -> None:
    criterion, figures, verdict = OTHERS[case]
    found = criterion_gate(criterion, estimate(*figures))
    assert (found.name, found.verdict.value) == (criterion.metric, verdict)
    assert found.threshold.startswith(criterion.metric)
    assert criterion_gate(criterion, None).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [(replace(MISSING, rows=900), UNSURE), (estimate(nan, nan, nan), "INVALID")],
    ids=["no row of it", "answers are no numbers"],
)
def test_a_gate_that_cannot_say_names_what_the_holdout_lacks(
    figure: Estimate, verdict: str
) -> None:
    """A class that does not occur is no fault of the evidence; to train again would not help."""
    plan = PLAN.model_copy(update={"criteria": (Criterion(metric="macro_f1", minimum=0.5),)})
    absent = replace(
        HEALTHY,
        problem=ProblemType.MULTICLASS,
        gaps=("no row is of class low",),
        metrics={"macro_f1": figure},
    )
    for evidence in (absent, Evidence.from_plain(json.loads(json.dumps(absent.to_plain())))):
        results = judge(plan, evidence)
        found = next(one for one in results if one.name == "macro_f1")
        assert found.verdict == verdict and found.reason.endswith("; no row is of class low")
        assert decide(results) is (Decision.REJECTED if verdict == UNSURE else Decision.INVALID)
    good = replace(absent, metrics={"macro_f1": estimate(0.7, 0.6, 0.8)})
    found = next(one for one in judge(plan, good) if one.name == "macro_f1")
    assert found.verdict is Verdict.PASS and "class" not in found.reason


@pytest.mark.parametrize("problem", ProblemType)
@pytest.mark.parametrize(("upper", "verdict"), [(-0.1, "PASS"), (0.3, UNSURE)])
def test_the_first_model_is_cheaper_than_what_people_do_without(
    problem: ProblemType, upper: float, verdict: str
) -> None:
    alone = replace(ALONE, problem=problem, cost_difference=estimate(-0.2, -0.3, upper))
    found = next(one for one in judge(PLAN, alone) if one.name == "cost")
    other = {"binary": "always or never acting"}.get(problem, "deciding without a model")
    assert (found.verdict.value, found.threshold) == (verdict, f"cost over {other} <= 0")


def test_the_same_evidence_gives_the_same_verdicts_from_its_json_too() -> None:
    classes = replace(
        ALONE, problem=ProblemType.MULTICLASS, gaps=("no row is of class low",), metrics={}
    )
    for evidence in (HEALTHY, ALONE, classes, replace(HEALTHY, **metric("auc", nan, nan, nan))):
        plain = json.loads(json.dumps(evidence.to_plain(), allow_nan=False))
        again = judge(
            GatePlan.model_validate_json(PLAN.model_dump_json()), Evidence.from_plain(plain)
        )
        for one, other in zip(judge(PLAN, evidence), again, strict=True):
            assert repr(one) == repr(other)  # NaN is not equal to itself


def test_evidence_of_a_time_before_other_problems_can_be_judged_again() -> None:
    plain = HEALTHY.to_plain()
    del plain["problem"], plain["gaps"]
    assert Evidence.from_plain(plain) == HEALTHY
