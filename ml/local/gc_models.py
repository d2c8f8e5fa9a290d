"""MLflow's runs that nobody needs any more, and the training sets of runs that are gone.

What a registered version needs is its run, the points of that run's search, and its training set.
Found by SQL, because a look must not take the seconds that MLflow's import does.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ml.adapters import sqlite
from ml.local.gc_items import DAY_SECONDS, Item, Waste, files_below, of_files, older

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from ml.settings import Settings

_MARK = "flightline.gc"  # of a run whose deletion has begun
# A version's run, the run of its model if that is another one, and the points of their searches.
_KEPT = """
with recursive kept(run_uuid) as (
    select run_id from model_versions where run_id <> ''
    union
    select m.source_run_id from logged_models m
    join model_versions v on v.source = 'models:/' || m.model_id
    where m.source_run_id <> ''
    union
    select t.run_uuid from tags t
    join kept k on t.key = 'mlflow.parentRunId' and t.value = k.run_uuid
)"""
# What a person has deleted stays restorable for as long as an old run of ours would have stayed.
_OLD_RUNS = f"""{_KEPT}
select r.run_uuid, coalesce(r.end_time, r.start_time, 0), r.artifact_uri
from runs r join experiments e using (experiment_id)
where r.run_uuid not in (select run_uuid from kept)
and case r.lifecycle_stage
    when 'deleted' then r.deleted_time < :before or exists (
        select 1 from tags t where t.run_uuid = r.run_uuid and t.key = '{_MARK}')
    else e.name in (select value from json_each(:slugs))
        and coalesce(r.end_time, r.start_time, 0) < :before
    end
order by 2, 1"""


def runs(where: Settings, now: float, slugs: Sequence[str]) -> Waste:
    """Old runs that have no version: experiments, broken-off trainings, what was deleted."""
    days = where.keep_runs_days
    before = (now - days * DAY_SECONDS) * 1000
    with sqlite.opened(where.mlflow_database) as database:
        asked = {"before": before, "slugs": json.dumps(list(slugs))}
        found = database.execute(_OLD_RUNS, asked).fetchall()
        items = tuple(
            Item(run_id, sum(map(_size, _folders(database, run_id, uri))), ended / 1000)
            for run_id, ended, uri in found
        )
    rule = f"older than {days} days, without a registered version"
    return Waste("MLflow runs", rule, items, lambda chosen: _delete_runs(where, chosen))


def training_sets(where: Settings, now: float, going: Sequence[Item]) -> Waste:
    """Those that no run refers to that stays.

    Args:
        going: runs that are deleted before.
    """
    days, root = where.keep_runs_days, where.lake
    gone = {item.name for item in going}
    with sqlite.opened(where.mlflow_database) as database:
        tags = database.execute("select run_uuid, value from tags where key = 'dataset.sha256'")
        needed = {digest[:32] for run_id, digest in tags if run_id not in gone}
    old = older(files_below(root / "training_sets"), now - days * DAY_SECONDS)
    unneeded = (path for path in old if path.parent.name not in needed)
    return of_files("training sets", f"older than {days} days, of no run", root, unneeded)


def _folders(database: sqlite3.Connection, run_id: str, uri: str) -> Iterator[Path]:
    """Where a run and its models keep their files, if each has a folder of its own here."""
    models = database.execute(
        "select model_id, artifact_location from logged_models where source_run_id = ?", (run_id,)
    )
    for name, location in ((run_id, uri), *models):
        parts = urlsplit(location or "")
        folder = Path(unquote(parts.path)).parent
        if parts.scheme in ("", "file") and folder.name == name:
            yield folder


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in files_below(folder))


def _delete_runs(where: Settings, items: Sequence[Item]) -> None:
    """As `mlflow gc` does, which cannot be asked for some runs only.

    It also deletes whatever lies in its trash. The row of a run goes last, so that a deletion which
    was killed is found again and finished.
    """
    from ml.adapters.mlflow_client import client

    mlflow = client(f"sqlite:///{where.mlflow_database}")
    store: Any = mlflow._tracking_client.store  # it offers hard deletion to its own command only
    for item in items:
        with sqlite.opened(where.mlflow_database) as database:
            found = database.execute(
                "select artifact_uri from runs where run_uuid = ?", (item.name,)
            ).fetchone()
            if found is None:  # somebody has deleted it meanwhile
                continue
            folders = list(_folders(database, item.name, *found))
            models = database.execute(
                "select model_id from logged_models where source_run_id = ?", (item.name,)
            ).fetchall()
        _trash(mlflow, item.name)
        for folder in folders:
            if where.artifacts in folder.parents:
                shutil.rmtree(folder, ignore_errors=True)
        for (model_id,) in models:
            store._hard_delete_logged_model(model_id)
        store._hard_delete_run(item.name)


def _trash(mlflow: MlflowClient, run_id: str) -> None:
    if mlflow.get_run(run_id).info.lifecycle_stage == "active":
        mlflow.set_tag(run_id, _MARK, "deleting")
        mlflow.delete_run(run_id)
