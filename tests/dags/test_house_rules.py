"""House rules over every Dag. Each rule returns violations, and each fails on a planted bad Dag."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from support import ROOT

from ml.use_cases import available

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import DAG

pytestmark = pytest.mark.xdist_group("airflow")

DAGS = ROOT / "dags"
HEAVY = {
    "mlflow",
    "feast",
    "pandas",
    "lightgbm",
    "duckdb",
    "dbt",
    "polars",
    "sklearn",
    "dataframely",
    "pydantic_settings",  # with `ml.settings`: five times the rest of a Dag file
}
JOBS = ("daily", "hourly", "weekly", "monthly", "history", "retrain", "monitor")
RUNBOOK = ("Makes", "Owner", "Impact", "A rerun", "When it fails")
FILES = sorted(path for path in DAGS.glob("*.py"))
DAG_IDS = [path.stem for path in FILES]


def load(folder: Path) -> DagBag:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(folder), safe_mode=False)


@pytest.fixture(scope="session")
def dagbag() -> DagBag:
    return load(DAGS)


# --- rules over a Dag ---


def naming(dag: DAG) -> list[str]:
    stem = Path(dag.fileloc).stem
    slugs = "|".join(available())
    pattern = rf"({slugs})_({'|'.join(JOBS)})|platform_[a-z]+_[a-z_]+"
    found = [] if dag.dag_id == stem else [f"id {dag.dag_id} in file {stem}.py"]
    return found + ([] if re.fullmatch(pattern, dag.dag_id) else [f"id {dag.dag_id}"])


def runbook(dag: DAG) -> list[str]:
    text = dag.doc_md or ""
    return [f"doc_md does not say: {word}" for word in RUNBOOK if f"**{word}" not in text]


def task_pages(dag: DAG) -> list[str]:
    return [
        f"{task.task_id}: doc_md does not say: {word}"
        for task in dag.tasks
        for word in ("Reads", "Makes", "By hand", "When it fails")
        if f"**{word}**" not in (task.doc_md or "")
    ]


def ownership(dag: DAG) -> list[str]:
    found = [] if dag.owner and "airflow" not in dag.owner.split(", ") else [f"owner {dag.owner}"]
    owners = {task.owner for task in dag.tasks}
    return found + [f"no link to owner {o}" for o in owners if o not in (dag.owner_links or {})]


def tagging(dag: DAG) -> list[str]:
    wanted = {"stage/": r"stage/[a-z_]+", "impact/": r"impact/tier_[1-4]"}
    if not dag.dag_id.startswith("platform_"):
        wanted["use-case/"] = rf"use-case/({'|'.join(available())})"
    return [
        f"no tag {name}"
        for name, pattern in wanted.items()
        if not any(re.fullmatch(pattern, tag) for tag in dag.tags)
    ]


def tasks_can_fail(dag: DAG) -> list[str]:
    """A retry, because servers fail now and then; a policy, because bad data stays bad."""
    found = []
    for task in dag.tasks:
        checks = {
            "retries": (task.retries or 0) >= 1,
            "retry_policy": task.retry_policy is not None,
            "execution_timeout": isinstance(task.execution_timeout, timedelta),
            "pool": task.pool != "default_pool",
        }
        found += [f"{task.task_id}: {name}" for name, good in checks.items() if not good]
    return found + ([] if dag.tasks else ["no tasks"])


def limits(dag: DAG) -> list[str]:
    from airflow.sdk import conf

    default = conf.getint("core", "max_active_runs_per_dag")
    checks = {
        "dagrun_timeout": isinstance(dag.dagrun_timeout, timedelta),
        "max_active_runs": dag.max_active_runs not in (None, 0, default),
        "catchup": dag.catchup is False,
    }
    return [name for name, good in checks.items() if not good]


def tells(dag: DAG) -> list[str]:
    """Somebody hears of a task that failed, and of a run: a killed task has no word of its own."""
    silent = [task.task_id for task in dag.tasks if not task.on_failure_callback]
    return silent + ([] if dag.on_failure_callback else ["the Dag itself"])


def ships_paused(dag: DAG) -> list[str]:
    """The reference's data ends: a calendar that starts by itself would only fail."""
    has_calendar = type(dag.timetable).__name__ not in ("NullTimetable", "AssetTriggeredTimetable")
    paused = dag.is_paused_upon_creation is True
    return [] if paused or not has_calendar else ["has a calendar and is not paused"]


def starts_in_the_future(dag: DAG) -> list[str]:
    """A Dag that is first seen a second after its tick waits for the next one."""
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    timetable = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag)).timetable
    asked = {
        "last_dagrun_info": None,
        "restriction": TimeRestriction(earliest=dag.start_date, latest=None, catchup=False),
    }
    if (first := timetable.next_dagrun_info_v2(**asked)) is None:
        return []
    tick = first.run_after
    later = tick.add(seconds=1)
    with mock.patch("airflow.timetables.trigger.utcnow", return_value=later):
        seen = timetable.next_dagrun_info_v2(**asked)
    return [] if seen and seen.run_after > tick else [f"a run for {tick} though it was not there"]


