"""Three honest competitors every time; the select window says which of them goes on."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.core.errors import DataError
from ml.core.ports import Model
from ml.core.trained_run import Trial
from ml.stages.training.boosting import fit_boosted
from ml.stages.training.linear import fit_linear
from ml.stages.training.material import Competitor, Material
from ml.stages.training.rule import fit_rule

_LOG = logging.getLogger("flightline")
_BATCH, _REPEATS = 1_000, 5


@dataclass(frozen=True)
class Contest:
    """What the competitors reached.

    Attributes:
        competitors: by kind, the best first.
        latency_us: CPU time a row of the chosen one, microseconds.
    """

    competitors: Mapping[str, Competitor]
    latency_us: float

    @property
    def chosen(self) -> Competitor:
        return next(iter(self.competitors.values()))

    @property
    def rule(self) -> Competitor:
        return self.competitors["rule"]

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

    Raises:
        DataError: if none of them gives numbers.
    """
    found = []
    for fit in (fit_rule, fit_linear, fit_boosted):
        start = time.perf_counter()
        found.append(fit(material))
        taken = time.perf_counter() - start
        _LOG.info("%s: loss %.5f, %.1f s", found[-1].kind, found[-1].loss, taken)
    ranked = sorted(found, key=lambda one: (math.isnan(one.loss), one.loss))
    if math.isnan(ranked[0].loss):
        raise DataError(
            "no competitor predicts numbers on the select window",
            expected="a finite label in every row",
            repair=f"look at {material.spec.label.column} of {material.spec.label.table}",
        )
    latency = cpu_time_us(ranked[0].model, material.select)
    return Contest({one.kind: one for one in ranked}, latency)


def cpu_time_us(model: Model, rows: pd.DataFrame) -> float:
    """CPU time of a prediction, microseconds a row: the best of several batches.

    Not the time on the wall, in which the machine's other work counts.
    """
    batch = rows.iloc[np.arange(_BATCH) % len(rows)]
    times = []
    for _ in range(_REPEATS):
        start = time.process_time()
        model.predict(batch)
        times.append(time.process_time() - start)
    return min(times) / _BATCH * 1e6
