"""The competitor that learns most: LightGBM, with a seeded search over its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from lightgbm.callback import CallbackEnv

from ml.adapters.model_files import LIGHTGBM
from ml.adapters.model_writing import lightgbm_files
from ml.core.losses import Floats, row_loss
from ml.core.plans import Value
from ml.core.problems import ProblemType
from ml.core.trained_run import Trial
from ml.stages.training.material import Competitor, Material, competitor
from ml.stages.training.parameters import all_parameters, canonical
from ml.stages.training.search import Attempted, Watch, search

_CURVE_ROWS = 10_000  # of the fit window; LightGBM's own curve of all costs a tenth of the training


@dataclass(frozen=True)
class Boosted:
    """A trained booster and its loss on the select window after each round."""

    booster: lightgbm.Booster
    curve: Sequence[float]

    @property
    def rounds(self) -> int:
        return self.booster.best_iteration or len(self.curve)  # dart knows no best one

    @property
    def loss(self) -> float:
        return self.curve[self.rounds - 1]


class Boosting:
    """LightGBM on one training set; rows are binned once for all trainings."""

    def __init__(self, material: Material) -> None:
        self._material, self._plan = material, material.spec.model
        classes = len(material.spec.label.classes)
        self.fixed = all_parameters(material.spec.problem, self._plan, classes=classes)
        self._binned: dict[str, tuple[lightgbm.Dataset, lightgbm.Dataset]] = {}

    def train(self, chosen: Mapping[str, Value], watch: Watch | None = None) -> Boosted:
        """Train with the plan's parameters and these, which win.

        Args:
            watch: is called after each round.
        """
        parameters = {**self.fixed, **chosen}
        fit, select = self._data(parameters)
        history: dict[str, dict[str, list[float]]] = {}
        callbacks: list[Callable[..., object]] = [
            lightgbm.early_stopping(self._plan.early_stopping_rounds, verbose=False),
            lightgbm.record_evaluation(history),
        ]
        booster = lightgbm.train(
            parameters,
            fit,
            self._plan.max_rounds,
            valid_sets=[select],
            valid_names=["select"],
            callbacks=[*callbacks, _watching(watch)] if watch else callbacks,
        )
        return Boosted(booster, [*map(float, next(iter(history["select"].values())))])

    def fit_curve(self, boosted: Boosted) -> list[float]:
        """Loss after each round on evenly spaced rows of the fit window."""
        material, problem = self._material, self._material.spec.problem
        step = -(-len(material.fit) // _CURVE_ROWS)
        matrix, target = material.matrix[0][::step], material.target(material.fit)[::step]
        losses: list[float] = []
        raw: Floats = np.zeros(1)
        for number in range(len(boosted.curve)):
            of_round = boosted.booster.predict(
                matrix, raw_score=True, start_iteration=number, num_iteration=1, num_threads=1
            )
            raw = raw + np.asarray(of_round, dtype=np.float64)
            losses.append(float(row_loss(problem, target, _answer(problem, raw)).mean()))
        return losses

    def _data(self, parameters: Mapping[str, Value]) -> tuple[lightgbm.Dataset, lightgbm.Dataset]:
        """Binned once, unless the search varies how rows are binned."""
        material = self._material

        def dataset(matrix: Floats, window: pd.DataFrame, **more: Any) -> lightgbm.Dataset:
            return lightgbm.Dataset(
                matrix,
                material.target(window),
                feature_name=list(material.columns),
                categorical_feature=material.categorical,
                params=dict(parameters),
                **more,
            )

        fit = dataset(material.matrix[0], material.fit)
        key = repr(sorted(fit.get_params().items()))
        if key not in self._binned:
            select = dataset(material.matrix[1], material.select, reference=fit)
            self._binned[key] = (fit.construct(), select.construct())
        return self._binned[key]


def _answer(problem: ProblemType, raw: Floats) -> Floats:
    """What the trees' sums say: a probability, one for each class, or the value itself."""
    if problem is ProblemType.REGRESSION:
        return raw
    if problem is ProblemType.BINARY:
        return 1 / (1 + np.exp(-raw))
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _watching(watch: Watch) -> Callable[[CallbackEnv], None]:
    def callback(env: CallbackEnv) -> None:
        watch(env.iteration + 1, next(iter(env.evaluation_result_list or ()))[2])

    return callback


def fit_boosted(material: Material) -> Competitor:
    """Search the plan's space, if it has one; the best trial's trees are the competitor."""
    boosting, plan = Boosting(material), material.spec.model
    tried: list[tuple[Boosted, Mapping[str, Value]]] = []

    def attempt(chosen: Mapping[str, Value], watch: Watch | None = None) -> Attempted:
        own = {canonical(name): value for name, value in chosen.items()}
        found = boosting.train(own, watch)
        tried.append((found, own))
        tried.sort(key=lambda one: (math.isnan(one[0].loss), one[0].loss))
        del tried[1:]  # the others' trees are not needed any more
        return Attempted(found.loss, found.rounds)

    trials: tuple[Trial, ...] = ()
    if plan.search:
        trials = search(plan.search, attempt, seed=plan.seed)
    else:
        attempt({})
    best, chosen = tried[0]
    files = lightgbm_files(material.contract(LIGHTGBM), best.booster)
    gain = best.booster.feature_importance("gain").tolist()
    return competitor(
        material,
        files,
        parameters={**boosting.fixed, **chosen, "rounds": best.rounds},
        curves={"fit": boosting.fit_curve(best), "select": best.curve},
        gain=dict(zip(material.columns, gain, strict=True)),
        trials=trials,
    )
