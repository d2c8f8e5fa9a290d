"""Gates: named checks with a threshold and one of four verdicts.

A gate compares an interval with a threshold: wholly on the good side passes, wholly on the bad side
fails, astride is not enough data to say. Evidence that is missing or not a number never passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ml.core.statistics import Estimate


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


MINIMUM_CLUSTERS = 7
"""Below it the bootstrap's interval says nothing: with one cluster it has no width at all."""


def _unusable(name: str, estimate: Estimate, threshold: str) -> GateResult | None:
    """The verdict where the evidence allows no other, else None."""
    if not estimate.rows or not estimate.is_finite:
        reason = "the evidence is missing, empty or not a number"
        return GateResult(name, Verdict.INVALID, threshold, reason, estimate)
    if estimate.clusters < MINIMUM_CLUSTERS:
        reason = f"{estimate.clusters} clusters, at least {MINIMUM_CLUSTERS} are needed"
        return GateResult(name, Verdict.INSUFFICIENT, threshold, reason, estimate)
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


def decide(results: Sequence[GateResult]) -> Decision:
    """All gates must pass; one INVALID makes the whole validation invalid; no gates, no pass.

    >>> decide([]).value
    'invalid'
    """
    verdicts = {result.verdict for result in results}
    if not verdicts or Verdict.INVALID in verdicts:
        return Decision.INVALID
    return Decision.ACCEPTED if verdicts == {Verdict.PASS} else Decision.REJECTED
