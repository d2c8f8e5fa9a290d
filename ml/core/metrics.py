"""The metrics of an evaluation, each with day-clustered bounds; their names are in `metric_names`.

Cost is by the cost-loss model: acting costs 1, not acting costs `missed` where the label is 1.
Source: Murphy (1977), "The value of climatological, categorical and probabilistic forecasts in the
cost-loss ratio situation"; `value` is the relative value of Richardson (2000), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.core.losses import Floats, row_loss
from ml.core.metric_names import Scope, computed_for
from ml.core.plans import Cost, CostMatrix, CostModel, UnitCost
from ml.core.problems import ProblemType
from ml.core.statistics import MISSING, Estimate, Resampling, share


def decided_class(probabilities: Floats, cost: CostMatrix | None = None) -> NDArray[np.int64]:
    """The class to decide for: that of the least expected cost, or without costs the likeliest.

    Args:
        probabilities: shape (n, classes).

    Returns:
        Index of the class, shape (n,); the first of equally good ones; -1 where a probability is
        not a number.

    >>> decided_class(np.array([[0.7, 0.3], [0.4, 0.6]]))
    array([0, 1])
    >>> decided_class(np.array([[0.7, 0.3], [0.4, 0.6]]), CostMatrix(costs=((0, 1), (9, 0))))
    array([1, 1])
    """
    gain = probabilities if cost is None else -(probabilities @ np.array(cost.costs))
    found = np.argmax(gain, axis=1)
    return np.where(np.isfinite(probabilities).all(axis=1), found, -1)


def row_cost(label: Floats, prediction: Floats, cost: Cost) -> Floats:
    """Cost of each row's decision, shape (n,); NaN where the prediction is.

    Args:
        label: shape (n,): 0 or 1, the class index, or the value.
        prediction: shape (n,): probability of 1, or the value; (n, classes) for multiclass.
        cost: of the problem's kind; the result is in its units.

    >>> row_cost(np.array([1.0, 1.0, 0.0]), np.array([0.1, 0.9, 0.9]), CostModel(missed=4))
    array([4., 1., 1.])
    >>> row_cost(np.array([5.0, 5.0]), np.array([6.0, 3.0]), UnitCost(over=1, under=10))
    array([ 1., 20.])
    """
    if isinstance(cost, CostMatrix):
        decided = decided_class(prediction, cost)
        paid: Floats = np.array(cost.costs)[label.astype(int), decided]
        return np.where(decided < 0, np.nan, paid)
    if isinstance(cost, UnitCost):
        over: Floats = cost.over * (prediction - label)
        return np.maximum(over, cost.under * (label - prediction))
    acted: Floats = np.where(prediction > cost.threshold, 1.0, cost.missed * label)
    return np.where(np.isfinite(prediction), acted, np.nan)


def constant_cost(label: Floats, cost: Cost, *, rule: Floats) -> Floats:
    """Cost of each row if people decide without a model, shape (n,).

    That is the better of never and always acting on these rows; the class that would have been
    best for all of them; or, of values, acting upon what the rule says.

    Args:
        label: shape (n,).
        rule: what the rule predicts for these rows; only a regression looks at it.

    >>> label = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    >>> constant_cost(label, CostModel(missed=4), rule=label)
    array([4., 0., 0., 0., 0.])
    """
    if isinstance(cost, CostMatrix):
        by_decision = np.array(cost.costs, dtype=np.float64)[label.astype(int)]
        best: Floats = by_decision[:, _best_class(label, cost)]
        return best
    if isinstance(cost, UnitCost):
        return row_cost(label, rule, cost)
    never = cost.missed * label
    return never if never.sum() < len(label) else np.ones_like(label)


def _best_class(label: Floats, cost: CostMatrix) -> int:
    """Index of the class that is cheapest if it is decided for on all rows."""
    return int(np.array(cost.costs)[label.astype(int)].sum(axis=0).argmin())


def baseline_costs(
    scope: Scope, label: Floats, cost: Cost | None, *, rule: Floats
) -> dict[str, float]:
    """Mean cost a row of deciding without a model, by how; empty without a cost model.

    Args:
        label: shape (n,), at least one row.
        rule: as for `constant_cost`.

    >>> label, scope = np.array([1.0, 0.0]), Scope(ProblemType.BINARY)
    >>> baseline_costs(scope, label, CostModel(missed=4), rule=label)
    {'never acting': 2.0, 'always acting': 1.0}
    """
    if cost is None:
        return {}
    if isinstance(cost, CostModel):
        return {"never acting": float(cost.missed * label.mean()), "always acting": 1.0}
    how = "the rule"
    if isinstance(cost, CostMatrix):
        how = f"always {scope.classes[_best_class(label, cost)]}"
    return {how: float(constant_cost(label, cost, rule=rule).mean())}


def cost_metric(how: str) -> str:
    """Name of the metric that records a baseline cost.

    >>> [cost_metric(how) for how in ("never acting", "always virginica", "the rule")]
    ['never_cost', 'always_virginica_cost', 'rule_cost']
    """
    return how.removeprefix("the ").removesuffix(" acting").replace(" ", "_") + "_cost"


def evaluate(
    scope: Scope,
    label: Floats,
    prediction: Floats,
    *,
    rule: Floats,
    resampling: Resampling,
    cost: Cost | None = None,
    naive: Mapping[str, Floats] | None = None,
    interval: Floats | None = None,
) -> dict[str, Estimate]:
    """All metrics of the problem, by name; one that cannot be computed is not finite.

    Of several classes, what is called one is the row's likeliest, whatever decisions cost. A class
    that does not occur among the labels has no metrics, and neither have means over the classes:
    without it they would look better than they are. They are NaN, and rest on all rows and on no
    cluster, which says that there is not enough data. A class that occurs and is never called has a
    precision of 0. An answer, a naive forecast or an end of an interval that is not a number leaves
    nothing that rests on it finite, whatever occurs.

    Args:
        label: shape (n,): 0 or 1, the class index, or the value.
        prediction: shape (n,): probability of 1 or value; (n, classes) for multiclass.
        rule: what the rule predicts for the same rows, in the same shape.
        resampling: of the clusters of these rows.
        cost: of the problem's kind; without it, nothing is said of cost.
        naive: by its name, what each naive forecast of the scope says, shape (n,).
        interval: lower and upper end for each row, shape (n, 2).

    >>> days = Resampling(np.array(["a", "a", "b", "b"]), replicates=9, seed=1)
    >>> y = np.array([0.0, 1.0, 0.0, 1.0])
    >>> rule = np.full(4, 0.5)
    >>> found = evaluate(Scope(ProblemType.BINARY), y, 0.2 + 0.6 * y, rule=rule, resampling=days)
    >>> round(found["skill"].value, 3), round(found["calibration_error"].value, 3)
    (0.678, 0.2)
    """
    rows = _Rows(scope, label, prediction, rule, resampling, cost, naive or {}, interval)
    figures = _FIGURES[scope.problem] | {
        f"{metric}_{name}": partial(figure, place=place)
        for metric, figure in _OF_A_CLASS.items()
        for place, name in enumerate(scope.classes)
    }
    return {name: figures[name](rows) if len(label) else MISSING for name in computed_for(scope)}


def by_class(scope: Scope, metrics: Mapping[str, Estimate]) -> list[dict[str, str | float]]:
    """One row for each class with all that `evaluate` says of it, with bounds.

    >>> scope = Scope(ProblemType.MULTICLASS, ("a", "b", "c"))
    >>> found = by_class(scope, {f"recall_{name}": Estimate(0.5, 0.4, 0.6, 9, 3) for name in "abc"})
    >>> found[0]
    {'class': 'a', 'recall': 0.5, 'recall_lower': 0.4, 'recall_upper': 0.6}
    """
    return [
        {"class": name}
        | {
            f"{metric.removesuffix('_of')}{end}": getattr(metrics[f"{metric}_{name}"], field)
            for metric in _OF_A_CLASS
            if f"{metric}_{name}" in metrics
            for end, field in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))
        }
        for name in scope.classes
    ]


@dataclass(frozen=True)
class _Rows:
    """What metrics are computed from, see `evaluate`.

    Its arrays of shape (1 + replicates, classes) are figures as `Resampling.totals` gives them.
    """

    scope: Scope
    label: Floats
    prediction: Floats
    rule: Floats
    draws: Resampling
    cost: Cost | None
    naive: Mapping[str, Floats]
    interval: Floats | None

    @cached_property
    def loss(self) -> Floats:
        return row_loss(self.scope.problem, self.label, self.prediction)

    @property
    def error(self) -> Floats:
        """Of a regression, shape (n,)."""
        return self.prediction - self.label

    @cached_property
    def is_class(self) -> NDArray[np.bool_]:
        """Whether a row is of each class, shape (n, classes)."""
        found: NDArray[np.bool_] = self.label[:, None] == np.arange(len(self.scope.classes))
        return found

    @cached_property
    def called(self) -> NDArray[np.int64]:
        """The likeliest class of each row, shape (n,)."""
        return decided_class(self.prediction)

    @cached_property
    def clusters(self) -> tuple[int, ...]:
        """How many clusters each class occurs in."""
        return tuple(map(self.draws.clusters_of, self.is_class.T))

    def clusters_of_precision(self, place: int) -> int:
        """The fewer of those in which a class occurs and in which it is called.

        One that is never called is the model's fault, and rests on those in which it occurs.
        """
        called = self.draws.clusters_of(self.called == place)
        return min(self.clusters[place], called or self.clusters[place])

    def clusters_of_auc(self, place: int) -> int:
        """The fewer of those in which a class occurs and in which any other does."""
        return min(self.clusters[place], self.draws.clusters_of(~self.is_class[:, place]))

    @property
    def absent(self) -> Estimate:
        """Of what does not occur; an answer that is no number is a fault all the same."""
        known = bool(np.isfinite(self.prediction).all())
        return replace(MISSING, rows=self.draws.rows) if known else MISSING

    @cached_property
    def confusion(self) -> tuple[Floats, Floats, Floats]:
        """Rows that are found, are of the class, are called so, in the sample and each replicate.

        Each of shape (1 + replicates, classes); NaN if an answer is not a number.
        """
        if (self.called < 0).any():
            nothing = np.full((len(self.draws.totals(self.label)), len(self.clusters)), np.nan)
            return nothing, nothing, nothing
        called = self.called[:, None] == np.arange(len(self.clusters))
        found = [self.is_class & called, self.is_class, called]
        there, actual, named = (self._by_class(self.draws.totals, one.T) for one in found)
        return there, actual, named

    @cached_property
    def recalls(self) -> Floats:
        found, actual, _ = self.confusion
        return share(found, actual)

    @cached_property
    def precisions(self) -> Floats:
        """Of a class that occurs; 0 throughout if it is never called."""
        found, actual, named = self.confusion
        return np.where(named[0] == 0, share(0 * actual, actual), share(found, named))

    @cached_property
    def f1(self) -> Floats:
        found, actual, named = self.confusion
        return np.where(actual == 0, np.nan, share(2 * found, actual + named))

    @cached_property
    def aucs(self) -> Floats:
        return self._by_class(self.draws.aucs, self.is_class.T, self.prediction.T)

    @cached_property
    def calibration_errors(self) -> Floats:
        return self._by_class(self.draws.calibration_errors, self.is_class.T, self.prediction.T)

    def _by_class(self, figure: Callable[..., Floats], *given: NDArray[Any]) -> Floats:
        """A figure of each class; `given` has a row for each class."""
        values = [
            figure(*(part.astype(float) for part in parts)) for parts in zip(*given, strict=True)
        ]
        return np.stack(values, axis=1)

    def of_class(self, values: Floats, place: int, clusters: int | None = None) -> Estimate:
        """A figure of one class.

        Args:
            clusters: that it rests on; default: those in which the class occurs.
        """
        count = self.clusters[place] if clusters is None else clusters
        return self.draws.estimate(values[:, place], clusters=count) if count else self.absent

    def over_classes(self, values: Floats) -> Estimate:
        """The mean over all classes; it rests on no more clusters than the rarest of them."""
        fewest = min(self.clusters)
        return self.draws.estimate(values.mean(axis=1), clusters=fewest) if fewest else self.absent

    def skill_over(self, other: Floats | None) -> Estimate:
        """The share of the other forecast's loss that is saved."""
        if other is None:
            return MISSING
        loss = row_loss(self.scope.problem, self.label, other)
        return self.draws.ratio(loss - self.loss, loss)

    def of_interval(self, figure: Callable[[Floats, Floats, Floats], NDArray[Any]]) -> Estimate:
        """The mean of a figure of lower end, label and upper end."""
        if self.interval is None:
            return MISSING
        lower, upper = self.interval.T
        known = np.isfinite(self.interval).all(axis=1)
        return self.draws.mean(np.where(known, figure(lower, self.label, upper), np.nan))


