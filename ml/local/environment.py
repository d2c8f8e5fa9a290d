"""The environment of every process of the local platform.

All of Airflow's configuration is set here and nowhere else: its generated `airflow.cfg` is unused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ml.adapters.variables import without_foreign
from ml.local.ports import LOOPBACK, Ports
from ml.local.secrets import ROLES, Secrets, passwords_file
from ml.settings import REPOSITORY

if TYPE_CHECKING:
    from ml.settings import Settings

AIRFLOW_CODE = REPOSITORY / "infra" / "airflow"


def platform_environment(
    settings: Settings, secrets: Secrets, ports: Ports, *, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Environment of Airflow, MLflow and the tasks; what is set here wins over `inherited`.

    Another project's options of Airflow, MLflow and dbt in the shell are left out: one of them
    would change ours.
    """
    kept = without_foreign(inherited)
    return {
        **{name: value for name, value in kept.items() if not name.startswith("AIRFLOW_")},
        **_joined("PYTHONPATH", str(AIRFLOW_CODE), inherited, os.pathsep),
        **_joined("NO_PROXY", f"{LOOPBACK},localhost", inherited, ","),
        **_joined("no_proxy", f"{LOOPBACK},localhost", inherited, ","),
        **_process(),
        **_mlflow(),
        **airflow_environment(settings, secrets, ports),
        "MLOPS_HOME": str(settings.home),
        "MLOPS_TRACKING_URI": ports.mlflow_url,
    }


def airflow_environment(settings: Settings, secrets: Secrets, ports: Ports) -> dict[str, str]:
    """Airflow's options as variables."""
    sections = {
        "CORE": _core(settings, secrets),
        "DATABASE": _database(settings),
        "API": {
            "HOST": LOOPBACK,
            "PORT": str(ports.airflow),
            "BASE_URL": ports.airflow_url,  # tasks find the Execution API through it
            "SECRET_KEY": secrets.api_secret_key,
        },
        "API_AUTH": {"JWT_SECRET": secrets.jwt_secret},
        **_TIMING,
    }
    options = {
        f"AIRFLOW__{section}__{option}": value
        for section, values in sections.items()
        for option, value in values.items()
    }
    return {"AIRFLOW_HOME": str(settings.airflow_home), **options}


# Measured: an idle sleep of 0.2 s instead of 1 s takes a task from 1.26 s to 0.33 s; the executor
# makes it longer while nothing happens. The default timeout of a task's calls equals SQLite's
# default wait for a lock, so one slow write killed the task.
_TIMING = {
    "SCHEDULER": {
        "SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "ORPHANED_TASKS_CHECK_INTERVAL": "30",
    },
    "WORKERS": {
        "EXECUTION_API_TIMEOUT": "30",
        # A task that closes its sockets a moment before it exits is noticed only at the next beat.
        "MIN_HEARTBEAT_INTERVAL": "1",
    },
    # A file that has changed is read within seconds, whatever the interval: it only says how often
    # one that has not is read all the same. At 60 s, 300 Dag files took 40 % of a core.
    "DAG_PROCESSOR": {
        "REFRESH_INTERVAL": "10",
        "MIN_FILE_PROCESS_INTERVAL": "3600",
        "DAG_BUNDLE_CONFIG_LIST": json.dumps(
            [
                {
                    "name": "dags-folder",
                    "classpath": "flightline_bundle.RepositoryBundle",
                    "kwargs": {},
                }
            ]
        ),
    },
}


def _core(settings: Settings, secrets: Secrets) -> dict[str, str]:
    return {
        "DAGS_FOLDER": str(settings.dags),
        "LOAD_EXAMPLES": "False",
        "EXECUTOR": "flightline_executor.LocalExecutor",
        "PARALLELISM": "2",
        "DAGS_ARE_PAUSED_AT_CREATION": "True",  # a cron Dag would run at once when first seen
        "DEFAULT_TIMEZONE": "utc",
        "FERNET_KEY": secrets.fernet_key,
        "SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in ROLES.items()),
        "SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(settings)),
    }


def _database(settings: Settings) -> dict[str, str]:
    return {
        "SQL_ALCHEMY_CONN": f"sqlite:///{settings.airflow_home}/airflow.db",
        "SQL_ALCHEMY_CONNECT_ARGS": "airflow_local_settings.sqlite_connect_args",
        "SQL_ALCHEMY_CONNECT_ARGS_ASYNC": "airflow_local_settings.sqlite_connect_args",
        "LOAD_DEFAULT_CONNECTIONS": "False",
    }


def _process() -> dict[str, str]:
    return {
        "TZ": "UTC",
        "SPT_NOENV": "1",  # else a process that renames itself overwrites the supervisor's marker
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",  # else idle threads spin: measured ten times the CPU
        "MPLBACKEND": "Agg",
        # dbt's locks outlive a task by a moment, which would be an error line in each good log.
        "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",
        "DO_NOT_TRACK": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        "FEAST_USAGE": "False",
    }


def _mlflow() -> dict[str, str]:
    return {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 8 processes that only GenAI jobs need
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default hangs for minutes
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_UV_AUTO_DETECT": "false",  # else a model requires the whole platform
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }


def _joined(name: str, first: str, inherited: Mapping[str, str], separator: str) -> dict[str, str]:
    rest = inherited.get(name)
    return {name: f"{first}{separator}{rest}" if rest else first}
