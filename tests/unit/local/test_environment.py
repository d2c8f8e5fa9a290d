from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ml.local.environment import AIRFLOW_CODE, platform_environment
from ml.local.ports import Ports
from ml.local.secrets import load_secrets

FOREIGN = (
    "DBT_FULL_REFRESH",  # would build the tables anew, of one partition only
    "DBT_ENGINE_TARGET",
    "MLFLOW_REGISTRY_STORE_URI",  # each would take models or artifacts elsewhere
    "MLFLOW_DEFAULT_ARTIFACT_ROOT",
    "MLFLOW_STATIC_PREFIX",
    "MLFLOW_GUNICORN_OPTS",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_RUN_ID",
    "_MLFLOW_SERVER_REGISTRY_STORE",
)
CREDENTIALS = (
    *(f"MLFLOW_TRACKING_{name}" for name in ("USERNAME", "PASSWORD", "TOKEN")),
    "MLFLOW_S3_ENDPOINT_URL",
)


@pytest.fixture
def environment(scratch):
    inherited = {"PATH": "/bin", "PYTHONPATH": "/mine", "AIRFLOW_HOME": "/elsewhere"}
    inherited["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"  # hides what tasks print
    inherited |= dict.fromkeys(FOREIGN, "theirs") | dict.fromkeys(CREDENTIALS, "secret")
    ports = Ports(airflow=18_080, mlflow=15_000)
    return platform_environment(scratch, load_secrets(scratch), ports, inherited=inherited)


def test_inherited_variables_stay_unless_the_platform_sets_them(environment, scratch):
    """Another project's AIRFLOW_HOME in the shell must not be touched by this platform."""
    assert environment["PATH"] == "/bin"
    assert environment["PYTHONPATH"].split(":") == [str(AIRFLOW_CODE), "/mine"]
    assert environment["AIRFLOW_HOME"] == str(scratch.airflow_home)
    assert "AIRFLOW__LOGGING__LOGGING_LEVEL" not in environment


def test_options_of_another_project_are_left_out_and_credentials_stay(environment):
    """`mlflow server` and dbt read each option that they are not given from a variable."""
    assert not [name for name in FOREIGN if name in environment]
    assert {environment[name] for name in CREDENTIALS} == {"secret"}


def test_a_process_keeps_what_the_platform_sets_and_drops_what_a_shell_did(environment):
    """Stages at the command line have nobody who starts them in an environment of ours."""
    code = "import json, os, ml.adapters; print(json.dumps(dict(os.environ)))"
    ours = {k: v for k, v in environment.items() if k.startswith("MLFLOW_")}
    shell = {**environment, **{name: "theirs" for name in FOREIGN if "MLFLOW" in name}}
    done = subprocess.run(
        [sys.executable, "-c", code], env=shell, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert {name: value for name, value in found.items() if "MLFLOW" in name} == ours


def test_database_path_is_absolute(environment):
    """Airflow refuses three slashes."""
    connection = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert connection.startswith("sqlite:////")


def test_everything_is_on_loopback_and_agrees(environment):
    """Tasks find the Execution API through the base URL: it must have the server's port."""
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:18080"
    assert environment["AIRFLOW__API__PORT"] == "18080"
    assert environment["MLOPS_TRACKING_URI"] == "http://127.0.0.1:15000"


def test_nobody_is_anonymous(environment):
    """With anonymous admins every approval would be by nobody."""
    assert environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "False"
    users = environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"]
    assert users == "engineer:admin,approver:op"


def test_every_value_is_text(environment):
    assert all(isinstance(value, str) and "None" not in value for value in environment.values())


@pytest.mark.parametrize("command", ["api-server", "dag-processor", "db"])
def test_only_the_scheduler_pays_for_heavy_imports(command):
    """Other Airflow processes import the same module and must stay light."""
    code = (
        f"import sys; sys.argv = ['airflow', {command!r}]; import airflow_local_settings as a;"
        "assert not set(a.PRELOADED) & set(sys.modules); assert a.sqlite_connect_args"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(AIRFLOW_CODE)})


def test_the_scheduler_pauses_only_while_nothing_happens(environment):
    """By the executor that the platform's options name, as Airflow loads it."""
    code = """
from types import SimpleNamespace
from airflow.executors.executor_loader import ExecutorLoader
from airflow.utils.state import TaskInstanceState
import flightline_executor

executor, pauses, clock = ExecutorLoader.get_default_executor(), [], [1000.0]
flightline_executor.time = SimpleNamespace(sleep=pauses.append, monotonic=lambda: clock[0])
executor._spawn_workers_with_gc_freeze = lambda number: None  # nobody takes what is queued
executor.start()

def pauses_after(seconds):
    clock[0] += seconds
    before = len(pauses)
    executor.heartbeat()
    return len(pauses) - before

told = [pauses_after(0)]
executor.queued_tasks["a"] = SimpleNamespace(key="a", ti=SimpleNamespace(priority_weight=1))
told += [pauses_after(1), pauses_after(60)]
executor.change_state("a", TaskInstanceState.RUNNING)
told += [pauses_after(60)]
executor.change_state("a", TaskInstanceState.SUCCESS)
told += [pauses_after(9), pauses_after(2)]
print(told)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "[1, 0, 0, 0, 0, 1]" in found.stdout.splitlines(), found.stdout


@pytest.mark.parametrize(
    ("manager", "told"), [("Manager", True), ("DagFileProcessorManager", False)]
)
def test_a_callback_whose_file_is_at_work_is_next(environment, manager, told):
    """By Airflow's own manager it waits until the file is read for another reason."""
    code = f"""
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from airflow.dag_processing.manager import DagFileInfo
import flightline_dag_processor

manager = flightline_dag_processor.{manager}(max_runs=-1)
manager._fetch_callbacks_from_db = lambda: []
manager._get_team_names = lambda names: {{}}
file = DagFileInfo(rel_path=Path("toy.py"), bundle_name="dags-folder", bundle_path=Path("/x"))
told = []

def create(file):
    told.extend(manager._callback_to_execute.pop(file, []))
    return SimpleNamespace()

manager._create_process = create
manager._processors[file] = SimpleNamespace()
manager._callback_to_execute[file].append("a run failed")
manager._file_queue = OrderedDict({{file: None}})
manager._start_new_processes()
manager.fetch_callbacks()
assert not told
manager._processors.clear()
manager._start_new_processes()
print("told:", told)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    expected = "told: ['a run failed']" if told else "told: []"
    assert expected in found.stdout.splitlines(), found.stdout + found.stderr
