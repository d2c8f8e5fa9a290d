"""The demo: the story of a use case, played on real data by the real scheduler."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

from rich.console import Console

from ml.core.errors import ConfigError, FlightlineError
from ml.core.story import Job, Step, story
from ml.local import supervisor
from ml.local.airflow_api import AirflowApi, Refused
from ml.local.commands import show_addresses, show_use_case
from ml.local.records import Run, TaskInstance
from ml.render import colour, console
from ml.settings import Settings
from ml.use_cases import available, load_spec

_POLL_SECONDS = 0.15
_LOG_LINES = 12
_LATE = datetime.max.replace(tzinfo=UTC)
_DONE = {"success", "failed", "skipped", "upstream_failed"}


class StepFailed(FlightlineError):
    """A step of the story failed; its text says which, why and where its log is."""


@dataclass(frozen=True)
class Played:
    """A step that ran: wall seconds from the request to its end, and its tasks."""

    step: Step
    seconds: float
    tasks: tuple[TaskInstance, ...]
    was_done: bool


def play(slug: str, settings: Settings, *, fresh: bool = False) -> None:
    """Start the platform, play the story, show what came of it; finished steps are not repeated.

    Args:
        fresh: delete all local state first.

    Raises:
        StepFailed: naming the step and the task, with the end of its log.
    """
    out = console()
    begin = time.perf_counter()
    steps = story(load_spec(slug))
    if fresh:
        delete_home(settings)
    supervisor.up(settings, pools=available(), progress=out.print)
    for played in play_steps(slug, steps, settings, out):
        out.print(f"  {played.seconds:.1f} s" + (", done before" if played.was_done else ""))
    out.rule(f"{slug} after {time.perf_counter() - begin:.0f} s", align="left")
    show_use_case(slug)
    out.print()
    show_addresses(settings)
    out.print("Stop it with: make down")


def delete_home(settings: Settings) -> None:
    """Stop the platform and delete its home.

    Raises:
        ConfigError: if the folder does not look like a home, so that a wrong path costs nothing.
    """
    if not settings.home.exists():
        return
    if not (settings.home / "platform.lock").exists() and any(settings.home.iterdir()):
        raise ConfigError(
            f"{settings.home} does not look like a home of the platform",
            expected="a folder that flightline up made",
            repair="check MLOPS_HOME, or delete the folder by hand",
        )
    supervisor.down(settings)
    shutil.rmtree(settings.home)


def play_steps(
    slug: str, steps: tuple[Step, ...], settings: Settings, out: Console
) -> Iterator[Played]:
    """Play the steps one after the other, yielding each as `Played`."""
    api = AirflowApi.connect(settings)
    for job in Job:
        api.set_paused(load_spec(slug).names.dag(job), is_paused=False)
    for number, step in enumerate(steps, start=1):
        out.print(f"[bold]{number}/{len(steps)}[/] {step.title}")
        yield _play(api, slug, step, settings, out)


def _play(api: AirflowApi, slug: str, step: Step, settings: Settings, out: Console) -> Played:
    begin = time.perf_counter()
    dag_id = load_spec(slug).names.dag(step.job)
    run = _find(api, dag_id, step.run_id)
    was_done = run is not None and run.state == "success"
    if run is None:
        conf = {"as_of": step.as_of} if step.job is Job.RETRAIN else {}
        if step.job is Job.HISTORY:
            conf = {"first": step.first, "last": step.last}
        key = step.first if step.job is Job.PARTITION else None
        run = api.trigger(dag_id, run_id=step.run_id, conf=conf, partition_key=key)
    elif run.state == "failed":
        api.clear_run(dag_id, step.run_id)
    tasks = _watch(api, run, out)
    if failed := [task for task in tasks if task.state == "failed"]:
        raise _failure(api, run, failed[0], step, settings)
    return Played(step, time.perf_counter() - begin, tuple(tasks), was_done)


def _find(api: AirflowApi, dag_id: str, run_id: str) -> Run | None:
    try:
        return api.get_run(dag_id, run_id)
    except Refused as refusal:
        if refusal.status == HTTPStatus.NOT_FOUND:
            return None
        raise


def _watch(api: AirflowApi, run: Run, out: Console) -> list[TaskInstance]:
    """Tell of each task as it ends, and show what runs now where there is a terminal."""
    told: set[str] = set()
    with out.status("waiting for the scheduler") as spinner:
        while True:
            is_finished = api.get_run(run.dag_id, run.run_id).is_finished
            tasks = api.task_instances(run.dag_id, run.run_id)
            for task in sorted(tasks, key=lambda task: task.started_at or task.ended_at or _LATE):
                if task.state in _DONE and task.task_id not in told:
                    told.add(task.task_id)
                    duration = f"{task.duration_s or 0:5.1f} s"
                    out.print(f"  {duration}  {task.task_id:<22}", colour(str(task.state)))
                elif task.state == "running":
                    spinner.update(f"{task.task_id} (try {task.try_number})")
            if is_finished:
                return tasks
            time.sleep(_POLL_SECONDS)


def _failure(
    api: AirflowApi, run: Run, task: TaskInstance, step: Step, settings: Settings
) -> StepFailed:
    log = api.task_log(run.dag_id, run.run_id, task.task_id, task.try_number)
    folder = settings.airflow_home / "logs" / f"dag_id={run.dag_id}" / f"run_id={run.run_id}"
    path = Path(folder) / f"task_id={task.task_id}" / f"attempt={task.try_number}.log"
    lines = "\n".join(f"    {line}" for line in log.splitlines()[-_LOG_LINES:])
    return StepFailed(
        f"{step.title}: task {task.task_id} failed (try {task.try_number})\n{lines}",
        expected="success",
        repair=f"read {path}, mend the cause and run the demo again: it goes on from here",
    )
