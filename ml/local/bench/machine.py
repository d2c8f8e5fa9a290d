"""On what and with what something was measured."""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import psutil

from ml.adapters.code import code_tags

_PACKAGES = (
    *("apache-airflow", "mlflow", "feast", "dbt-core", "dbt-duckdb", "duckdb", "lightgbm"),
    *("scikit-learn", "dataframely", "polars", "pandas", "pyarrow", "numpy"),
)


def machine() -> dict[str, str]:
    """By its name on the page; taken before measuring, so the load is that of others."""
    tags = code_tags()
    changed = " with changes" if tags["git.dirty"] == "true" else ""
    return {
        "measured": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": tags["git.commit"][:12] + changed,
        "processor": _processor(),
        "cores": str(psutil.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": _system(),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    with suppress(OSError):
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
        return f"{name}, {platform.system()} {platform.release()}"
    return platform.platform()
