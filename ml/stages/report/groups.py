"""How good the predictions of one partition, one segment or one class were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ml.core.losses import Floats, row_loss
from ml.core.metrics import row_cost
from ml.core.names import CANARY, CHAMPION
from ml.core.spec import MINIMUM_CLUSTERS
from ml.core.statistics import Estimate, Resampling
from ml.stages.examples import group_values
from ml.stages.report.rows import RULE, SERVED, Judged

PARTITION = "partition_key"
_SMALLEST_SEGMENT = 200  # where the spec names no minimum


@dataclass(frozen=True)
class Group:
    """The rows of one partition or of one segment.

    Attributes:
        observed, predicted: mean label, and mean of what was served; of classes the share of rows
            whose likeliest class was right, and the mean probability that it was given.
        losses: mean loss by competitor; the canary's for partitions only, because a segment has
            rows of partitions without it, too: there, `difference` compares it.
        costs: the same in cost units a row.
        held: share of the labels in the interval of what was served; None without one.
        skill: the champion's over the rule; None for a partition or where there are too few rows.
        difference: mean loss of the canary minus the champion's, the same.
    """

    column: str
    value: str
    rows: int
    observed: float
    predicted: float
    losses: Mapping[str, float]
    costs: Mapping[str, float]
    held: float | None = None
    skill: Estimate | None = None
    difference: Estimate | None = None


@dataclass(frozen=True)
class ClassShare:
    """One class of several.

    Attributes:
        rows: whose label it is.
        observed, predicted: share of the labels, and mean probability in what was served.
    """

    name: str
    rows: int
    observed: float
    predicted: float


@dataclass(frozen=True)
class Measured:
    """Row by row what groups are means of; arrays of shape (n,), NaN where there is nothing.

    Attributes:
        losses, costs: by competitor.
    """

    judged: Judged
    observed: Floats
    predicted: Floats
    losses: Mapping[str, Floats]
    costs: Mapping[str, Floats]
    held: Floats | None


def measure(judged: Judged) -> Measured:
    """Each row's loss and cost by competitor."""
    spec, label = judged.spec, judged.label
    said = {name: judged.prediction(name) for name in competitors(judged, SERVED, CHAMPION, CANARY)}
    observed, predicted, held = label, said[SERVED], None
    if spec.label.classes:
        observed = (predicted.argmax(axis=1) == label).astype(np.float64)
        predicted = predicted.max(axis=1)
    if (ends := judged.interval) is not None:
        inside = (ends[:, 0] <= label) & (label <= ends[:, 1])
        held = np.where(np.isfinite(ends).all(axis=1), inside, np.nan)
    cost = spec.cost
    costs = {} if cost is None else {n: row_cost(label, one, cost) for n, one in said.items()}
    losses = {name: row_loss(spec.problem, label, one) for name, one in said.items()}
    return Measured(judged, observed, predicted, losses, costs, held)


def competitors(judged: Judged, *first: str) -> tuple[str, ...]:
    """These, and what every comparison has: the rule and the naive forecasts."""
    return (*first, RULE, *judged.spec.model.naive)


def by_partition(measured: Measured) -> tuple[Group, ...]:
    """One group for each partition, in their order."""
    return _groups(measured, PARTITION, list(measured.losses))


def by_segment(measured: Measured, draws: Resampling) -> tuple[Group, ...]:
    """One group for each value of each segment column, with bounds where it is large enough."""
    names = [name for name in measured.losses if name != CANARY]
    return tuple(
        _with_bounds(measured, group, draws)
        for column in measured.judged.spec.segments
        for group in _groups(measured, column, names)
    )


def by_class(judged: Judged) -> tuple[ClassShare, ...]:
    """Each class of several; nothing for other problems."""
    classes = judged.spec.label.classes
    if not classes:
        return ()
    label, chances = judged.label.astype(int), judged.prediction(SERVED).mean(axis=0)
    rows = np.bincount(label, minlength=len(classes))
    return tuple(
        ClassShare(name, int(rows[k]), float(rows[k] / len(label)), float(chances[k]))
        for k, name in enumerate(classes)
    )


def _groups(measured: Measured, column: str, names: Sequence[str]) -> tuple[Group, ...]:
    values, index = np.unique(group_values(measured.judged.rows, column), return_inverse=True)
    count = len(values)
    rows = np.bincount(index, minlength=count)

    def means(of: Floats) -> Floats:
        return _means(index, of, count)

    losses = {name: means(measured.losses[name]) for name in names}
    costs = {name: means(measured.costs[name]) for name in names if name in measured.costs}
    observed, predicted = means(measured.observed), means(measured.predicted)
    held = None if measured.held is None else means(measured.held)
    return tuple(
        Group(
            column=column,
            value=str(value),
            rows=int(rows[at]),
            observed=float(observed[at]),
            predicted=float(predicted[at]),
            losses=_finite(losses, at),
            costs=_finite(costs, at),
            held=None if held is None or np.isnan(held[at]) else float(held[at]),
        )
        for at, value in enumerate(values)
    )


def _finite(values: Mapping[str, Floats], at: int) -> dict[str, float]:
    return {name: float(of[at]) for name, of in values.items() if np.isfinite(of[at])}


def _means(index: NDArray[np.intp], values: Floats, count: int) -> Floats:
    """Mean of the finite values of each group, shape (count,); NaN where there is none."""
    there = np.isfinite(values)
    sums = np.bincount(index[there], weights=values[there], minlength=count)
    with np.errstate(invalid="ignore"):
        found: Floats = sums / np.bincount(index[there], minlength=count)
    return found


def _with_bounds(measured: Measured, group: Group, draws: Resampling) -> Group:
    """A segment with what can be said of it beyond its means, if it is large enough."""
    plan = measured.judged.spec.gates.segments
    if group.rows < (plan.minimum_rows if plan else _SMALLEST_SEGMENT):
        return group
    mask = group_values(measured.judged.rows, group.column) == group.value
    rule, champion = measured.losses[RULE], measured.losses[CHAMPION]
    skill = bounded(draws.among(mask).ratio((rule - champion)[mask], rule[mask]))
    more = measured.losses[CANARY] - champion
    both = mask & np.isfinite(more)
    difference = bounded(draws.among(both).mean(more[both])) if both.any() else None
    return replace(group, skill=skill, difference=difference)


def bounded(estimate: Estimate) -> Estimate:
    """The estimate without its bounds where too few clusters make them say nothing."""
    if estimate.clusters >= MINIMUM_CLUSTERS:
        return estimate
    return replace(estimate, lower=np.nan, upper=np.nan)
