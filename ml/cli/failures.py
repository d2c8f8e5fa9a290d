"""How a command that failed ends: one clear text, an exit code, and no traceback unless asked."""

from __future__ import annotations

import logging
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ml.cli.output import lasting_output
from ml.core.errors import DataError, FlightlineError
from ml.local.doctor.check import SETUP

ROOT = Path(__file__).resolve().parents[2]
ISSUES = "https://github.com/flightline/flightline/issues"

_is_verbose = False


def be_verbose() -> None:
    """`--verbose`: all that is logged goes to stderr, and an error shows where it was raised."""
    global _is_verbose  # noqa: PLW0603  # one command line is one process
    _is_verbose = True
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(name)s: %(message)s")


def is_verbose() -> bool:
    """Whether `--verbose` was given."""
    return _is_verbose


@contextmanager
def told() -> Iterator[None]:
    """Turn what is raised inside into a text on stderr and an exit code."""
    with lasting_output(), _told():
        yield


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except FlightlineError as error:
        _tell(error, str(error))
        _tell_gates(error)
        sys.exit(error.exit_code)
    except ImportError as error:  # a package is missing, or a part of one
        _tell(error, f"{error}\n  expected: a whole environment\n  repair: {SETUP}")
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that may not be read: its text names the file
        repair = "make room, or mend what stands there; `flightline doctor` looks for usual reasons"
        _tell(error, f"{error}\n  repair: {repair}")
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - a mistake of ours: no user has to read a traceback
        if damaged := _damaged_database(error):
            _tell(damaged, str(damaged))
            sys.exit(damaged.exit_code)
        _tell(
            error, f"{error}\n  seen: {_place(error)}; this is a fault of Flightline\n  {_kept()}"
        )
        sys.exit(1)


def _tell(error: Exception, text: str) -> None:
    if _is_verbose:
        traceback.print_exception(error)
    line = f"{type(error).__name__}: {text}"
    try:
        from rich.console import Console
    except ImportError:  # it may be the package that is missing
        print(line, file=sys.stderr)
    else:
        out = Console(stderr=True, highlight=False, soft_wrap=True)
        out.print(line, style="red", markup=False)


def _tell_gates(error: FlightlineError) -> None:
    """The verdicts of a validation that cannot decide; loaded late, it is not needed by others."""
    try:
        from rich.console import Console

        from ml.render import failed_gates
    except ImportError:  # as above
        return
    if table := failed_gates(error):
        Console(stderr=True, highlight=False).print(table)


def _damaged_database(error: Exception) -> DataError | None:
    """What SQLite refuses to read, under the name of whichever library asked it."""
    from ml.adapters import sqlite

    reason = getattr(error, "orig", error)  # SQLAlchemy wraps it
    if not sqlite.is_damaged(reason):
        return None
    from ml.settings import settings

    home = settings().home
    files = [*home.glob("*/*.db"), *home.glob("*/*.sqlite")]
    wrong = [str(file) for file in files if _head(file) not in (b"SQLite format 3", b"")]
    damaged = sqlite.damaged(", ".join(wrong) or f"a database in {home}", reason)
    damaged.__cause__ = error
    return damaged


def _head(file: Path) -> bytes:
    with file.open("rb") as found:
        return found.read(15)


def _place(error: Exception) -> str:
    """The last line of ours that was running."""
    frames = traceback.extract_tb(error.__traceback__)
    of_ours = [f for f in frames if ROOT / "ml" in Path(f.filename).parents]
    ours = [f for f in of_ours if f.name not in ("told", "_told")]
    last = (ours or frames)[-1]
    where = Path(last.filename)
    name = where.relative_to(ROOT) if where.is_relative_to(ROOT) else where
    return f"{name}, line {last.lineno}"


def _kept() -> str:
    """Keep the traceback for a report; returns what to do with it."""
    with suppress(FlightlineError, OSError):
        from ml.settings import settings

        file = settings().logs / "errors.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as log:
            log.write(f"{_circumstances()}\n{traceback.format_exc()}\n")
        return f"repair: report it with the end of {file} at {ISSUES}"
    return f"repair: run it again as `flightline --verbose …`, and report that at {ISSUES}"


def _circumstances() -> str:
    import platform
    from importlib import metadata

    now = datetime.now(UTC).isoformat(timespec="seconds")  # noqa: TID251  # when it happened
    command = shlex.join(["flightline", *sys.argv[1:]])
    version = metadata.version("flightline")
    return f"{now} {command}\nflightline {version}, Python {platform.python_version()}"
