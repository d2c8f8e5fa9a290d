"""MLflow's real servers: tracking that goes away in the middle, and a model that is served."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support import platform_at
from trained_runs import rows, trained

from ml.adapters.mlflow_client import client
from ml.adapters.tracking import MlflowTracking
from ml.adapters.tracking_artifacts import Artifacts
from ml.core.errors import TransientError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_SCRIPTS = Path(sys.executable).parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _serving(command: list[str], health: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own, for as long as the context lasts."""
    path = os.pathsep.join([str(_SCRIPTS), os.environ["PATH"]])  # it starts uvicorn by its name
    env = {**os.environ, "PATH": path, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
        try:
            _wait(process, health, log)
            yield process
        finally:
            _stop(process)


def _wait(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(log.read_text())


def _stop(process: subprocess.Popen[bytes]) -> None:
    for end in (15, 9):
        try:
            os.killpg(process.pid, end)
            process.wait(timeout=10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _server(port: int, database: str) -> list[str]:
    command = [*(str(_SCRIPTS / "mlflow"), "server", "--port", str(port), "--workers", "1")]
    return [*command, "--backend-store-uri", database]


def test_a_server_that_goes_away_leaves_no_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told in seconds, and the next look closes what was left open."""
    home, port = tmp_path / "home", _free_port()
    (home / "mlflow").mkdir(parents=True)
    url, database = f"http://127.0.0.1:{port}", f"sqlite:///{home}/mlflow/mlflow.db"
    client(database).search_experiments()  # make its tables here: twice at once they collide
    log, run = tmp_path / "server.log", trained()
    with _serving(_server(port, database), f"{url}/health", log) as server:
        tracking = platform_at(home, tracking_uri=url).tracking
        first = tracking.log_training(trained())
        assert tracking.url(first).startswith(f"{url}/#/experiments/")
        monkeypatch.setattr(Artifacts, "_write", lambda *_: _stop(server))
        begin = time.monotonic()
        with pytest.raises(TransientError, match="does not answer"):
            tracking.log_training(run)
        assert time.monotonic() - begin < 45
        with pytest.raises(TransientError):
            platform_at(home, tracking_uri=url).tracking.ping()
    monkeypatch.undo()
    local = platform_at(home).tracking
    assert local.find(run.identity) is None
    assert local.find(run.identity) != local.log_training(run)
    assert local.find(run.identity)


def test_a_server_that_goes_away_is_no_lost_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every read may be tried again; a model that is taken for lost would be trained again."""
    home, port = tmp_path / "home", _free_port()
    (home / "mlflow").mkdir(parents=True)
    url, database = f"http://127.0.0.1:{port}", f"sqlite:///{home}/mlflow/mlflow.db"
    client(database).search_experiments()
    with _serving(_server(port, database), f"{url}/health", tmp_path / "server.log") as server:
        tracking = platform_at(home, tracking_uri=url).tracking
        assert isinstance(tracking, MlflowTracking)
        run = trained()
        run_id = tracking.log_training(run)
        tags = dict(tracking.tags(run_id))
        assert tracking.find(run.identity) == run_id
        assert tracking.document(run_id, "notes.md")
        _stop(server)
        for name in ("tags", "evidence", "load_model", "load_rule"):
            _is_away(getattr(tracking, name), run_id)
        _is_away(tracking.find, run.identity)
        _is_away(tracking.document, run_id, "notes.md")
        # As if it went away between the tags and the files.
        monkeypatch.setattr(MlflowTracking, "tags", lambda *_: tags)
        for name in ("load_model", "load_rule", "_has_model"):
            _is_away(getattr(tracking, name), run_id)


def _is_away(read: Callable[..., object], *args: str) -> None:
    begin = time.monotonic()
    with pytest.raises(TransientError, match="does not answer"):
        read(*args)
    assert time.monotonic() - begin < 45


def test_a_model_is_served_by_mlflow_itself(tmp_path: Path) -> None:
    platform = platform_at(tmp_path / "home")
    run_id = platform.tracking.log_training(trained())
    model_id = platform.tracking.tags(run_id)["model.uri"].removeprefix("models:/")
    folder = next((tmp_path / "home").rglob(f"{model_id}/artifacts"))
    port = _free_port()
    command = [*(str(_SCRIPTS / "mlflow"), "models", "serve", "--env-manager", "local")]
    command += ["--model-uri", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    with _serving(command, f"http://127.0.0.1:{port}/ping", tmp_path / "serve.log"):
        frame = rows().head(20)
        question = {"dataframe_split": json.loads(frame.to_json(orient="split", index=False))}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps(question).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            served = json.load(answer)["predictions"]
    expected = platform.tracking.load_model(run_id).predict(frame)
    np.testing.assert_allclose(served, expected, rtol=1e-9)
    assert all(0 <= value <= 1 for value in served)
