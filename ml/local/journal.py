"""What happened to the platform: a file to which starts, stops and ends of components are appended.

A component's end is written by the shell that waits for it, at once and with its exit status. So a
start that neither a stop nor such a line follows went down with everything that could have written
one: the machine stopped, or somebody killed it all.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.adapters.files import append_line

if TYPE_CHECKING:
    from ml.settings import Settings

START, READY, STOP, END = "start", "ready", "stop", "end"
_SIGNALLED = 128  # a shell adds the number of the signal that ended a process


@dataclass(frozen=True)
class Loss:
    """How a component ended by itself: nobody had asked the platform to stop."""

    at: datetime
    status: int

    @property
    def is_killed(self) -> bool:
        return self.status > _SIGNALLED

    def __str__(self) -> str:
        if self.is_killed:
            return f"was killed ({_signal_name(self.status - _SIGNALLED)})"
        return f"ended with exit code {self.status}"


@dataclass(frozen=True)
class Life:
    """From one start to the next.

    Attributes:
        ready_at: None if the start did not get that far.
        stopped_at: None if it was not stopped: it runs, or it was cut off.
        ends: components that ended before anybody stopped the platform.
    """

    started_at: datetime
    ready_at: datetime | None = None
    stopped_at: datetime | None = None
    ends: Mapping[str, Loss] = field(default_factory=dict)


def journal_path(settings: Settings) -> Path:
    return settings.logs / "platform.jsonl"


def record(settings: Settings, event: str) -> None:
    """Append what the platform was just told to do, or did."""
    at = datetime.fromtimestamp(time.time(), UTC)
    append_line(journal_path(settings), json.dumps({"at": at.isoformat(), "event": event}))


def record_stop(settings: Settings) -> None:
    """From here on, components end because they were told to; nothing if none was started."""
    if (before := lives(settings)) and before[-1].stopped_at is None:
        record(settings, STOP)


def lives(settings: Settings) -> tuple[Life, ...]:
    """Each start and what came of it, the last one last; empty before the first start."""
    found: list[dict[str, Any]] = []
    for event in _events(journal_path(settings)):
        at = datetime.fromisoformat(event["at"])
        if event["event"] == START:
            found.append({"started_at": at, "ends": {}})
        elif found:
            _add(found[-1], event, at)
    return tuple(Life(**life) for life in found)


def first_end(settings: Settings) -> datetime | None:
    """When the first component was lost since the platform last worked; None if none was."""
    found: list[datetime] = []
    for life in reversed(lives(settings)):
        found += [end.at for end in life.ends.values()]
        if life.ready_at:
            break
    return min(found, default=None)


def _add(life: dict[str, Any], event: Mapping[str, Any], at: datetime) -> None:
    if event["event"] == END and "stopped_at" not in life:
        life["ends"].setdefault(event["component"], Loss(at, event["status"]))
    elif event["event"] in {READY, STOP}:
        life.setdefault({READY: "ready_at", STOP: "stopped_at"}[event["event"]], at)


def _events(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # empty, or the machine stopped in the middle of it
            continue
        if isinstance(event, dict) and {"at", "event"} <= event.keys():
            yield event


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
