"""Who is told when a task or a run has failed.

A task's own process tells, with the exception, after its last try. A process that was killed
cannot, and nobody calls its callback: its supervisor has reported the end before the scheduler
looks (Airflow 3.3.2). Where the supervisor is gone as well, the dag-processor calls it, without an
exception and perhaps twice. Of a run the dag-processor tells, so the word for a lost task is spoken
there, unless somebody had it already.
A skip is a decision, and Airflow calls nobody for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import conf
from airflow.sdk.exceptions import AirflowTaskTimeout

from ml.core import alerts
from ml.core.alerts import Alert, Contact, Kind, Message, Place
from ml.core.spec import UseCase
from orchestration import pages

if TYPE_CHECKING:
    from ml.adapters.notify import Notifier

_REASONS = {"timed_out": Kind.RUN_TIMED_OUT, "all_tasks_deadlocked": Kind.RUN_STUCK}
_OWN_WORD_SECONDS = 5.0  # a failed task reports its state first, and tells why a moment later


@dataclass(frozen=True)
class Alarms:
    """Callbacks of a use case's Dags."""

    spec: UseCase

    def task_failed(self, context: Any) -> None:
        """`on_failure_callback` of a task."""
        ti, error = context["ti"], context.get("exception")
        place = _task_place(ti, context.get("dag_run"))
        if isinstance(error, AirflowTaskTimeout):
            self._tell(Kind.TASK_TIMED_OUT, place, alerts.of_timed_out_task(_limit(ti)))
        elif error is not None:
            self._tell(Kind.TASK_FAILED, place, alerts.of_error(error))
        else:
            self._tell_lost(place, wait_seconds=0)

    def run_failed(self, context: Any) -> None:
        """`on_failure_callback` of a Dag: runs in the dag-processor."""
        kind = _REASONS.get(context.get("reason", ""), Kind.RUN_FAILED)
        ti, dag = context.get("ti"), context["dag"]
        if ti and kind is Kind.RUN_FAILED:
            self._tell_lost(_task_place(ti, context.get("dag_run")), wait_seconds=_OWN_WORD_SECONDS)
        place = _run_place(dag.dag_id, context["run_id"], context.get("dag_run"))
        task = ti.task_id if ti else ""
        self._tell(kind, place, alerts.of_run(kind, dag.dagrun_timeout, task))

    def _tell_lost(self, place: Place, *, wait_seconds: float) -> None:
        """Say that a task failed without a reason, unless a reason was or is being told."""
        notifier = _notifier()
        alert = self._alert(Kind.TASK_LOST, place, alerts.of_lost_task())
        if not _becomes_true(lambda: notifier.was_told(alert), wait_seconds):
            notifier.tell(alert)

    def _tell(self, kind: Kind, place: Place, message: Message) -> None:
        _notifier().tell(self._alert(kind, place, message))

    def _alert(self, kind: Kind, place: Place, message: Message) -> Alert:
        at = datetime.now(UTC)  # noqa: TID251  # an alert says when it was told
        return Alert(kind, at, place, message, _contact(self.spec))


def _notifier() -> Notifier:
    from ml.adapters.notify import Notifier
    from ml.settings import settings

    return Notifier(settings())


def _contact(spec: UseCase) -> Contact:
    runbook = pages.runbook_address(spec)
    return Contact(spec.slug, spec.owner, spec.contact, spec.impact_tier, runbook)


def _task_place(ti: Any, dag_run: Any) -> Place:
    run = _run_place(ti.dag_id, ti.run_id, dag_run)
    index = -1 if ti.map_index is None else ti.map_index
    return Place(
        run.dag, run.run, ti.task_id, run.partition, ti.try_number, index, run.page, ti.log_url
    )


def _run_place(dag_id: str, run_id: str, dag_run: Any) -> Place:
    base = str(conf.get("api", "base_url", fallback="http://localhost:8080")).rstrip("/")
    page = f"{base}/dags/{dag_id}/runs/{quote(run_id)}"
    return Place(dag_id, run_id, partition=_asked_for(dag_run), page=page)


def _asked_for(dag_run: Any) -> str:
    """The run's partition key; of a run without one, what it was given."""
    if dag_run is None:
        return ""
    given = (f"{name} {value}" for name, value in (dag_run.conf or {}).items() if value)
    return dag_run.partition_key or ", ".join(given)


def _limit(ti: Any) -> Any:
    return getattr(ti.task, "execution_timeout", None)


def _becomes_true(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found
