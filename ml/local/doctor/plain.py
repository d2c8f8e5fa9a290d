"""The diagnosis by the standard library alone: settings and the table need packages."""

from __future__ import annotations

from ml.local.doctor import diagnose, require
from ml.local.doctor.check import SETUP, Check


def show(missing: ImportError) -> None:
    """Print what can be said without the package that is missing.

    Raises:
        ConfigError: naming what is missing, with the repairs.
    """
    checks = [Check("imports", False, str(missing), SETUP), *diagnose(None)]
    for check in checks:
        print(f"{check.name:10} {'ok' if check.ok else 'missing':8} {check.detail}")
    require(checks)
