"""The types of a spec, from their models."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta
from enum import Enum

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from generator.markdown import code, entries, summary, table
from ml.core import plans
from ml.core import spec as specs
from ml.core.plans import Frozen
from ml.core.spec import UseCase


def spec() -> str:
    """A section for each type: the use case first, then its parts as the files have them."""
    return "\n".join(_section(one) for one in models())


def models() -> list[type[Frozen]]:
    """All types of a spec, the use case first."""
    found = [
        one
        for module in (specs, plans)
        for _, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, Frozen) and one is not Frozen and one.__module__ == module.__name__
    ]
    found.sort(key=lambda one: (one.__module__ == plans.__name__, inspect.findsource(one)[1]))
    return [UseCase, *(one for one in found if one is not UseCase)]


def _section(model: type[Frozen]) -> str:
    said = entries(model, "Attributes")
    rows = [
        (code(name), code(_kind(model, name)), _default(field), said.get(name, ""))
        for name, field in model.model_fields.items()
    ]
    fields = table(["field", "type", "default", "what it says"], rows)
    return f"## {model.__name__}\n\n{summary(model)}\n\n{fields}"


def _kind(model: type[Frozen], name: str) -> str:
    """The annotation as it is written, without what only a machine needs."""
    written = str(inspect.get_annotations(model)[name])
    return re.sub(r"Annotated\[(\w+), Field\([^)]*\)\]", r"\1", written)


def _default(field: FieldInfo) -> str:
    """The default as it would be written."""
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, Enum | timedelta):
        return code(str(value))
    return code(f"{type(value).__name__}()" if isinstance(value, Frozen) else repr(value))
