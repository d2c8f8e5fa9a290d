"""The search for parameters: seeded, so that it takes the same path each time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ml.core.plans import Choice, Dimension, FloatRange, SearchPlan, Value
from ml.core.trained_run import Trial

if TYPE_CHECKING:
    import optuna

_LOG = logging.getLogger("flightline")
_STEP = 10  # rounds between two looks at whether a trial is worth going on

Watch = Callable[[int, float], None]
"""Gets the number of rounds so far and the loss after them; raises where it is not worth more."""
Attempt = Callable[[Mapping[str, Value], Watch], "Attempted"]


@dataclass(frozen=True)
class Attempted:
    """A training that went to its end."""

    loss: float
    rounds: int


def search(plan: SearchPlan, attempt: Attempt, *, seed: int) -> tuple[Trial, ...]:
    """Try points of the space, each chosen by what the ones before it gave.

    The first is the middle of the space. A trial that is worse than the median of the earlier ones
    at the same round is given up. The sampler is TPE: Bergstra et al. (2011), "Algorithms for
    hyper-parameter optimization", section 4.

    Args:
        attempt: trains with these parameters; lets what `Watch` raises through.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=8),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=3 * _STEP),
    )
    study.enqueue_trial(middle(plan))
    found: list[Trial] = []
    for _ in range(plan.trials):
        found.append(_try(study, plan, attempt))
        _tell(found, plan.trials)
    return tuple(found)


def _try(study: optuna.Study, plan: SearchPlan, attempt: Attempt) -> Trial:
    from optuna import TrialPruned
    from optuna.trial import TrialState

    trial, start = study.ask(), time.perf_counter()
    chosen = {name: _suggest(trial, name, one) for name, one in plan.space.items()}
    reached = 0

    def watch(rounds: int, loss: float) -> None:
        nonlocal reached
        reached = rounds
        if rounds % _STEP == 0:
            trial.report(loss, rounds)
            if trial.should_prune():
                raise TrialPruned

    try:
        done = attempt(chosen, watch)
    except TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        return Trial(trial.number, chosen, reached, time.perf_counter() - start, loss=None)
    study.tell(trial, done.loss)
    return Trial(trial.number, chosen, done.rounds, time.perf_counter() - start, done.loss)


def _tell(found: list[Trial], count: int) -> None:
    last = found[-1]
    best = min((trial.loss for trial in found if trial.loss is not None), default=math.nan)
    said = f"loss {last.loss:.5f}" if last.loss is not None else "given up"
    _LOG.info(
        "trial %d of %d: %s after %d rounds, best %.5f, %.1f s",
        *(last.number + 1, count, said, last.rounds, best, last.seconds),
    )


def middle(plan: SearchPlan) -> dict[str, Value]:
    """The point that is in the middle of every dimension; of a choice, the first.

    >>> from ml.core.plans import IntRange
    >>> middle(SearchPlan(space={"num_leaves": IntRange(low=10, high=40, log=True)}))
    {'num_leaves': 20}
    """
    return {name: _middle(dimension) for name, dimension in plan.space.items()}


def _middle(dimension: Dimension) -> Value:
    if isinstance(dimension, Choice):
        return dimension.options[0]
    low, high = dimension.low, dimension.high
    value = math.sqrt(low * high) if dimension.log else (low + high) / 2
    return _short(value, low, high) if isinstance(dimension, FloatRange) else round(value)


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Value:
    if isinstance(dimension, Choice):
        return cast(Value, trial.suggest_categorical(name, dimension.options))
    low, high = dimension.low, dimension.high
    if isinstance(dimension, FloatRange):
        return _short(trial.suggest_float(name, low, high, log=dimension.log), low, high)
    return trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)


def _short(value: float, low: float, high: float) -> float:
    """Four digits: what people read in the UI is what was used."""
    return min(max(float(f"{value:.4g}"), low), high)
