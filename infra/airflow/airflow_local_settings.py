"""Imported by every Airflow process when it starts: database waits, and warm task processes.

A task is a fork of the scheduler's worker, so what the scheduler has imported costs a task nothing:
measured, three tasks with machine-learning imports took 1.4 s instead of 8.9 s.
Only imports belong here: an open connection or a running thread would be shared or lost by the
fork.
"""

import importlib
import sys

__all__: list[str] = []  # Airflow copies public names into its own settings: give it none

sqlite_connect_args = {"timeout": 30}  # seconds to wait for a lock; the default of 5 lost tasks

PRELOADED = (
    "pandas",
    "duckdb",
    "dataframely",
    "sklearn.pipeline",
    "lightgbm",
    "matplotlib.pyplot",
    "mlflow",
    "mlflow.lightgbm",
    "feast",
    "dbt.cli.main",
)

if sys.argv[1:2] == ["scheduler"]:
    for module in PRELOADED:
        importlib.import_module(module)
