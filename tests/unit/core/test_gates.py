from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.evidence import ContractEvidence, Evidence, SegmentEvidence
from ml.core.gates import (
    GATES as ALL_GATES,
)
from ml.core.gates import (
    Decision,
    GateResult,
    Verdict,
    better_gate,
    ceiling_gate,
    contract_gate,
    criterion_gate,
    decide,
    floor_gate,
    judge,
    segments_gate,
)
from ml.core.plans import Criterion, GatePlan, SegmentPlan
from ml.core.problems import ProblemType
from ml.core.statistics import MISSING, Estimate, Resampling

GATES: dict[str, Callable[[Estimate], GateResult]] = {
    "floor": lambda e: floor_gate("skill", e, minimum=0.05),
    "ceiling": lambda e: ceiling_gate("leak", e, maximum=0.85),
    "better": lambda e: better_gate("better", e, margin=0.002, minimum_gain=0.0005),
}
UNSURE = "INSUFFICIENT"
every_gate = pytest.mark.parametrize("gate", GATES.values(), ids=GATES.keys())


def estimate(value: float, lower: float, upper: float) -> Estimate:
    return Estimate(value, lower, upper, rows=900, clusters=28)


@pytest.mark.parametrize(
    ("gate", "interval", "verdict"),
    [
        ("floor", (0.08, 0.06, 0.10), "PASS"),
        ("floor", (0.08, 0.05, 0.10), "PASS"),  # the bound itself is good enough
        ("floor", (0.08, 0.049, 0.10), "INSUFFICIENT"),
        ("floor", (0.02, 0.01, 0.05), "INSUFFICIENT"),
        ("floor", (0.02, 0.01, 0.049), "FAIL"),
        ("ceiling", (0.70, 0.65, 0.75), "PASS"),
        ("ceiling", (0.80, 0.75, 0.85), "PASS"),
        ("ceiling", (0.84, 0.80, 0.86), "INSUFFICIENT"),
        ("ceiling", (0.92, 0.86, 0.95), "FAIL"),
        ("better", (-0.005, -0.009, -0.001), "PASS"),
        ("better", (-0.0005, -0.002, 0.0019), "PASS"),
        ("better", (-0.0004, -0.002, 0.0010), "INSUFFICIENT"),  # not worse, but no gain
        ("better", (-0.005, -0.012, 0.002), "INSUFFICIENT"),  # a gain, but perhaps worse
        ("better", (0.0010, -0.001, 0.0030), "INSUFFICIENT"),
        ("better", (0.0, 0.0, 0.0), "INSUFFICIENT"),  # a champion compared with itself
        ("better", (0.005, 0.001, 0.009), "FAIL"),
    ],
)
def test_each_verdict_of_each_gate(
    gate: str, interval: tuple[float, float, float], verdict: str
) -> None:
    result = GATES[gate](estimate(*interval))
    assert result.verdict == verdict
    assert result.reason and result.threshold


@every_gate
@pytest.mark.parametrize(
    "evidence",
    [
        MISSING,
        estimate(nan, 0.0, 0.0),
        estimate(0.0, nan, 0.0),
        estimate(0.0, 0.0, nan),
        estimate(0.0, -inf, inf),
        Estimate(-1.0, -1.0, -1.0, rows=0, clusters=0),
    ],
    ids=["missing", "nan value", "nan lower", "nan upper", "infinite", "no rows"],
)
def test_evidence_that_is_none_is_invalid(
    gate: Callable[[Estimate], GateResult], evidence: Estimate
) -> None:
    result = gate(evidence)
    assert result.verdict is Verdict.INVALID
    assert decide([result]) is Decision.INVALID


anything = st.floats(allow_nan=True, allow_infinity=True)


@every_gate
@given(
    st.lists(anything, min_size=3, max_size=3),
    st.integers(0, 2),
    st.sampled_from([nan, inf, -inf]),
    st.integers(0, 5),
)
def test_nothing_that_is_not_a_number_passes(
    gate: Callable[[Estimate], GateResult], figures: list[float], at: int, no: float, rows: int
) -> None:
    figures[at] = no
    found = Estimate(*figures, rows=rows, clusters=rows)
    few = rows > 0 and np.isfinite(found.value)  # clusters to have bounds at all
    assert gate(found).verdict is (Verdict.INSUFFICIENT if few else Verdict.INVALID)
    assert gate(replace(found, rows=900, clusters=28)).verdict is Verdict.INVALID
    assert gate(replace(found, rows=900, clusters=0)).verdict is Verdict.INSUFFICIENT


