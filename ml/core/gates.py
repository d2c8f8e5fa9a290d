"""Gates: named checks with a threshold and one of four verdicts.

A gate compares an interval with a threshold: wholly on the good side passes, wholly on the bad side
fails, astride is not enough data to say, and so is a class that does not occur. Evidence that is
missing or not a number never passes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ml.core.evidence import ContractEvidence, Evidence, SegmentEvidence
from ml.core.metric_names import metric_named
from ml.core.plans import Criterion, GatePlan, SegmentPlan
from ml.core.problems import ProblemType
from ml.core.spec import MINIMUM_CLUSTERS
from ml.core.statistics import MISSING, Estimate


class Verdict(StrEnum):
    """What a gate says."""

    PASS = "PASS"
    FAIL = "FAIL"
    INSUFFICIENT = "INSUFFICIENT"  # not enough data to say
    INVALID = "INVALID"  # the evidence itself is missing, late or not a number


class Decision(StrEnum):
    """What follows from all verdicts together."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    INVALID = "invalid"


@dataclass(frozen=True)
class GateResult:
    """One gate's verdict and what it rests on.

    Attributes:
        name: stable identifier, the suffix of the tag `release.gate.<name>`.
        threshold: as in the spec, in words: `>= 0.05`.
        reason: one sentence for people.
    """

    name: str
    verdict: Verdict
    threshold: str
    reason: str
    estimate: Estimate


def _unusable(name: str, estimate: Estimate, threshold: str) -> GateResult | None:
    """The verdict where the evidence allows no other, else None."""
    if not estimate.rows or (estimate.clusters and not math.isfinite(estimate.value)):
        reason = "the evidence is missing, empty or not a number"
        return GateResult(name, Verdict.INVALID, threshold, reason, estimate)
    if estimate.clusters < MINIMUM_CLUSTERS:  # its bounds may be no number, and mean nothing
        reason = f"{estimate.clusters} clusters, at least {MINIMUM_CLUSTERS} are needed"
        return GateResult(name, Verdict.INSUFFICIENT, threshold, reason, estimate)
    if not estimate.is_finite:
        reason = "its bounds are not numbers"
        return GateResult(name, Verdict.INVALID, threshold, reason, estimate)
    return None


def floor_gate(name: str, estimate: Estimate, *, minimum: float) -> GateResult:
    """PASS if the whole interval is at or above `minimum`.

    >>> floor_gate("skill", Estimate(0.1, 0.08, 0.12, 900, 28), minimum=0.05).verdict.value
    'PASS'
    """
    threshold = f">= {minimum:g}"
    if unusable := _unusable(name, estimate, threshold):
        return unusable
    if estimate.lower >= minimum:
        verdict, reason = Verdict.PASS, f"lower bound {estimate.lower:.4f} reaches {minimum:g}"
    elif estimate.upper < minimum:
        verdict, reason = Verdict.FAIL, f"upper bound {estimate.upper:.4f} is below {minimum:g}"
    else:
        verdict, reason = Verdict.INSUFFICIENT, f"the interval lies astride {minimum:g}"
    return GateResult(name, verdict, threshold, reason, estimate)


def ceiling_gate(name: str, estimate: Estimate, *, maximum: float) -> GateResult:
    """PASS if the whole interval is at or below `maximum`.

    >>> ceiling_gate("auc", Estimate(0.92, 0.91, 0.93, 900, 28), maximum=0.85).verdict.value
    'FAIL'
    """
    threshold = f"<= {maximum:g}"
    if unusable := _unusable(name, estimate, threshold):
        return unusable
    if estimate.upper <= maximum:
        verdict, reason = Verdict.PASS, f"upper bound {estimate.upper:.4f} is under {maximum:g}"
    elif estimate.lower > maximum:
        verdict, reason = Verdict.FAIL, f"lower bound {estimate.lower:.4f} is above {maximum:g}"
    else:
        verdict, reason = Verdict.INSUFFICIENT, f"the interval lies astride {maximum:g}"
    return GateResult(name, verdict, threshold, reason, estimate)


def better_gate(name: str, estimate: Estimate, *, margin: float, minimum_gain: float) -> GateResult:
    """Is the challenger better than the champion?

    Args:
        estimate: mean loss of the challenger minus that of the champion on the same rows;
            negative means better.
        margin: the upper bound must stay under it (not worse).
        minimum_gain: the mean must improve by at least this much; without it, small losses that
            each pass as "not worse" add up over releases.

    >>> tie = Estimate(-0.0001, -0.0005, 0.0003, 900, 28)
    >>> better_gate("better", tie, margin=0.002, minimum_gain=0.0005).verdict.value
    'INSUFFICIENT'
    """
    threshold = f"upper bound < {margin:g} and mean <= {-minimum_gain:g}"
    if unusable := _unusable(name, estimate, threshold):
        return unusable
    figures = f"mean {estimate.value:+.5f}, bounds {estimate.lower:+.5f} to {estimate.upper:+.5f}"
    if estimate.upper < margin and estimate.value <= -minimum_gain:
        verdict = Verdict.PASS
        reason = f"better on average, and not worse by {margin:g}: {figures}"
    elif estimate.lower > 0:
        verdict, reason = Verdict.FAIL, f"worse than the champion: {figures}"
    else:
        verdict, reason = Verdict.INSUFFICIENT, f"not shown to be better: {figures}"
    return GateResult(name, verdict, threshold, reason, estimate)


