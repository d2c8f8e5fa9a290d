"""The rules about imports are real: each one breaks the build when it is violated."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]

# Module that gets an import it must not have, the import, and the contract that must break.
VIOLATIONS = [
    ("ml/core/names.py", "import ml.adapters.lake", "layers"),
    ("ml/adapters/lake.py", "import ml.stages.train", "layers"),
    ("ml/stages/train.py", "import ml.local.supervisor", "layers"),
    ("ml/local/supervisor.py", "import ml.cli", "layers"),
    ("ml/newcomer.py", "import json", "layers"),
    ("ml/core/names.py", "import mlflow", "pure-core"),
    ("ml/core/names.py", "import os", "pure-core"),
    ("ml/core/names.py", "import time", "pure-core"),
    ("ml/stages/train.py", "import airflow.sdk", "airflow"),
    ("feature_repo/sources.py", "import airflow.sdk", "airflow"),
    ("ml/adapters/lake.py", "import orchestration.stages", "airflow"),
    ("ml/use_cases/planted/source.py", "import ml.adapters.lake", "use-cases"),
    ("ml/use_cases/planted/source.py", "import ml.settings", "use-cases"),
    ("feature_repo/planted/features.py", "import ml.stages.train", "features"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code and its rules."""
    for folder in ("ml", "feature_repo", "dags"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(tree: Path) -> tuple[int, set[str]]:
    """Exit code of the linter, and the ids of the contracts that broke."""
    done = subprocess.run(
        [SCRIPTS / "lint-imports", "--no-cache", "--no-logo"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": "dags", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    names = re.findall(r"^(.+?)\s*BROKEN", done.stdout, flags=re.MULTILINE)
    by_name = {contract["name"]: contract["id"] for contract in CONTRACTS}
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return done.returncode, {by_name[name] for name in names}


def plant(tree: Path, module: str, statement: str) -> None:
    path = tree / module
    path.parent.mkdir(exist_ok=True)
    if not (path.parent / "__init__.py").exists() and "planted" in module:
        (path.parent / "__init__.py").write_text('"""A use case."""\n')
    text = path.read_text() if path.exists() else '"""A new module."""\n'
    path.write_text(f"{text}\n\ndef _planted() -> None:\n    {statement}\n")


def test_the_code_as_it_is_keeps_every_contract(tree: Path) -> None:
    assert lint_imports(tree) == (0, set())


@pytest.mark.parametrize(("module", "statement", "contract"), VIOLATIONS)
def test_a_planted_import_breaks_its_contract(
    tree: Path, module: str, statement: str, contract: str
) -> None:
    plant(tree, module, statement)
    code, broken = lint_imports(tree)
    assert code == 1
    assert contract in broken


def test_every_contract_has_a_violation_that_trips_it() -> None:
    assert {contract["id"] for contract in CONTRACTS} == {c for _, _, c in VIOLATIONS}


@pytest.mark.parametrize(
    ("contract", "allowed"),
    [
        ("use-cases", {"core", "use_cases"}),
        ("features", {"core", "settings"}),
    ],
)
def test_what_is_not_allowed_is_forbidden_by_name(contract: str, allowed: set[str]) -> None:
    """The contract lists what is forbidden, so a new package in ml/ must be added to it."""
    forbidden = next(c["forbidden_modules"] for c in CONTRACTS if c["id"] == contract)
    packages = {
        path.stem
        for path in (ROOT / "ml").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    named = {name.removeprefix("ml.") for name in forbidden if name.startswith("ml.")}
    assert packages - {"__init__"} - allowed == named


def ruff(tree: Path, *selected: str) -> Mapping[str, str]:
    """Message of each finding, by rule."""
    done = subprocess.run(
        [SCRIPTS / "ruff", "check", "--no-cache", "--output-format=json", "."]
        + [f"--select={rule}" for rule in selected],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    return {found["code"]: found["message"] for found in json.loads(done.stdout)}


@pytest.mark.parametrize("module", ["ml/core/names.py", "ml/local/ports.py", "ml/stages/train.py"])
def test_airflow_below_dags_is_refused_with_the_place_where_it_belongs(
    tree: Path, module: str
) -> None:
    plant(tree, module, "from airflow.sdk import task")
    assert "belongs in dags/" in ruff(tree, "TID251")["TID251"]


def test_reading_the_clock_in_core_is_refused(tree: Path) -> None:
    plant(tree, "ml/core/windows.py", "datetime.now()")
    assert "as an argument" in ruff(tree, "TID251")["TID251"]


@pytest.mark.parametrize("library", ["pandas", "mlflow", "feast", "ml.stages.runner"])
def test_a_heavy_import_at_the_top_of_a_dag_is_refused(tree: Path, library: str) -> None:
    (tree / "dags" / "planted_daily.py").write_text(f'"""A Dag."""\n\nimport {library}\n')
    assert "TID253" in ruff(tree, "TID253")


def test_a_heavy_import_inside_a_task_is_fine(tree: Path) -> None:
    plant(tree, "dags/orchestration/stages.py", "import pandas")
    assert ruff(tree, "TID253") == {}


def test_airflow_internals_in_a_dag_are_refused(tree: Path) -> None:
    plant(tree, "dags/orchestration/defaults.py", "from airflow.models import DagRun")
    assert "airflow.sdk" in ruff(tree, "TID251")["TID251"]
