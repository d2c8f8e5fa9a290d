"""How good the predictions were: champion, canary and rule, over all, by day and by segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from ml.core.gates import MINIMUM_CLUSTERS
from ml.core.losses import Floats, row_loss
from ml.core.metrics import evaluate, row_cost
from ml.core.names import CANARY, CHAMPION
from ml.core.statistics import Estimate, Resampling
from ml.stages.examples import group_values
from ml.stages.report.rows import RULE_SCORE, Coverage, Judged

RULE, SERVED = "rule", "served"
_DAY = "partition_key"
_SCORES = {
    SERVED: "score",
    CHAMPION: "champion_score",
    CANARY: "canary_score",
    RULE: RULE_SCORE,
}
_REPLICATES = 500  # a report shows bounds, no gate rests on them
_SMALLEST_SEGMENT = 200  # where the spec names no minimum


@dataclass(frozen=True)
class Competitor:
    """Somebody who answered, or would have.

    Attributes:
        name: served (what people got), champion, canary or rule.
        versions: of the registered model; none for the rule.
        metrics: by name, with bounds over days where there are enough of them.
    """

    name: str
    versions: tuple[int, ...]
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True)
class Comparison:
    """Competitors on the same rows.

    Attributes:
        partitions: clusters behind the bounds.
        constant_cost: cost a row of never and of always acting, and of perfect foresight.
        difference: mean loss of the canary minus the champion's.
        cost_difference: the same in cost units a row.
    """

    rows: int
    partitions: int
    competitors: tuple[Competitor, ...]
    constant_cost: Mapping[str, float]
    difference: Estimate | None = None
    cost_difference: Estimate | None = None


@dataclass(frozen=True)
class Group:
    """The rows of one day or of one segment.

    Attributes:
        observed, predicted: mean label, and mean of what was served.
        losses: mean loss by competitor; the canary's for days only, because a segment has rows
            of days without it, too: there, `difference` compares it.
        costs: the same in cost units a row.
        skill: the champion's over the rule; None for a day or where there are too few rows.
        difference: mean loss of the canary minus the champion's, the same.
    """

    column: str
    value: str
    rows: int
    observed: float
    predicted: float
    losses: Mapping[str, float]
    costs: Mapping[str, float]
    skill: Estimate | None = None
    difference: Estimate | None = None


@dataclass(frozen=True)
class Quality:
    """Everything that a report says, without the pictures.

    Attributes:
        unit: what a partition is: day, hour, week or month.
        everything: served, champion and rule over all rows.
        beside: canary, champion and rule over the rows that the canary has scored, if any.
        canary_failures: rows that it should have scored and could not.
    """

    slug: str
    unit: str
    data_time: datetime
    coverage: Coverage
    loss_name: str
    cost_threshold: float | None
    everything: Comparison
    beside: Comparison | None
    canary_failures: int
    days: tuple[Group, ...]
    segments: tuple[Group, ...]


def quality_of(judged: Judged) -> Quality:
    """Judge predictions by their labels."""
    spec, draws = judged.spec, _resampling(judged)
    with_canary = np.isfinite(judged.numbers("canary_score"))
    beside = None
    if with_canary.any():
        part = judged.among(with_canary)
        beside = _comparison(part, (CANARY, CHAMPION, RULE), draws.among(with_canary))
        beside = _with_difference(part, beside, draws.among(with_canary))
    return Quality(
        slug=spec.slug,
        unit=spec.cadence.value,
        data_time=judged.data_time,
        coverage=judged.coverage,
        loss_name=spec.problem.loss_name,
        cost_threshold=spec.cost.threshold if spec.cost else None,
        everything=_comparison(judged, (SERVED, CHAMPION, RULE), draws),
        beside=beside,
        canary_failures=int(judged.rows["canary_error"].notna().sum()),
        days=tuple(_groups(judged, _DAY)),
        segments=tuple(
            _with_bounds(judged, group, draws)
            for column in spec.segments
            for group in _groups(judged, column)
        ),
    )


def _resampling(judged: Judged) -> Resampling:
    plan = judged.spec.gates
    keys = judged.rows[_DAY].to_numpy("str")
    return Resampling(keys, replicates=min(plan.replicates, _REPLICATES), seed=plan.seed)


def _comparison(judged: Judged, names: tuple[str, ...], draws: Resampling) -> Comparison:
    return Comparison(
        rows=len(judged.rows),
        partitions=draws.clusters,
        competitors=tuple(_competitor(judged, name, draws) for name in names),
        constant_cost=_constant_cost(judged),
    )


def _competitor(judged: Judged, name: str, draws: Resampling) -> Competitor:
    metrics = evaluate(
        judged.spec.problem,
        judged.label,
        judged.numbers(_SCORES[name]),
        rule=judged.numbers(RULE_SCORE),
        resampling=draws,
        cost=judged.spec.cost,
    )
    honest = {metric: bounded(found) for metric, found in metrics.items()}
    return Competitor(name, _versions(judged, name), honest)


def _versions(judged: Judged, name: str) -> tuple[int, ...]:
    columns = {SERVED: (CHAMPION, CANARY), RULE: ()}.get(name, (name,))
    found = [judged.rows[f"{column}_version"].dropna() for column in columns]
    if name == SERVED:  # a canary that answered nothing is not among them
        found = [
            version[judged.rows["served"] == column]
            for version, column in zip(found, columns, strict=True)
        ]
    return tuple(sorted({int(version) for versions in found for version in versions}))


def bounded(estimate: Estimate) -> Estimate:
    """The estimate without its bounds where too few days make them say nothing."""
    if estimate.clusters >= MINIMUM_CLUSTERS:
        return estimate
    return replace(estimate, lower=np.nan, upper=np.nan)


def _constant_cost(judged: Judged) -> Mapping[str, float]:
    cost = judged.spec.cost
    if cost is None:
        return {}
    share = float(judged.label.mean())
    return {"never acting": cost.missed * share, "always acting": 1.0, "perfect foresight": share}


def _losses(judged: Judged, name: str) -> Floats:
    return row_loss(judged.spec.problem, judged.label, judged.numbers(_SCORES[name]))


def _costs(judged: Judged, name: str) -> Floats:
    assert judged.spec.cost is not None
    return row_cost(judged.label, judged.numbers(_SCORES[name]), judged.spec.cost)


def _with_difference(judged: Judged, found: Comparison, draws: Resampling) -> Comparison:
    """The canary against the champion, row by row."""
    difference = bounded(draws.mean(_losses(judged, CANARY) - _losses(judged, CHAMPION)))
    if judged.spec.cost is None:
        return replace(found, difference=difference)
    dearer = bounded(draws.mean(_costs(judged, CANARY) - _costs(judged, CHAMPION)))
    return replace(found, difference=difference, cost_difference=dearer)


def _groups(judged: Judged, column: str) -> Iterator[Group]:
    values = group_values(judged.rows, column)
    for value in np.unique(values):
        part = judged.among(values == value)
        names = [SERVED, CHAMPION, RULE]
        if column == _DAY and np.isfinite(part.numbers("canary_score")).any():
            names.append(CANARY)
        losses = {name: float(np.nanmean(_losses(part, name))) for name in names}
        costs = {}
        if judged.spec.cost:
            costs = {name: float(np.nanmean(_costs(part, name))) for name in names}
        yield Group(
            column=column,
            value=str(value),
            rows=len(part.rows),
            observed=float(part.label.mean()),
            predicted=float(part.numbers("score").mean()),
            losses=losses,
            costs=costs,
        )


def _with_bounds(judged: Judged, group: Group, draws: Resampling) -> Group:
    """A segment with what can be said of it beyond its means, if it is large enough."""
    plan = judged.spec.gates.segments
    if group.rows < (plan.minimum_rows if plan else _SMALLEST_SEGMENT):
        return group
    mask = group_values(judged.rows, group.column) == group.value
    part, its_draws = judged.among(mask), draws.among(mask)
    rule = _losses(part, RULE)
    skill = bounded(its_draws.ratio(rule - _losses(part, CHAMPION), rule))
    return replace(group, skill=skill, difference=_segment_difference(part, its_draws))


def _segment_difference(part: Judged, draws: Resampling) -> Estimate | None:
    both = np.isfinite(part.numbers("canary_score"))
    if not both.any():
        return None
    chosen = part.among(both)
    return bounded(draws.among(both).mean(_losses(chosen, CANARY) - _losses(chosen, CHAMPION)))
