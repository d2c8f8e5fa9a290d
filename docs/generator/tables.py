"""Tables of each use case: what the contract demands of the source, and what dbt makes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from generator.markdown import code, table
from ml.core.prediction_log import PREDICTION_LOG
from ml.settings import REPOSITORY
from ml.use_cases import load_all, load_module
from ml.use_cases.contracts import Contract

MODELS = REPOSITORY / "dbt_project" / "models"


def tables() -> str:
    """A section for each use case."""
    specs, _broken = load_all()
    return "\n".join(f"## {spec.title}\n\n{_tables_of(slug)}" for slug, spec in specs.items())


def _tables_of(slug: str) -> str:
    contracts: Mapping[str, Contract] = load_module(slug, "contract").CONTRACTS
    delivered = [f"### {name} (raw)\n\n{_contract(one)}" for name, one in contracts.items()]
    made = [f"### {one['name']}\n\n{_model(one)}" for one in models_of(slug)]
    return "\n".join([*delivered, *made])


def _contract(contract: Contract) -> str:
    """Columns as they are declared, and what holds for whole rows."""
    columns = contract.rows.columns().items()
    rows = [(code(name), code(repr(column))) for name, column in columns]
    _, _, rest = str(contract.rows).partition("Rules:")
    rules = re.findall(r'^ +- "(\w+)": (.+)$', rest, re.MULTILINE)
    noted = [
        *(f"- rejected unless `{name}`: `{condition}`" for name, condition in rules),
        *(f"- nulled: `{column}` by `{name}`" for name, (column, _) in contract.cells.items()),
        *(f"- flagged: `{name}`" for name in contract.flags),
    ]
    return "\n".join([table(["column", "declared as"], rows), *noted, ""])


def models_of(slug: str) -> list[dict[str, Any]]:
    """The dbt models of a use case as their yml files describe them."""
    files: list[Path] = sorted((MODELS / slug).rglob("*.yml"))
    return [one for file in files for one in yaml.safe_load(file.read_text()).get("models", [])]


def _model(model: dict[str, Any]) -> str:
    columns = model.get("columns", [])
    rows = [
        (code(one["name"]), code(one.get("data_type", "")), str(one.get("description", "")))
        for one in columns
    ]
    listed = table(["column", "type", "what it is"], rows) if rows else ""
    return f"{model.get('description', '').strip()}\n\n{listed}"


def prediction_log() -> str:
    """The columns of the prediction log."""
    rows = [
        (code(one.name), code(one.type), (one.metadata or {})[b"description"].decode())
        for one in PREDICTION_LOG
    ]
    return table(["column", "type", "what it is"], rows)
