"""The metrics of an evaluation, each with day-clustered bounds; their names are in `metric_names`.

Cost is by the cost-loss model: acting costs 1, not acting costs `missed` where the label is 1.
Source: Murphy (1977), "The value of climatological, categorical and probabilistic forecasts in the
cost-loss ratio situation"; `value` is the relative value of Richardson (2000), section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ml.core.losses import Floats, row_loss
from ml.core.metric_names import computed_for
from ml.core.plans import CostModel
from ml.core.problems import ProblemType
from ml.core.statistics import Estimate, Resampling


def row_cost(label: Floats, prediction: Floats, cost: CostModel) -> Floats:
    """Cost of each row's decision, in units of one action; NaN where the prediction is.

    Args:
        label: shape (n,), 0 or 1.
        prediction: shape (n,), probability of 1.

    >>> row_cost(np.array([1.0, 1.0, 0.0]), np.array([0.1, 0.9, 0.9]), CostModel(missed=4))
    array([4., 1., 1.])
    """
    decided: Floats = np.where(prediction > cost.threshold, 1.0, cost.missed * label)
    return np.where(np.isnan(prediction), np.nan, decided)


def constant_cost(label: Floats, cost: CostModel) -> Floats:
    """Cost of each row under the better of never and always acting on these rows; shape (n,).

    >>> constant_cost(np.array([1.0, 0.0, 0.0, 0.0, 0.0]), CostModel(missed=4))
    array([4., 0., 0., 0., 0.])
    """
    never = cost.missed * label
    return never if never.sum() < len(label) else np.ones_like(label)


@dataclass(frozen=True)
class _Rows:
    """What a metric is computed from; arrays of shape (n,)."""

    label: Floats
    prediction: Floats
    loss: Floats
    rule_loss: Floats
    draws: Resampling
    cost: CostModel | None


def evaluate(
    problem: ProblemType,
    label: Floats,
    prediction: Floats,
    *,
    rule: Floats,
    resampling: Resampling,
    cost: CostModel | None = None,
) -> dict[str, Estimate]:
    """All metrics of the problem, by name; one that cannot be computed is not finite.

    Args:
        label: shape (n,): 0 or 1, the class index, or the value.
        prediction: shape (n,): probability of 1 or value; (n, classes) for multiclass.
        rule: what the rule predicts for the same rows, in the same shape.
        resampling: of the clusters of these rows.
        cost: without it, nothing is said of cost.

    >>> days = Resampling(np.array(["a", "a", "b", "b"]), replicates=9, seed=1)
    >>> y = np.array([0.0, 1.0, 0.0, 1.0])
    >>> rule = np.full(4, 0.5)
    >>> found = evaluate(ProblemType.BINARY, y, 0.2 + 0.6 * y, rule=rule, resampling=days)
    >>> round(found["skill"].value, 3), round(found["calibration_error"].value, 3)
    (0.678, 0.2)
    """
    rows = _Rows(
        label,
        prediction,
        row_loss(problem, label, prediction),
        row_loss(problem, label, rule),
        resampling,
        cost,
    )
    names = [metric.name for metric in computed_for(problem, has_cost=cost is not None)]
    return {name: _COMPUTED[name](rows) for name in names}


def _cost(rows: _Rows) -> Estimate:
    assert rows.cost is not None
    return rows.draws.mean(row_cost(rows.label, rows.prediction, rows.cost))


def _value(rows: _Rows) -> Estimate:
    """What is saved over the better constant, of what perfect foresight would save."""
    assert rows.cost is not None
    constant = constant_cost(rows.label, rows.cost)
    saved = constant - row_cost(rows.label, rows.prediction, rows.cost)
    return rows.draws.ratio(saved, constant - rows.label)


_COMPUTED: dict[str, Callable[[_Rows], Estimate]] = {
    "log_loss": lambda rows: rows.draws.mean(rows.loss),
    "squared_error": lambda rows: rows.draws.mean(rows.loss),
    "absolute_error": lambda rows: rows.draws.mean(np.abs(rows.prediction - rows.label)),
    "skill": lambda rows: rows.draws.ratio(rows.rule_loss - rows.loss, rows.rule_loss),
    "auc": lambda rows: rows.draws.auc(rows.label, rows.prediction),
    "average_precision": lambda rows: rows.draws.average_precision(rows.label, rows.prediction),
    "brier": lambda rows: rows.draws.mean((rows.prediction - rows.label) ** 2),
    "calibration_error": lambda rows: rows.draws.calibration_error(rows.label, rows.prediction),
    "cost": _cost,
    "value": _value,
}
