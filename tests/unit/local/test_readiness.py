from __future__ import annotations

import os

import pytest

from ml.core.errors import FlightlineError
from ml.local import processes, readiness


def test_dag_files_are_told_from_others_as_airflow_does(tmp_path):
    """Shared code lies in folders; a file without both words is never parsed by Airflow."""
    (tmp_path / "orchestration").mkdir()
    (tmp_path / "orchestration" / "shared.py").write_text("from airflow.sdk import dag")
    (tmp_path / "daily.py").write_text("from airflow.sdk import dag")
    (tmp_path / "notes.py").write_text("x = 1")
    assert list(readiness.dag_files(tmp_path)) == ["daily.py"]


def test_a_component_that_ends_is_reported_at_once(scratch):
    """The error names the component and shows its last lines, not a time-out minutes later."""
    log = scratch.logs / "mlflow.log"
    command = ["/bin/sh", "-c", "echo out of cheese; exit 3"]
    scratch.home.mkdir()
    paths = {"home": scratch.home, "log": log, "journal": scratch.logs / "platform.jsonl"}
    child = processes.start("mlflow", command, **paths, env=os.environ)
    child.wait()
    with pytest.raises(FlightlineError, match="mlflow ended") as error:
        readiness.wait(scratch, {"mlflow": child}, started_at=0.0, progress=print)
    assert "out of cheese" in error.value.seen
    assert str(log) in error.value.repair


def test_a_heartbeat_of_the_previous_start_does_not_count():
    """Airflow calls it healthy for 30 seconds."""
    assert not readiness._is_after("2026-01-01T00:00:00Z", 1_767_225_601)
    assert readiness._is_after("2026-01-01T00:00:02Z", 1_767_225_601)
    assert not readiness._is_after(None, 0.0)


TRACE = """Traceback (most recent call last):
  File "/r/ml/use_cases/toy/spec.py", line 3, in <module>
    SPEC = UseCase(
pydantic_core.ValidationError: 1 validation error

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/r/dags/toy_daily.py", line 6, in <module>
ml.core.errors.ConfigError: ml/use_cases/toy/spec.py, line 3: UseCase is not valid
  title: Field required
  repair: mend these
"""


def test_the_reason_of_a_broken_dag_is_told_without_its_traceback():
    told = readiness.reason(TRACE).splitlines()
    assert told[0] == "ml/use_cases/toy/spec.py, line 3: UseCase is not valid"
    assert told[1:] == ["  title: Field required", "  repair: mend these"]
    assert readiness.reason("SyntaxError: invalid syntax") == "SyntaxError: invalid syntax"
    assert readiness.reason("") == "no reason was given"


def test_a_program_that_speaks_no_http_is_not_healthy(babbler):
    assert not readiness.answers(f"http://127.0.0.1:{babbler}/health")
