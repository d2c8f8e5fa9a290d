"""Rows of Airflow's database that are old: deleted by Airflow's own command."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from sqlite3 import Connection
from typing import TYPE_CHECKING

from ml.adapters import sqlite
from ml.core.errors import TransientError
from ml.local.environment import platform_environment
from ml.local.gc_items import DAY_SECONDS, Item, Waste
from ml.local.ports import load_ports
from ml.local.secrets import load_secrets
from ml.local.supervisor import SCRIPTS

if TYPE_CHECKING:
    from ml.settings import Settings

_AREA = "Airflow history (rows)"
# Not `dag`: a Dag that was not parsed for long may be one whose platform was down for long.
_TABLES = "asset_event,callback,dag_run,dag_version,import_error,job,log,partitioned_asset_key_log"
_TABLES += ",revoked_token,task_instance,task_instance_history,task_reschedule,xcom"
_BATCH_ROWS = 500  # a transaction of a few hundredths of a second: the scheduler writes in between
# Airflow keeps the newest run of each Dag that nobody started by hand: schedules go on from it.
_OLD_ROWS = """
select 'dag_run ' || id, start_date from dag_run where start_date < :before and id not in (
    select id from (
        select id, row_number() over (partition by dag_id order by start_date desc) as place
        from dag_run where run_type <> 'manual'
    ) where place = 1)
union all
select 'task_instance ' || id, start_date from task_instance where start_date < :before
union all
select 'log ' || id, dttm from log where dttm < :before
union all
select 'job ' || id, latest_heartbeat from job where latest_heartbeat < :before
"""
# Not a run's `start_date`: each start of the platform sets it anew (`airflow_db.hand_over`), and a
# run that was cleared is queued anew, while its tasks keep their times.
_UNFINISHED = """
with unfinished as (select * from dag_run where state not in ('success', 'failed'))
select min(time) from (
    select coalesce(queued_at, run_after) as time from unfinished
    union all
    select task.start_date from task_instance task join unfinished using (dag_id, run_id))"""


def history(where: Settings, now: float) -> Waste:
    """Runs, tasks and log rows that are old; older than whatever is still unfinished."""
    days = where.keep_airflow_days
    before = datetime.fromtimestamp(now - days * DAY_SECONDS, UTC).replace(tzinfo=None)
    rule = f"older than {days} days and than any run that is not finished"
    with sqlite.opened(where.airflow_database) as connection:
        if not _has_tables(connection):
            return Waste(_AREA, rule, (), lambda _: None)
        [(unfinished,)] = connection.execute(_UNFINISHED)
        if unfinished:
            before = min(before, datetime.fromisoformat(unfinished))
        found = connection.execute(_OLD_ROWS, {"before": before.isoformat(" ", "microseconds")})
        items = tuple(Item(name, 0, _seconds(time)) for name, time in found)
    return Waste(_AREA, rule, items, lambda _: _clean(where, before))


def _has_tables(connection: Connection) -> bool:
    """A first start that was cut off leaves a file without them, and without anything to delete."""
    found = connection.execute("select name from sqlite_master where type = 'table'")
    return {name for (name,) in found} >= {"dag_run", "task_instance", "log", "job"}


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _clean(where: Settings, before: datetime) -> None:
    command = [str(SCRIPTS / "airflow"), "db", "clean", "--yes", "--skip-archive"]
    command += ["--clean-before-timestamp", f"{before.isoformat()}+00:00", "--tables", _TABLES]
    command += ["--batch-size", str(_BATCH_ROWS), "--error-on-cleanup-failure"]
    ports = load_ports(where)
    env = platform_environment(where, load_secrets(where), ports, inherited=os.environ)
    done = subprocess.run(
        command, check=False, env=env, cwd=where.home, capture_output=True, text=True
    )
    if done.returncode:
        raise TransientError(
            "airflow db clean failed: " + " | ".join(done.stderr.strip().splitlines()[-3:]),
            expected="Airflow's database, not locked for longer than 30 s",
            repair="run this again; if it fails again, with the platform down: flightline down",
        )
