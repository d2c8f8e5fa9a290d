from __future__ import annotations

from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from archives import MADE_AT, tables

from ml.local.backup import backup
from ml.settings import Settings


@pytest.fixture
def scratch(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", airflow_port=0, mlflow_port=0)


@pytest.fixture
def home(scratch: Settings) -> Settings:
    """Files, databases of both kinds, secrets, and what has no place in a copy."""
    texts = {
        "lake/raw/toy/t/partition_key=2020-01-01/data.parquet": "rows",
        "lake/raw/toy/t/partition_key=2020-01-01/.data.parquet.0123abcd": "half of it",
        "logs/scheduler.log": "",
        "logs/platform.jsonl": "",
        "platform.json": '{"airflow": 1, "mlflow": 2}',
        "locks/toy.lock": "",
        "tmp/toy/spilled": "a stage was killed",
        "platform.lock": "",
    }
    for name, text in texts.items():
        path = scratch.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (scratch.home / "secrets.json").write_text("{}")
    (scratch.home / "secrets.json").chmod(0o600)
    tables(scratch.airflow_home / "airflow.db", rows=100).close()
    (scratch.home / "warehouse").mkdir()
    with closing(duckdb.connect(str(scratch.home / "warehouse" / "toy.duckdb"))) as warehouse:
        warehouse.execute("create table t as select 1 as n")
    return scratch


@pytest.fixture
def other(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "elsewhere" / "home")


@pytest.fixture
def archive(home: Settings, tmp_path: Path) -> Path:
    backup(home, tmp_path / "home.tar.zst", made_at=MADE_AT)
    return tmp_path / "home.tar.zst"
