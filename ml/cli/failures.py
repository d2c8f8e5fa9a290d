"""How a command that failed ends: one clear text, an exit code, and no traceback unless asked."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ml.core.errors import DataError, FlightlineError

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
    if sys.stdout is None:  # `>&-`: nobody wants to see it
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as the process lives
    try:
        yield
    except FlightlineError as error:
        _tell(error, str(error))
        _tell_gates(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read the output has seen enough, as in `| head -1`
        _forget_output()
        sys.exit(0)
    except ModuleNotFoundError as error:
        _tell(error, f"{error}\n  expected: a whole environment\n  repair: make setup")
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
    from rich.console import Console

    if _is_verbose:
        traceback.print_exception(error)
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"{type(error).__name__}: {text}", style="red", markup=False
    )


def _tell_gates(error: FlightlineError) -> None:
    """The verdicts of a validation that cannot decide; loaded late, it is not needed by others."""
    from rich.console import Console

    from ml.render import failed_gates

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
    ours = [f for f in frames if ROOT / "ml" in Path(f.filename).parents and f.name != "told"]
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


def _forget_output() -> None:
    """Or Python complains, when it ends, that it cannot flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
