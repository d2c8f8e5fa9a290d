"""Gates, metrics and the thresholds of each use case."""

from __future__ import annotations

from dataclasses import replace

from generator.markdown import code, summary, table
from ml.core import gates as core
from ml.core.evidence import ContractEvidence, Evidence
from ml.core.metric_names import METRICS
from ml.core.spec import UseCase
from ml.use_cases import load_all

_ASKS = {
    "contract": core.contract_gate,
    "criteria": core.criterion_gate,
    "better": core.better_gate,
    "segments": core.segments_gate,
    "cost": core.cost_gate,
    "latency": core.latency_gate,
}
_NOTHING = Evidence(
    rows=0,
    positives=0,
    opponent="champion",
    opponent_fault="",
    contract=ContractEvidence("", "", (), 0, 0, 0),
    metrics={},
    difference=None,
    cost_difference=None,
    segments=(),
    latency_us=None,
    opponent_latency_us=None,
)


def gates() -> str:
    """Every gate in the order in which they are judged, with what its function says of it."""
    rows = [(code(name), summary(_ASKS[name])) for name in core.GATES]
    return table(["gate", "what it asks"], rows)


def metrics() -> str:
    """All metrics on which a criterion can set a bound."""
    rows = [
        (
            code(f"{one.name}_<class>" if one.by_class else one.name),
            one.meaning,
            "higher" if one.higher_is_better else "lower",
            ", ".join(sorted(one.problems)),
            one.needs.replace("_", " "),
        )
        for one in METRICS.values()
    ]
    return table(["metric", "meaning", "better", "problems", "needs"], rows)


def thresholds() -> str:
    """What each use case of this repository demands, a section for each."""
    specs, _broken = load_all()
    return "\n".join(f"### {spec.title}\n\n{_thresholds(spec)}" for spec in specs.values())


def _thresholds(spec: UseCase) -> str:
    """Asked of the gates themselves: what they say of a candidate of which nothing is known."""
    nothing = replace(_NOTHING, problem=spec.problem)
    return table(
        ["gate", "threshold"],
        [(code(one.name), one.threshold) for one in core.judge(spec.gates, nothing)],
    )
