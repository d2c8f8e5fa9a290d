"""Alerts reach log, file and webhook; what is away keeps nobody waiting and is told as well."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from webhooks import Receiver

from ml.adapters.notify import Notifier, append, told_alerts
from ml.core.alerts import Alert, Contact, Kind, Message, Place
from ml.settings import Settings

ALERT = Alert(
    Kind.TASK_FAILED,
    datetime(2020, 1, 2, tzinfo=UTC),
    Place("toy_daily", "run-1", "ingest", "2020-01-01", 2),
    Message("bad rows", "good rows", "mend them"),
    Contact("toy", "team", "https://example.com", 2, "docs/runbooks/toy.md"),
)


def settings(home: Path, **fields: Any) -> Settings:
    return Settings(home=home, notify_timeout_s=0.5, **fields)


def test_all_channels_get_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver() as receiver:
        Notifier(settings(tmp_path, notify_webhook=receiver.url)).tell(ALERT)
    assert receiver.got == [{"text": ALERT.text, "alert": ALERT.to_plain()}]
    assert told_alerts(tmp_path / "logs" / "alerts.jsonl") == [ALERT.to_plain()]
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [(logging.ERROR, ALERT.text)]


def test_without_a_webhook_log_and_file_do(tmp_path: Path) -> None:
    where = settings(tmp_path)
    Notifier(where).tell(ALERT)
    assert told_alerts(where.alerts) == [ALERT.to_plain()]
    assert where.alerts.stat().st_mode & 0o777 == 0o600


def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def undelivered(where: Settings) -> str:
    first, second = told_alerts(where.alerts)
    assert first == ALERT.to_plain() and second["kind"] == "not_delivered"
    assert "secret-token" not in where.alerts.read_text(), "the address is a secret"
    return str(second["seen"])


def test_a_webhook_that_refuses_is_told(tmp_path: Path) -> None:
    with Receiver(status=500) as receiver:
        where = settings(tmp_path, notify_webhook=receiver.url)
        Notifier(where).tell(ALERT)
    assert "127.0.0.1" in undelivered(where) and "status 500" in undelivered(where)


def test_a_webhook_that_is_away_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"http://127.0.0.1:{closed_port()}/hooks/secret-token"
    where = settings(tmp_path, notify_webhook=url)
    Notifier(where).tell(ALERT)
    assert "refused" in undelivered(where)
    assert "refused" in caplog.text and "secret-token" not in caplog.text


def test_a_webhook_that_hangs_keeps_nobody_longer_than_its_time_out(tmp_path: Path) -> None:
    with Receiver(wait_s=30) as receiver:
        where = settings(tmp_path, notify_webhook=receiver.url)
        began = time.monotonic()
        Notifier(where).tell(ALERT)
        assert time.monotonic() - began < 5
    reason = undelivered(where)
    assert "no answer within 0.5 s" in reason or "timed out" in reason


def test_a_file_that_cannot_be_written_stops_no_other_channel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver() as receiver:
        where = settings(tmp_path, notify_webhook=receiver.url)
        where.logs.write_text("a file where the folder should be")
        Notifier(where).tell(ALERT)
    assert len(receiver.got) == 1 and "the alert above is not in" in caplog.text


def test_a_text_that_is_no_utf_8_is_told_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The name of a file may be any bytes; Python shows some of them as half characters."""
    name = b"fog\xff.csv".decode(errors="surrogateescape")
    odd = replace(ALERT, message=replace(ALERT.message, seen=name))
    with Receiver() as receiver:
        where = settings(tmp_path, notify_webhook=receiver.url)
        Notifier(where).tell(odd)
    assert [got["alert"]["seen"] for got in receiver.got] == [name]
    assert [told["seen"] for told in told_alerts(where.alerts)] == [name]
    assert r"fog\udcff.csv" in caplog.text, "a log is a file in UTF-8"


def test_a_file_that_cannot_be_read_tells_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = settings(tmp_path)
    where.alerts.mkdir(parents=True)  # unreadable for every user
    notifier = Notifier(where)
    notifier.tell(ALERT)
    assert not notifier.was_told(ALERT)
    assert "cannot see" in caplog.text and str(where.alerts) in caplog.text


def test_what_was_told_is_known_by_its_try(tmp_path: Path) -> None:
    notifier = Notifier(settings(tmp_path))
    notifier.tell(ALERT.undelivered("away"))
    assert not notifier.was_told(ALERT), "that it got lost is no word about the task"
    notifier.tell(ALERT)
    assert notifier.was_told(replace(ALERT, kind=Kind.TASK_LOST))
    for change in ({"try_number": 3}, {"run": "run-2"}, {"task": "score"}, {"map_index": 0}):
        assert not notifier.was_told(replace(ALERT, place=replace(ALERT.place, **change)))


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    append(file, {"kind": "first"})
    with file.open("a") as cut:
        cut.write('{"kind": "cut o')
    append(file, {"kind": "last"})
    file.write_bytes(file.read_bytes() + b"\xff\x00 no text at all\n[1]\n")
    assert [told["kind"] for told in told_alerts(file)] == ["first", "last"]
    assert told_alerts(tmp_path / "none.jsonl") == []


_WRITER = """
import sys
from pathlib import Path
from ml.adapters.notify import append
file, writer = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    append(file, {"kind": "x", "writer": writer, "number": number, "text": "x" * 4_000})
"""


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    writers = [_writer(file, number) for number in range(4)]
    try:
        assert [writer.stdout.readline() for writer in writers if writer.stdout] == ["ready\n"] * 4
        for writer in writers:
            assert writer.stdin
            writer.stdin.write("begin\n")
            writer.stdin.flush()
        assert [writer.wait(60) for writer in writers] == [0] * 4
    finally:
        for writer in writers:
            writer.kill()
    lines = [json.loads(line) for line in file.read_text().splitlines() if line]
    assert {(line["writer"], line["number"]) for line in lines} == {
        (writer, number) for writer in range(4) for number in range(50)
    }
    assert file.stat().st_size > 4 * 50 * 4_000


def _writer(file: Path, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(file), str(number)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
