"""Rules that no type checker keeps. Each rule is a function that returns violations."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from support import ROOT

import ml
from ml.use_cases import available

PLATFORM = (
    "ml/core/**/*.py",
    "ml/adapters/**/*.py",
    "ml/stages/**/*.py",
    "ml/serving/**/*.py",
    "ml/local/**/*.py",
    "ml/cli/**/*.py",
    "ml/*.py",
    "ml/use_cases/*.py",
    "dags/orchestration/**/*.py",
    "dags/platform_*.py",
    "feature_repo/*.py",
    "feature_repo/*.yaml",
    "dbt_project/*.yml",
    "dbt_project/macros/**/*.sql",
    "dbt_project/tests/generic/**/*.sql",
    "infra/airflow/**/*.py",
)
# Examples in the texts for people are allowed to name the reference use case.
CLOCKS = {"now", "utcnow", "today"}
WALL_CLOCKS = {"time", "time_ns", "localtime", "gmtime"}
IMPURE = {"airflow", "mlflow", "feast", "duckdb", "requests", "time", "subprocess", "socket"}
ENVIRONMENT = {"environ", "getenv", "putenv"}


def platform_files(root: Path) -> list[Path]:
    return sorted({path for pattern in PLATFORM for path in root.glob(pattern)})


def strings_and_names(path: Path) -> Iterator[tuple[int, str]]:
    """What the code says, without docstrings and comments: those may give examples."""
    if path.suffix != ".py":
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield number, line.split("#")[0].split("--")[0]
        return
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                yield line, node.value
        elif isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.ImportFrom):
            yield line, node.module or ""
        elif isinstance(node, ast.alias):
            yield line, node.name


def use_cases_named(root: Path, slugs: Iterable[str]) -> list[str]:
    """Platform modules that name a use case: they load it by its slug."""
    return [
        f"{path.relative_to(root)}:{line} names {slug}"
        for path in platform_files(root)
        for line, text in strings_and_names(path)
        for slug in slugs
        if slug in text
        # An example inside a sentence of a help or an error is not a dependency.
        and not re.search(rf"(such as|as in) {slug}\b", text)
    ]


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def impurities(path: Path) -> list[str]:
    """Imports of the outside, of the environment or of a clock."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        found += [name for name in _imported(node) if name.split(".")[0] in IMPURE]
        if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT:
            found.append(f"os.{node.attr}")
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            found += [f"os.{a.name}" for a in node.names if a.name in ENVIRONMENT]
    return found + clocks(path)


def clocks(path: Path) -> list[str]:
    """Calls that ask what time it is; `time.perf_counter` measures and may stay."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute):
            owner = ast.unparse(function.value)
            if function.attr in CLOCKS and owner.split(".")[-1] in {
                "datetime",
                "date",
                "Timestamp",
            }:
                found.append(f"line {node.lineno}: {owner}.{function.attr}()")
            if function.attr in WALL_CLOCKS and owner == "time":
                found.append(f"line {node.lineno}: time.{function.attr}()")
    return found


def test_no_platform_module_names_a_use_case() -> None:
    assert use_cases_named(ROOT, available()) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("ml/stages/train.py", 'if spec.slug == "toy_case": pass'),
        ("ml/adapters/lake.py", "from ml.use_cases.toy_case import spec"),
        ("ml/core/names.py", "toy_case = 1"),
        ("dags/orchestration/builders.py", "x = f'{1}toy_case_daily'"),
        ("feature_repo/sources.py", "import feature_repo.toy_case.features"),
        ("dbt_project/macros/partitions.sql", "select * from toy_case"),
        ("ml/cli/base.py", 'slug = "toy_case"'),
    ],
)
def test_the_rule_finds_a_planted_name(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text)
    found = use_cases_named(tmp_path, ["toy_case"])
    assert found and found[0].startswith(f"{file}:1")


def test_docstrings_and_comments_may_give_examples(tmp_path: Path) -> None:
    path = tmp_path / "ml" / "core" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text('"""As in toy_case."""\n# toy_case\n')
    assert use_cases_named(tmp_path, ["toy_case"]) == []


def test_the_rules_look_at_files_that_exist() -> None:
    """A rule over an empty folder cannot fail."""
    folders = {path.relative_to(ROOT).parts[:2] for path in platform_files(ROOT)}
    for folder in ("core", "adapters", "stages", "local"):
        assert ("ml", folder) in folders
    assert {("dags", "orchestration"), ("feature_repo", "sources.py")} <= folders
    assert ("dbt_project", "macros") in folders and ("dbt_project", "tests") in folders


def test_ml_is_the_one_of_this_repository() -> None:
    """An installed copy beside it would be tested instead of the code that people edit."""
    assert Path(ml.__file__ or "").resolve().parent == ROOT / "ml"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "ml" / "core").rglob("*.py")), ids=lambda path: path.stem
)
def test_core_is_pure(path: Path) -> None:
    assert impurities(path) == []


@pytest.mark.parametrize(
    "text",
    [
        "import airflow.sdk",
        "from feast import Entity",
        "def f():\n    import duckdb",
        "import time",
        "import os\nx = os.environ['HOME']",
        "from os import getenv",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime\nx = datetime.datetime.utcnow()",
        "from datetime import date\nx = date.today()",
        "import pandas as pd\nx = pd.Timestamp.now('UTC')",
    ],
)
def test_the_rule_of_purity_finds_a_planted_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.py"
    path.write_text(text)
    assert impurities(path)


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for folder in ("stages", "core", "use_cases")
        for path in (ROOT / "ml" / folder).rglob("*.py")
    ),
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_nothing_below_dags_reads_the_clock(path: Path) -> None:
    """Or a year could not be replayed, and a rerun would give another result."""
    assert clocks(path) == []


def test_the_rule_of_the_clock_lets_measurements_pass(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("import time\nx = time.perf_counter()")
    assert clocks(path) == []
    path.write_text("import time\nx = time.time()")
    assert clocks(path) == ["line 2: time.time()"]


def test_ml_and_feature_repo_never_import_airflow() -> None:
    files = [*(ROOT / "ml").rglob("*.py"), *(ROOT / "feature_repo").rglob("*.py")]
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _imported(node)
        if name.split(".")[0] == "airflow"
    ]
    assert found == []


LAYERS = {"core": set(), "adapters": {"core"}, "stages": {"core", "adapters"}}


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_import_downwards_only(layer: str) -> None:
    allowed = LAYERS[layer] | {layer}
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / "ml" / layer).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _imported(node)
        if name.startswith("ml.")
        and name.split(".")[1] in {"core", "adapters", "stages", "serving", "local", "cli"}
        and name.split(".")[1] not in allowed
    ]
    assert found == []


@pytest.mark.xdist_group("together")
def test_tests_of_a_group_stay_together(request: pytest.FixtureRequest) -> None:
    """Fixtures that cost a minute are built once only if xdist knows the group, which it adds."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("one process")
    assert request.node.nodeid.endswith("@together")
