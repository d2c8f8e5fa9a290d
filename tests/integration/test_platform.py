"""The local platform for real: start, work, be killed, start again, stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from airflow_runs import wait_for_run
from alarm_dags import alarm_dags
from webhooks import Receiver

from ml.adapters.notify import told_alerts
from ml.core.errors import ConfigError, FlightlineError
from ml.local import processes, readiness, supervisor
from ml.local.airflow_api import AirflowApi
from ml.local.ports import check_free, keep_ports, load_ports
from ml.settings import Settings
from ml.use_cases import available, load_spec

USE_CASES = available()
OUTSIDE = "1900-01-01"  # no source is that old
# With e2e/test_life.py: two schedulers that start at once on two cores run into time-outs.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.xdist_group("platform")]

DAG = '''
"""A task that uses what the scheduler has preloaded, then waits as long as it is asked to."""
from airflow.sdk import dag, task

@dag(schedule=None)
def probe():
    @task(pool="probe", retries=2, retry_delay=1)
    def use_libraries(dag_run=None):
        import os, sys, tempfile, time
        if "feast" not in sys.modules:
            raise RuntimeError("nothing was preloaded")
        import dataframely, duckdb, lightgbm, mlflow, numpy, polars
        values = numpy.arange(50_000)
        frame = polars.DataFrame({"key": values % 7, "value": values})
        groups = frame.lazy().group_by("key").agg(polars.col("value").mean()).collect()
        with duckdb.connect() as database:
            database.register("rows", frame.to_arrow())
            rows = database.execute("select count(*) from rows").fetchone()[0]
        data = lightgbm.Dataset(values.reshape(-1, 5).astype(float), values[:10_000] % 2)
        lightgbm.train({"objective": "binary", "verbose": -1}, data, 5)
        mlflow.set_tracking_uri(os.environ["MLOPS_TRACKING_URI"])
        mlflow.set_experiment("probe")
        with mlflow.start_run():
            mlflow.log_metric("rows", rows)
            mlflow.log_text("hello", "hello.txt")
        print("now waiting")
        time.sleep((dag_run.conf or {}).get("wait_s", 0))
        return {"rows": rows, "groups": len(groups)}
    use_libraries()

probe()
'''


class ScratchSettings(Settings):
    """A home of its own with a Dags folder of its own."""

    @property
    def dags(self) -> Path:
        return self.home / "dags"


def scratch(home: Path) -> ScratchSettings:
    settings = ScratchSettings(home=home, airflow_port=0, mlflow_port=0)
    settings.dags.mkdir(parents=True)
    (settings.dags / "probe.py").write_text(DAG)
    return settings


@pytest.fixture(scope="module")
def webhook() -> Iterator[Receiver]:
    with Receiver() as receiver, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_NOTIFY_WEBHOOK", receiver.url)
        yield receiver


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, webhook: Receiver) -> Iterator[Settings]:
    settings = scratch(tmp_path_factory.mktemp("platform") / "a home")
    if USE_CASES:
        (settings.dags / "alarm.py").write_text(alarm_dags(USE_CASES[0], OUTSIDE))
    yield settings
    processes.stop_all(settings.home, grace_seconds=0)


@pytest.fixture
def running(settings: Settings) -> Settings:
    supervisor.up(settings, pools=["probe"])
    return settings


def pids(settings: Settings) -> set[int]:
    return {found.process.pid for found in processes.supervised(settings.home)}


def run_probe(settings: Settings, run_id: str, **conf: float) -> AirflowApi:
    api = AirflowApi.connect(settings)
    api.set_paused("probe", is_paused=False)
    api.trigger("probe", run_id=run_id, conf=conf)
    return api


def wait_for_task_process(settings: Settings, api: AirflowApi, run_id: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        [task] = api.task_instances("probe", run_id) or [None]
        if (
            task
            and task.state == "running"
            and "now waiting" in api.task_log("probe", run_id, task.task_id)
        ):
            return
        assert time.monotonic() < deadline, task
        time.sleep(0.3)


def test_two_starts_at_once_make_one_platform(settings):
    """The second waits for the first and finds everything up."""
    told: list[str] = []
    results: list[supervisor.PlatformStatus] = []

    def start() -> None:
        results.append(supervisor.up(settings, pools=["probe"], progress=told.append))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1]
    assert results[0].is_up
    assert "already up" in told


def test_a_second_start_changes_nothing(running):
    before = processes.leaders(running.home)
    assert supervisor.up(running, pools=["probe"]).is_up
    assert processes.leaders(running.home) == before


def test_a_task_runs_in_a_warm_fork(running):
    """Trigger, poll, return value and log, with every preloaded library used after the fork."""
    api = run_probe(running, "first")
    run = wait_for_run(api, "probe", "first", timeout_s=90)
    log = api.task_log("probe", "first", "use_libraries")
    assert run.state == "success", log
    assert "now waiting" in log
    assert api.xcom("probe", "first", "use_libraries") == {"rows": 50_000, "groups": 7}


def test_a_start_does_not_fill_the_log(running):
    """Warnings of libraries about each other hide what people look for."""
    log = supervisor.log_path(running, "scheduler").read_text()
    assert log and "DeprecatedImportWarning" not in log


def test_everything_listens_on_loopback_only(running):
    addresses = set()
    for found in processes.supervised(running.home):
        with suppress(psutil.NoSuchProcess):  # a parser of Dag files lives for a second
            connections = found.process.net_connections("inet")
            addresses |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_nobody_gets_in_without_a_password(running):
    api = AirflowApi(load_ports(running).airflow_url, user="engineer", password="guess")
    with pytest.raises(ConfigError, match="401"):
        api.dags()


def test_a_dag_that_cannot_be_loaded_is_told_and_the_rest_runs(running):
    """The start goes on; only who needs this very Dag is stopped, with the cause."""
    broken, told = running.dags / "broken.py", []
    broken.write_text("from airflow.sdk import dag\nimport no_such_module\n")
    assert supervisor.up(running, progress=told.append).is_up
    [line] = [line for line in told if "broken.py is not loaded" in line]
    assert "No module named 'no_such_module'" in line
    readiness.require_dags(running, {"probe.py"})
    with pytest.raises(ConfigError, match=r"cannot load broken\.py: ModuleNotFoundError"):
        readiness.require_dags(running, {"probe.py", "broken.py"})
    broken.unlink()
    told.clear()
    assert supervisor.up(running, progress=told.append).is_up
    assert told == ["already up"]


HOW = {  # how a run ends, in which Dag, and the alerts that come of it
    "refuse": ("alarm", ["run_failed", "task_failed"]),
    "killed": ("alarm", ["run_failed", "task_lost"]),
    "hang": ("alarm_hang", ["run_failed", "task_timed_out"]),
    "skip": ("alarm", []),
    "linger": ("alarm_linger", ["run_timed_out"]),
}


@pytest.mark.skipif(not USE_CASES, reason="an alert names the owner of a use case")
def test_who_is_called_when_a_task_fails_is_killed_or_hangs(running, webhook):
    """One word for a task after its last try, one for its run, none for a skip."""
    api = AirflowApi.connect(running)
    for how, (dag_id, _) in HOW.items():
        api.set_paused(dag_id, is_paused=False)
        api.trigger(dag_id, run_id=how, conf={"how": how})
    for how, (dag_id, _) in HOW.items():
        wait_for_run(api, dag_id, how, timeout_s=180)
    expected = {how: kinds for how, (_, kinds) in HOW.items()}
    deadline = time.monotonic() + 60
    while kinds(webhook) != expected and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(3)  # one word too many would come by now
    assert kinds(webhook) == expected
    got = [got["alert"] for got in webhook.got]  # in another order: two tasks may tell at once
    assert sorted(got, key=json.dumps) == sorted(told_alerts(running.alerts), key=json.dumps)
    [refused] = [got for got in webhook.got if got["alert"]["kind"] == "task_failed"]
    alert, spec = refused["alert"], load_spec(USE_CASES[0])
    assert (alert["use_case"], alert["owner"]) == (spec.slug, spec.owner)
    assert alert["runbook"] == spec.names.runbook and "no key at all" in alert["seen"]
    assert alert["try_number"] == 1, "wrong input gets no second try"
    assert alert["repair"] in refused["text"] and alert["log"] in refused["text"]
    [lost] = [got["alert"] for got in webhook.got if got["alert"]["kind"] == "task_lost"]
    assert lost["try_number"] == 2, "told after the last try"


@pytest.mark.skipif(not USE_CASES, reason="an alert names the owner of a use case")
def test_a_run_that_fails_while_another_is_told_is_told_at_once(running, webhook):
    """The first word takes five seconds, for a word of the task's own: the file is at work."""
    api = AirflowApi.connect(running)
    api.set_paused("alarm", is_paused=False)
    for how in ("killed", "refuse"):
        api.trigger("alarm", run_id=f"{how}_again", conf={"how": how})
        wait_for_run(api, "alarm", f"{how}_again", timeout_s=180)
    deadline = time.monotonic() + 60
    while "run_failed" not in kinds_of(webhook, "refuse_again") and time.monotonic() < deadline:
        time.sleep(0.5)
    assert kinds_of(webhook, "refuse_again") == ["run_failed", "task_failed"]
    assert kinds_of(webhook, "killed_again") == ["run_failed", "task_lost"]


