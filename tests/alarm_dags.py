"""Dags that fail in every way, with the alarms of a real use case."""

from __future__ import annotations

from support import ROOT

_DAGS = '''
"""Each run fails as its `how` says. airflow dag"""
import os, signal, sys, time
from datetime import timedelta
sys.path.insert(0, {dags!r})
from airflow.sdk import dag, task
from ml.use_cases import load_spec
from orchestration import stages
from orchestration.alarms import Alarms
from orchestration.defaults import task_defaults

SPEC = load_spec({slug!r})
DEFAULTS = {{
    **task_defaults(SPEC),
    "retries": 1, "retry_delay": timedelta(seconds=1), "pool": "default_pool",
}}

def build(name, *, run_seconds, task_seconds):
    limit = {{"execution_timeout": timedelta(seconds=task_seconds)}}
    @dag(dag_id=name, schedule=None, default_args=DEFAULTS | limit, max_active_runs=8,
         dagrun_timeout=timedelta(seconds=run_seconds), on_failure_callback=Alarms(SPEC).run_failed)
    def made():
        @task
        def act(dag_run=None):
            how = dag_run.conf["how"]
            if how == "refuse":
                stages.run("ingest", SPEC.slug, first="no key at all")
            if how == "skip":
                stages.run("ingest", SPEC.slug, first={outside!r})
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if how in ("hang", "linger"):
                time.sleep(60)
        act()
    made()

build("alarm", run_seconds=600, task_seconds=300)
build("alarm_hang", run_seconds=600, task_seconds=2)
build("alarm_linger", run_seconds=2, task_seconds=300)
'''


def alarm_dags(slug: str, outside: str) -> str:
    """The text of the Dag file.

    Args:
        outside: a partition key that the use case's source does not have.
    """
    return _DAGS.format(dags=str(ROOT / "dags"), slug=slug, outside=outside)
