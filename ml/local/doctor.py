"""Is this machine fit for the platform? Importable even where heavy packages are missing."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml.settings import Settings

GIB = 2**30
OWN_TOOLS = Path(__file__).resolve().parents[2] / ".tools" / "bin"  # `make setup` puts uv there
PYTHON_FIRST, PYTHON_AFTER = (3, 11), (3, 14)
DISK_GIB, MEMORY_GIB = 5.0, 4.0
TOOLS = {
    "git": "install git: a run records the code that it was made with",
    "make": "install make, or use the commands behind its targets",
    "uv": "see https://docs.astral.sh/uv/getting-started/installation/",
}


@dataclass(frozen=True)
class Check:
    """One answer; `repair` says what to do when it is not `ok`."""

    name: str
    ok: bool
    detail: str
    repair: str = ""


def diagnose(settings: Settings | None) -> list[Check]:
    """All checks; one that cannot be made counts as failed, and the others go on.

    Args:
        settings: None where they cannot be read; what needs them is then left out.
    """
    checks: dict[str, Callable[[], Check]] = {
        "python": check_python,
        **{tool: partial(check_tool, tool) for tool in TOOLS},
        "venv": check_venv,
        "openmp": check_openmp,
        "memory": check_memory,
    }
    if settings is not None:
        checks["home"] = partial(check_home, settings)
        checks["disk"] = partial(check_disk, settings)
        checks["ports"] = partial(check_ports, settings)
    return [_attempt(name, check) for name, check in checks.items()]


def _attempt(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a diagnosis must not need a diagnosis
        repair = "make setup" if isinstance(error, ImportError) else ""
        return Check(name, False, f"{type(error).__name__}: {error}", repair)


def check_python() -> Check:
    ok = PYTHON_FIRST <= sys.version_info[:2] < PYTHON_AFTER
    return Check("python", ok, sys.version.split()[0], "install Python 3.11, 3.12 or 3.13")


def check_tool(tool: str) -> Check:
    found = shutil.which(tool, path=os.pathsep.join([os.environ.get("PATH", ""), str(OWN_TOOLS)]))
    return Check(tool, found is not None, found or "not on the PATH", TOOLS[tool])


def check_venv() -> Check:
    """Some Linux distributions ship Python without the modules that make environments."""
    missing = [m for m in ("venv", "ensurepip") if importlib.util.find_spec(m) is None]
    detail = f"missing: {', '.join(missing)}" if missing else "venv and ensurepip found"
    return Check("venv", not missing, detail, "install python3-venv")


def check_openmp() -> Check:
    """LightGBM needs the OpenMP library of the system; no package brings it."""
    library, repair = "libgomp.so.1", "install libgomp1 (Debian) or libgomp (Fedora)"
    if sys.platform == "darwin":
        library, repair = "libomp.dylib", "brew install libomp"
    with contextlib.suppress(OSError):
        ctypes.CDLL(library)
        return Check("openmp", True, library)
    try:  # it may be found where LightGBM looks and the loader does not
        importlib.import_module("lightgbm")
    except OSError as error:
        return Check("openmp", False, str(error), repair)
    return Check("openmp", True, "found by LightGBM")


def check_home(settings: Settings) -> Check:
    folder = _nearest_folder(settings.home)
    ok = os.access(folder, os.W_OK | os.X_OK)
    detail = str(settings.home) if ok else f"{folder} is not writable"
    return Check("home", ok, detail, "set MLOPS_HOME to a folder of yours")


def check_disk(settings: Settings) -> Check:
    free = shutil.disk_usage(_nearest_folder(settings.home)).free / GIB
    detail = f"{free:.1f} GiB free, {DISK_GIB:.0f} needed"
    return Check("disk", free >= DISK_GIB, detail, "free some space, or set MLOPS_HOME")


def check_memory() -> Check:
    import psutil

    total = min(psutil.virtual_memory().total, _container_limit()) / GIB
    # A machine sold as 4 GiB shows a little less: its kernel keeps some.
    ok = total >= MEMORY_GIB * 0.9
    detail = f"{total:.1f} GiB, {MEMORY_GIB:.0f} needed"
    return Check("memory", ok, detail, "use a larger machine or raise the container's limit")


def check_ports(settings: Settings) -> Check:
    """Free, or held by this home's own platform; ports are chosen at the first start."""
    from ml.core.errors import ConfigError
    from ml.local import processes
    from ml.local.ports import check_free, load_ports, ports_file

    if not ports_file(settings).exists() and not (settings.airflow_port or settings.mlflow_port):
        return Check("ports", True, "chosen at the first start")
    if processes.leaders(settings.home):
        return Check("ports", True, "in use by this platform")
    ports = load_ports(settings)
    try:
        check_free(settings, ports)
    except ConfigError as error:
        return Check("ports", False, error.seen, error.repair)
    return Check("ports", True, f"{ports.airflow} and {ports.mlflow} are free")


def _nearest_folder(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _container_limit() -> float:
    with contextlib.suppress(OSError, ValueError):
        return float(Path("/sys/fs/cgroup/memory.max").read_text())
    return float("inf")
