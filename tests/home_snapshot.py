"""Everything that the stages of a use case leave in a home, so that two homes can be compared.

What may differ, and is left out or made alike:

- ids of runs, models and data sets: each is called by its name;
- clock times: of runs, versions, metrics, Feast's objects, and in `MLmodel`;
- what was measured: seconds and CPU time, and what is drawn or told from it;
- runs that a kill has broken off, with their trials, models and files: a record of the kill. None
  of them may still be open;
- caches and logs: `dbt/`, `logs/`, `locks/`, and the side files of SQLite.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import pyarrow.parquet as pq

Snapshot: TypeAlias = dict[str, dict[str, str]]

_MEASURED = re.compile(r"latency|seconds|cpu")
_CACHES = ("dbt/", "logs/", "locks/")
_DATABASES = re.compile(r"(\.duckdb|\.sqlite|\.db)$|\.(sqlite|db)-(wal|shm|journal)$")
_RUNNING, _FINISHED = "RUNNING", "FINISHED"
_READY = 2  # of a logged model


def snapshot(home: Path, slug: str, temporary: Path | None = None) -> Snapshot:
    """By area, and in it by name, what can be compared.

    Args:
        temporary: where the stages were told to put what is temporary.
    """
    found: Snapshot = {"lake": _lake(home / "lake"), "files": _others(home, temporary)}
    if (warehouse := home / "warehouse" / f"{slug}.duckdb").exists():
        found["warehouse"] = _warehouse(warehouse)
    if (feast := home / "feast").exists():
        found["online"] = _online(feast / f"{slug}.online.sqlite")
        found["features"] = _feature_registry(feast / "registry.sqlite")
    if (mlflow := home / "mlflow" / "mlflow.db").exists():
        with closing(sqlite3.connect(mlflow)) as connection:
            found |= _Mlflow(connection, home / "mlflow" / "artifacts" / slug).areas()
    return found


def differences(one: Snapshot, other: Snapshot) -> list[str]:
    """What is not the same, as `area: name`, in words where it is short."""
    told = []
    for area in sorted(one.keys() | other.keys()):
        before, after = one.get(area, {}), other.get(area, {})
        for name in sorted(before.keys() | after.keys()):
            was, now = before.get(name, "nothing"), after.get(name, "nothing")
            if was != now:
                told.append(f"{area}: {name}: {was[:200]} -> {now[:200]}")
    return told


def _digest(content: bytes | str) -> str:
    return sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]


# --- files ---


def _lake(root: Path) -> dict[str, str]:
    """Digest of each partition: of its file, or of predictions without what was measured."""
    found = {}
    for path in root.rglob("data.parquet"):
        name = path.relative_to(root).as_posix()
        found[name] = _digest(path.read_bytes())
        if name.startswith("predictions/"):
            rows = pq.ParquetFile(path).read()
            kept = [column for column in rows.column_names if not _MEASURED.search(column)]
            found[name] = _digest(str(rows.select(kept).to_pylist()))
    return found


def _others(home: Path, temporary: Path | None) -> dict[str, str]:
    """Files that no other area looks at, by name only: what is left over is among them."""
    found = {}
    for path in home.rglob("*"):
        name = path.relative_to(home).as_posix()
        is_known = name.startswith((*_CACHES, "mlflow/artifacts/")) or _DATABASES.search(name)
        if path.is_file() and not is_known and path.name != "data.parquet":
            found[name] = "a file"
    for path in temporary.rglob("*") if temporary else ():
        found[f"(temporary) {path.relative_to(temporary)}"] = "there"  # type: ignore[arg-type]
    return found


# --- tables ---


def _warehouse(path: Path) -> dict[str, str]:
    """Number and digest of the rows of each table, in any order."""
    with duckdb.connect(str(path), read_only=True) as connection:
        connection.execute("set threads = 1")
        tables = connection.execute(
            "select table_schema || '.' || table_name from information_schema.tables"
            " where table_type = 'BASE TABLE'"
        ).fetchall()
        query = "select count(*), sum(hash(t)::hugeint), bit_xor(hash(t)) from {} as t"
        return {name: str(connection.execute(query.format(name)).fetchone()) for (name,) in tables}


def _rows(connection: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def _online(path: Path) -> dict[str, str]:
    """Number and digest of the rows of each table of the online store."""
    with closing(sqlite3.connect(path)) as connection:
        tables = _rows(connection, "select name from sqlite_master where type = 'table'")
        found = {}
        for (table,) in tables:
            rows = sorted(map(repr, _rows(connection, f"select * from {table!r}")))
            found[table] = f"{len(rows)} rows, {_digest(''.join(rows))}"
        return found


def _feature_registry(path: Path) -> dict[str, str]:
    """Each view's definition and watermark; how many objects there are of every other kind."""
    from feast.protos.feast.core.FeatureView_pb2 import FeatureView

    with closing(sqlite3.connect(path)) as connection:
        tables = _rows(connection, "select name from sqlite_master where type = 'table'")
        found = {
            table: str(_rows(connection, f"select count(*) from {table!r}")[0][0])
            for (table,) in tables
        }
        for (content,) in _rows(connection, "select feature_view_proto from feature_views"):
            view = FeatureView.FromString(content)
            view.spec.batch_source.ClearField("meta")  # times
            spec = _digest(view.spec.SerializeToString(deterministic=True))
            ends = [one.end_time.ToDatetime() for one in view.meta.materialization_intervals]
            newest = max(ends, default=None)
            found[f"view {view.spec.name}"] = f"definition {spec}, watermark {newest}"
    return found


# --- MLflow ---


