"""The settings, from their model."""

from __future__ import annotations

from pathlib import Path

from generator.markdown import code, entries, table
from ml.settings import REPOSITORY, Settings


def settings() -> str:
    """One row for each variable of the environment."""
    said = entries(Settings, "Attributes")
    prefix = Settings.model_config["env_prefix"]
    rows = [
        (code(f"{prefix}{name}".upper()), _default(field.default), said.get(name, ""))
        for name, field in Settings.model_fields.items()
    ]
    return table(["variable", "default", "what it says"], rows)


def _default(value: object) -> str:
    if isinstance(value, Path):  # of this machine
        return f"`{value.relative_to(REPOSITORY).as_posix()}` in the repository"
    return "" if value is None else code(value)
