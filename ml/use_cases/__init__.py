"""Use cases: one folder each. The platform loads them by slug and never names one.

A use case whose files are broken is an error of its own, in words; the others go on without it.
"""

from __future__ import annotations

import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from ml.core.errors import ConfigError, FlightlineError
from ml.core.names import SLUG
from ml.core.spec import UseCase

_HERE = Path(__file__).parent


def available() -> tuple[str, ...]:
    """Slugs of all use cases in this repository, also of broken ones; there may be none."""
    return tuple(sorted(path.parent.name for path in _HERE.glob("*/spec.py")))


def load_all() -> tuple[dict[str, UseCase], dict[str, ConfigError]]:
    """The specs that can be loaded, and what is wrong with the others, by slug."""
    specs: dict[str, UseCase] = {}
    broken: dict[str, ConfigError] = {}
    for slug in available():
        try:
            specs[slug] = load_spec(slug)
        except ConfigError as error:
            broken[slug] = error
    return specs, broken


def load_spec(slug: str) -> UseCase:
    """The spec of a use case.

    Raises:
        ConfigError: if there is no such use case, or its spec is broken: where, and in what way.
    """
    file, module = _file(slug, "spec"), load_module(slug, "spec")
    spec = getattr(module, "SPEC", None)
    if not isinstance(spec, UseCase):
        raise ConfigError(
            f"{file}: no SPEC" if spec is None else f"{file}: SPEC is a {type(spec).__name__}",
            expected="SPEC = UseCase(...)",
            repair=f"write it in {file}",
        )
    if spec.slug != slug:
        raise ConfigError(
            f"{file}: the slug is {spec.slug!r}",
            expected=f"{slug!r}, the name of its folder: all names are made from it",
            repair="change one of the two",
        )
    return spec


def load_module(slug: str, part: str) -> ModuleType:
    """A module of a use case: `spec`, `source` or `contract`.

    Raises:
        ConfigError: if there is no such use case or module, or if it cannot be imported: the file,
            the line where it is known, and what was wrong there.
    """
    if slug not in available():
        raise _unknown(slug)
    name, file = f"ml.use_cases.{slug}.{part}", _file(slug, part)
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # its author may have written anything
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise ConfigError(
                f"{slug} has no {part}.py", expected=file, repair="write it, or restore it"
            ) from error
        raise _broken(slug, file, error) from error


def demo_slug() -> str:
    """The use case whose story the demo plays unless told otherwise: the most important one's.

    Raises:
        ConfigError: if no use case has one.
    """
    specs, broken = load_all()
    if stories := [(spec.impact_tier, slug) for slug, spec in specs.items() if spec.demo]:
        return min(stories)[1]
    if broken:  # it may be the one that was meant
        raise next(iter(broken.values()))
    raise ConfigError("no use case has a demo", expected="a DemoPlan in a spec", repair="add one")


def _file(slug: str, part: str) -> str:
    return f"ml/use_cases/{slug}/{part}.py"


def _unknown(slug: str) -> ConfigError:
    if SLUG.fullmatch(slug) and any((_HERE / slug).glob("*.py")):
        return ConfigError(
            f"{slug} has no spec.py", expected=_file(slug, "spec"), repair="write it, or restore it"
        )
    return ConfigError(
        f"unknown use case {slug!r}",
        expected="one of: " + (", ".join(available()) or "none is there yet"),
        repair="check the spelling; each folder in ml/use_cases with a spec.py is one",
    )


def _broken(slug: str, file: str, error: BaseException) -> ConfigError:
    """What its author must know: the place in the slice, and the reason without a traceback."""
    place = _place(slug, error) or file
    if isinstance(error, ValidationError):
        wrong = [_in_words(found) for found in error.errors(include_url=False)]
        seen = "\n".join([f"{place}: {error.title} is not valid", *(f"  {line}" for line in wrong)])
        return ConfigError(seen, repair="mend these; the fields are explained in ml/core/spec.py")
    if isinstance(error, SyntaxError):
        return ConfigError(
            f"{place}: {error.msg}: {(error.text or '').strip()}", repair="mend the line"
        )
    if isinstance(error, FlightlineError):
        return ConfigError(f"{place}: {error.seen}", expected=error.expected, repair=error.repair)
    return ConfigError(
        f"{place}: {type(error).__name__}: {error}", expected="a module that can be imported"
    )


def _in_words(found: object) -> str:
    """One finding of pydantic: the field, what is wrong, and what was given where that is short.

    >>> _in_words({"loc": ("model", "trials"), "msg": "Field required", "type": "missing"})
    'model.trials: Field required'
    """
    said = dict(found)  # type: ignore[call-overload]  # pydantic's own typed dictionary
    where = ".".join(str(part) for part in said["loc"])
    message = str(said["msg"]).removeprefix("Value error, ")
    given = repr(said.get("input", ""))
    is_told = said["type"] in ("missing", "value_error") or len(given) > 60
    return ": ".join(filter(None, [where, message])) + ("" if is_told else f", got {given}")


def _place(slug: str, error: BaseException) -> str:
    """File and line inside the slice at which it went wrong; empty if that is not known."""
    root = _HERE.parents[1]
    if isinstance(error, SyntaxError) and error.filename:
        lines = [(Path(error.filename), error.lineno)]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [(Path(frame.filename), frame.lineno) for frame in frames]
    mine = [(path, line) for path, line in lines if slug in path.parts and root in path.parents]
    if not mine:
        return ""
    path, line = mine[-1]
    return f"{path.relative_to(root).as_posix()}, line {line}"
