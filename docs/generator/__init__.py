"""What the site makes from code: the parts of the reference, and the tables of contents."""

from __future__ import annotations

from collections.abc import Callable

from generator.commands import commands, errors
from generator.gates import gates, metrics, thresholds
from generator.python import notebook
from generator.settings import settings
from generator.spec import spec
from generator.tables import prediction_log, tables

GENERATED: dict[str, Callable[[], str]] = {
    one.__name__: one
    for one in (
        commands,
        errors,
        settings,
        spec,
        gates,
        metrics,
        thresholds,
        tables,
        prediction_log,
        notebook,
    )
}
"""What `<!-- generated: name -->` in a page stands for, as Markdown."""

_FIRST = """
README <../README>
tutorial
how-to/README
reference/README
explanation/README
runbooks/README
adr/README
../CONTRIBUTING
../CHANGELOG
"""


def toctree(page: str) -> str:
    """The pages below one that is the first of its folder; empty for every other page."""
    if not page.startswith("docs/") or not page.endswith("/README"):
        return ""
    pages = _FIRST if page == "docs/README" else "*"
    options = ":hidden:" if page == "docs/README" else ":hidden:\n:glob:"
    return f"\n\n```{{toctree}}\n{options}\n{pages}\n```\n"
