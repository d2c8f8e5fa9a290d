"""The metrics that every evaluation computes. Light: the spec reads it at each parse of a Dag file.

How each is computed stands in `ml.core.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ml.core.problems import ProblemType

_BINARY = frozenset({ProblemType.BINARY})
_REGRESSION = frozenset({ProblemType.REGRESSION})
_MULTICLASS = frozenset({ProblemType.MULTICLASS})
_CLASSES = frozenset({ProblemType.BINARY, ProblemType.MULTICLASS})
_ALL = frozenset(ProblemType)


@dataclass(frozen=True)
class Scope:
    """What an evaluation of a use case is about; it decides which metrics there are.

    Attributes:
        classes: names of the classes in the order of their index; multiclass only.
        naive: which naive forecasts there are: persistence, seasonal_naive.
        has_interval: whether the model also gives an interval.
    """

    problem: ProblemType
    classes: tuple[str, ...] = ()
    naive: tuple[str, ...] = ()
    has_cost: bool = False
    has_interval: bool = False

    def offers(self, need: str) -> bool:
        """Whether there is what a metric needs."""
        there = {"": True, "cost": self.has_cost, "interval": self.has_interval}
        return there.get(need, need in self.naive)


@dataclass(frozen=True)
class MetricName:
    """What is known of a metric without computing it.

    Attributes:
        meaning: for people, with the unit.
        needs: beyond labels and predictions: cost, interval, or a naive forecast.
        by_class: computed for each class, one against the rest, as `<name>_<class>`.
    """

    name: str
    meaning: str
    higher_is_better: bool
    problems: frozenset[ProblemType]
    needs: str = ""
    by_class: bool = False

    @property
    def best(self) -> float:
        """What no model can exceed: all of them are shares, errors or costs."""
        return 1.0 if self.higher_is_better else 0.0


_SKILL = "share of the loss of {} that is saved"
METRICS = {
    metric.name: metric
    for metric in (
        MetricName("log_loss", "mean negative log-likelihood, nats a row", False, _CLASSES),
        MetricName("squared_error", "mean squared error, squared label units", False, _REGRESSION),
        MetricName("absolute_error", "mean absolute error, label units", False, _REGRESSION),
        MetricName("skill", _SKILL.format("the rule"), True, _ALL),
        MetricName(
            "skill_persistence", _SKILL.format("persistence"), True, _REGRESSION, "persistence"
        ),
        MetricName(
            "skill_seasonal_naive",
            _SKILL.format("the seasonal naive forecast"),
            True,
            _REGRESSION,
            "seasonal_naive",
        ),
        MetricName(
            "bias",
            "distance of the mean prediction from the mean label, label units",
            False,
            _REGRESSION,
        ),
        MetricName(
            "interval_coverage", "share of labels in the interval", True, _REGRESSION, "interval"
        ),
        MetricName(
            "interval_width",
            "mean width of the interval, label units",
            False,
            _REGRESSION,
            "interval",
        ),
        MetricName("auc", "area under the ROC curve", True, _BINARY),
        MetricName("average_precision", "area under precision against recall", True, _BINARY),
        MetricName("brier", "mean squared error of the probability", False, _BINARY),
        MetricName("accuracy", "share of rows whose likeliest class is right", True, _MULTICLASS),
        MetricName("macro_recall", "mean over the classes of the recall", True, _MULTICLASS),
        MetricName("macro_f1", "mean over the classes of F1", True, _MULTICLASS),
        MetricName(
            "macro_auc", "mean over the classes of the AUC, one against the rest", True, _MULTICLASS
        ),
        MetricName(
            "calibration_error",
            "mean distance of predicted from observed share, in 15 bins of equal size"
            " (of several classes, the mean of theirs)",
            False,
            _CLASSES,
        ),
        MetricName("cost", "cost units a row, by the spec's cost model", False, _ALL, "cost"),
        MetricName(
            "value",
            "share saved of what perfect foresight would save over always or never acting",
            True,
            _BINARY,
            "cost",
        ),
        MetricName("recall", "share of the class that is found", True, _MULTICLASS, by_class=True),
        MetricName(
            "precision",
            "share of the class among what is called so; 0 if nothing is",
            True,
            _MULTICLASS,
            by_class=True,
        ),
        MetricName("auc_of", "AUC of the class against the rest", True, _MULTICLASS, by_class=True),
        MetricName(
            "calibration_error_of",
            "calibration error of the class against the rest",
            False,
            _MULTICLASS,
            by_class=True,
        ),
    )
}


def metric_named(name: str) -> MetricName | None:
    """A metric by its name, or by that of one of its classes: `recall_virginica`.

    >>> metric_named("recall_virginica").meaning, metric_named("happiness")
    ('share of the class that is found', None)
    """
    by_class = (m for m in METRICS.values() if m.by_class and name.startswith(f"{m.name}_"))
    found = METRICS.get(name)
    return next(by_class, None) if found is None else (None if found.by_class else found)


def computed_for(scope: Scope) -> dict[str, MetricName]:
    """The metrics of a use case by name, in the order in which people read them."""
    found: dict[str, MetricName] = {}
    for metric in METRICS.values():
        if scope.problem in metric.problems and scope.offers(metric.needs):
            own = [f"{metric.name}_{one}" for one in scope.classes]
            found |= dict.fromkeys(own if metric.by_class else [metric.name], metric)
    return found