def _cost(rows: _Rows) -> Estimate:
    if rows.cost is None:
        return MISSING
    return rows.draws.mean(row_cost(rows.label, rows.prediction, rows.cost))


def _value(rows: _Rows) -> Estimate:
    """What is saved over the better constant, of what perfect foresight would save."""
    if rows.cost is None:
        return MISSING
    if (rows.label == rows.label[0]).all():  # a constant is perfect, and nothing is left to save
        return rows.absent
    constant = constant_cost(rows.label, rows.cost, rule=rows.rule)
    saved = constant - row_cost(rows.label, rows.prediction, rows.cost)
    return rows.draws.ratio(saved, constant - rows.label)


def _accuracy(rows: _Rows) -> Estimate:
    is_right = np.where(rows.called < 0, np.nan, rows.called == rows.label)
    return rows.draws.mean(is_right)


_Figures = dict[str, Callable[[_Rows], Estimate]]
_ANY: _Figures = {
    "skill": lambda rows: rows.skill_over(rows.rule),
    "cost": _cost,
}
_FIGURES: dict[ProblemType, _Figures] = {
    ProblemType.BINARY: _ANY
    | {
        "log_loss": lambda rows: rows.draws.mean(rows.loss),
        "auc": lambda rows: rows.draws.auc(rows.label, rows.prediction),
        "average_precision": lambda r: r.draws.average_precision(r.label, r.prediction),
        "brier": lambda rows: rows.draws.mean((rows.prediction - rows.label) ** 2),
        "calibration_error": lambda r: r.draws.calibration_error(r.label, r.prediction),
        "value": _value,
    },
    ProblemType.MULTICLASS: _ANY
    | {
        "log_loss": lambda rows: rows.draws.mean(rows.loss),
        "accuracy": _accuracy,
        "macro_recall": lambda rows: rows.over_classes(rows.recalls),
        "macro_f1": lambda rows: rows.over_classes(rows.f1),
        "macro_auc": lambda rows: rows.over_classes(rows.aucs),
        "calibration_error": lambda rows: rows.over_classes(rows.calibration_errors),
    },
    ProblemType.REGRESSION: _ANY
    | {
        "squared_error": lambda rows: rows.draws.mean(rows.loss),
        "absolute_error": lambda rows: rows.draws.mean(np.abs(rows.error)),
        "bias": lambda rows: rows.draws.distance(rows.error),
        "skill_persistence": lambda rows: rows.skill_over(rows.naive.get("persistence")),
        "skill_seasonal_naive": lambda rows: rows.skill_over(rows.naive.get("seasonal_naive")),
        "interval_coverage": lambda rows: rows.of_interval(lambda a, y, b: (a <= y) & (y <= b)),
        "interval_width": lambda rows: rows.of_interval(lambda a, _, b: np.maximum(b - a, 0)),
    },
}
_OF_A_CLASS: dict[str, Callable[..., Estimate]] = {
    "recall": lambda rows, place: rows.of_class(rows.recalls, place),
    "precision": lambda rows, place: rows.of_class(
        rows.precisions, place, rows.clusters_of_precision(place)
    ),
    "auc_of": lambda rows, place: rows.of_class(rows.aucs, place, rows.clusters_of_auc(place)),
    "calibration_error_of": lambda rows, place: rows.of_class(rows.calibration_errors, place),
}
