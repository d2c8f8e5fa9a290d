"""What an alert says: who should look, at what, and the repair."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ml.core.errors import FlightlineError

_LONGEST_TEXT = 2_000  # a chat shows no more, and the log has all of it


class Kind(StrEnum):
    """What happened; each has a section in `docs/runbooks/alerts.md`."""

    TASK_FAILED = "task_failed"
    TASK_TIMED_OUT = "task_timed_out"
    TASK_LOST = "task_lost"
    RUN_FAILED = "run_failed"
    RUN_TIMED_OUT = "run_timed_out"
    RUN_STUCK = "run_stuck"
    NOT_DELIVERED = "not_delivered"


_HEADLINES = {
    Kind.TASK_FAILED: "failed",
    Kind.TASK_TIMED_OUT: "timed out",
    Kind.TASK_LOST: "was lost",
    Kind.RUN_FAILED: "failed",
    Kind.RUN_TIMED_OUT: "timed out",
    Kind.RUN_STUCK: "is stuck",
    Kind.NOT_DELIVERED: "has an alert that was not delivered",
}


@dataclass(frozen=True)
class Message:
    """The three parts of an error.

    Attributes:
        seen: what happened.
        expected: what would have been right.
        repair: what to do now.
    """

    seen: str
    expected: str = ""
    repair: str = ""


@dataclass(frozen=True)
class Contact:
    """Who answers for a use case, and where its pages are.

    Attributes:
        impact_tier: 1 wakes somebody up, 4 is waited for by nobody.
        runbook: address, or path in the repository.
    """

    use_case: str
    owner: str
    contact: str
    impact_tier: int
    runbook: str


@dataclass(frozen=True)
class Place:
    """What failed.

    Attributes:
        task: empty where the alert is about a whole run.
        partition: key of the run, or else what it was asked for.
        page, log: addresses in Airflow.
    """

    dag: str
    run: str
    task: str = ""
    partition: str = ""
    try_number: int = 0
    map_index: int = -1
    page: str = ""
    log: str = ""


@dataclass(frozen=True)
class Alert:
    """One message for whoever is on call."""

    kind: Kind
    at: datetime
    place: Place
    message: Message
    contact: Contact

    @property
    def identity(self) -> tuple[str, str, str, int, int]:
        """What it is about: two alerts about the same try of a task are one too many."""
        where = self.place
        return where.dag, where.run, where.task, where.map_index, where.try_number

    @property
    def headline(self) -> str:
        """Enough to decide whether to get up.

        >>> spec = Contact("toy", "team", "https://example.com", 2, "docs/runbooks/toy.md")
        >>> place = Place("toy_daily", "run-1", task="score_partition", partition="2020-01-01")
        >>> Alert(Kind.TASK_LOST, datetime(2020, 1, 2), place, Message("killed"), spec).headline
        '[tier 2] toy: score_partition of toy_daily was lost (2020-01-01)'
        """
        where = self.place
        what = f"{where.task} of {where.dag}" if where.task else f"a run of {where.dag}"
        which = where.partition or where.run
        tier = f"[tier {self.contact.impact_tier}]"
        return f"{tier} {self.contact.use_case}: {what} {_HEADLINES[self.kind]} ({which})"

    @property
    def text(self) -> str:
        """All of it for people, in lines."""
        where, owner, said = self.place, self.contact, self.message
        lines = {
            "expected": said.expected,
            "repair": said.repair,
            "run": where.run + (f", try {where.try_number}" if where.try_number else ""),
            "owner": f"{owner.owner}, {owner.contact}",
            "runbook": owner.runbook,
            "page": where.page,
            "log": where.log,
        }
        told = [f"  {name}: {value}" for name, value in lines.items() if value]
        return "\n".join([self.headline, _short(said.seen), *told])

    def to_plain(self) -> dict[str, Any]:
        """All of it for programs, flat; only what JSON knows."""
        parts = asdict(self.place) | asdict(self.message) | asdict(self.contact)
        return {"kind": self.kind.value, "at": self.at.isoformat(), **parts}

    def undelivered(self, reason: str) -> Alert:
        """The alert that this one did not get through."""
        message = Message(
            f"the webhook did not take it: {reason}",
            expected="an answer with a status below 300",
            repair="see MLOPS_NOTIFY_WEBHOOK and its service; the message is in the alert before",
        )
        return replace(self, kind=Kind.NOT_DELIVERED, message=message)


def of_error(error: BaseException) -> Message:
    """The parts of the first error in the chain that has them, else its type and text.

    >>> of_error(KeyError("x"))
    Message(seen="KeyError: 'x'", expected='', repair='')
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, FlightlineError):
            return Message(found.seen, found.expected, found.repair)
        found = found.__cause__
    return Message(f"{type(error).__name__}: {error}")


def of_timed_out_task(limit: timedelta | None) -> Message:
    """Of a task that Airflow has ended; its exception only says so."""
    return Message(
        "it did not end in time, and its process was ended",
        expected=f"at most {limit} for one task" if limit else "",
        repair="its log shows where it hung; after that is mended, clear it: it runs again; "
        "work that rightly takes longer needs `time_outs` in the spec",
    )


def of_lost_task() -> Message:
    """Of a task that failed and whose own process gave no reason."""
    return Message(
        "it failed and its process gave no reason: it was killed (for memory, by a person, with "
        "the machine), or somebody marked it as failed",
        expected="a process that ends by itself",
        repair="look for an `out of memory` in the kernel's log, then clear the task: it runs "
        "again and gives the same result",
    )


def of_run(kind: Kind, limit: timedelta | None, task: str) -> Message:
    """Of a whole run.

    Args:
        task: that failed, or that was at work when time was up; empty if that is not known.
    """
    if kind is Kind.RUN_TIMED_OUT:
        at_work = f"; {task} was not done" if task else ""
        return Message(
            f"it did not end in time{at_work}, and all that was not done was skipped",
            expected=f"at most {limit} for a run" if limit else "",
            repair="clear the run, all tasks of it: it goes on where it was; work that rightly "
            "takes longer needs `time_outs` in the spec",
        )
    if kind is Kind.RUN_STUCK:
        return Message(
            "none of its tasks can start any more",
            expected="tasks whose conditions can be met",
            repair="look at the run's graph, and clear what blocks it",
        )
    return Message(f"{task} failed" if task else "one of its tasks failed")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …"
