"""What Airflow's REST API tells, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

FINISHED = frozenset({"success", "failed"})


@dataclass(frozen=True)
class ImportFailure:
    """A Dag file that Airflow cannot load."""

    file: str
    text: str
    parsed_at: datetime


@dataclass(frozen=True)
class Dag:
    dag_id: str
    file: str
    is_paused: bool
    parsed_at: datetime | None


@dataclass(frozen=True)
class Run:
    """A run of a Dag; without a partition key where the Dag has no partitions."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    partition_key: str | None
    conf: Mapping[str, Any]
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED


@dataclass(frozen=True)
class TaskInstance:
    """A task of a run; `state` is None before it was scheduled."""

    task_id: str
    state: str | None
    started_at: datetime | None
    ended_at: datetime | None
    try_number: int
    duration_s: float | None


def _when(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def import_failure(found: Mapping[str, Any]) -> ImportFailure:
    return ImportFailure(
        file=found["filename"],
        text=found["stack_trace"].strip(),
        parsed_at=datetime.fromisoformat(found["timestamp"]),
    )


def dag(found: Mapping[str, Any]) -> Dag:
    return Dag(
        dag_id=found["dag_id"],
        file=found["relative_fileloc"] or found["fileloc"],
        is_paused=found["is_paused"],
        parsed_at=_when(found["last_parsed_time"]),
    )


def run(found: Mapping[str, Any]) -> Run:
    return Run(
        dag_id=found["dag_id"],
        run_id=found["dag_run_id"],
        state=found["state"],
        run_type=found["run_type"],
        partition_key=found["partition_key"],
        conf=found["conf"] or {},
        started_at=_when(found["start_date"]),
        ended_at=_when(found["end_date"]),
    )


def task_instance(found: Mapping[str, Any]) -> TaskInstance:
    return TaskInstance(
        task_id=found["task_id"],
        state=found["state"],
        started_at=_when(found["start_date"]),
        ended_at=_when(found["end_date"]),
        try_number=found["try_number"],
        duration_s=found["duration"],
    )


def log_line(event: str | Mapping[str, Any]) -> str:
    """One line for each event; an exception adds where it was raised and what it says."""
    if isinstance(event, str):
        return event
    lines = [str(event.get("event", ""))]
    for error in event.get("error_detail") or ():
        frames = error.get("frames") or ()
        lines += [f"  {frame['filename']}:{frame['lineno']} {frame['name']}" for frame in frames]
        lines += [f"{error['exc_type']}: {error['exc_value']}"]
    return "\n".join(lines)
