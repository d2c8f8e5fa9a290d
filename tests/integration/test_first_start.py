"""MLflow's first start in an empty home is killed: its tables are there whole or not at all."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from ml.local import supervisor
from ml.local.ports import Ports
from ml.settings import Settings

pytestmark = pytest.mark.slow


def test_the_tables_are_made_before_the_server_starts_and_a_kill_leaves_none(
    tmp_path: Path,
) -> None:
    """A kill in the middle of MLflow's migrations would be for good; 15 CPU seconds."""
    where = Settings(home=tmp_path / "home")
    command = supervisor._mlflow_command(where, Ports(airflow=1, mlflow=2))
    script = command.index(str(supervisor.SCRIPTS / "mlflow"))
    serving = [sys.executable, "-c", "print('serving')"]
    killed = subprocess.Popen([*command[:script], *serving])
    wait_for_tables(where.mlflow_database.parent)
    killed.kill()
    assert killed.wait() == -9
    assert not where.mlflow_database.exists()
    done = subprocess.run([*command[:script], *serving], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "serving"
    with closing(sqlite3.connect(where.mlflow_database)) as database:
        assert database.execute("select count(*) from alembic_version").fetchone() == (1,)


def wait_for_tables(folder: Path) -> None:
    """Until the first of them are written, wherever that is."""
    deadline = time.monotonic() + 100
    while not any(path.stat().st_size > 0 for path in folder.glob("*mlflow.db*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