def contract_gate(found: ContractEvidence, *, minimum_label_coverage: float) -> GateResult:
    """Does the model see what it has learned from, and is the holdout's outcome known?

    Labels that are late or lost make the evidence invalid; everything else is the model's fault.
    """
    expected = found.expected_labels
    coverage = found.known_labels / expected if expected else float("nan")
    estimate = Estimate(coverage, coverage, coverage, rows=expected, clusters=0)
    faults = []
    if found.recorded != found.found:
        faults.append(
            f"columns or categories are not those of the training: {found.found[:12] or 'none'}, "
            f"recorded {found.recorded[:12] or 'none'}"
        )
    if found.missing_columns:
        faults.append(f"the features lack {', '.join(found.missing_columns)}")
    if found.late_features:
        faults.append(f"{found.late_features} row(s) with a feature from after the decision")
    verdict, reason = Verdict.PASS, f"as trained; {coverage:.2%} of the labels in time"
    if faults:
        verdict, reason = Verdict.FAIL, "; ".join(faults)
    elif not coverage >= minimum_label_coverage:  # NaN, too
        verdict = Verdict.INVALID
        reason = f"{found.known_labels:,} of {expected:,} expected labels were known in time"
    threshold = f"as trained, labels >= {minimum_label_coverage:.1%}"
    return GateResult("contract", verdict, threshold, reason, estimate)


def criterion_gate(criterion: Criterion, estimate: Estimate | None) -> GateResult:
    """A bound on one metric, or on that of one class; what nobody computed is no reason to pass.

    >>> coverage = Criterion(metric="interval_coverage", minimum=0.8)
    >>> criterion_gate(coverage, Estimate(0.9, 0.86, 0.93, 900, 28)).verdict.value
    'PASS'
    """
    metric = metric_named(criterion.metric)
    assert metric is not None, "the spec refuses others"
    higher_is_better = metric.higher_is_better
    is_floor = higher_is_better == (criterion.too_good is None)
    limit = {"minimum" if is_floor else "maximum": criterion.bound}
    gate = floor_gate if is_floor else ceiling_gate
    found = gate(criterion.gate, estimate or MISSING, **limit)
    threshold = f"{criterion.metric} {found.threshold}"
    if estimate is None:
        return replace(
            found, threshold=threshold, reason=f"nobody computed the metric {criterion.metric}"
        )
    return replace(found, threshold=threshold)


def segments_gate(
    segments: Sequence[SegmentEvidence], plan: SegmentPlan, *, rows: int
) -> GateResult:
    """No evaluated segment may lose more than the plan allows.

    All of them must pass, so each is judged at the full level (intersection-union test: Berger
    1982, "Multiparameter hypothesis testing and acceptance sampling").
    The estimate shown is the one with the highest upper bound.

    Args:
        rows: of the holdout; the evaluated segments of each column must cover most of them.
    """
    limit = plan.maximum_loss_increase
    judged = [
        one
        for one in segments
        if one.rows >= plan.minimum_rows and one.positives >= plan.minimum_positives
    ]
    results = [
        ceiling_gate(f"{one.column} {one.value}", one.difference, maximum=limit) for one in judged
    ]
    worst = max((one.difference for one in judged), key=_height, default=MISSING)
    verdict, reason = _of_all(results)
    if verdict is Verdict.PASS:
        reason = f"{len(judged)} segments evaluated, {len(segments) - len(judged)} too small"
        verdict = Verdict.PASS if judged else Verdict.INSUFFICIENT
        if thin := _thin(segments, judged, share=plan.minimum_coverage, rows=rows):
            verdict = Verdict.INSUFFICIENT
            reason = f"{reason}; the evaluated ones hold too few of the rows: {', '.join(thin)}"
    return GateResult("segments", verdict, f"loss of each <= {limit:+g}", reason, worst)


def _height(found: Estimate) -> tuple[bool, float]:
    """How bad it looks; NaN is worst, or the order of the segments would decide what is shown."""
    return math.isnan(found.upper), found.upper


def _of_all(results: Sequence[GateResult]) -> tuple[Verdict, str]:
    """The worst verdict, and the reasons of those that have it."""
    for verdict in (Verdict.INVALID, Verdict.FAIL, Verdict.INSUFFICIENT):
        if found := [f"{one.name}: {one.reason}" for one in results if one.verdict is verdict]:
            return verdict, "; ".join(found)
    return Verdict.PASS, ""


