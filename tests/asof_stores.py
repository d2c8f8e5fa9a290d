"""Our offline store and the stock one over the same rows, and the definition in plain Python."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

T0 = datetime(2013, 11, 3, 6, tzinfo=UTC)  # New York turns its clocks back
COLUMNS = ("key", "hour", "event_at", "created_at", "x", "n")
VIEWS = {  # name: join keys, time to live
    "short": (("key", "hour"), timedelta(hours=3)),
    "ever": (("key", "hour"), timedelta(0)),
    "by_key": (("key",), timedelta(hours=3)),
    "by_hour": (("hour",), timedelta(hours=2, microseconds=1)),
}


def hours(number: float) -> datetime:
    return T0 + timedelta(hours=number)


class Stores:
    """Our store and the stock one over the same files, and the definition in plain Python."""

    def __init__(self, folder: Path, rows: list[tuple[Any, ...]], kind: Any = None) -> None:
        self.folder = folder
        self.rows = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        self.definitions = self._definitions()
        kind = kind or pa.timestamp("us", "UTC")
        for number, part in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :], [])):
            path = folder / "rows" / f"partition_key={number}" / "data.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(_table(part, kind), path)
        self.ours = self._open("ours", "ml.adapters.asof_store.AsofDuckDBOfflineStore")
        self.stock = self._open("stock", "duckdb")

    def _definitions(self) -> list[Any]:
        from feast import Entity, FeatureView, Field, FileSource, ValueType
        from feast.types import Float64, Int64

        entities = {
            "key": Entity(name="key", join_keys=["key"], value_type=ValueType.STRING),
            "hour": Entity(name="hour", join_keys=["hour"], value_type=ValueType.INT64),
        }
        source = FileSource(
            name="rows",
            path=f"{self.folder}/rows/**/*.parquet",
            timestamp_field="event_at",
            created_timestamp_column="created_at",
        )
        schema = [Field(name="x", dtype=Float64), Field(name="n", dtype=Int64)]
        views = [
            FeatureView(
                name=name,
                entities=[entities[key] for key in keys],
                ttl=ttl,
                schema=schema,
                source=source,
            )
            for name, (keys, ttl) in VIEWS.items()
        ]
        return [*entities.values(), *views]

    def _open(self, name: str, kind: str) -> Any:
        from feast import FeatureStore, RepoConfig

        config = RepoConfig(
            project="compare",
            provider="local",
            registry={"registry_type": "sql", "path": f"sqlite:///{self.folder}/{name}.db"},
            offline_store={"type": kind},
            online_store={"type": "sqlite", "path": str(self.folder / f"{name}.online.db")},
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config, repo_path=str(self.folder))
        store.apply([*self.definitions])
        return store

    def ask(self, store: Any, events: pd.DataFrame, *, known_then: bool) -> pd.DataFrame:
        names = [f"{view}:{name}" for view in VIEWS for name in ("x", "n")]
        found = store.get_historical_features(
            events.assign(row=range(len(events))),
            names,
            full_feature_names=True,
            filter_by_created_timestamp=known_then,
        ).to_df()
        found = found.sort_values("row")[[name.replace(":", "__") for name in names]]
        return found.reset_index(drop=True).astype("float64")

    def define(self, events: pd.DataFrame, *, known_then: bool) -> pd.DataFrame:
        """The definition: the newest row that was there, and known, and is not too old."""
        found = [
            {
                f"{view}__{name}": value
                for view, (keys, ttl) in VIEWS.items()
                for name, value in self._answer(event, keys, ttl, known_then).items()
            }
            for event in events.to_dict("records")
        ]
        return pd.DataFrame(found, dtype="float64")

    def _answer(
        self, event: dict[str, Any], keys: tuple[str, ...], ttl: timedelta, known_then: bool
    ) -> dict[str, Any]:
        at = event["event_timestamp"].tz_convert("UTC").to_pydatetime()
        best: Any = None
        for row in self.rows:
            created = row["created_at"]
            if any(event[key] is None or row[key] != event[key] for key in keys):
                continue
            if row["event_at"] > at or (ttl and row["event_at"] + ttl < at):
                continue
            if known_then and (created is None or created > at):
                continue
            rank = (row["event_at"], created or datetime.min.replace(tzinfo=UTC))
            if best is None or rank > best[0]:
                best = (rank, row)
        return {name: best[1][name] if best else None for name in ("x", "n")}


def _table(rows: list[tuple[Any, ...]], kind: pa.DataType) -> pa.Table:
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True)) if rows else {}
    types = [pa.string(), pa.int64(), kind, kind, pa.float64(), pa.int64()]
    if kind.tz is None:  # a time without zone is one in UTC
        for name in ("event_at", "created_at"):
            columns[name] = [t and t.replace(tzinfo=None) for t in columns.get(name, [])]
    arrays = [pa.array(columns.get(n, []), t) for n, t in zip(COLUMNS, types, strict=True)]
    return pa.table(arrays, names=COLUMNS)


def questions(rows: list[tuple[Any, Any, Any]], zone: str = "UTC") -> pd.DataFrame:
    events = pd.DataFrame(rows, columns=["key", "hour", "event_timestamp"])
    at = pd.to_datetime(events["event_timestamp"], utc=True).dt.tz_convert(zone)
    return events.assign(event_timestamp=at, hour=events["hour"].astype("Int64"))


def story() -> list[tuple[Any, ...]]:
    return [
        ("a", 1, hours(-5), hours(-5), 1.0, 1),
        ("a", 1, hours(-1), hours(-1), 2.0, None),
        ("a", 1, hours(-1), hours(+9), 2.5, 3),  # a correction of the row before
        ("a", 1, hours(0), hours(0), None, 4),  # a null is a value
        ("a", 2, hours(-3), hours(-3), 5.0, 5),
        ("b", 1, hours(-2), hours(-2), 6.0, 6),
        ("b", 1, hours(+1), hours(+1), 7.0, 7),
        ("c", 1, hours(-30), hours(-30), 8.0, 8),
        ("d", 3, hours(-2), hours(-1), 9.0, 9),  # known late,
        ("d", 3, hours(-1.5), hours(-1), 10.0, 10),  # together with a newer row
        ("e", 4, hours(-2), hours(+1), 11.0, 11),  # known after a newer row: never the answer
        ("e", 4, hours(-1), hours(-1), 12.0, 12),
        ("f", 5, hours(-2), None, 13.0, 13),
    ]
