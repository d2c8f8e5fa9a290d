"""What the platform notes of itself tells a stop, the loss of a component and a power cut apart."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from ml.adapters.files import exclusive
from ml.core.errors import ConfigError, TransientError
from ml.local import condition, journal, supervisor
from ml.local.journal import END, READY, START, STOP
from ml.settings import Settings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def write(settings: Settings, *events: tuple) -> None:
    """Events a minute apart; an end is the component with its exit status."""
    settings.logs.mkdir(parents=True, exist_ok=True)
    with journal.journal_path(settings).open("a") as file:
        for minute, (event, *rest) in enumerate(events):
            end = dict(zip(("component", "status"), rest, strict=False))
            at = (NOON + timedelta(minutes=minute)).isoformat()
            file.write(json.dumps({"at": at, "event": event, **end}) + "\n")


def told(settings: Settings) -> str:
    return "\n".join(condition.look(settings).happened)


def test_a_stop_is_told_as_one(scratch):
    """What ends after the stop was told to end."""
    write(scratch, (START,), (READY,), (STOP,), (END, "mlflow", 143))
    assert told(scratch) == "stopped at 2026-01-01 12:02:00 UTC"


def test_a_component_that_ended_before_the_stop_is_told(scratch):
    write(scratch, (START,), (READY,), (END, "scheduler", 137), (STOP,), (END, "mlflow", 143))
    assert "scheduler was killed (SIGKILL) at 2026-01-01 12:02:00 UTC" in told(scratch)
    assert "mlflow" not in told(scratch)


def test_without_a_stop_or_an_end_all_went_down_at_once(scratch, monkeypatch):
    """And whether this machine was started since."""
    booted = datetime(2026, 1, 1, 12, 30, tzinfo=UTC).timestamp()
    monkeypatch.setattr(condition.psutil, "boot_time", lambda: booted)
    write(scratch, (START,), (READY,))
    assert told(scratch).count("nobody saw it end, so all ended at once") == 4
    assert "this machine started anew at" in told(scratch)


def test_how_the_start_before_ended_is_told_after_a_new_one(scratch):
    write(scratch, (START,), (READY,), (END, "mlflow", 1), (START,), (READY,), (STOP,))
    assert "before that start, mlflow ended with exit code 1 at 2026-01-01 12:02:00" in told(
        scratch
    )


def test_a_power_cut_is_told_after_the_next_start(scratch):
    write(scratch, (START,), (READY,), (START,), (READY,), (STOP,))
    assert "before that start, all ended at once between 2026-01-01 12:00:00 UTC" in told(scratch)


def test_a_failed_start_is_told(scratch):
    write(scratch, (START,), (END, "mlflow", 1), (STOP,))
    assert "its start failed" in told(scratch)
    assert "mlflow ended with exit code 1" in told(scratch)


def test_a_line_that_was_cut_off_is_left_out(scratch):
    """The machine may stop in the middle of a line."""
    write(scratch, (START,), (READY,))
    with journal.journal_path(scratch).open("a") as file:
        file.write('{"at": "2026-01-0\n[]\n{"event": "stop"}\n')
    [life] = journal.lives(scratch)
    assert (life.ready_at, life.stopped_at) == (NOON + timedelta(minutes=1), None)


def test_a_line_that_was_cut_off_spoils_no_other(scratch):
    write(scratch, (START,), (READY,))
    with journal.journal_path(scratch).open("a") as file:
        file.write('{"at": "2026-01-0')
    journal.record(scratch, STOP)
    [life] = journal.lives(scratch)
    assert life.ready_at and life.stopped_at


@pytest.mark.parametrize(
    ("events", "minute"),
    [
        ([(START,), (READY,), (STOP,)], None),
        ([(START,), (READY,), (END, "mlflow", 137), (END, "api-server", 1)], 2),
        ([(START,), (READY,), (END, "mlflow", 137), (STOP,), (START,), (STOP,)], 2),
        ([(START,), (READY,), (END, "mlflow", 137), (STOP,), (START,), (READY,), (STOP,)], None),
    ],
    ids=["stopped", "lost", "lost before a failed start", "lost long ago"],
)
def test_since_when_something_was_missing(scratch, events, minute):
    """Runs that failed from then on run again, and no others."""
    write(scratch, *events)
    expected = None if minute is None else NOON + timedelta(minutes=minute)
    assert journal.first_end(scratch) == expected


def test_a_start_that_is_refused_is_none(scratch):
    """Nothing ran, so nothing can have gone down: the life before counts."""
    write(scratch, (START,), (READY,), (END, "mlflow", 137))
    (scratch.home / "state.json").write_text('{"layout": 99}')
    with pytest.raises(ConfigError, match="of a newer version"):
        supervisor.up(scratch)
    assert len(journal.lives(scratch)) == 1
    assert "mlflow was killed (SIGKILL)" in told(scratch)


def test_a_stop_of_nothing_is_not_noted(scratch):
    """`flightline down` after a power cut must not make it look like a stop."""
    assert supervisor.down(scratch) == 0
    assert not journal.journal_path(scratch).exists()
    write(scratch, (START,), (READY,))
    assert supervisor.down(scratch) == 0
    assert journal.lives(scratch)[-1].stopped_at is None


def test_a_start_that_waited_while_its_home_was_deleted_holds_the_lock_of_the_new_one(scratch):
    first = ExitStack()
    first.enter_context(exclusive(scratch.platform_lock))

    def replace(_: str) -> None:
        shutil.rmtree(scratch.home)
        first.close()

    with supervisor._locked(scratch, replace), pytest.raises(TransientError, match="is busy"):
        first.enter_context(exclusive(scratch.platform_lock))