def kinds(webhook: Receiver) -> dict[str, list[str]]:
    return {how: kinds_of(webhook, how) for how in HOW}


def kinds_of(webhook: Receiver, run: str) -> list[str]:
    got = [found["alert"] for found in webhook.got]
    return sorted(alert["kind"] for alert in got if alert["run"] == run)


def test_a_killed_scheduler_is_noticed_and_nothing_of_it_stays(running):
    """Its workers and its running task live on as orphans: the next start ends them first."""
    api = run_probe(running, "killed", wait_s=20)
    wait_for_task_process(running, api, "killed")
    old = pids(running)
    os.kill(processes.leaders(running.home)["scheduler"].pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while supervisor.status(running).is_up:
        assert time.monotonic() < deadline
    [down] = supervisor.status(running).down
    assert (down.name, down.log.exists()) == ("scheduler", True)
    told: list[str] = []
    assert supervisor.up(running, pools=["probe"], progress=told.append).is_up
    assert any("scheduler" in line for line in told)
    assert not old & pids(running)


def test_after_everything_was_killed_it_starts_again(running):
    """`kill -9` of all four components, as after a power cut: even the run of the test before ends.

    Its task holds the only slot of the pool until the new scheduler takes it over.
    """
    old = pids(running)
    for process in processes.leaders(running.home).values():
        process.kill()
    supervisor.up(running, pools=["probe"])
    assert not old & pids(running)
    api = run_probe(running, "after-the-cut")
    for run_id in ("first", "killed", "after-the-cut"):
        run = wait_for_run(api, "probe", run_id, timeout_s=240)
        assert run.state == "success", api.task_log("probe", run_id, "use_libraries")
    with urllib.request.urlopen(load_ports(running).mlflow_url + "/health") as answer:
        assert answer.read() == b"OK"


def test_down_leaves_nothing_behind(running):
    """Also while a task is running."""
    api = run_probe(running, "interrupted", wait_s=300)
    wait_for_task_process(running, api, "interrupted")
    assert supervisor.down(running) >= 7
    assert pids(running) == set()
    check_free(running, load_ports(running))
    assert [c.is_up for c in supervisor.status(running).components] == [False] * 4
    assert supervisor.down(running) == 0


def test_a_taken_port_stops_the_start_before_anything_runs(settings):
    supervisor.down(settings)
    keep_ports(settings, load_ports(settings))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after connections of before
        other.bind(("127.0.0.1", load_ports(settings).mlflow))
        other.listen()
        with pytest.raises(ConfigError, match="for mlflow is taken"):
            supervisor.up(settings)
    assert pids(settings) == set()


def test_a_damaged_database_of_models_is_told_before_anything_runs(tmp_path):
    settings = scratch(tmp_path / "home")
    settings.mlflow_database.parent.mkdir(parents=True)
    settings.mlflow_database.write_text("this is not a database " * 100)
    with pytest.raises(FlightlineError, match="not a database") as error:
        supervisor.up(settings)
    assert str(settings.mlflow_database) in str(error.value)
    assert pids(settings) == set()


def test_a_component_that_cannot_start_stops_the_others(tmp_path):
    """A damaged database of Airflow, which is seen when MLflow runs already."""
    settings = scratch(tmp_path / "home")
    settings.airflow_home.mkdir(parents=True)
    (settings.airflow_home / "airflow.db").write_text("this is not a database " * 100)
    with pytest.raises(FlightlineError, match=r"airflow\.db cannot be read: .* not a database"):
        supervisor.up(settings)
    assert pids(settings) == set()
