"""What errors of MLflow mean: away, to be tried again, or an answer; or that the disk refuses."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE
from requests import ConnectionError as NoConnection
from requests import HTTPError, ReadTimeout, Response

from ml.adapters.mlflow_client import client, is_away, make, mlflow_errors, says_nothing
from ml.core.errors import ConfigError, DataError, FlightlineError, TransientError


def answered(status: int) -> HTTPError:
    response = Response()
    response.status_code = status
    return HTTPError(response=response)


AWAY = [
    NoConnection("refused"),
    ReadTimeout(),
    answered(503),
    answered(429),
    ConnectionResetError(),
    TimeoutError(),
    MlflowException("HTTPConnectionPool(...): Max retries exceeded with url: /"),
    MlflowException("API request to http://a failed with timeout exception b."),
    MlflowException("locked", TEMPORARILY_UNAVAILABLE),
]
ANSWERED = [
    answered(404),
    answered(403),
    FileNotFoundError("gone"),
    MlflowException("Run 'a' not found", RESOURCE_DOES_NOT_EXIST),
    DataError("broken"),
]


@pytest.mark.parametrize("error", AWAY, ids=repr)
def test_no_answer_may_be_tried_again(error: Exception) -> None:
    assert is_away(error)
    with (
        pytest.raises(TransientError, match="does not answer at http://a"),
        mlflow_errors("http://a"),
    ):
        raise error


@pytest.mark.parametrize("error", ANSWERED, ids=repr)
def test_an_answer_stays_what_it_is(error: Exception) -> None:
    assert not is_away(error)
    with pytest.raises(type(error)) as caught, mlflow_errors("http://a"):
        raise error
    assert caught.value is error


_FULL = MlflowException(
    "(sqlite3.OperationalError) database or disk is full\n[SQL: ...", TEMPORARILY_UNAVAILABLE
)
_CLOSED = MlflowException(
    "(raised as a result of Query-invoked autoflush)\n"
    "(sqlite3.OperationalError) attempt to write a readonly database",
    TEMPORARILY_UNAVAILABLE,
)


_DOWNLOAD = MlflowException("failures occurred while downloading: No space left on device")


@pytest.mark.parametrize(
    ("error", "kind", "place"),
    [
        (_DOWNLOAD, TransientError, tempfile.gettempdir()),
        (_FULL, TransientError, "/home/mlflow.db"),
        (_CLOSED, ConfigError, "/home/mlflow.db"),
        (OSError(28, "No space left", "/home/a.json"), TransientError, "/home/a.json"),
        (OSError(28, "No space left"), TransientError, "/home/mlflow.db"),
        (PermissionError(13, "Permission denied", "/home/a.json"), ConfigError, "/home/a.json"),
    ],
)
def test_a_disk_that_refuses_is_told_as_such(
    error: Exception, kind: type[FlightlineError], place: str
) -> None:
    with pytest.raises(kind) as caught, mlflow_errors("sqlite:////home/mlflow.db"):
        raise error
    assert f" for {place}: " in caught.value.seen or f" to {place}: " in caught.value.seen
    assert "\n" not in caught.value.seen


def test_a_full_disk_says_nothing_of_what_was_to_be_read() -> None:
    assert says_nothing(_DOWNLOAD) and says_nothing(OSError(28, "No space left on device"))
    assert not says_nothing(MlflowException("No such artifact", RESOURCE_DOES_NOT_EXIST))


def test_two_at_once_make_one_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second must not replace by an empty one what the first has begun to use."""
    made, database = [], tmp_path / "mlflow" / "mlflow.db"

    def make_tables(engine: Any) -> None:
        made.append(engine)
        time.sleep(0.3)
        engine.connect().exec_driver_sql("create table experiments (name text)").close()

    monkeypatch.setattr("mlflow.store.db.utils._initialize_tables", make_tables)
    threads = [Thread(target=make, args=(database,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and database.stat().st_size
    database.write_bytes(b"")  # as SQLite leaves it where somebody only looked
    make(database)
    assert len(made) == 2 and database.stat().st_size


def test_a_program_that_speaks_no_http_is_no_server(babbler: int) -> None:
    with pytest.raises(TransientError, match=f"MLflow does not answer at http://.*:{babbler}"):
        client(f"http://127.0.0.1:{babbler}")


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_known = self.headers["Authorization"] == "Bearer right"
        self.send_response(200 if is_known else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the screen."""


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Health) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_server_may_want_a_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as port:
        uri = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "wrong")
        with pytest.raises(ConfigError, match="it answers 401 Unauthorized") as caught:
            client(uri)
        assert "MLFLOW_TRACKING_TOKEN" in caught.value.repair
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "right")
        assert client(uri).tracking_uri == uri


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_a_certificate_of_a_private_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and as what it is: MLflow would try for minutes."""
    own, key = tmp_path / "own.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=mlflow", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", own], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own, key)
    with serving(tls) as port:
        uri = f"https://127.0.0.1:{port}"
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "right")
        with pytest.raises(ConfigError, match="certificate verify failed") as caught:
            client(uri)
        assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in caught.value.repair
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(own))
        assert client(uri).tracking_uri == uri
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "none.pem"))
        with pytest.raises(ConfigError, match=r"none\.pem"):
            client(uri)
