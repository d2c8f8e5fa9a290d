"""Use cases: one folder each. The platform loads them by slug and never names one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from ml.core.errors import ConfigError
from ml.core.spec import UseCase

_HERE = Path(__file__).parent


def available() -> tuple[str, ...]:
    """Slugs of all use cases in this repository."""
    return tuple(sorted(path.parent.name for path in _HERE.glob("*/spec.py")))


def load_spec(slug: str) -> UseCase:
    """The spec of a use case.

    Raises:
        ConfigError: if there is no such use case.
    """
    spec: UseCase = load_module(slug, "spec").SPEC
    return spec


def load_module(slug: str, part: str) -> ModuleType:
    """A module of a use case: `spec`, `source` or `contract`."""
    if slug not in available():
        raise ConfigError(
            f"unknown use case {slug!r}",
            expected="one of: " + ", ".join(available()),
            repair="check the spelling; each folder in ml/use_cases with a spec.py is one",
        )
    return import_module(f"ml.use_cases.{slug}.{part}")


def demo_slug() -> str:
    """The use case whose story the demo plays unless told otherwise.

    Raises:
        ConfigError: if no use case has one.
    """
    for slug in available():
        if load_spec(slug).demo:
            return slug
    raise ConfigError("no use case has a demo", expected="a DemoPlan in a spec", repair="add one")
