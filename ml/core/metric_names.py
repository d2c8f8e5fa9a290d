"""The metrics that every evaluation computes. Light: the spec reads it at each parse of a Dag file.

How each is computed stands in `ml.core.metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml.core.problems import ProblemType

if TYPE_CHECKING:
    from ml.core.plans import Criterion

_BINARY = frozenset({ProblemType.BINARY})
_REGRESSION = frozenset({ProblemType.REGRESSION})
_CLASSES = frozenset({ProblemType.BINARY, ProblemType.MULTICLASS})
_ALL = frozenset(ProblemType)


@dataclass(frozen=True)
class MetricName:
    """What is known of a metric without computing it.

    Attributes:
        meaning: for people, with the unit.
        needs_cost: whether it is computed only with a cost model.
    """

    name: str
    meaning: str
    higher_is_better: bool
    problems: frozenset[ProblemType]
    needs_cost: bool = False

    @property
    def best(self) -> float:
        """What no model can exceed: all of them are shares, errors or costs."""
        return 1.0 if self.higher_is_better else 0.0


METRICS = {
    metric.name: metric
    for metric in (
        MetricName("log_loss", "mean negative log-likelihood, nats a row", False, _CLASSES),
        MetricName("squared_error", "mean squared error, squared label units", False, _REGRESSION),
        MetricName("absolute_error", "mean absolute error, label units", False, _REGRESSION),
        MetricName("skill", "share of the rule's loss that is saved", True, _ALL),
        MetricName("auc", "area under the ROC curve", True, _BINARY),
        MetricName("average_precision", "area under precision against recall", True, _BINARY),
        MetricName("brier", "mean squared error of the probability", False, _BINARY),
        MetricName(
            "calibration_error",
            "mean distance of predicted from observed share, in 15 bins of equal size",
            False,
            _BINARY,
        ),
        MetricName("cost", "cost units a row, by the spec's cost model", False, _BINARY, True),
        MetricName(
            "value",
            "share saved of what perfect foresight would save over always or never acting",
            True,
            _BINARY,
            True,
        ),
    )
}


def computed_for(problem: ProblemType, *, has_cost: bool) -> tuple[MetricName, ...]:
    """The metrics of a problem, in the order in which people read them."""
    return tuple(
        metric
        for metric in METRICS.values()
        if problem in metric.problems and (has_cost or not metric.needs_cost)
    )


def check_criteria(criteria: Sequence[Criterion], problem: ProblemType, *, has_cost: bool) -> None:
    """Raise `ValueError` for a metric that nobody computes, or a bound the wrong way round."""
    known = {metric.name: metric for metric in computed_for(problem, has_cost=has_cost)}
    for criterion in criteria:
        metric = known.get(criterion.metric)
        if metric is None:
            raise ValueError(
                f"nobody computes the metric {criterion.metric!r} for a {problem} problem"
                + ("" if has_cost else " without a cost model")
                + f"; expected one of: {', '.join(known)}"
            )
        _check_direction(criterion, metric)
    for low, high in _opposed(criteria):
        raise ValueError(
            f"{low.metric}: good beyond {low.bound:g} ({low.gate}), but too good beyond "
            f"{high.bound:g} ({high.gate}): nothing can pass; expected them the other way round"
        )


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
                sign = 1 if METRICS[low.metric].higher_is_better else -1
                if low.too_good is None and sign * (high.too_good - low.bound) <= 0:
                    found.append((low, high))
    return found
