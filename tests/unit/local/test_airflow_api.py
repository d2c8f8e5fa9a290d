"""The client against a small HTTP server that answers from a script."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ml.core.errors import ConfigError, TransientError
from ml.local import airflow_api
from ml.local.airflow_api import AirflowApi, Refused
from ml.local.records import log_line

RUN = {
    "dag_id": "d",
    "dag_run_id": "r",
    "state": "success",
    "run_type": "manual",
    "partition_key": "2013-06-01",
    "conf": None,
    "start_date": "2026-01-01T00:00:00Z",
    "end_date": None,
}


class FakeAirflow:
    """Answers `(status, body)` in the order given; log-ins always pass."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, object]] = []
        self.calls: list[tuple[str, str, object]] = []
        self.logins = 0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = fake.answer(self.command, self.path, json.loads(body or b"null"))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            do_GET = do_POST = do_PATCH = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        serve = self.server.serve_forever
        threading.Thread(target=serve, args=(0.02,), daemon=True).start()

    def answer(self, method: str, path: str, body: object) -> tuple[int, object]:
        if path == "/auth/token":
            self.logins += 1
            return 201, {"access_token": f"token {self.logins}"}
        self.calls.append((method, path, body))
        return self.answers.pop(0)

    @property
    def api(self) -> AirflowApi:
        return AirflowApi(f"http://127.0.0.1:{self.server.server_port}", user="u", password="p")


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(airflow_api, "RETRY_AFTER_SECONDS", (0.0, 0.0))
    fake = FakeAirflow()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def test_a_timed_out_write_is_repeated(fake):
    """SQLite makes a write fail with 500 now and then; the run id makes repeating safe."""
    fake.answers = [(500, {"detail": "Database error"}), (200, RUN)]
    run = fake.api.trigger("d", run_id="r", partition_key="2013-06-01")
    assert (run.state, run.partition_key, run.conf) == ("success", "2013-06-01", {})
    assert len(fake.calls) == 2
    assert fake.calls[0][2]["logical_date"] is None


def test_a_trigger_that_took_effect_without_an_answer_is_found_again(fake):
    fake.answers = [(500, {}), (409, {"detail": "exists"}), (200, RUN)]
    assert fake.api.trigger("d", run_id="r").run_id == "r"


def test_a_run_id_that_someone_else_used_is_refused(fake):
    fake.answers = [(409, {"detail": "exists"})]
    with pytest.raises(Refused, match="409 exists"):
        fake.api.trigger("d", run_id="r")


def test_an_expired_token_is_renewed(fake):
    fake.answers = [(200, RUN), (401, {"detail": "expired"}), (200, RUN)]
    api = fake.api
    api.get_run("d", "r")
    assert api.get_run("d", "r").state == "success"
    assert fake.logins == 2


def test_a_refusal_carries_the_servers_reason(fake):
    """A 4xx is not repeated: the input is wrong."""
    fake.answers = [(400, {"detail": "Partition key 'x' does not match"})]
    with pytest.raises(ConfigError, match="Partition key 'x' does not match") as error:
        fake.api.trigger("d", run_id="r", partition_key="x")
    assert error.value.exit_code == 2


def test_a_server_that_is_away_is_transient(fake):
    fake.server.shutdown()
    fake.server.server_close()
    with pytest.raises(TransientError, match="did not answer") as error:
        fake.api.get_run("d", "r")
    assert "make up" in error.value.repair


@pytest.mark.parametrize(("state", "only_failed"), [("failed", True), ("skipped", False)])
def test_a_run_is_repeated_for_real(fake, state, only_failed):
    """Airflow's own default is to try it dry; without a failed task, all of them run."""
    task = {"task_id": "t", "state": state, "try_number": 1, "duration": None}
    task |= {"start_date": None, "end_date": None}
    fake.answers = [(200, {"task_instances": [task]}), (200, {})]
    fake.api.repeat_run("d", "r")
    assert fake.calls[1][1].endswith("/clear")
    assert fake.calls[1][2] == {"dry_run": False, "only_failed": only_failed}


def test_all_pages_are_read(fake, monkeypatch):
    monkeypatch.setattr(airflow_api, "PAGE_SIZE", 2)
    fake.answers = [(200, {"dag_runs": [RUN, RUN]}), (200, {"dag_runs": [RUN]})]
    assert len(fake.api.runs("d")) == 3
    assert "offset=2" in fake.calls[1][1]


def test_an_existing_pool_is_brought_to_its_size(fake):
    fake.answers = [(409, {"detail": "exists"}), (200, {})]
    fake.api.ensure_pool("flight_delay")
    assert [call[0] for call in fake.calls] == ["POST", "PATCH"]


def test_run_ids_are_quoted(fake):
    """Airflow's own run ids contain `+` and `:`."""
    fake.answers = [(200, RUN)]
    fake.api.get_run("d", "manual__2026-01-01T00:00:00+00:00")
    assert fake.calls[0][1].endswith("/dagRuns/manual__2026-01-01T00%3A00%3A00%2B00%3A00")


def test_a_log_shows_where_a_task_failed():
    frame = {"filename": "dags/x.py", "lineno": 7, "name": "load"}
    error = {"exc_type": "ValueError", "exc_value": "bad", "frames": [frame]}
    line = log_line({"event": "Task failed", "error_detail": [error]})
    assert line == "Task failed\n  dags/x.py:7 load\nValueError: bad"
