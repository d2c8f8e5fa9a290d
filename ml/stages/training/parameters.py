"""LightGBM's parameters: checked against LightGBM itself before any work is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

import lightgbm
import numpy as np

from ml.core.errors import ConfigError
from ml.core.plans import Choice, Dimension, ModelPlan, Value
from ml.core.problems import ProblemType

_OBJECTIVE = {
    ProblemType.BINARY: "binary",
    ProblemType.MULTICLASS: "multiclass",
    ProblemType.REGRESSION: "regression",
}
# The same data gives the same bytes, whatever the machine; feature_pre_filter would tie the binned
# data to one value of min_data_in_leaf, which the search varies.
_FIXED: Mapping[str, Value] = {
    "deterministic": True,
    "force_col_wise": True,
    "feature_pre_filter": False,
    "verbosity": -1,
}
_ELSEWHERE = {
    **dict.fromkeys(("objective", "metric", "num_class"), "the spec's `problem`"),
    "categorical_feature": "features.categorical",
    "num_iterations": "model.max_rounds",
    "early_stopping_round": "model.early_stopping_rounds",
    "seed": "model.seed",
    **dict.fromkeys((*_FIXED, "force_row_wise"), "the platform, so that trainings can be repeated"),
}


def all_parameters(problem: ProblemType, plan: ModelPlan, *, classes: int = 0) -> dict[str, Value]:
    """What every training of this plan gives to LightGBM, without what is searched.

    Args:
        classes: how many there are; multiclass only.
    """
    mine = {canonical(name): value for name, value in plan.parameters.items()}
    given: dict[str, Value] = {"objective": _OBJECTIVE[problem], "seed": plan.seed}
    if problem is ProblemType.MULTICLASS:
        given["num_class"] = classes
    return {**given, "num_threads": 1, **_FIXED, **mine}


def canonical(name: str) -> str:
    """LightGBM's own name of a parameter.

    Raises:
        ConfigError: with the nearest known name, if LightGBM does not know it.
    """
    known = _aliases()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        raise ConfigError(
            f"LightGBM has no parameter {name!r}",
            expected=f"{near[0]!r}?" if near else "a name from LightGBM's list of parameters",
            repair="mend model.parameters or model.search.space in the spec, or --set",
        )
    return known[name]


@cache
def _aliases() -> dict[str, str]:
    """Every name that LightGBM knows a parameter by, to its own."""
    found = lightgbm.basic._ConfigAliases._get_all_param_aliases()
    return {alias: name for name, aliases in found.items() for alias in (name, *aliases)}


def check_plan(problem: ProblemType, plan: ModelPlan, *, classes: int = 3) -> None:
    """Raise `ConfigError` for a name or a value that cannot be trained with.

    Args:
        classes: how many there are; what can be trained with does not depend on it.
    """
    space = plan.search.space if plan.search else {}
    _check_names([*plan.parameters, *space])
    ours = all_parameters(problem, plan.model_copy(update={"parameters": {}}), classes=classes)
    for name, value in plan.parameters.items():
        _try_out({**ours, canonical(name): value}, name)
    fixed = all_parameters(problem, plan, classes=classes)
    _try_out(fixed)
    if plan.interval is not None:
        _try_out({**fixed, "objective": "quantile", "alpha": plan.interval})
    for name, dimension in space.items():
        for value in _ends(dimension):
            _try_out({**fixed, canonical(name): value}, name)


def _check_names(names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        own = canonical(name)
        if own in _ELSEWHERE:
            raise ConfigError(
                f"the parameter {name!r} is set by {_ELSEWHERE[own]}",
                expected="parameters that say how trees grow",
                repair=f"take {name!r} out",
            )
        if own in seen:
            raise ConfigError(
                f"{seen[own]!r} and {name!r} are the same parameter of LightGBM",
                expected=f"one of them: {own!r}",
                repair="take the other one out",
            )
        seen[own] = name


def _ends(dimension: Dimension) -> tuple[Value, ...]:
    if isinstance(dimension, Choice):
        return dimension.options
    return (dimension.low, dimension.high)


def _try_out(parameters: Mapping[str, Any], name: str = "") -> None:
    """One tree on a handful of rows: a bad value costs a millisecond here, and minutes later."""
    values = np.linspace(0, 1, 64)
    try:
        labels = np.floor(values * (parameters.get("num_class", 2) - 1e-9))
        data = lightgbm.Dataset(values[:, None], labels, params=dict(parameters))
        lightgbm.train(dict(parameters), data, 1)
    except lightgbm.basic.LightGBMError as error:
        what = f"{name} = {parameters[canonical(name)]!r}" if name else "these parameters"
        said = str(error).split(" at /")[0].strip()  # the rest is a line of its C++ code
        raise ConfigError(
            f"LightGBM refuses {what}: {said}",
            expected="values that it can train with",
            repair="mend model.parameters or model.search.space in the spec, or --set",
        ) from error