def approvals(dag: DAG) -> list[str]:
    """A default answer approves by itself at the time-out."""
    return [
        f"{task.task_id}: has a default answer"
        for task in dag.tasks
        if "Approval" in type(task).__name__ or "HITL" in type(task).__name__
        if getattr(task, "defaults", None)
    ]


def round_trip(dag: DAG) -> list[str]:
    """The scheduler sees the serialized Dag only."""
    from airflow.serialization.serialized_objects import DagSerialization

    again = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    same = again.dag_id == dag.dag_id and set(again.task_dict) == set(dag.task_dict)
    return [] if same else ["is not the same after serialization"]


RULES: dict[str, Callable[[Any], list[str]]] = {
    rule.__name__: rule
    for rule in (
        naming,
        runbook,
        task_pages,
        ownership,
        tagging,
        tasks_can_fail,
        limits,
        tells,
        ships_paused,
        starts_in_the_future,
        approvals,
        round_trip,
    )
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_every_dag_keeps_every_rule(
    dagbag: DagBag, dag_id: str, rule: Callable[[Any], list[str]]
) -> None:
    assert rule(dagbag.dags[dag_id]) == []


def test_every_file_makes_one_dag_without_errors(dagbag: DagBag) -> None:
    assert dagbag.import_errors == {}
    assert sorted(dagbag.dags) == DAG_IDS
    assert bool(DAG_IDS) == bool(available()), "each use case has Dags"


GOOD = '''
"""
- **Makes**: nothing. **Owner**: team. **Impact**: none.
- **A rerun** does the same. **When it fails**: look.
"""
from datetime import datetime, timedelta
from airflow.sdk import CronTriggerTimetable, dag, task
from orchestration.defaults import ONLY_TRANSIENT
@dag(dag_id={dag_id!r}, schedule={schedule}, start_date={start}, doc_md={doc},
     default_args=dict(owner={owner!r}, retries={retries}, retry_policy={policy},
                       execution_timeout={timeout}, pool={pool!r}, on_failure_callback={told}),
     on_failure_callback={run_told},
     owner_links={links}, tags={tags}, dagrun_timeout={dagrun}, max_active_runs={runs},
     catchup={catchup}, is_paused_upon_creation={paused})
def made():
    @task
    def do_thing():
        {task_doc}
    {body}
made()
'''
FIELDS = {
    "dag_id": "platform_do_thing",
    "schedule": "CronTriggerTimetable('0 0 * * *', timezone='UTC', run_immediately=timedelta(0))",
    "start": None,
    "doc": "__doc__",
    "owner": "team",
    "retries": 1,
    "policy": "ONLY_TRANSIENT",
    "timeout": "timedelta(minutes=1)",
    "pool": "toy",
    "told": "print",
    "run_told": "print",
    "links": "{'team': 'https://example.com'}",
    "tags": "['stage/train', 'impact/tier_2']",
    "dagrun": "timedelta(hours=1)",
    "runs": 1,
    "catchup": False,
    "paused": True,
    "body": "do_thing()",
    "task_doc": repr("**Reads** **Makes** **By hand** **When it fails**"),
}
APPROVAL = (
    "from airflow.providers.standard.operators.hitl import ApprovalOperator\n"
    "    ApprovalOperator(task_id='approve', subject='?'{default})"
)


def plant(folder: Path, file: str = "platform_do_thing", **changes: Any) -> DAG:
    (folder / f"{file}.py").write_text(GOOD.format(**FIELDS | changes))
    bag = load(folder)
    assert bag.import_errors == {}
    return next(iter(bag.dags.values()))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_planted_dag_is_good_before_it_is_broken(
    tmp_path: Path, rule: Callable[[Any], list[str]]
) -> None:
    assert rule(plant(tmp_path)) == []


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("naming", {"dag_id": "platform_do_other"}),
        ("naming", {"dag_id": "my_pipeline", "file": "my_pipeline"}),
        ("naming", {"dag_id": "dbt_run", "file": "dbt_run"}),
        ("runbook", {"doc": "None"}),
        ("runbook", {"doc": "'**Makes** things. **Owner**: me'"}),
        ("task_pages", {"task_doc": "..."}),
        ("ownership", {"owner": "airflow"}),
        ("ownership", {"links": "{}"}),
        ("tagging", {"tags": "['stage/train']"}),
        ("tagging", {"tags": "['impact/tier_2']"}),
        ("tagging", {"tags": "['stage/train', 'impact/high']"}),
        ("tasks_can_fail", {"retries": 0}),
        ("tasks_can_fail", {"policy": "None"}),
        ("tasks_can_fail", {"timeout": "None"}),
        ("tasks_can_fail", {"pool": "default_pool"}),
        ("tasks_can_fail", {"body": "pass"}),
        ("limits", {"dagrun": "None"}),
        ("limits", {"runs": 16}),
        ("limits", {"catchup": True, "start": "datetime(2020, 1, 1)"}),
        ("tells", {"told": "None"}),
        ("tells", {"run_told": "None"}),
        ("ships_paused", {"paused": False}),
        ("starts_in_the_future", {"schedule": "CronTriggerTimetable('@daily', timezone='UTC')"}),
        ("starts_in_the_future", {"start": "datetime(2020, 1, 1)"}),
        ("approvals", {"body": APPROVAL.format(default=", defaults=['Approve']")}),
    ],
)
def test_each_rule_fails_on_a_planted_fault(
    tmp_path: Path, rule: str, change: dict[str, Any]
) -> None:
    assert RULES[rule](plant(tmp_path, **change))