class _Mlflow:
    """Runs and registry of a use case, with names in the place of ids."""

    def __init__(self, connection: sqlite3.Connection, artifacts: Path) -> None:
        self._connection, self._artifacts = connection, artifacts
        self._status = dict(self._all("select run_uuid, status from runs"))
        self._tags = self._by_id("select run_uuid, key, value from tags")
        self._runs = self._named_runs()
        self._models = self._named_models()
        ids = {**self._runs, **self._models}
        self._ids = re.compile("|".join(map(re.escape, ids)) or "(?!)")
        self._named = ids

    def _all(self, query: str) -> list[tuple[Any, ...]]:
        return _rows(self._connection, query)

    def _by_id(self, query: str) -> dict[str, dict[str, str]]:
        found: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for key, name, value in self._all(query):
            found[key][name] = str(value)
        return found

    def _named_runs(self) -> dict[str, str]:
        """Of the finished ones; a trial is called by its parent, too."""
        names = dict(self._all("select run_uuid, name from runs"))
        found = {}
        for run, name in names.items():
            parent = self._tags[run].get("mlflow.parentRunId", run)
            if self._status[run] == self._status[parent] == _FINISHED:
                found[run] = name if parent == run else f"{names[parent]}/{name}"
        return found

    def _named_models(self) -> dict[str, str]:
        query = "select model_id, name, source_run_id, status from logged_models"
        return {
            model: f"model {name}"
            for model, name, run, status in self._all(query)
            if run in self._runs and status == _READY
        }

    def areas(self) -> Snapshot:
        return {
            "runs": self._run_area(),
            "models": self._model_area(),
            "artifacts": dict(self._artifact_area()),
            "registry": dict(self._registry_area()),
        }

    def _plain(self, values: Mapping[str, Any]) -> str:
        """As text that can be compared: without what was measured, names in the place of ids."""
        kept = {k: _without_measured(v) for k, v in values.items() if not _MEASURED.search(k)}
        return self._ids.sub(self._name, json.dumps(kept, sort_keys=True))

    def _name(self, match: re.Match[str]) -> str:
        return self._named[match[0]]

    def _run_area(self) -> dict[str, str]:
        states = list(self._status.values())
        ready = self._all(f"select source_run_id from logged_models where status = {_READY}")
        found = {
            "still open": str(states.count(_RUNNING)),
            "models of runs that broke off": str(sum(run not in self._runs for (run,) in ready)),
            "names": str(sorted(self._runs.values())),
        }
        params = self._by_id("select run_uuid, key, value from params")
        points = "select run_uuid, key || ' ' || step || ' ' || is_nan, value from metrics"
        metrics = self._by_id(points)
        twice = self._by_id(
            "select run_uuid, key || ' ' || step, count(*) from metrics group by 1, 2"
        )
        inputs = self._by_id(
            "select destination_id, name, digest from inputs join datasets"
            " on source_id = dataset_uuid"
        )
        kinds = {"tags": self._tags, "params": params, "metrics": metrics, "inputs": inputs}
        kinds["points"] = twice
        for run, name in self._runs.items():
            for kind, values in kinds.items():
                found |= {
                    f"{name} {kind} {k}": self._plain({"": v})
                    for k, v in values[run].items()
                    if not _MEASURED.search(k)
                }
        return found

    def _model_area(self) -> dict[str, str]:
        kinds = {
            kind: self._by_id(f"select model_id, {key}, {value} from logged_model_{kind}")
            for kind, key, value in (
                ("tags", "tag_key", "tag_value"),
                ("params", "param_key", "param_value"),
                ("metrics", "metric_name || metric_step", "metric_value"),
            )
        }
        return {
            f"{name} {kind}": self._plain(values[model])
            for model, name in self._models.items()
            for kind, values in kinds.items()
        }

    def _artifact_area(self) -> Iterator[tuple[str, str]]:
        for name, folder in [(n, self._artifacts / i) for i, n in self._runs.items()] + [
            (n, self._artifacts / "models" / i) for i, n in self._models.items()
        ]:
            for path in folder.rglob("*"):
                if path.is_file():
                    yield f"{name} {path.relative_to(folder)}", self._content(path)

    def _content(self, path: Path) -> str:
        if path.suffix == ".json":
            return _digest(self._plain({"": json.loads(path.read_text())}))
        if path.name == "MLmodel":
            lines = path.read_text().splitlines()
            kept = [line for line in lines if not line.startswith("utc_time_created")]
            return _digest(self._ids.sub(self._name, "\n".join(kept)))
        return _digest(path.read_bytes())

    def _registry_area(self) -> Iterator[tuple[str, str]]:
        tags = self._by_id("select version, key, value from model_version_tags")
        query = (
            "select version, run_id, source, status, current_stage, description from model_versions"
        )
        for version, *rest in self._all(query):
            yield f"version {version}", self._plain({"": rest})
            for key, value in tags[version].items():
                yield f"version {version} tag {key}", self._plain({"": value})
        for table in ("registered_model_aliases", "registered_model_tags"):
            for row in self._all(f"select * from {table}"):
                yield f"{table} {row[:2]}", self._plain({"": row})
        for name, text in self._all("select name, description from registered_models"):
            yield f"model {name}", _digest(text or "")
        for key, value in self._all("select key, value from experiment_tags"):
            yield f"experiment {key}", _digest(value)


def _without_measured(value: Any) -> Any:
    """The same without what was measured, in dictionaries of any depth and texts that hold them."""
    if isinstance(value, dict):
        return {k: _without_measured(v) for k, v in value.items() if not _MEASURED.search(str(k))}
    if isinstance(value, list | tuple):
        return [_without_measured(one) for one in value]
    if isinstance(value, str) and value.startswith("{"):
        try:
            return _without_measured(json.loads(value))
        except ValueError:
            return value
    return value
