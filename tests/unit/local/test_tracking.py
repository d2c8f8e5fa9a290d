from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator

import pytest

from ml.local import supervisor, tracking
from ml.local.ports import Ports, keep_ports, load_ports, ports_file
from ml.local.tracking import pages, with_server
from ml.settings import Settings


class _Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path.endswith(("/health", "experiment_name=flight_delay"))
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(b'{"experiment": {"experiment_id": "7"}}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "inner.example")


@pytest.fixture
def server(scratch: Settings) -> Iterator[str]:
    """Something healthy where the platform's MLflow listens."""
    ports = load_ports(scratch)
    keep_ports(scratch, ports)
    found = http.server.ThreadingHTTPServer(("127.0.0.1", ports.mlflow), _Healthy)
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    yield ports.mlflow_url
    found.shutdown()
    found.server_close()


def components(monkeypatch: pytest.MonkeyPatch, *up: str) -> None:
    found = supervisor.PlatformStatus(
        tuple(
            supervisor.ComponentStatus(name, 1 if name in up else None, ports_file)  # type: ignore[arg-type]  # no log is read
            for name in supervisor.COMPONENTS
        ),
        "",
        "",
    )
    monkeypatch.setattr(supervisor, "status", lambda _: found)


def test_a_platform_that_is_up_tracks_through_its_server(
    scratch: Settings, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And past a company's proxy, which cannot see this machine."""
    components(monkeypatch, *supervisor.COMPONENTS)
    assert with_server(scratch).tracking_uri == server
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "127.0.0.1,inner.example"


def test_half_a_platform_is_left_alone(
    scratch: Settings, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    components(monkeypatch, "mlflow")
    assert with_server(scratch) == scratch


def test_a_server_that_does_not_answer_is_left_alone(
    scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is there, and it does not listen yet."""
    keep_ports(scratch, load_ports(scratch))
    components(monkeypatch, *supervisor.COMPONENTS)
    assert with_server(scratch) == scratch


def test_a_home_that_never_had_a_platform_gets_no_files(scratch: Settings) -> None:
    assert with_server(scratch) == scratch
    assert not scratch.home.exists()


def test_a_server_from_the_settings_is_kept(scratch: Settings) -> None:
    where = scratch.model_copy(update={"tracking_uri": "http://elsewhere"})
    assert with_server(where) is where


def test_behind_a_closed_port_no_process_is_looked_for(
    scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stage asks, and to look at all processes of a machine takes longer than the rest."""
    keep_ports(scratch, load_ports(scratch))
    monkeypatch.setattr(supervisor, "status", lambda _: pytest.fail("they were looked at"))
    assert with_server(scratch) == scratch


def test_each_use_case_that_was_trained_has_a_page_with_columns(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "available", lambda: ("flight_delay", "newcomer"))
    view = "workflowType=machine_learning&viewStateShareKey=candidates"
    assert pages(server) == {"flight_delay": f"{server}/#/experiments/7/runs?{view}"}


def test_without_a_server_there_are_no_pages(scratch: Settings) -> None:
    assert pages(load_ports(scratch).mlflow_url) == {}


def test_a_program_that_speaks_no_http_is_no_server(scratch: Settings, babbler: int) -> None:
    """After a while down, another program may listen on the kept port."""
    keep_ports(scratch, Ports(airflow=1, mlflow=babbler))
    assert with_server(scratch) is scratch
    assert pages(f"http://127.0.0.1:{babbler}") == {}
