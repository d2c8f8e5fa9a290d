"""Deleting a home, and a story that does not go well, against a scripted Airflow."""

from __future__ import annotations

import errno
import io
import os
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support import SLUG

from ml.adapters.files import exclusive
from ml.core.errors import ConfigError, TransientError
from ml.core.story import Job, Step
from ml.local import demo, journal, processes, supervisor
from ml.local.airflow_api import AirflowApi
from ml.local.demo import StepFailed, delete_home, play_steps, tell_interruption
from ml.local.records import Dag, Run, TaskInstance
from ml.local.secrets import load_secrets
from ml.settings import Settings
from ml.stages.runner import opened
from ml.use_cases import load_spec

SPEC = load_spec(SLUG)
STEP = Step(Job.RETRAIN, "first model", as_of="2013-06-01")
PARTITION, RETRAIN = (job.dag_id(SPEC) for job in (Job.PARTITION, Job.RETRAIN))
CALENDARS = {PARTITION, RETRAIN}


def make(home: Path, *names: str) -> None:
    for name in names:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x") if "." in name else path.mkdir()


def nothing_but_locks(settings: Settings) -> bool:
    kept = {"platform.lock", "locks", "lost+found"}  # that is the file system's
    return {path.name for path in settings.home.iterdir()} <= kept


@pytest.mark.parametrize(
    "names",
    [
        pytest.param((), id="empty"),
        pytest.param(("locks", "lake", "lost+found"), id="a mount point"),
        pytest.param(("locks", "lake", "warehouse"), id="by a stage alone"),
        pytest.param(("platform.lock", "platform.json", "airflow"), id="by a start alone"),
        pytest.param(
            ("locks", ".platform.json.123", ".secrets.json.7", ".state.json.7.0123abcd"),
            id="half-written files",
        ),
    ],
)
def test_what_only_the_platform_made_is_deleted(scratch: Settings, names: tuple[str, ...]) -> None:
    scratch.home.mkdir()
    make(scratch.home, *names)
    delete_home(scratch)
    assert nothing_but_locks(scratch)


def test_a_home_with_secrets_is_deleted(scratch: Settings) -> None:
    load_secrets(scratch)
    make(scratch.home, "platform.lock")
    delete_home(scratch)
    assert nothing_but_locks(scratch)


def test_a_home_that_a_stage_has_worked_in_is_deleted(scratch: Settings) -> None:
    with opened(SLUG, scratch):
        make(scratch.home, f"tmp/{SLUG}/half.txt")
    delete_home(scratch)
    assert nothing_but_locks(scratch)