def _thin(
    segments: Sequence[SegmentEvidence],
    judged: Sequence[SegmentEvidence],
    *,
    share: float,
    rows: int,
) -> list[str]:
    """Columns whose evaluated segments hold less than this share of the rows."""
    covered = Counter[str]()
    for one in judged:
        covered[one.column] += one.rows
    columns = dict.fromkeys(one.column for one in segments) or {"none": None}
    return [
        f"{name} {covered[name] / rows:.0%}" for name in columns if covered[name] < share * rows
    ]


def cost_gate(
    estimate: Estimate,
    *,
    maximum: float,
    has_champion: bool,
    problem: ProblemType = ProblemType.BINARY,
) -> GateResult:
    """Not dearer than the champion; the first model must be cheaper than no model at all."""
    if has_champion:
        found = ceiling_gate("cost", estimate, maximum=maximum)
        return replace(found, threshold=f"cost over champion <= {maximum:+g}")
    found = ceiling_gate("cost", estimate, maximum=0.0)
    is_binary = problem is ProblemType.BINARY
    other = "always or never acting" if is_binary else "deciding without a model"
    return replace(found, threshold=f"cost over {other} <= 0")


def latency_gate(evidence: Evidence, *, maximum: float, floor_us: float) -> GateResult:
    """CPU time a row, as a ratio to the champion's: both were measured once, in training.

    Args:
        maximum: the ratio up to which it passes.
        floor_us: microseconds a row up to which it passes whatever the ratio.
    """
    mine, other = (_time(found) for found in (evidence.latency_us, evidence.opponent_latency_us))
    ratio = mine / other
    if math.isnan(ratio):
        verdict, reason = Verdict.INVALID, "the CPU time of one of the two was not measured"
    else:
        verdict = Verdict.PASS if ratio <= maximum or mine <= floor_us else Verdict.FAIL
        reason = f"{mine:.1f} µs a row, the champion {other:.1f} µs"
    threshold = f"<= {maximum:g} times the champion's or <= {floor_us:g} µs a row"
    estimate = Estimate(ratio, ratio, ratio, rows=evidence.rows, clusters=0)
    return GateResult("latency", verdict, threshold, reason, estimate)


def _time(found: float | None) -> float:
    """A time that was measured; NaN if it was not."""
    return found if found and math.isfinite(found) and found > 0 else math.nan


def _contract(plan: GatePlan, found: Evidence) -> list[GateResult]:
    return [contract_gate(found.contract, minimum_label_coverage=plan.minimum_label_coverage)]


def _criteria(plan: GatePlan, found: Evidence) -> list[GateResult]:
    results = [criterion_gate(one, found.metrics.get(one.metric)) for one in plan.criteria]
    return [
        replace(one, reason="; ".join([one.reason, *found.gaps]))
        if one.verdict is Verdict.INVALID or math.isnan(one.estimate.value)
        else one
        for one in results
    ]


def _better(plan: GatePlan, found: Evidence) -> list[GateResult]:
    if not found.has_champion:
        return []
    limits = {"margin": plan.margin, "minimum_gain": plan.minimum_gain}
    result = better_gate("better", found.difference or MISSING, **limits)
    if found.opponent_fault:  # no fair comparison is no reason to pass
        return [replace(result, verdict=Verdict.INVALID, reason=found.opponent_fault)]
    return [result]


def _segments(plan: GatePlan, found: Evidence) -> list[GateResult]:
    if plan.segments is None or found.opponent_fault:
        return []
    return [segments_gate(found.segments, plan.segments, rows=found.rows)]


def _cost(plan: GatePlan, found: Evidence) -> list[GateResult]:
    if plan.maximum_cost_increase is None or found.opponent_fault:
        return []
    estimate = found.cost_difference or MISSING
    limit, has_champion = plan.maximum_cost_increase, found.has_champion
    return [cost_gate(estimate, maximum=limit, has_champion=has_champion, problem=found.problem)]


def _latency(plan: GatePlan, found: Evidence) -> list[GateResult]:
    if plan.maximum_latency_ratio is None or not found.has_champion or found.opponent_fault:
        return []
    limits = {"maximum": plan.maximum_latency_ratio, "floor_us": plan.latency_floor_us}
    return [latency_gate(found, **limits)]


GATES: dict[str, Callable[[GatePlan, Evidence], list[GateResult]]] = {
    "contract": _contract,
    "criteria": _criteria,
    "better": _better,
    "segments": _segments,
    "cost": _cost,
    "latency": _latency,
}
"""Every gate, in the order in which people read the verdicts."""


def judge(plan: GatePlan, evidence: Evidence) -> tuple[GateResult, ...]:
    """The verdict of each gate; the same plan and evidence give the same verdicts."""
    return tuple(result for gate in GATES.values() for result in gate(plan, evidence))


def decide(results: Sequence[GateResult]) -> Decision:
    """All gates must pass; one INVALID makes the whole validation invalid; no gates, no pass.

    >>> decide([]).value
    'invalid'
    """
    verdicts = {result.verdict for result in results}
    if not verdicts or Verdict.INVALID in verdicts:
        return Decision.INVALID
    return Decision.ACCEPTED if verdicts == {Verdict.PASS} else Decision.REJECTED
