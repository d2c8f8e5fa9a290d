"""The command line: each stage by itself, whole jobs, and the platform on this machine."""

from __future__ import annotations

import sys
from contextlib import suppress

from ml.cli.failures import told

with suppress(ImportError):  # a package is missing: `main` comes upon it again, and tells it
    from ml.cli.commands import app  # noqa: F401


def main() -> None:
    """Entry point.

    `--verbose` may stand anywhere: people add it to the end of what has just failed.
    """
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word != "--verbose")
    with told():
        try:
            from ml.cli.commands import app

            app()
        except ImportError as missing:
            _diagnose_plainly(missing)
            raise


def _diagnose_plainly(missing: ImportError) -> None:
    """The doctor is for the machine on which the rest does not work."""
    if [word for word in sys.argv[1:] if word != "--verbose"] == ["doctor"]:
        from ml.local.doctor.plain import show

        show(missing)
