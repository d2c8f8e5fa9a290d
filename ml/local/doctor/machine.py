"""Python, tools, libraries and memory of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import sys
from pathlib import Path

from ml.local.doctor.check import Check

GIB = 2**30
OWN_TOOLS = Path(__file__).resolve().parents[3] / ".tools" / "bin"  # `make setup` puts uv there
PYTHON_FIRST, PYTHON_AFTER = (3, 11), (3, 14)
MEMORY_GIB = 4.0
TOOLS = {
    "git": "install git: a run records the code that it was made with",
    "make": "install make, or use the commands behind its targets",
    "uv": "see https://docs.astral.sh/uv/getting-started/installation/",
}


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


def check_memory() -> Check:
    import psutil

    total = min(psutil.virtual_memory().total, _container_limit()) / GIB
    # A machine sold as 4 GiB shows a little less: its kernel keeps some.
    ok = total >= MEMORY_GIB * 0.9
    detail = f"{total:.1f} GiB, {MEMORY_GIB:.0f} needed"
    return Check("memory", ok, detail, "use a larger machine or raise the container's limit")


def _container_limit() -> float:
    with contextlib.suppress(OSError, ValueError):
        return float(Path("/sys/fs/cgroup/memory.max").read_text())
    return float("inf")
