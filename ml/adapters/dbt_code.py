"""Which dbt files decide what a table holds, and whether their code is still the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path


def code_digests(project: Path, slug: str, table: str = "") -> dict[str, str]:
    """SHA-256 of the code of each file, by its name in the project.

    Args:
        table: only what this model is made from; macros and seeds always count.
    """
    folders = [f"models/{slug}", f"seeds/{slug}", "macros"]
    paths = [path for folder in folders for path in sorted((project / folder).rglob("*"))]
    files = [p for p in paths if p.suffix in (".sql", ".csv")] + [project / "dbt_project.yml"]
    code = {path: _code(path) for path in files}
    read = _upstream(code, table) if table else None
    return {
        path.relative_to(project).as_posix(): sha256(text.encode()).hexdigest()
        for path, text in code.items()
        if read is None or path.stem in read or "models" not in path.relative_to(project).parts
    }


def _code(path: Path) -> str:
    """The text without comments and blank lines: they change no table."""
    text = path.read_text()
    if path.suffix == ".sql":
        text = re.sub(r"\{#.*?#\}|--[^\n]*", "", text, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def _upstream(code: Mapping[Path, str], table: str) -> set[str]:
    """Names of a model and of all that it is made from."""
    refs = {path.stem: re.findall(r"ref\(['\"](\w+)['\"]\)", text) for path, text in code.items()}
    found, left = set[str](), [table]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += refs.get(name, [])
    return found
