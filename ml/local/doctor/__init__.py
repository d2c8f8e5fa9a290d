"""Is this machine fit for the platform? Importable even where heavy packages are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ml.core.errors import ConfigError
from ml.local.doctor import environment, home, locks, machine, times
from ml.local.doctor.check import SETUP, Check

if TYPE_CHECKING:
    from ml.settings import Settings

__all__ = ["Check", "diagnose", "require"]


def diagnose(settings: Settings | None) -> list[Check]:
    """All checks; one that cannot be made counts as failed, and the others go on.

    Args:
        settings: None where they cannot be read; what needs them is then left out.
    """
    checks: dict[str, Callable[[], Check]] = {
        "python": machine.check_python,
        **{tool: partial(machine.check_tool, tool) for tool in machine.TOOLS},
        "venv": machine.check_venv,
        "openmp": machine.check_openmp,
        "memory": machine.check_memory,
        "packages": environment.check_packages,
        "scripts": environment.check_scripts,
        "zones": times.check_zones,
    }
    if settings is not None:
        checks |= {
            "clock": partial(times.check_clock, settings),
            "home": partial(home.check_home, settings),
            "permissions": partial(home.check_permissions, settings),
            "state": partial(home.check_state, settings),
            "disk": partial(home.check_disk, settings),
            "locks": partial(locks.check_locks, settings),
            "ports": partial(home.check_ports, settings),
        }
    return [_attempt(name, check) for name, check in checks.items()]


def _attempt(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a diagnosis must not need a diagnosis
        repair = SETUP if isinstance(error, ImportError) else ""
        return Check(name, False, f"{type(error).__name__}: {error}", repair)


def require(checks: Sequence[Check]) -> None:
    """Whether all is well.

    Raises:
        ConfigError: naming what is missing, with the repairs.
    """
    if failed := [check for check in checks if not check.ok]:
        raise ConfigError(
            "this machine lacks: " + ", ".join(check.name for check in failed),
            repair="; ".join(dict.fromkeys(check.repair for check in failed if check.repair)),
        )
