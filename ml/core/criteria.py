"""Whether the gates fit their use case: metrics that are computed, bounds that can be met."""

from __future__ import annotations

from collections.abc import Sequence

from ml.core.metric_names import METRICS, MetricName, Scope, computed_for, metric_named
from ml.core.plans import Criterion, GatePlan


def require_fitting(gates: GatePlan, scope: Scope) -> None:
    """Raise `ValueError` for a metric that nobody computes, or a bound the wrong way round."""
    _check_criteria(gates.criteria, scope)
    if gates.maximum_cost_increase is not None and not scope.has_cost:
        raise ValueError("maximum_cost_increase without a cost model; expected `cost` as well")


def _check_criteria(criteria: Sequence[Criterion], scope: Scope) -> None:
    known = computed_for(scope)
    for criterion in criteria:
        metric = known.get(criterion.metric)
        if metric is None:
            raise ValueError(
                f"nobody computes the metric {criterion.metric!r} for this {scope.problem} problem"
                + _lacking(criterion.metric)
                + f"; expected one of: {', '.join(known)}"
            )
        _check_direction(criterion, metric)
    for low, high in _opposed(criteria):
        raise ValueError(
            f"{low.metric}: good beyond {low.bound:g} ({low.gate}), but too good beyond "
            f"{high.bound:g} ({high.gate}): nothing can pass; expected them the other way round"
        )


_LACKING = {
    "cost": "a cost model",
    "interval": "model.interval",
    "persistence": "model.naive",
    "seasonal_naive": "model.naive",
}


def _lacking(name: str) -> str:
    metric = METRICS.get(name)
    return f" without {_LACKING[metric.needs]}" if metric and metric.needs else ""


def _check_direction(criterion: Criterion, metric: MetricName) -> None:
    wrong = criterion.maximum if metric.higher_is_better else criterion.minimum
    if wrong is not None:
        better, field = ("higher", "minimum") if metric.higher_is_better else ("lower", "maximum")
        raise ValueError(
            f"the threshold of {criterion.gate!r} is the wrong way round: {better} is better for "
            f"{metric.name}; expected `{field}`, or `too_good` for what cannot be true"
        )
    if (metric.best - criterion.bound) * (1 if metric.higher_is_better else -1) <= 0:
        raise ValueError(
            f"the threshold of {criterion.gate!r} is {criterion.bound:g}, but {metric.name} never "
            f"gets beyond {metric.best:g}; expected a bound that can be met and missed"
        )


def _opposed(criteria: Sequence[Criterion]) -> list[tuple[Criterion, Criterion]]:
    """Pairs of a bound and a `too_good` of one metric between which nothing lies."""
    found = []
    for low in criteria:
        for high in criteria:
            if low.metric == high.metric and high.too_good is not None and low is not high:
                metric = metric_named(low.metric)
                sign = 1 if metric and metric.higher_is_better else -1
                if low.too_good is None and sign * (high.too_good - low.bound) <= 0:
                    found.append((low, high))
    return found
