"""One gate at a time: what a figure and its interval lead to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from gate_evidence import GATES, anything, estimate, every_gate, finite
from hypothesis import given
from hypothesis import strategies as st

from ml.core.gates import (
    Decision,
    GateResult,
    Verdict,
    ceiling_gate,
    decide,
    floor_gate,
)
from ml.core.statistics import MISSING, Estimate


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
