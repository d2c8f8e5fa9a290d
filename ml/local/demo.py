"""The demo: the story of a use case, played on real data by the real scheduler."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from ml.adapters.files import exclusive, storage_errors
from ml.core.errors import FlightlineError, TransientError
from ml.core.story import Job, Step, story
from ml.local import home, readiness, supervisor
from ml.local.airflow_api import AirflowApi, Refused
from ml.local.commands import show_addresses, show_use_case
from ml.local.condition import task_log
from ml.local.records import Run, TaskInstance
from ml.render import colour, console
from ml.settings import Settings
from ml.use_cases import available, load_spec

_POLL_SECONDS = 0.15
_LOOK_SECONDS = 5.0
_DYING_SECONDS = 10.0  # a killed process gives back its memory before its locks
_LOG_LINES = 12
_LATE = datetime.max.replace(tzinfo=UTC)
_DONE = {"success", "failed", "skipped", "upstream_failed"}
_CALENDAR_JOBS = (Job.PARTITION, Job.RETRAIN)


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
    spec = load_spec(slug)
    steps = story(spec)
    if fresh:
        delete_home(settings)
    supervisor.up(settings, pools=available(), progress=partial(out.print, markup=False))
    readiness.require_dags(settings, {f"{job.dag_id(spec)}.py" for job in Job})
    with closing(play_steps(slug, steps, settings, out)) as playing:
        for played in playing:
            if not played.was_done:
                out.print(f"  {played.seconds:.1f} s")
    out.rule(f"{slug} after {time.perf_counter() - begin:.0f} s", align="left")
    show_use_case(slug)
    out.print()
    show_addresses(settings)
    out.print("Stop it with: make down")


def tell_interruption(settings: Settings) -> None:
    """One line after Ctrl-C: what still runs, and what to do about it."""
    told = "interrupted; nothing was left running"
    if len(supervisor.status(settings).down) < len(supervisor.COMPONENTS):
        told = "interrupted; the platform still runs: make demo goes on, make down stops it"
    console().print(told)


def delete_home(settings: Settings) -> None:
    """Stop the platform and delete all state; the folder stays, which may be a mount point.

    Raises:
        ConfigError: if anything in the folder is not the platform's: a wrong path costs nothing.
        TransientError: if a stage runs outside Airflow, or a start or stop takes too long; then
            nothing is deleted.
    """
    if not settings.home.exists():
        return
    home.require_own(settings.home)
    from ml.local.gc import nothing_runs  # here: what it deletes with takes a second to import

    with exclusive(settings.platform_lock, wait_seconds=supervisor.LOCK_SECONDS):
        supervisor.stop(settings, print)
        with nothing_runs(settings, wait_seconds=_DYING_SECONDS), storage_errors(settings.home):
            for path in home.entries(settings.home):
                _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def play_steps(
    slug: str, steps: tuple[Step, ...], settings: Settings, out: Console
) -> Generator[Played, None, None]:
    """Play the steps one after the other, yielding each as `Played`."""
    api = AirflowApi.connect(settings)
    with _switched_on(api, slug, out):
        for number, step in enumerate(steps, start=1):
            title = f"[bold]{number}/{len(steps)}[/] {escape(step.title)}"
            yield _play_watched(api, slug, step, title, settings, out)


@contextmanager
def _switched_on(api: AirflowApi, slug: str, out: Console) -> Iterator[None]:
    """The use case's Dags take runs; afterwards no calendar starts any that did not before."""
    spec = load_spec(slug)
    paused = {dag.dag_id for dag in api.dags() if dag.is_paused}
    try:
        for job in Job:
            api.set_paused(job.dag_id(spec), is_paused=False)
        yield
    finally:
        _pause(api, paused & {job.dag_id(spec) for job in _CALENDAR_JOBS}, out)


def _pause(api: AirflowApi, dag_ids: Collection[str], out: Console) -> None:
    try:
        for dag_id in sorted(dag_ids):
            api.set_paused(dag_id, is_paused=True)
    except FlightlineError as error:  # it must not hide why the story ended
        told = f"the calendars of {', '.join(sorted(dag_ids))} stay on: {error.seen}"
        out.print(told, markup=False)


def _play_watched(
    api: AirflowApi, slug: str, step: Step, title: str, settings: Settings, out: Console
) -> Played:
    try:
        return _play(api, slug, step, title, settings, out)
    except TransientError:
        _require_up(step, settings)  # a component that ended says more than a call without answer
        raise


