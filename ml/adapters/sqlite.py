"""SQLite files of other programs, Airflow's and MLflow's, without those programs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ml.core.errors import DataError, TransientError


@contextmanager
def opened(database: Path, *, wait_s: float = 30.0) -> Iterator[sqlite3.Connection]:
    """A database that is there, closed at the end of the block.

    Not read-only: what a process that was killed has half written must be undone before anybody can
    read it. On a disk that is, SQLite reads all the same.

    Raises:
        DataError: if the file is no database, or a broken one.
        TransientError: if it is locked for longer than `wait_s` seconds, or cannot be opened.
    """
    address = f"{database.absolute().as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=wait_s)) as connection:
            yield connection
    except sqlite3.OperationalError as error:
        raise TransientError(
            f"{database} cannot be read or copied: {error}",
            expected="a database that no other process locks for long, and room on the disk",
            repair="run this again; if it fails again, with the platform down: flightline down",
        ) from error
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
        raise damaged(str(database), error) from error


def copy(database: Path, to: Path) -> None:
    """As of now, whoever writes to it meanwhile; `to` must be empty or not there.

    Raises:
        as `opened`.
    """
    with opened(database, wait_s=60) as connection:
        connection.execute("vacuum into ?", (str(to),))


def is_damaged(error: BaseException) -> bool:
    """Whether SQLite says so of the file; the kinds of this class are of statements and locks."""
    return type(error) is sqlite3.DatabaseError


def damaged(database: str, error: BaseException) -> DataError:
    """What people are told of a file that SQLite cannot make sense of."""
    return DataError(
        f"{database} cannot be read: {error}",
        expected="a whole SQLite database",
        repair="stop the platform, and restore it from a backup",
    )
