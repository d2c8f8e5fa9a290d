"""Airflow's database without Airflow: what its work is doing, also while nothing answers.

It is read as it lies on the disk. What is written, once before each start, is what the new
scheduler would find out by waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ml.adapters import sqlite

if TYPE_CHECKING:
    from ml.settings import Settings

WAITING = frozenset({"queued", "scheduled"})
STUCK_SECONDS = 120.0
_WAIT_SECONDS = 2.0

_RUNS = """
select r.dag_id, r.run_id, r.partition_key, r.state, coalesce(r.start_date, r.queued_at),
  d.is_paused
from dag_run r left join dag d on d.dag_id = r.dag_id
where r.state in ('running', 'queued') or (r.state in ('success', 'failed') and r.end_date >= ?)
order by coalesce(r.start_date, r.queued_at)
"""
# A task that waits still has the start of its try before.
_TASKS = """
select dag_id, run_id, task_id, state, try_number, case state
  when 'scheduled' then scheduled_dttm when 'queued' then queued_dttm else start_date end,
  try_number > max_tries
from task_instance
where state in ('running', 'queued', 'scheduled', 'up_for_retry', 'restarting')
   or (state = 'failed' and end_date >= ?1) or (try_number > 1 and start_date >= ?1)
order by 6
"""
_WORN_OUT = """
select dag_id, run_id from dag_run where state = 'failed' and end_date between ? and ?
  and (dag_id, run_id) in (
    select dag_id, run_id from task_instance where state = 'failed' and try_number > max_tries)
order by end_date
"""


@dataclass(frozen=True)
class WorkRun:
    """A run of a Dag; `since` is when it started, or was asked for."""

    dag_id: str
    run_id: str
    partition_key: str | None
    state: str
    since: datetime | None
    is_dag_paused: bool


@dataclass(frozen=True)
class WorkTask:
    """A task that runs, waits, failed or was repeated; `since` when it began to run or to wait."""

    dag_id: str
    run_id: str
    task_id: str
    state: str
    try_number: int
    since: datetime | None
    is_last_try: bool = False

    def __str__(self) -> str:
        since = f" since {self.since:%H:%M:%S} UTC" if self.since else ""
        return f"{self.task_id} {self.state}, try {self.try_number}{since}"


@dataclass(frozen=True)
class Work:
    """Runs and tasks that go on, and those that ended since a time.

    Attributes:
        tasks: the running and waiting ones, the failed and the repeated ones.
    """

    runs: tuple[WorkRun, ...] = ()
    tasks: tuple[WorkTask, ...] = ()

    def runs_that_are(self, state: str) -> list[WorkRun]:
        return [run for run in self.runs if run.state == state]

    def tasks_of(self, run: WorkRun) -> list[WorkTask]:
        return [
            task for task in self.tasks if (task.dag_id, task.run_id) == (run.dag_id, run.run_id)
        ]

    @property
    def repeated(self) -> list[WorkTask]:
        return [task for task in self.tasks if task.try_number > 1]

    def stuck_since(self, now: datetime) -> datetime | None:
        """Since when tasks wait though none runs; None while that may be right.

        A worker that is killed while it waits for work takes the lock of the workers' queue with
        it: no other gets a task any more, and everything looks healthy.
        """
        if any(task.state == "running" for task in self.tasks):
            return None
        paused = {run.dag_id for run in self.runs if run.is_dag_paused}  # there, waiting is right
        waits = [t.since for t in self.tasks if t.state in WAITING and t.dag_id not in paused]
        since = min(filter(None, waits), default=now)
        return since if now - since > timedelta(seconds=STUCK_SECONDS) else None


def look(settings: Settings, *, since: datetime) -> Work:
    """What goes on now, and what ended since then.

    Raises:
        DataError: if the file is damaged.
        TransientError: if it cannot be read now.
    """
    if not settings.airflow_database.exists():
        return Work()
    with sqlite.opened(settings.airflow_database, wait_s=_WAIT_SECONDS) as database:
        runs = database.execute(_RUNS, (_stored(since),)).fetchall()
        tasks = database.execute(_TASKS, (_stored(since),)).fetchall()
    return Work(
        tuple(
            WorkRun(dag_id, run_id, key, state, _read(since), bool(is_paused))
            for dag_id, run_id, key, state, since, is_paused in runs
        ),
        tuple(
            WorkTask(dag_id, run_id, task_id, state, number, _read(since), bool(is_last))
            for dag_id, run_id, task_id, state, number, since, is_last in tasks
        ),
    )


def worn_out_between(settings: Settings, first: datetime, last: datetime) -> list[tuple[str, str]]:
    """Dag and run ids of the runs that failed in that time after the last try of a task.

    What failed with tries left has another reason: wrong data, a model that was refused, a person.
    """
    if not settings.airflow_database.exists():
        return []
    with sqlite.opened(settings.airflow_database, wait_s=_WAIT_SECONDS) as database:
        found = database.execute(_WORN_OUT, (_stored(first), _stored(last))).fetchall()
    return [(dag_id, run_id) for dag_id, run_id in found]


def hand_over(settings: Settings, *, at: datetime) -> None:
    """Prepare interrupted work for the next scheduler; only while no process of the home lives.

    A new scheduler takes over the tasks of a dead one when that has been silent for 30 s, which it
    checks every 30 s: here it is known to be dead. And the time-out of an interrupted run counts
    from this start on, or a run that was interrupted overnight would fail instead of going on.
    """
    if not settings.airflow_database.exists():
        return
    with sqlite.opened(settings.airflow_database, wait_s=_WAIT_SECONDS) as database, database:
        database.execute(
            "update job set state = 'failed', end_date = ?"
            " where job_type = 'SchedulerJob' and state = 'running'",
            (_stored(at),),
        )
        database.execute(
            "update dag_run set start_date = ? where state = 'running'", (_stored(at),)
        )


def _stored(at: datetime) -> str:
    """As SQLAlchemy writes it: in UTC, without saying so."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _read(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
