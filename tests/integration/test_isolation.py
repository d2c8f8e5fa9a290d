"""One broken use case is its own matter: the Dags of the others parse, and their stages run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trees import Tree, copy_repository

from ml.local.bench.use_cases import clone
from ml.local.slices import Slice
from ml.use_cases import load_all

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("isolation")]

BAD = "broken_case"
PARSE = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag("dags")
errors = {path.split("/")[-1]: text for path, text in bag.import_errors.items()}
print(json.dumps([sorted(bag.dags), errors]))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, str]:
    """A copy with one more use case, and the slug of the one that must go on."""
    specs, _ = load_all()
    if not specs:
        pytest.skip("no use case is here that could be disturbed")
    tree = copy_repository(tmp_path_factory.mktemp("isolation"))
    good = min(specs, key=lambda slug: len(Slice(slug).files()))
    clone(Slice(good, tree.root), BAD)
    for stage in ("ingest", "transform"):  # what breaks below may be found by a later one
        done = tree.flightline(stage, BAD, specs[good].coverage.first)
        assert done.returncode == 0, done.stderr
    return tree, good


@pytest.fixture
def tree(whole: tuple[Tree, str]) -> Iterator[Tree]:
    """What a test breaks is whole again afterwards."""
    tree, _ = whole
    kept = {path: path.read_bytes() for path in Slice(BAD, tree.root).files()}
    yield tree
    for path in Slice(BAD, tree.root).files():
        path.unlink()
    for path, content in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def append(text: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(path.read_text() + text)

    return change


def replace(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def delete(path: Path) -> None:
    path.unlink()


SPEC, CONTRACT = f"ml/use_cases/{BAD}/spec.py", f"ml/use_cases/{BAD}/contract.py"
FEATURES, SQL = f"feature_repo/{BAD}/features.py", f"dbt_project/models/{BAD}/**/fct_*.sql"
YAML = f"dbt_project/models/{BAD}/**/*.yml"
DAG = f"dags/{BAD}_history.py"
EVERY_DAG, ONE_DAG = "all", "one"
BREAKS = {
    # Name: the file, what happens to it, which of its Dags are lost, and the command whose error
    # must name the file and, in these words, what is wrong.
    "spec-syntax": (SPEC, append("\nx = (\n"), EVERY_DAG, "ingest", "spec.py, line"),
    "spec-import": (SPEC, append("\nimport nowhere\n"), EVERY_DAG, "ingest", "'nowhere'"),
    "spec-field": (SPEC, replace("owner=", "ownr="), EVERY_DAG, "ingest", "owner: Field required"),
    "spec-gone": (SPEC, delete, EVERY_DAG, "ingest", "has no spec.py"),
    "contract-syntax": (CONTRACT, append("\ndef (\n"), "", "ingest", "contract.py, line"),
    "contract-gone": (CONTRACT, delete, "", "ingest", "has no contract.py"),
    "sql": (SQL, append("\nselect from {% if %}\n"), "", "transform", "fct_"),
    "yaml": (YAML, append("\nmodels: [x: [\n"), "", "transform", ".yml"),
    "features": (FEATURES, append("\nimport nowhere\n"), "", "materialize", "'nowhere'"),
    "features-syntax": (FEATURES, append("\nx = (\n"), "", "list", "features.py, line"),
    "dag": (DAG, append("\nx = (\n"), ONE_DAG, "list", "history.py, line"),
    "dag-gone": (DAG, delete, ONE_DAG, "list", "no Dag file for history"),
}


def break_it(tree: Tree, name: str) -> None:
    pattern, change, *_ = BREAKS[name]
    change(min(tree.root.glob(pattern)))


def dags_of(slug: str, tree: Tree) -> set[str]:
    return set(Slice(slug, tree.root).dags())


def test_before_it_is_broken_everything_works(whole: tuple[Tree, str]) -> None:
    """Or a test below could pass because nothing ever does."""
    tree, good = whole
    dags, errors = json.loads(tree.python("-c", PARSE).stdout.splitlines()[-1])
    assert errors == {}
    assert {*dags_of(BAD, tree), *dags_of(good, tree)} <= set(dags)
    done = tree.flightline("materialize", BAD, load_all()[0][good].coverage.first)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", BREAKS)
def test_dags_of_the_others_are_loaded(tree: Tree, whole: tuple[Tree, str], name: str) -> None:
    """By Airflow itself; of the broken one, those that cannot be, with the reason."""
    before = {path.stem for path in (tree.root / "dags").glob("*.py")}
    mine = dags_of(BAD, tree)
    break_it(tree, name)
    dags, errors = json.loads(tree.python("-c", PARSE).stdout.splitlines()[-1])
    lost = {EVERY_DAG: mine, ONE_DAG: {Path(DAG).stem}, "": set()}[BREAKS[name][2]]
    assert before - set(dags) == lost
    files = {f"{stem}.py" for stem in lost if (tree.root / "dags" / f"{stem}.py").exists()}
    assert set(errors) == files
    if name.startswith("spec"):
        assert all(BREAKS[name][4] in text for text in errors.values()), errors


@pytest.mark.parametrize("name", BREAKS)
def test_stages_of_the_others_run_and_the_broken_one_says_why_not(
    tree: Tree, whole: tuple[Tree, str], name: str
) -> None:
    _, good = whole
    key = load_all()[0][good].coverage.first
    break_it(tree, name)
    for stage in ("ingest", "transform"):
        done = tree.flightline(stage, good, key)
        assert done.returncode == 0, done.stderr
    _, _, _, command, told = BREAKS[name]
    if command == "list":
        listed = json.loads(tree.flightline("list", "--json").stdout)
        [state] = [one["state"] for one in listed if one["slug"] == BAD]
        assert state.startswith("broken: ") and told in state, state
        return
    done = tree.flightline(command, BAD, key)
    assert done.returncode in (2, 3), done.stdout + done.stderr
    assert told in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["spec-syntax", "spec-gone", "contract-gone"])
def test_the_list_has_all_others_and_says_what_is_wrong(
    tree: Tree, whole: tuple[Tree, str], name: str
) -> None:
    _, good = whole
    break_it(tree, name)
    done = tree.flightline("list", "--json")
    assert done.returncode == 0, done.stderr
    states = {one["slug"]: one["state"] for one in json.loads(done.stdout)}
    assert not states[good].startswith("broken") and states[BAD].startswith("broken: ")
    assert Path(BREAKS[name][0]).name in states[BAD]
