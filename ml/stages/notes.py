"""What runs and versions say of themselves: Markdown for people, the first sentence plain.

Lists in the tracking UI show that first sentence without its formatting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import Any

from ml.core.metric_names import metric_named
from ml.core.spec import UseCase
from ml.core.statistics import Estimate
from ml.core.windows import Windows

_NAMES = {
    "rule": "the rule",
    "logistic": "logistic regression",
    "linear": "ridge regression",
    "lightgbm": "LightGBM",
    "seasonal_naive": "the seasonal naive forecast",
}


def training_notes(
    spec: UseCase,
    *,
    windows: Windows,
    competitors: Mapping[str, float],
    chosen: str,
    metrics: Mapping[str, Estimate],
    rows: Mapping[str, int],
    trials: int,
    left_out: Mapping[str, int] | None = None,
) -> str:
    """What a training did and found.

    Args:
        competitors: kind of model to its loss on the select window.
        chosen: the kind that goes on.
        metrics: of the chosen one on the select window, by name.
        rows: of each window.
        trials: points of the search; 0 if there was none.
        left_out: rows of each window from which the label's difference cannot be learned.
    """
    loss = spec.problem.loss_name.replace("_", " ")
    best = competitors[chosen]
    first = (
        f"{_kind(chosen)} is the best of {len(competitors)} on the select window: {loss} {best:.4f}"
    )
    first = first[0].upper() + first[1:] + _against(competitors, chosen)
    source = f"{spec.title}, from what was known at {windows.as_of:%Y-%m-%d %H:%M} UTC."
    searched = f" The search tried {trials} sets of parameters." if trials else ""
    return "\n\n".join(
        (
            f"{first}.",
            f"{source}{searched} The holdout is read by the validation only."
            + _how(spec, left_out or {}),
            "**Competitors**",
            _table(
                ("competitor", loss, "against the rule"),
                _competitor_rows(competitors, chosen),
            ),
            "**Windows**",
            _table(("window", "first", "last", "rows"), _window_rows(windows, rows)),
            "**Select window**",
            _table(
                ("metric", "value", "90 % interval", "meaning"),
                _metric_rows(metrics),
            ),
        )
    )


def _how(spec: UseCase, left_out: Mapping[str, int]) -> str:
    """What is particular to the problem."""
    plan, said = spec.model, []
    if plan.difference_from:
        said.append(f"The label is learned as a difference from `{plan.difference_from}`.")
    if counts := [f"{count:,} of {name}" for name, count in left_out.items() if count]:
        said.append(f"Rows without that column are left out: {', '.join(counts)}.")
    if plan.interval is not None:
        said.append(
            f"The interval is widened so that it holds {plan.interval:.0%} of the select window's "
            "labels: only the holdout says how many it holds of others."
        )
    return "".join(f" {sentence}" for sentence in said)


def _kind(name: str) -> str:
    return _NAMES.get(name, name)


def _against(competitors: Mapping[str, float], chosen: str) -> str:
    rule = competitors.get("rule")
    if rule is None or chosen == "rule":
        return ""
    return f", {1 - competitors[chosen] / rule:.1%} under the rule"


def _competitor_rows(competitors: Mapping[str, float], chosen: str) -> Iterable[Sequence[str]]:
    rule = competitors.get("rule")
    for name in sorted(competitors, key=lambda name: (isnan(competitors[name]), competitors[name])):
        shown = f"**{_kind(name)}**" if name == chosen else _kind(name)
        against = "" if rule is None or name == "rule" else f"{competitors[name] / rule - 1:+.1%}"
        yield shown, f"{competitors[name]:.4f}", against


def _window_rows(windows: Windows, rows: Mapping[str, int]) -> Iterable[Sequence[str]]:
    named = {"fit": windows.fit, "select": windows.select, "holdout": windows.holdout}
    for name, partitions in named.items():
        count = f"{rows[name]:,}" if name in rows else "not read"
        yield name, partitions[0].key, partitions[-1].key, count


def _metric_rows(metrics: Mapping[str, Estimate]) -> Iterable[Sequence[str]]:
    for name, found in metrics.items():
        metric = metric_named(name)
        meaning = metric.meaning if metric else ""
        interval = _interval(f"{found.lower:.4f}", f"{found.upper:.4f}")
        yield name.replace("_", " "), f"{found.value:.4f}", interval, meaning


def verdict_notes(evidence: Mapping[str, Any]) -> str:
    """What a validation found, from its evidence as it is stored."""
    gates, holdout = evidence["gates"], evidence["holdout"]
    champion = evidence["champion"]
    opponent = "the rule, as the first model ever" if champion is None else f"version {champion}"
    judged = (
        f"Judged on {holdout['rows']:,} rows of {holdout['first']} to {holdout['last']}, "
        f"against {opponent}. Evidence: `validation/evidence.json` of the run, "
        f"SHA-256 `{evidence['sha256'][:16]}`…"
    )
    parts = [
        _verdict(evidence["decision"], gates),
        judged,
        _table(("gate", "verdict", "threshold", "value", "bounds", "reason"), map(_gate, gates)),
    ]
    if small := _not_evaluated(evidence):
        parts.append(f"Segments too small to be evaluated: {', '.join(small)}.")
    return "\n\n".join(parts)


def _verdict(decision: str, gates: Sequence[Mapping[str, Any]]) -> str:
    open_ = [f"{gate['name']} {gate['verdict']}" for gate in gates if gate["verdict"] != "PASS"]
    if not open_:
        all_ = "the one gate passes" if len(gates) == 1 else f"all {len(gates)} gates pass"
        return f"{decision.capitalize()}: {all_}."
    passed = len(gates) - len(open_)
    return f"{decision.capitalize()}: {', '.join(open_)}; {passed} of {len(gates)} gates pass."


def _gate(gate: Mapping[str, Any]) -> Sequence[str]:
    estimate = gate["estimate"] or {}
    value, lower, upper = (_figure(estimate.get(name)) for name in ("value", "lower", "upper"))
    verdict = gate["verdict"] if gate["verdict"] == "PASS" else f"**{gate['verdict']}**"
    bounds = _interval(lower, upper) if lower else ""
    return gate["name"], verdict, gate["threshold"], value, bounds, gate["reason"]


def _interval(lower: str, upper: str) -> str:
    return f"{lower}&nbsp;to&nbsp;{upper}"  # on one line in a narrow column, too


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _not_evaluated(evidence: Mapping[str, Any]) -> list[str]:
    plan = evidence["plan"].get("segments")
    if not plan:
        return []
    return [
        f"{segment['column']} {segment['value']} ({segment['rows']:,} rows)"
        for segment in evidence["facts"]["segments"]
        if segment["rows"] < plan["minimum_rows"]
        or segment["positives"] < plan["minimum_positives"]
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [map(_cell, head), ["---"] * len(head), *(map(_cell, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """A bar would end the cell; MLflow's pages leave no room between two."""
    return text.replace("|", "\\|").replace("\n", " ") + "&emsp;"
