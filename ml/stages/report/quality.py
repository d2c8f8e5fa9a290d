"""How good the predictions were: champion, canary, rule and naive forecasts, over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ml.core.losses import Floats
from ml.core.metric_names import METRICS
from ml.core.metrics import baseline_costs, evaluate, row_cost
from ml.core.names import CANARY, CHAMPION
from ml.core.plans import CostModel
from ml.core.problems import ProblemType
from ml.core.statistics import Estimate, Resampling
from ml.stages.report.groups import (
    PARTITION,
    ClassShare,
    Group,
    bounded,
    by_class,
    by_partition,
    by_segment,
    competitors,
    measure,
)
from ml.stages.report.rows import RULE, SERVED, Coverage, Judged

FORESIGHT = "perfect foresight"
_OF_INTERVAL = frozenset(name for name, one in METRICS.items() if one.needs == "interval")
_REPLICATES = 500  # a report shows bounds, no gate rests on them


@dataclass(frozen=True)
class Competitor:
    """Somebody who answered, or would have.

    Attributes:
        name: served (what people got), champion, canary, rule or a naive forecast.
        versions: of the registered model; none for the rule and naive forecasts.
        metrics: by name, with bounds over clusters where there are enough of them; a naive forecast
            that lacks a value has none that is finite.
        missing: rows of which it says nothing.
    """

    name: str
    versions: tuple[int, ...]
    metrics: Mapping[str, Estimate]
    missing: int = 0


@dataclass(frozen=True)
class Comparison:
    """Competitors on the same rows.

    Attributes:
        partitions: that the rows are from.
        clusters: behind the bounds.
        constant_cost: cost a row of deciding without a model, and of perfect foresight.
        difference: mean loss of the canary minus the champion's.
        cost_difference: the same in cost units a row.
    """

    rows: int
    partitions: int
    clusters: int
    competitors: tuple[Competitor, ...]
    constant_cost: Mapping[str, float]
    difference: Estimate | None = None
    cost_difference: Estimate | None = None


@dataclass(frozen=True)
class Quality:
    """Everything that a report says, without the pictures.

    Attributes:
        unit: what a partition is: day, hour, week or month.
        cluster_partitions: how many partitions in a row share a shock.
        cost_threshold: score above which to act; binary problems with a cost model only.
        nominal_coverage: share of the labels that an interval should hold; None without one.
        everything: served, champion, rule and naive forecasts over all rows.
        beside: canary, champion, rule and naive forecasts over the rows that the canary has scored,
            if any.
        canary_failures: rows that it should have scored and could not.
        classes: of a multiclass problem.
    """

    slug: str
    problem: str
    unit: str
    cluster_partitions: int
    data_time: datetime
    coverage: Coverage
    loss_name: str
    has_cost: bool
    cost_threshold: float | None
    nominal_coverage: float | None
    everything: Comparison
    beside: Comparison | None
    canary_failures: int
    days: tuple[Group, ...]
    segments: tuple[Group, ...]
    classes: tuple[ClassShare, ...]


def quality_of(judged: Judged) -> Quality:
    """Judge predictions by their labels."""
    spec, draws, measured = judged.spec, _resampling(judged), measure(judged)
    with_canary = _whole(judged.numbers("canary_score"))
    beside = None
    if with_canary.any():
        more = measured.losses[CANARY] - measured.losses[CHAMPION]
        dearer = measured.costs[CANARY] - measured.costs[CHAMPION] if spec.cost else None
        part, its_draws = judged.among(with_canary), draws.among(with_canary)
        beside = replace(
            _comparison(part, (CANARY, CHAMPION), its_draws),
            difference=bounded(its_draws.mean(more[with_canary])),
            cost_difference=None
            if dearer is None
            else bounded(its_draws.mean(dearer[with_canary])),
        )
    return Quality(
        slug=spec.slug,
        problem=spec.problem.value,
        unit=spec.cadence.value,
        cluster_partitions=spec.cluster_partitions,
        data_time=judged.data_time,
        coverage=judged.coverage,
        loss_name=spec.problem.loss_name,
        has_cost=spec.cost is not None,
        cost_threshold=spec.cost.threshold if isinstance(spec.cost, CostModel) else None,
        nominal_coverage=spec.model.interval,
        everything=_comparison(judged, (SERVED, CHAMPION), draws),
        beside=beside,
        canary_failures=int(judged.rows["canary_error"].notna().sum()),
        days=by_partition(measured),
        segments=by_segment(measured, draws),
        classes=by_class(judged),
    )


def _whole(said: Floats) -> NDArray[np.bool_]:
    """Which rows have all of an answer or an interval; shape (n,)."""
    return np.asarray(np.isfinite(said.reshape(len(said), -1)).all(axis=1))


def _resampling(judged: Judged) -> Resampling:
    spec = judged.spec
    clusters = np.array(spec.clusters(judged.rows[PARTITION]), dtype=np.str_)
    replicates = min(spec.gates.replicates, _REPLICATES)
    return Resampling(clusters, replicates=replicates, seed=spec.gates.seed)


def _comparison(judged: Judged, first: tuple[str, ...], draws: Resampling) -> Comparison:
    return Comparison(
        rows=len(judged.rows),
        partitions=int(judged.rows[PARTITION].nunique()),
        clusters=draws.clusters,
        competitors=tuple(_competitor(judged, n, draws) for n in competitors(judged, *first)),
        constant_cost=_constant_cost(judged),
    )


def _competitor(judged: Judged, name: str, draws: Resampling) -> Competitor:
    metrics = _metrics(judged, name, draws)
    interval = judged.interval if name == SERVED else None  # the log has that of no other
    if interval is not None:
        come = _whole(interval)  # an older champion may have learned none
        part = _metrics(judged.among(come), name, draws.among(come), interval=interval[come])
        metrics |= {one: found for one, found in part.items() if one in _OF_INTERVAL}
    honest = {metric: bounded(found) for metric, found in metrics.items()}
    missing = int((~_whole(judged.prediction(name))).sum())
    return Competitor(name, _versions(judged, name), honest, missing)


def _metrics(
    judged: Judged, name: str, draws: Resampling, *, interval: Floats | None = None
) -> dict[str, Estimate]:
    return evaluate(
        replace(judged.spec.scope, has_interval=interval is not None),
        judged.label,
        judged.prediction(name),
        rule=judged.prediction(RULE),
        resampling=draws,
        cost=judged.spec.cost,
        naive=judged.naive,
        interval=interval,
    )


def _versions(judged: Judged, name: str) -> tuple[int, ...]:
    if name not in (SERVED, CHAMPION, CANARY):
        return ()
    columns = (CHAMPION, CANARY) if name == SERVED else (name,)
    found = [judged.rows[f"{column}_version"].dropna() for column in columns]
    if name == SERVED:  # a canary that answered nothing is not among them
        found = [
            version[judged.rows["served"] == column]
            for version, column in zip(found, columns, strict=True)
        ]
    return tuple(sorted({int(version) for versions in found for version in versions}))


def _constant_cost(judged: Judged) -> Mapping[str, float]:
    spec, label = judged.spec, judged.label
    if spec.cost is None:
        return {}
    found = baseline_costs(spec.scope, label, spec.cost, rule=judged.prediction(RULE))
    if spec.problem is ProblemType.REGRESSION:  # with foresight, nothing is paid
        return found
    foresight = float(row_cost(label, _known_before(judged), spec.cost).mean())
    return {**found, FORESIGHT: foresight}


def _known_before(judged: Judged) -> Floats:
    """What somebody would say who knows the label, in the shape of a prediction."""
    classes = len(judged.spec.label.classes)
    return np.eye(classes)[judged.label.astype(int)] if classes else judged.label
