"""What notebooks import."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from generator.markdown import code, entries, section, summary, table
from ml import notebook as module


def notebook() -> str:
    """The functions of `ml.notebook`, from their docstrings."""
    found = inspect.getmembers(module, inspect.isfunction)
    return "\n".join(
        _section(name, one) for name, one in found if one.__module__ == module.__name__
    )


def _section(name: str, function: Callable[..., object]) -> str:
    signature = re.sub(r"(: |-> )'([^']+)'", r"\1\2", f"{name}{inspect.signature(function)}")
    rows = [(code(one), meaning) for one, meaning in entries(function, "Args").items()]
    returns = " ".join(section(function, "Returns").split())
    return (
        f"## {name}\n\n```python\n{signature}\n```\n\n{summary(function)}\n\n"
        f"{table(['argument', 'what it says'], rows)}\n{returns}\n"
    )