def test_a_stage_that_runs_keeps_its_state(
    scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_DYING_SECONDS", 0.0)
    make(scratch.home, "locks", "lake")
    with exclusive(scratch.lock_of(SLUG)), pytest.raises(TransientError, match="is busy"):
        delete_home(scratch)
    assert (scratch.home / "lake").exists()


def test_a_stage_that_was_just_killed_is_waited_for(scratch: Settings) -> None:
    """It gives back its memory first, and its locks when that is done."""
    make(scratch.home, "locks", "lake")
    is_dying = threading.Event()

    def die() -> None:
        with exclusive(scratch.lock_of(SLUG)):
            is_dying.set()
            time.sleep(1)

    threading.Thread(target=die).start()
    assert is_dying.wait(60)
    delete_home(scratch)
    assert nothing_but_locks(scratch)


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_platform_that_runs_is_stopped(
    scratch: Settings, is_busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a stage then keeps all from being deleted, status does not tell of a crash."""
    monkeypatch.setattr(demo, "_DYING_SECONDS", 0.0)
    make(scratch.home, "platform.lock", "locks", "logs")
    journal.record(scratch, journal.START)
    log, kept = scratch.logs / "scheduler.log", journal.journal_path(scratch)
    command = ["sleep", "60"]
    processes.start("scheduler", command, home=scratch.home, log=log, journal=kept, env=os.environ)
    while not processes.leaders(scratch.home):
        time.sleep(0.02)
    with exclusive(scratch.lock_of(SLUG)) if is_busy else nullcontext():
        with pytest.raises(TransientError) if is_busy else nullcontext():
            delete_home(scratch)
        assert not processes.supervised(scratch.home)
        if is_busy:
            assert journal.lives(scratch)[-1].stopped_at
        else:
            assert nothing_but_locks(scratch)


def test_a_start_that_goes_on_is_waited_for(
    scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOCK_SECONDS", 0.0)
    make(scratch.home, "locks", "lake")
    with exclusive(scratch.platform_lock), pytest.raises(TransientError, match="is busy"):
        delete_home(scratch)
    assert (scratch.home / "lake").exists()


def test_whoever_waits_for_a_lock_gets_the_one_that_others_see(scratch: Settings) -> None:
    """A lock file that is deleted while it is waited for keeps nobody out."""
    make(scratch.home, "platform.lock", "locks", "lake")
    scratch.lock_of(SLUG).touch()
    locks = (scratch.platform_lock, scratch.lock_of(SLUG))
    before = [path.stat().st_ino for path in locks]
    delete_home(scratch)
    assert [path.stat().st_ino for path in locks] == before


def test_what_is_deleted_ends_at_a_link(scratch: Settings, tmp_path: Path) -> None:
    make(scratch.home, "locks")
    make(tmp_path / "disk", "data.txt")
    (scratch.home / "lake").symlink_to(tmp_path / "disk")
    delete_home(scratch)
    assert nothing_but_locks(scratch) and (tmp_path / "disk" / "data.txt").exists()


def test_a_home_is_deleted_in_a_folder_that_may_not_be_written(
    scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor can a mount point go: only what is in it."""
    make(scratch.home, "platform.lock", "lake")
    real = os.rmdir

    def rmdir(path: Any, *rest: Any, **more: Any) -> None:
        if Path(path) == scratch.home:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
        real(path, *rest, **more)

    monkeypatch.setattr(os, "rmdir", rmdir)
    delete_home(scratch)
    assert nothing_but_locks(scratch)


def test_a_persons_files_are_named_and_nothing_is_deleted(scratch: Settings) -> None:
    """Also if the platform was started in that folder, so that it has a lock."""
    make(scratch.home, "platform.lock", "lake", "thesis.tex", ".git", "a.txt", "b.txt")
    with pytest.raises(ConfigError, match=r"holds \.git, a\.txt, b\.txt and 1 more") as caught:
        delete_home(scratch)
    assert str(scratch.home) in caught.value.seen
    assert (scratch.home / "thesis.tex").exists() and (scratch.home / "lake").exists()


def test_a_folder_whose_names_only_happen_to_be_the_same_is_kept(scratch: Settings) -> None:
    """A project of its own may well have a folder `airflow` and a folder `dbt`."""
    make(scratch.home, "airflow", "dbt", "logs")
    with pytest.raises(ConfigError, match=r"neither platform\.lock nor locks"):
        delete_home(scratch)
    assert (scratch.home / "dbt").exists()


class FakeAirflow:
    """One Dag run whose states follow a script; the last state stays."""

    url = "http://airflow"
    repeat_run = AirflowApi.repeat_run

    def __init__(self, *states: str, tasks: dict[str, str | None]) -> None:
        self.states, self.tasks = list(states), tasks
        self.cleared: list[bool] = []
        self.paused = {job.dag_id(SPEC): True for job in Job}

    def dags(self) -> list[Dag]:
        return [Dag(name, "x.py", paused, None) for name, paused in self.paused.items()]

    def set_paused(self, dag_id: str, *, is_paused: bool) -> None:
        self.paused[dag_id] = is_paused

    def get_run(self, dag_id: str, run_id: str) -> Run:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "away":
            raise TransientError("Airflow did not answer")
        return Run(dag_id, run_id, state, "manual", None, {}, None, None)

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        return [TaskInstance(n, s, None, None, 1, None) for n, s in self.tasks.items()]

    def clear_run(self, dag_id: str, run_id: str, *, only_failed: bool) -> None:
        self.cleared.append(only_failed)

    def task_log(self, *_: object) -> str:
        return "the reason"


class Stage:
    """Plays one step against a fake."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
        self.patch, self.settings = monkeypatch, settings
        monkeypatch.setattr(demo, "_POLL_SECONDS", 0.001)
        self.components_down()

    def components_down(self, *names: str) -> None:
        found = supervisor.PlatformStatus(
            tuple(
                supervisor.ComponentStatus(
                    name, None if name in names else 1, supervisor.log_path(self.settings, name)
                )
                for name in supervisor.COMPONENTS
            ),
            "",
            "",
        )
        self.patch.setattr(supervisor, "status", lambda _: found)

    def play(self, api: FakeAirflow) -> list[demo.Played]:
        self.patch.setattr(demo.AirflowApi, "connect", lambda _: api)
        self.out = io.StringIO()
        return list(play_steps(SLUG, (STEP,), self.settings, Console(file=self.out, width=80)))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, scratch: Settings) -> Stage:
    return Stage(monkeypatch, scratch)


def test_a_run_that_ends_well_is_played(stage: Stage) -> None:
    """A skipped task is a decision: the run decides."""
    [played] = stage.play(FakeAirflow("running", "success", tasks={"train": "skipped"}))
    assert [task.state for task in played.tasks] == ["skipped"]


def test_a_step_of_an_earlier_demo_is_one_line(stage: Stage) -> None:
    [played] = stage.play(FakeAirflow("success", tasks={"train": "success"}))
    assert played.was_done and len(played.tasks) == 1
    assert stage.out.getvalue() == "1/1 first model  done before\n"


def test_a_failed_run_without_a_failed_task_is_a_failure(stage: Stage) -> None:
    """So ends a run that took too long: Airflow skips what had not begun."""
    with pytest.raises(StepFailed, match=f"run {STEP.run_id} of .* is failed") as caught:
        stage.play(FakeAirflow("running", "failed", tasks={"train": "skipped", "promote": None}))
    assert "train skipped, promote not started" in caught.value.seen
    assert "http://airflow/dags/" in caught.value.repair


def test_a_failed_task_is_named_with_the_end_of_its_log(stage: Stage) -> None:
    with pytest.raises(StepFailed, match="task train failed") as caught:
        stage.play(FakeAirflow("running", "failed", tasks={"train": "failed", "x": "success"}))
    assert "the reason" in caught.value.seen
    assert f"run_id={STEP.run_id}/task_id=train/attempt=1.log" in caught.value.repair


@pytest.mark.parametrize(
    ("tasks", "only_failed"),
    [
        ({"train": "success", "validate": "failed", "promote": "upstream_failed"}, True),
        ({"train": "skipped", "validate": None}, False),
        ({"train": "success", "validate": "upstream_failed"}, False),
    ],
)
def test_a_failed_run_is_repeated_as_far_as_needed(
    stage: Stage, tasks: dict[str, str | None], only_failed: bool
) -> None:
    """Without a failed task, clearing the failed ones would clear nothing and wait for ever."""
    api = FakeAirflow("failed", "queued", "success", tasks=tasks)
    stage.play(api)
    assert api.cleared == [only_failed]


def test_a_component_that_ends_while_waiting_ends_the_waiting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a scheduler the api-server answers for ever that the run is queued."""
    monkeypatch.setattr(demo, "_LOOK_SECONDS", 0.01)
    stage.components_down("scheduler")
    with pytest.raises(StepFailed, match="scheduler ended") as caught:
        stage.play(FakeAirflow("queued", tasks={"train": None}))
    assert "scheduler.log" in caught.value.repair


def test_airflow_that_goes_away_is_named_with_its_log(stage: Stage) -> None:
    stage.components_down("api-server")
    with pytest.raises(StepFailed, match="api-server ended") as caught:
        stage.play(FakeAirflow("running", "away", tasks={}))
    assert "api-server.log" in caught.value.repair


def test_airflow_that_is_only_slow_stays_a_passing_error(stage: Stage) -> None:
    with pytest.raises(TransientError, match="did not answer"):
        stage.play(FakeAirflow("running", "away", tasks={}))


@pytest.mark.parametrize("end", ["success", "failed"])
def test_calendars_that_were_off_are_off_again(stage: Stage, end: str) -> None:
    """No nightly run may start by itself because somebody has watched the demo."""
    api = FakeAirflow("running", end, tasks={"train": end})
    try:
        stage.play(api)
    except StepFailed:
        assert end == "failed"
    assert {name for name, paused in api.paused.items() if paused} == CALENDARS


def test_a_calendar_that_was_on_stays_on(stage: Stage) -> None:
    api = FakeAirflow("success", tasks={})
    api.paused[PARTITION] = False
    stage.play(api)
    assert not api.paused[PARTITION] and api.paused[RETRAIN]


@pytest.mark.parametrize(
    ("down", "told"),
    [((), "make down stops it"), (supervisor.COMPONENTS, "nothing was left running")],
)
def test_an_interruption_says_what_still_runs(
    stage: Stage, capsys: pytest.CaptureFixture[str], down: tuple[str, ...], told: str
) -> None:
    stage.components_down(*down)
    tell_interruption(stage.settings)
    out = capsys.readouterr().out
    assert told in out and len(out.splitlines()) == 1
