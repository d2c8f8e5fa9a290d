"""The command line: each stage by itself, whole jobs, and the platform on this machine."""

from __future__ import annotations

import sys

from rich.console import Console

from ml.cli.base import app
from ml.core.errors import FlightlineError
from ml.render import failed_gates

# Importing them adds their commands, in the order in which help lists them.
# isort: off
from ml.cli import stages  # noqa: F401
from ml.cli import models  # noqa: F401
from ml.cli import data  # noqa: F401
from ml.cli import jobs  # noqa: F401
from ml.cli import use_cases  # noqa: F401
from ml.cli import machine  # noqa: F401
from ml.cli import upkeep  # noqa: F401
# isort: on


def main() -> None:
    """Entry point: an expected error is one clear text and its exit code, without a traceback."""
    try:
        app()
    except FlightlineError as error:
        _tell(error)
        if table := failed_gates(error):
            Console(stderr=True, highlight=False).print(table)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that may not be read: its text names the file
        _tell(error)
        sys.exit(1)


def _tell(error: Exception) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"{type(error).__name__}: {error}", style="red", markup=False
    )
