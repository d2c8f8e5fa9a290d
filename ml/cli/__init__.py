"""The command line: each stage by itself, whole jobs, and the platform on this machine."""

from __future__ import annotations

import sys

from ml.cli.base import app
from ml.cli.failures import told

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
    """Entry point.

    `--verbose` may stand anywhere: people add it to the end of what has just failed.
    """
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word != "--verbose")
    with told():
        app()
