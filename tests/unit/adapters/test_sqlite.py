from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ml.adapters import sqlite
from ml.core.errors import DataError, TransientError


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a folder" / "some.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("create table t as select 1 as n")
    return path


def rows(path: Path) -> list[tuple[int]]:
    with sqlite.opened(path, wait_s=0.1) as connection:
        return connection.execute("select n from t").fetchall()


def test_a_file_that_is_no_database_is_told_by_its_name(database: Path) -> None:
    database.write_text("this is no database " * 100)
    with pytest.raises(DataError, match="not a database") as told:
        rows(database)
    assert str(database) in told.value.seen


def test_a_broken_database_is_told_by_its_name(database: Path) -> None:
    content = database.read_bytes()
    database.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with pytest.raises(DataError, match="malformed") as told:
        rows(database)
    assert str(database) in told.value.seen


def test_a_database_that_is_locked_is_a_matter_of_time(database: Path) -> None:
    with closing(sqlite3.connect(database)) as other:
        other.execute("begin exclusive")
        with pytest.raises(TransientError, match="locked"):
            rows(database)
    assert rows(database) == [(1,)]


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="unable to open"):
        rows(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_statement_is_no_fault_of_the_file(database: Path) -> None:
    with pytest.raises(sqlite3.ProgrammingError), sqlite.opened(database) as connection:
        connection.execute("select ?", ())


_KILLED = """
import os, signal, sqlite3, sys
writer = sqlite3.connect(sys.argv[1])
writer.execute("pragma cache_size = 1")
writer.execute("begin")
writer.executemany("insert into t values (?)", ((n,) for n in range(100_000)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_has_half_written_is_undone(database: Path) -> None:
    subprocess.run([sys.executable, "-c", _KILLED, str(database)], check=False)
    assert database.with_name("some.db-journal").stat().st_size > 0
    assert rows(database) == [(1,)]


def test_a_copy_is_whole_while_somebody_writes(database: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database)) as other:
        other.execute("begin")
        other.execute("insert into t values (2)")
        sqlite.copy(database, tmp_path / "copy.db")
    assert rows(tmp_path / "copy.db") == [(1,)]