def test_a_dag_without_a_calendar_need_not_be_paused(tmp_path: Path) -> None:
    assert ships_paused(plant(tmp_path, schedule="None", paused=False)) == []


def test_an_approval_without_a_default_is_fine(tmp_path: Path) -> None:
    assert approvals(plant(tmp_path, body=APPROVAL.format(default=""))) == []


def test_a_dag_that_cannot_be_serialized_is_found(tmp_path: Path, monkeypatch: Any) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = plant(tmp_path)
    (tmp_path / "other").mkdir()
    other = plant(tmp_path / "other", file="platform_do_other", dag_id="platform_do_other")
    monkeypatch.setattr(DagSerialization, "serialize_dag", lambda _: None)
    monkeypatch.setattr(DagSerialization, "deserialize_dag", lambda _: other)
    assert round_trip(dag)


# --- rules over the source of a Dag file ---


def module_level(tree: ast.Module) -> list[ast.AST]:
    """Nodes that run at import: all but bodies of functions and `TYPE_CHECKING`."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += getattr(node, "decorator_list", [])
        else:
            waiting += ast.iter_child_nodes(node)
    return found


def heavy_imports(path: Path) -> list[str]:
    found = []
    for node in module_level(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"line {node.lineno}: {n}" for n in names if n.split(".")[0] in HEAVY]  # type: ignore[attr-defined]  # imports have lines
    return found


def looks_around(path: Path) -> list[str]:
    """A clock, variable or connection read at import: every parse pays and may differ."""
    found = []
    for node in module_level(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if re.search(r"\b(now|utcnow|today|time\.time)$", called) or re.match(
            r"(Variable|Connection|BaseHook)\b", called
        ):
            found.append(f"line {node.lineno}: {called}")
    return found


@pytest.mark.parametrize(
    "path", sorted(DAGS.rglob("*.py")), ids=lambda path: str(path.relative_to(DAGS))
)
def test_no_dag_file_imports_something_heavy_or_looks_around(path: Path) -> None:
    assert heavy_imports(path) == [] and looks_around(path) == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (heavy_imports, "import mlflow"),
        (heavy_imports, "from feast import Entity"),
        (heavy_imports, "try:\n    import pandas.io\nexcept ImportError:\n    pass"),
        (heavy_imports, "if True:\n    from dbt.cli.main import dbtRunner"),
        (heavy_imports, "class X:\n    import lightgbm"),
        (looks_around, "from datetime import datetime\nx = datetime.now()"),
        (looks_around, "import time\nx = [time.time()]"),
        (looks_around, "from airflow.sdk import Variable\nx = Variable.get('x')"),
        (looks_around, "from datetime import date\nx = f'{date.today()}'"),
    ],
)
def test_the_rules_over_sources_find_planted_faults(
    tmp_path: Path, rule: Callable[[Path], list[str]], text: str
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    assert rule(path)


def test_imports_inside_a_task_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "good.py"
    path.write_text(
        "def f():\n    import mlflow\n    from datetime import datetime\n    datetime.now()"
    )
    assert heavy_imports(path) == [] and looks_around(path) == []


_IMPORT_ALL = """
import importlib.util, json, sys
import airflow.sdk  # what Airflow itself loads is its own matter
before = set(sys.modules)
for number, path in enumerate(sys.argv[1:]):
    spec = importlib.util.spec_from_file_location(f"dag_{number}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
print(json.dumps(sorted(set(m.split(".")[0] for m in set(sys.modules) - before))))
"""


def imported_by(*files: Path) -> set[str]:
    import json
    import os

    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL, *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{DAGS}{os.pathsep}{ROOT}"},
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_all_dag_files_loads_nothing_heavy() -> None:
    """Also not through `ml`: every parse and every task would pay for it."""
    assert imported_by(*FILES) & HEAVY == set()


def test_the_check_of_loaded_modules_finds_a_heavy_one(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def f():\n    import duckdb\nf()")
    assert "duckdb" in imported_by(tmp_path / "bad.py")
