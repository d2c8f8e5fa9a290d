"""A Feast offline store that joins by time with DuckDB's `ASOF JOIN`.

Feast's own DuckDB store joins on the key and two range predicates and then ranks: the same cells
for 12 to 18 times the CPU and five times the memory. Whatever this store does not handle (other
formats than Parquet, renamed columns, the filter by created time) goes to the stock one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import duckdb
import ibis
import pandas as pd
import pyarrow as pa
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.duckdb import (
    DuckDBOfflineStore,
    DuckDBOfflineStoreConfig,
    _write_data_source,
)
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.saved_dataset import SavedDatasetStorage


class AsofDuckDBOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """Options under `offline_store` in feature_store.yaml; Feast finds the class by its name."""

    type: str = "ml.adapters.asof_store.AsofDuckDBOfflineStore"
    threads: int = 2
    memory_limit: str = "1GB"


class AsofDuckDBOfflineStore(DuckDBOfflineStore):
    """Point-in-time joins: for each row the newest feature row at or before it, within the TTL."""

    @staticmethod
    def get_historical_features(  # type: ignore[override]  # as in the store that this one extends
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        simple = all(_is_simple(view) for view in feature_views) and isinstance(
            entity_df, pd.DataFrame
        )
        if not simple or on_demand or filter_by_created_timestamp or not len(entity_df):
            return DuckDBOfflineStore.get_historical_features(
                config,
                feature_views,
                feature_refs,
                entity_df,
                registry,
                project,
                full_feature_names,
                filter_by_created_timestamp,
            )
        assert isinstance(entity_df, pd.DataFrame)
        events, time_column = _prepared(entity_df)
        first, last = (t.to_pydatetime() for t in events[time_column].agg(["min", "max"]))
        selected = [
            (view, [r.split(":", 1)[1] for r in feature_refs if r.split(":", 1)[0] == view.name])
            for view in feature_views
        ]
        sql = _asof_sql(config, selected, time_column, first, last, full_feature_names)
        keys = [column for column in entity_df.columns if column != time_column]
        return _DuckDBJob(
            sql,
            config,
            frames={"__events": pa.Table.from_pandas(events, preserve_index=False)},
            full_feature_names=full_feature_names,
            metadata=RetrievalMetadata(feature_refs, keys, first, last),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each key in this stretch of time; a correction beats its original."""
        newest = [c for c in (timestamp_field, created_timestamp_column) if c]
        columns = ", ".join(map(_name, join_key_columns + feature_name_columns + newest))
        order = ", ".join(f"{_name(column)} desc nulls last" for column in newest)
        time = f"{_name(timestamp_field)}::timestamptz"
        return _DuckDBJob(
            f"select {columns} from {_scan(config, data_source)} where {time} between "
            f"timestamptz {_text(start_date)} and timestamptz {_text(end_date)} "
            f"qualify row_number() over ("
            f"partition by {', '.join(map(_name, join_key_columns))} order by {order}) = 1",
            config,
        )


class _DuckDBJob(RetrievalJob):
    """A query that runs when its result is asked for."""

    def __init__(
        self,
        sql: str,
        config: RepoConfig,
        *,
        frames: Mapping[str, pa.Table] | None = None,
        full_feature_names: bool = False,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._sql, self._config, self._frames = sql, config, frames or {}
        self._full_feature_names, self._metadata = full_feature_names, metadata

    def _run(self) -> duckdb.DuckDBPyConnection:
        options = self._config.offline_store
        connection = duckdb.connect()
        connection.execute(f"set TimeZone = 'UTC'; set threads = {options.threads}")
        connection.execute(f"set memory_limit = {_text(options.memory_limit)}")
        for name, frame in self._frames.items():
            connection.register(name, frame)
        return connection

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._run().sql(self._sql).df()
        return frame

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._run().sql(self._sql).to_arrow_table()

    def to_sql(self) -> str:
        return self._sql

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return []

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        _write_data_source(
            ibis.memtable(self.to_arrow()),
            storage.to_data_source(),
            str(self._config.repo_path),
            "overwrite",
            allow_overwrite,
        )


def _is_simple(view: FeatureView) -> bool:
    source = view.batch_source
    return (
        type(source) is FileSource
        and isinstance(source.file_format, ParquetFormat | None)
        and not source.field_mapping
        and not view.projection.join_key_map
        and not view.projection.name_alias
    )


def _prepared(entity_df: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """A copy in microseconds, UTC (DuckDB compares them with no nanoseconds), and a row id."""
    events = entity_df.copy(deep=False)
    types = dict(zip(events.columns, events.dtypes, strict=True))
    time_column = offline_utils.infer_event_timestamp_from_entity_df(types)
    time = pd.to_datetime(events[time_column], utc=True)
    events[time_column] = time.astype("datetime64[us, UTC]")
    events["__row"] = range(len(events))
    return events, time_column


def _asof_sql(
    config: RepoConfig,
    selected: Sequence[tuple[FeatureView, list[str]]],
    time_column: str,
    first: datetime,
    last: datetime,
    full_names: bool,
) -> str:
    columns, joins = ["e.* exclude (__row)"], []
    for number, (view, features) in enumerate(selected):
        joins.append(_join(config, view, features, f"f{number}", time_column, first, last))
        fresh = "true"
        if view.ttl:
            seconds = int(view.ttl.total_seconds())
            fresh = f"f{number}.__at >= e.{_name(time_column)} - interval '{seconds} seconds'"
        for feature in features:
            name = f"{view.name}__{feature}" if full_names else feature
            columns.append(
                f"case when {fresh} then f{number}.{_name(feature)} end as {_name(name)}"
            )
    return f"select {', '.join(columns)} from __events e {' '.join(joins)} order by e.__row"


def _join(
    config: RepoConfig,
    view: FeatureView,
    features: Sequence[str],
    alias: str,
    time_column: str,
    first: datetime,
    last: datetime,
) -> str:
    source = view.batch_source
    assert source is not None
    keys = [column.name for column in view.entity_columns]
    time = f"{_name(source.timestamp_field)}::timestamptz"
    where = f"{time} <= timestamptz {_text(last)}"
    where += f" and {time} >= timestamptz {_text(first - view.ttl)}" if view.ttl else ""
    created = source.created_timestamp_column
    newest = f"order by {_name(created)} desc nulls last" if created else ""
    partition = ", ".join(map(_name, [*keys, source.timestamp_field]))
    on = " and ".join(f"e.{_name(key)} = {alias}.{_name(key)}" for key in keys)
    return (
        f"asof left join (select {', '.join(map(_name, [*keys, *features]))}, {time} as __at"
        f" from {_scan(config, source)} where {where}"
        f" qualify row_number() over (partition by {partition} {newest}) = 1) {alias}"
        f" on {on} and e.{_name(time_column)} >= {alias}.__at"
    )


def _scan(config: RepoConfig, source: Any) -> str:
    path = str(FileSource.get_uri_for_file_path(str(config.repo_path), source.path))
    path = path.removeprefix("file://")
    if not path.endswith(".parquet"):
        path = path.rstrip("/") + "/**/*.parquet"
    return f"read_parquet({_text(path)}, union_by_name = true, hive_partitioning = false)"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"
