"""What happened to the platform, what its work is doing, and what to do next.

All of it is read from processes and files: it is asked most when nothing answers.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ml.adapters import state
from ml.core.errors import ConfigError, FlightlineError
from ml.local import airflow_db, journal, supervisor
from ml.local.airflow_db import Work
from ml.local.journal import Life
from ml.local.supervisor import ComponentStatus, PlatformStatus

if TYPE_CHECKING:
    from ml.settings import Settings


@dataclass(frozen=True)
class Condition:
    """What `flightline status` tells of the platform.

    Attributes:
        life: the last start and what came of it; None before the first.
        happened: sentences about what was lost and when, the last start's first.
        work: runs and tasks now, and what ended since the last start.
        next_steps: what a person should do; empty if nothing.
    """

    platform: PlatformStatus
    life: Life | None
    happened: tuple[str, ...]
    work: Work
    next_steps: tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        """Only what JSON knows."""
        told = {"is_up": self.platform.is_up, **dataclasses.asdict(self)}
        plain: dict[str, Any] = json.loads(json.dumps(told, default=str))
        return plain


def look(settings: Settings) -> Condition:
    """The platform's condition now; nothing is changed."""
    platform, lives = supervisor.status(settings), journal.lives(settings)
    life = lives[-1] if lives else None
    happened = [*_happened(platform, lives)]
    work = Work()
    if life:
        try:
            work = airflow_db.look(settings, since=life.started_at)
        except FlightlineError as error:
            happened.append(error.seen)
    steps = tuple(_next_steps(settings, platform, life, work))
    return Condition(platform, life, tuple(happened), work, steps)


def when(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def task_log(settings: Settings, dag_id: str, run_id: str, task_id: str, try_number: int) -> Path:
    """Where Airflow keeps what a try of a task wrote."""
    folder = settings.airflow_home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"
    return folder / f"task_id={task_id}" / f"attempt={try_number}.log"


def _happened(platform: PlatformStatus, lives: tuple[Life, ...]) -> Iterator[str]:
    if not lives:
        return
    life = lives[-1]
    if platform.is_up:
        yield f"up since {when(life.started_at)}"
    elif life.stopped_at:
        yield f"stopped at {when(life.stopped_at)}" + (
            "" if life.ready_at else ": its start failed"
        )
    for component in platform.down:
        if component.end or not life.stopped_at:
            yield _loss(component, life)
    if len(lives) > 1:
        yield from _before(lives[-2], life)


def _loss(component: ComponentStatus, life: Life) -> str:
    if component.end:
        return f"{component.name} {component.end} at {when(component.end.at)}"
    seen = "nobody saw it end, so all ended at once"
    booted_at = datetime.fromtimestamp(psutil.boot_time(), UTC)
    if booted_at > life.started_at:
        seen += f": this machine started anew at {when(booted_at)}"
    return f"{component.name} is down: {seen}"


def _before(life: Life, following: Life) -> Iterator[str]:
    """How the start before ended, if nobody meant it to."""
    for name, end in life.ends.items():
        if name in supervisor.COMPONENTS:
            yield f"before that start, {name} {end} at {when(end.at)}"
    if not life.ends and not life.stopped_at:
        yield (
            f"before that start, all ended at once between {when(life.started_at)} and "
            f"{when(following.started_at)}: the machine stopped, or everything was killed"
        )


def _next_steps(
    settings: Settings, platform: PlatformStatus, life: Life | None, work: Work
) -> Iterator[str]:
    try:
        state.require_models(settings.model_copy(update={"tracking_uri": None}))
    except ConfigError as error:
        yield f"{error.seen}; {error.repair}"
    if life is None:
        yield "flightline up: starts Airflow and MLflow"
    elif not platform.is_up:
        yield (
            "flightline up: starts everything; what was interrupted goes on, and runs that used "
            "up their tries while a component was down run again"
        )
    lost_at = min((c.end.at for c in platform.down if c.end), default=None)
    for task in work.tasks:
        is_from_then = lost_at and task.since and task.since >= lost_at
        is_repeated = is_from_then and task.is_last_try  # by the start
        if task.state == "failed" and not is_repeated:
            log = task_log(settings, task.dag_id, task.run_id, task.task_id, task.try_number)
            yield (
                f"read {log}, mend the cause, "
                f"and clear the run {task.run_id} of {task.dag_id} in Airflow"
            )
    if paused := sorted({r.dag_id for r in work.runs_that_are("queued") if r.is_dag_paused}):
        yield f"switch on in Airflow, or their runs wait for ever: {', '.join(paused)}"
    if platform.is_up and (since := work.stuck_since(datetime.fromtimestamp(time.time(), UTC))):
        yield f"flightline up: tasks wait since {when(since)} and none runs, so it starts anew"
