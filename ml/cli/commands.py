"""The application with all of its commands."""

from __future__ import annotations

from ml.cli.base import app

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

__all__ = ["app"]
