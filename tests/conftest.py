"""The environment of every test, set before the first import of Airflow, Feast or `ml.settings`.

Under pytest-xdist the workers inherit one `MLOPS_HOME` and each has its own Airflow folder.
Fixtures that cost seconds are built once: their tests share an `xdist_group` (`--dist loadgroup`).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # for `support`; the import mode adds no folders
_OWNED = None if os.environ.get("MLOPS_HOME") else tempfile.mkdtemp(prefix="flightline-tests-")
if _OWNED:
    os.environ["MLOPS_HOME"] = _OWNED
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
_AIRFLOW = Path(os.environ["MLOPS_HOME"]) / f"airflow-{_WORKER}"
_AIRFLOW.mkdir(parents=True, exist_ok=True)
for name in [one for one in os.environ if one.startswith(("MLOPS_TRACKING_URI", "MLOPS_NOTIFY_"))]:
    del os.environ[name]  # a team's MLflow and webhook, or a platform here, are not the tests'
os.environ.update(
    AIRFLOW_HOME=str(_AIRFLOW),
    AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_AIRFLOW}/airflow.db",
    AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS="False",
)

from hypothesis import HealthCheck, settings  # noqa: E402  # the environment comes first

# No deadline: the machine is shared, and a slow example is not a wrong one.
settings.register_profile(
    "flightline", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
# For `make coverage` and `make mutation`: what they find may not depend on chance.
settings.register_profile(
    "repeatable", settings.get_profile("flightline"), derandomize=True, max_examples=20
)
settings.load_profile("flightline")


def pytest_report_header() -> str:
    """Which use cases are tested: a fork may have others than this platform comes with."""
    from support import REFERENCE

    from ml.use_cases import available

    lacking = "" if REFERENCE in available() else f"; tests that need {REFERENCE} are skipped"
    return f"use cases: {', '.join(available()) or 'none'}{lacking}"


def pytest_unconfigure() -> None:
    if _OWNED:
        shutil.rmtree(_OWNED, ignore_errors=True)
