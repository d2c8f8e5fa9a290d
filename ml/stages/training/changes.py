"""What an experiment changes of the spec's model: `--set key=value`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from ml.core.errors import ConfigError
from ml.core.plans import ModelPlan, SearchPlan, Value
from ml.stages.training.parameters import canonical
from ml.stages.training.search import middle

_FIELDS = ("max_rounds", "early_stopping_rounds", "seed")
TRIALS = "trials"


def changed_plan(plan: ModelPlan, settings: Sequence[str]) -> ModelPlan:
    """The plan with these changes; a parameter that is set is not searched any more.

    Args:
        settings: `key=value` each: a parameter of LightGBM, or one of max_rounds,
            early_stopping_rounds, seed and trials. With `trials=0` nothing is searched: what is not
            set stays in the middle of the space.

    Raises:
        ConfigError: for a name or a value that is none.
    """
    pairs = [_parsed(setting) for setting in settings]
    given = dict(pairs)
    trials = given.pop(TRIALS, plan.search.trials if plan.search else 0)
    ours = (*_FIELDS, TRIALS)
    _require_once([name if name in ours else canonical(name) for name, _ in pairs])
    if isinstance(trials, bool | float | str) or trials < 0:
        raise ConfigError(
            f"--set {TRIALS}={trials}", expected="a whole number; with 0 nothing is searched"
        )
    fields = {name: given.pop(name) for name in _FIELDS if name in given}
    mine = {canonical(name): value for name, value in given.items()}
    kept = {name: v for name, v in plan.parameters.items() if canonical(name) not in mine}
    parameters = {**kept, **mine}
    space = dict(plan.search.space) if plan.search else {}
    space = {name: one for name, one in space.items() if canonical(name) not in mine}
    if space and trials == 0:
        parameters |= middle(SearchPlan(space=space))
    search = {"space": space, "trials": trials} if space and trials != 0 else None
    return _validated({**dict(plan), **fields, "parameters": parameters, "search": search})


def _require_once(names: Sequence[str]) -> None:
    """Aliases of one parameter would overwrite each other without a word."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"--set {', '.join(twice)} more than once, perhaps under another name",
            expected="each parameter once",
        )


def _validated(fields: dict[str, Any]) -> ModelPlan:
    try:
        return ModelPlan.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"--set: {name} = {first['input']!r}: {first['msg']}",
            expected="a value that the spec would accept, too",
            repair="mend the value",
        ) from error


def _parsed(setting: str) -> tuple[str, Value]:
    name, equals, text = setting.partition("=")
    if not (name.strip() and equals and text.strip()):
        raise ConfigError(
            f"--set {setting!r}", expected="key=value, such as --set learning_rate=0.05"
        )
    try:
        value = json.loads(text)
    except ValueError:
        value = text.strip()
    return name.strip(), value if isinstance(value, bool | int | float | str) else text.strip()
