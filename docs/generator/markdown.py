"""Tables and docstrings as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; text may hold bars and line ends."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip()).replace("|", r"\|")


def code(text: object) -> str:
    """Inline code; nothing of nothing."""
    return f"`{text}`" if str(text) else ""


def summary(documented: object) -> str:
    """A docstring up to its first section (`Attributes:`, `Args:`) or example."""
    text = inspect.getdoc(documented) or ""
    return re.split(r"^(?:[A-Z][a-z]+:$|>>>)", text, maxsplit=1, flags=re.MULTILINE)[0].strip()


def section(documented: object, name: str) -> str:
    """A section of a docstring, such as `Returns`, without its heading."""
    text = inspect.getdoc(documented) or ""
    found = re.search(rf"^{name}:\n((?:    .*\n?|\n)+)", text, flags=re.MULTILINE)
    return found[1] if found else ""


def entries(documented: object, name: str) -> dict[str, str]:
    """What a section says of each name; one line may be about several."""
    lines = re.sub(r"\n {8,}", " ", section(documented, name)).splitlines()
    said = (line.strip().partition(": ") for line in lines if line.strip())
    return {one: meaning for names, _, meaning in said for one in names.split(", ")}
