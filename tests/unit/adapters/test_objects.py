"""Stores of bytes: the local one, and what the answers of an S3 server mean.

A small HTTP server gives the answers that no server can be made to give on demand; what a real
one does is tested in tests/e2e/test_s3.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ml.adapters.objects import LocalObjects, S3Objects
from ml.core.errors import ConfigError, FlightlineError, TransientError


@pytest.mark.parametrize(
    ("size", "tail"), [(1, b"e"), (5, b"whole"), (6, b"whole"), (1 << 20, b"whole")]
)
def test_the_tail_of_a_file_is_at_most_all_of_it(tmp_path: Path, size: int, tail: bytes) -> None:
    objects = LocalObjects(tmp_path)
    objects.write("a/b", b"whole")
    assert objects.tail("a/b", size) == tail and objects.tail("a/c", size) is None


def test_local_names_are_those_below_a_folder(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    for name in ("a/b/c", "a/d", "ab/e"):
        objects.write(name, b"")
    assert sorted(objects.names("a")) == ["a/b/c", "a/d"] and list(objects.names("none")) == []


def test_what_is_asked_for_comes_in_that_order(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    for name in ("a/1", "a/2"):
        objects.write(name, name.encode())
    assert list(objects.read(["a/2", "a/3", "a/1"])) == [b"a/2", None, b"a/1"]


def test_a_write_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    with pytest.raises(TypeError):
        objects.write("area/slug/table/name", "no bytes")  # type: ignore[arg-type]  # that is the point
    assert [path.name for path in tmp_path.rglob("*")] == ["area"]


# --- answers of an S3 server ---


@dataclass
class Answers:
    """What a server answers to everything, and what it was asked.

    Attributes:
        whole: if given, what it answers to whoever asks for no range.
    """

    url: str = ""
    status: int = 200
    body: bytes = b""
    whole: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)

    def refuse(self, status: int, code: str) -> None:
        self.status = status
        self.body = f"<Error><Code>{code}</Code><Message>no {code}</Message></Error>".encode()

    def to(self, has_range: bool) -> tuple[int, bytes]:
        if self.whole is not None and not has_range:
            return 200, self.whole
        return self.status, self.body


def handler(answers: Answers) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # it knows `Expect: 100-continue`

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answers.asked.append((self.command, self.path, self.headers))
            status, body = answers.to("Range" in self.headers)
            self.send_response(status)
            fields = {"Content-Length": str(len(body)), "Connection": "close"}
            for name, value in (fields | answers.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_DELETE = do_POST = answer  # http.server finds them by name

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def answers() -> Iterator[Answers]:
    answers = Answers()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(answers))
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    answers.url = f"http://127.0.0.1:{server.server_port}"
    yield answers
    server.shutdown()
    server.server_close()


@pytest.fixture
def objects(answers: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Objects:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    variables = {
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL_S3": answers.url,
        "AWS_MAX_ATTEMPTS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return S3Objects("lake", "team", part_bytes=5 << 20)


CALLS: tuple[Callable[[S3Objects], Any], ...] = (
    lambda objects: list(objects.read(["a/b"])),
    lambda objects: objects.tail("a/b", 10),
    lambda objects: objects.write("a/b", b"1"),
    lambda objects: objects.write("a/b", bytes(6 << 20)),  # in parts
    lambda objects: objects.delete("a/b"),
    lambda objects: list(objects.names("a/b")),
)


@pytest.mark.parametrize(
    ("status", "code", "kind", "repair"),
    [
        (503, "SlowDown", TransientError, "run this again"),
        (500, "InternalError", TransientError, "run this again"),
        (507, "InsufficientStorage", TransientError, "run this again"),
        (429, "TooManyRequests", TransientError, "run this again"),
        (400, "RequestTimeout", TransientError, "run this again"),
        (404, "NoSuchBucket", ConfigError, "create bucket lake"),
        (403, "AccessDenied", ConfigError, "AWS_SECRET_ACCESS_KEY"),
        (403, "RequestTimeTooSkewed", ConfigError, "this machine's time"),
        (400, "ExpiredToken", ConfigError, "AWS_SESSION_TOKEN"),
        (400, "AuthorizationHeaderMalformed", ConfigError, "AWS_REGION"),
        (501, "NotImplemented", ConfigError, "AWS_ENDPOINT_URL_S3"),
    ],
)
def test_a_refusal_says_what_to_do_next(
    answers: Answers,
    objects: S3Objects,
    status: int,
    code: str,
    kind: type[FlightlineError],
    repair: str,
) -> None:
    answers.refuse(status, code)
    seen = rf"^s3://lake/team/a/b: the server answers {status} {code} no {code}"
    for call in CALLS:
        with pytest.raises(kind, match=seen) as caught:
            call(objects)
        assert repair in caught.value.repair


def test_a_throttled_call_is_tried_again_first(
    answers: Answers, objects: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    answers.refuse(503, "SlowDown")
    with pytest.raises(TransientError):
        objects.delete("a/b")
    assert len(answers.asked) == 2


def test_a_server_that_is_away_is_transient(
    objects: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")  # nobody listens there
    for call in CALLS:
        with pytest.raises(TransientError, match=r"127\.0\.0\.1:1") as caught:
            call(objects)
        assert "AWS_ENDPOINT_URL_S3" in caught.value.repair


def test_an_answer_that_breaks_off_is_transient(answers: Answers, objects: S3Objects) -> None:
    answers.body, answers.headers = b"half", {"Content-Length": "8"}
    for call in (lambda: list(objects.read(["a/b"])), lambda: objects.tail("a/b", 8)):
        with pytest.raises(TransientError):
            call()


def test_an_error_with_the_checksum_of_the_object_is_still_told(
    answers: Answers, objects: S3Objects
) -> None:
    """One server sends such errors while an object is being replaced; botocore may trip over it."""
    answers.refuse(500, "InternalError")
    answers.headers = {"x-amz-checksum-crc32": "AAAAAA=="}
    for call in CALLS:
        with pytest.raises(TransientError, match="500 InternalError"):
            call(objects)


def test_an_upload_carries_a_checksum(answers: Answers, objects: S3Objects) -> None:
    objects.write("a/b", b"123456789")
    ((method, path, headers),) = answers.asked
    assert (method, path) == ("PUT", "/lake/team/a/b")
    assert headers["x-amz-checksum-crc32"] == "y/Q5Jg=="  # the check value of CRC-32


def test_an_object_smaller_than_its_tail_is_read_whole(
    answers: Answers, objects: S3Objects
) -> None:
    """AWS answers such a range with the object, some others with 416."""
    answers.refuse(416, "InvalidRange")
    answers.whole = b"small"
    assert objects.tail("a/b", 10) == b"small"
    assert [headers["Range"] for _, _, headers in answers.asked] == ["bytes=-10", None]


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"AWS_ACCESS_KEY_ID": ""}, "credentials"),
        ({"AWS_ENDPOINT_URL_S3": "nonsense"}, "Invalid endpoint"),
        ({"AWS_PROFILE": "nobody"}, "nobody"),
    ],
    ids=["no key", "no endpoint", "no profile"],
)
def test_a_client_that_cannot_be_made_is_a_wrong_setting(
    objects: S3Objects, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], seen: str
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    for call in CALLS:
        with pytest.raises(ConfigError, match=seen) as caught:
            call(objects)
        assert "AWS_" in caught.value.repair


def test_a_bucket_with_an_impossible_name_is_a_wrong_setting(objects: S3Objects) -> None:
    with pytest.raises(ConfigError, match="Invalid bucket name"):
        S3Objects("no bucket").delete("a")
