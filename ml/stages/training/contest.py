"""Three honest competitors every time, and the naive ones; the select window chooses."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import pandas as pd

from ml.adapters.model_files import LIGHTGBM, RULE, read_model
from ml.core.errors import DataError
from ml.core.ports import Model
from ml.core.trained_run import Trial
from ml.stages.training.boosting import fit_boosted
from ml.stages.training.interval import fit_interval
from ml.stages.training.linear import fit_linear
from ml.stages.training.material import Competitor, Material
from ml.stages.training.naive import fit_naive
from ml.stages.training.rule import fit_rule

_LOG = logging.getLogger("flightline")
_BATCH, _REPEATS = 1_000, 5


@dataclass(frozen=True)
class Contest:
    """What the competitors reached.

    Attributes:
        competitors: by kind, the best first.
        latency_us: CPU time a row of the chosen one's answers and intervals, microseconds.
        interval: files that give the interval around the answers, whoever was chosen.
    """

    competitors: Mapping[str, Competitor]
    latency_us: float
    interval: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def chosen(self) -> Competitor:
        """The best one, with the interval in its folder."""
        return _with_interval(next(iter(self.competitors.values())), self.interval)

    @property
    def rule(self) -> Competitor:
        return self.competitors[RULE]

    @property
    def losses(self) -> dict[str, float]:
        """On the select window, by kind, the best first."""
        return {kind: one.loss for kind, one in self.competitors.items()}

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Of the search, whoever was chosen."""
        return tuple(trial for one in self.competitors.values() for trial in one.trials)


def compete(material: Material) -> Contest:
    """Train the rule, a linear model and LightGBM; the best on the select window comes first.

    With them compete the naive forecasts that the plan names; an interval does not.

    Raises:
        DataError: if none of them gives numbers; or if most rows say nothing (see `Material`).
    """
    found, plan = [], material.spec.model
    naive: list[Callable[[Material], Competitor]] = [
        partial(fit_naive, kind=kind) for kind in sorted(plan.naive)
    ]
    for fit in (fit_rule, fit_linear, fit_boosted, *naive):
        start = time.perf_counter()
        found.append(fit(material))
        taken = time.perf_counter() - start
        _LOG.info("%s: loss %.5f, %.1f s", found[-1].kind, found[-1].loss, taken)
    ranked = sorted(found, key=lambda one: (not math.isfinite(one.loss), one.loss))
    if not math.isfinite(ranked[0].loss):
        raise DataError(
            "no competitor predicts numbers on the select window",
            expected="a finite label in every row",
            repair=f"look at {material.spec.label.column} of {material.spec.label.table}",
        )
    competitors = {one.kind: one for one in ranked}
    interval: Mapping[str, bytes] = {}
    if plan.interval is not None:
        told = dict(competitors[LIGHTGBM].parameters)
        del told["rounds"]  # each of its two models stops where it is best
        interval = fit_interval(material, told, plan.interval)
    latency = cpu_time_us(_with_interval(ranked[0], interval).model, material.select)
    return Contest(competitors, latency, interval)


def _with_interval(best: Competitor, interval: Mapping[str, bytes]) -> Competitor:
    if not interval:
        return best
    files = {**best.files, **interval}
    return dataclasses.replace(best, files=files, model=read_model(files))


def cpu_time_us(model: Model, rows: pd.DataFrame) -> float:
    """CPU time of a prediction and its interval, microseconds a row: the best of several batches.

    Both are asked for each time that rows are scored. Not the time on the wall, in which the
    machine's other work counts.
    """
    batch = rows.iloc[np.arange(_BATCH) % len(rows)]
    times = []
    for _ in range(_REPEATS):
        start = time.process_time()
        model.predict(batch)
        model.interval(batch)
        times.append(time.process_time() - start)
    return min(times) / _BATCH * 1e6