def _require_up(step: Step, settings: Settings) -> None:
    if down := supervisor.status(settings).down:
        names = ", ".join(component.name for component in down)
        logs = ", ".join(str(component.log) for component in down)
        raise StepFailed(
            f"{step.title}: {names} ended while it was running",
            expected="every component keeps running",
            repair=f"read {logs}, then run the demo again: it starts everything and goes on",
        )


def _play(
    api: AirflowApi, slug: str, step: Step, title: str, settings: Settings, out: Console
) -> Played:
    begin = time.perf_counter()
    dag_id = step.job.dag_id(load_spec(slug))
    run = _find(api, dag_id, step.run_id)
    if run is not None and run.state == "success":
        out.print(f"{title}  done before")
        tasks = api.task_instances(dag_id, step.run_id)
        return Played(step, time.perf_counter() - begin, tuple(tasks), was_done=True)
    out.print(title)
    if run is None:
        run = _trigger(api, dag_id, step)
    elif run.state == "failed":
        api.repeat_run(dag_id, step.run_id)
    run, tasks = _watch(api, run, step, settings, out)
    if run.state != "success":
        raise _failure(api, run, tasks, step, settings)
    return Played(step, time.perf_counter() - begin, tuple(tasks), was_done=False)


def _trigger(api: AirflowApi, dag_id: str, step: Step) -> Run:
    conf = {"as_of": step.as_of} if step.job is Job.RETRAIN else {}
    if step.job is Job.HISTORY:
        conf = {"first": step.first, "last": step.last}
    key = step.first if step.job is Job.PARTITION else None
    return api.trigger(dag_id, run_id=step.run_id, conf=conf, partition_key=key)


def _find(api: AirflowApi, dag_id: str, run_id: str) -> Run | None:
    try:
        return api.get_run(dag_id, run_id)
    except Refused as refusal:
        if refusal.status == HTTPStatus.NOT_FOUND:
            return None
        raise


def _watch(
    api: AirflowApi, run: Run, step: Step, settings: Settings, out: Console
) -> tuple[Run, list[TaskInstance]]:
    """Tell of each task as it ends, and show what runs now where there is a terminal."""
    told: set[str] = set()
    looked_at = time.monotonic()
    with out.status("waiting for the scheduler") as spinner:
        while True:
            run = api.get_run(run.dag_id, run.run_id)  # before its tasks: then theirs are final
            tasks = api.task_instances(run.dag_id, run.run_id)
            _tell(tasks, told, out, spinner)
            if run.is_finished:
                return run, tasks
            if time.monotonic() - looked_at > _LOOK_SECONDS:
                _require_up(step, settings)  # without a scheduler, Airflow answers and waits
                looked_at = time.monotonic()
            time.sleep(_POLL_SECONDS)


def _tell(tasks: Sequence[TaskInstance], told: set[str], out: Console, spinner: Status) -> None:
    for task in sorted(tasks, key=lambda task: task.started_at or task.ended_at or _LATE):
        if task.state in _DONE and task.task_id not in told:
            told.add(task.task_id)
            duration = f"{task.duration_s or 0:5.1f} s"
            out.print(f"  {duration}  {task.task_id:<22}", colour(str(task.state)))
        elif task.state == "running":
            spinner.update(f"{task.task_id} (try {task.try_number})")


def _failure(
    api: AirflowApi, run: Run, tasks: Sequence[TaskInstance], step: Step, settings: Settings
) -> StepFailed:
    for task in tasks:
        if task.state == "failed":
            return _task_failure(api, run, task, step, settings)
    states = ", ".join(f"{task.task_id} {task.state or 'not started'}" for task in tasks)
    page = f"{api.url}/dags/{run.dag_id}/runs/{quote(run.run_id, safe='')}"
    return StepFailed(
        f"{step.title}: run {run.run_id} of {run.dag_id} is {run.state}, and none of its tasks "
        f"is ({states}): it took too long, or it was marked by hand",
        expected="success",
        repair=f"look at {page} and run the demo again: it repeats the whole run",
    )


def _task_failure(
    api: AirflowApi, run: Run, task: TaskInstance, step: Step, settings: Settings
) -> StepFailed:
    try:
        log = api.task_log(run.dag_id, run.run_id, task.task_id, task.try_number)
    except Refused:  # it ended before it wrote any
        log = ""
    path = task_log(settings, run.dag_id, run.run_id, task.task_id, task.try_number)
    lines = "\n".join(f"    {line}" for line in log.splitlines()[-_LOG_LINES:])
    return StepFailed(
        f"{step.title}: task {task.task_id} failed (try {task.try_number})\n{lines}",
        expected="success",
        repair=f"read {path}, mend the cause and run the demo again: it goes on from here",
    )
