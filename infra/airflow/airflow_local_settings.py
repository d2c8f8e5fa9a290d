"""Imported by every Airflow process when it starts: database waits, and warm task processes.

A task is a fork of the scheduler's worker, so what the scheduler has imported costs a task nothing:
measured, three tasks with machine-learning imports took 1.4 s instead of 8.9 s.
Only imports and what they keep in memory belong here: an open connection or a running thread would
be shared or lost by the fork.
"""

import importlib
import sys
import warnings

__all__: list[str] = []  # Airflow copies public names into its own settings: give it none

sqlite_connect_args = {"timeout": 30}  # seconds to wait for a lock; the default of 5 lost tasks

# Libraries only: a change of the platform's own code must not need a restart.
PRELOADED = (
    "pandas",
    "pyarrow.csv",
    "pyarrow.parquet",
    "duckdb",
    "dataframely",
    "sklearn.compose",
    "sklearn.inspection",
    "sklearn.linear_model",
    "skops.io",
    "optuna",
    "lightgbm",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "pydantic_settings",
    "mlflow",
    "mlflow.models",
    "mlflow.pyfunc",
    "mlflow.store.artifact.local_artifact_repo",
    "mlflow.store.model_registry.rest_store",
    "mlflow.store.tracking.rest_store",
    "feast",
    "feast.infra.data_sources.mlflow.auth",  # MLflow's first request looks for Feast's headers
    "feast.infra.offline_stores.duckdb",
    "feast.infra.online_stores.sqlite",
    "feast.infra.registry.sql",
    "dbt.cli.main",
    "dbt.adapters.duckdb",
    "dbt.task.build",
)

# dbt derives these from its classes at the first call in a process: measured, a fifth of its parse.
DBT_SCHEMAS = {
    "dbt.adapters.duckdb.credentials": ("DuckDBCredentials",),
    "dbt.contracts.project": (
        "Configuration",
        "PackageConfig",
        "ProfileConfig",
        "Project",
        "ProjectFlags",
    ),
    "dbt.contracts.selection": ("SelectorFile",),
}


def make_dbt_schemas() -> None:
    """Make them once; a fork has them."""
    for module, names in DBT_SCHEMAS.items():
        for name in names:
            getattr(importlib.import_module(module), name).json_schema()


if sys.argv[1:2] == ["scheduler"]:
    with warnings.catch_warnings():
        # skops asks every loaded module for a thousand names, and Airflow's old ones warn of each.
        warnings.simplefilter("ignore", FutureWarning)
        for module in PRELOADED:
            importlib.import_module(module)
    make_dbt_schemas()