finite = st.floats(-1, 1)


@every_gate
@given(st.lists(finite, min_size=3, max_size=3), st.floats(0, 0.5))
def test_a_wider_interval_never_turns_into_a_pass(
    gate: Callable[[Estimate], GateResult], figures: list[float], wider: float
) -> None:
    lower, value, upper = sorted(figures)
    narrow = gate(estimate(value, lower, upper)).verdict
    wide = gate(estimate(value, lower - wider, upper + wider)).verdict
    assert narrow is Verdict.PASS or wide is not Verdict.PASS


WORST_TO_BEST = [Verdict.FAIL, Verdict.INSUFFICIENT, Verdict.PASS]


@every_gate
@given(st.lists(finite, min_size=3, max_size=3), st.floats(0, 2))
def test_a_better_figure_never_gives_a_worse_verdict(
    gate: Callable[[Estimate], GateResult], figures: list[float], gain: float
) -> None:
    lower, value, upper = sorted(figures)
    by = gain if gate is GATES["floor"] else -gain
    here = gate(estimate(value, lower, upper)).verdict
    there = gate(estimate(value + by, lower + by, upper + by)).verdict
    assert WORST_TO_BEST.index(there) >= WORST_TO_BEST.index(here)


@given(st.lists(finite, min_size=3, max_size=3), finite)
def test_a_ceiling_is_a_floor_seen_from_above(figures: list[float], limit: float) -> None:
    lower, value, upper = sorted(figures)
    above = ceiling_gate("loss", estimate(value, lower, upper), maximum=limit)
    below = floor_gate("gain", estimate(-value, -upper, -lower), minimum=-limit)
    assert above.verdict is below.verdict


def result(verdict: str) -> GateResult:
    return GateResult(verdict.lower(), Verdict(verdict), "", "", MISSING)


@pytest.mark.parametrize(
    ("verdicts", "decision"),
    [
        ([], "invalid"),
        (["PASS"], "accepted"),
        (["PASS", "PASS"], "accepted"),
        (["PASS", "FAIL"], "rejected"),
        (["PASS", "INSUFFICIENT"], "rejected"),
        (["FAIL", "INSUFFICIENT"], "rejected"),
        (["PASS", "INVALID"], "invalid"),
        (["FAIL", "INVALID"], "invalid"),
        (["INVALID"], "invalid"),
    ],
)
def test_what_follows_from_all_verdicts(verdicts: list[str], decision: str) -> None:
    assert decide([result(v) for v in verdicts]) == decision


@given(st.lists(st.sampled_from([v.value for v in Verdict]), max_size=6), st.randoms())
def test_only_all_passes_are_accepted_in_any_order(verdicts: list[str], random: object) -> None:
    decision = decide([result(v) for v in verdicts])
    assert (decision is Decision.ACCEPTED) == (set(verdicts) == {"PASS"})
    random.shuffle(verdicts)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert decide([result(v) for v in verdicts]) is decision


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


def test_a_healthy_candidate_passes_every_gate() -> None:
    names = ["contract", "auc", "leak", "calibration", "foresight", "better", "segments", "cost"]
    assert judged(HEALTHY) == dict.fromkeys([*names, "latency"], "PASS")


def test_the_first_model_has_no_champion_to_be_compared_with() -> None:
    found = judged(replace(ALONE, cost_difference=estimate(-0.1, -0.2, -0.01)))
    assert set(found.values()) == {"PASS"} and not {"better", "latency"} & set(found)


def contract(**changes: object) -> dict[str, Any]:
    return {"contract": replace(CONTRACT, **changes)}


def metric(name: str, *figures: float) -> dict[str, Any]:
    return {"metrics": {**HEALTHY.metrics, name: estimate(*figures)}}


BAD = estimate(0.2, 0.1, 0.3)
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


# --- what people read ---

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
