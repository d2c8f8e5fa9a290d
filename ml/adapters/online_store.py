"""Feast's SQLite online store, with a read that is right after a feature was removed.

Feast stores one row for each feature, and takes as the time of a key that of whichever row comes
last. The rows of a feature that was removed from its view stay, with the time of their last
write, and a fresh key looks as old as they are.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from datetime import UTC, datetime

from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.sqlite import (
    SqliteOnlineStore,
    SqliteOnlineStoreConfig,
    _quote_id,
    _table_id,
)
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig

_KEYS_AT_ONCE = 10_000  # SQLite takes 32,766 parameters in a statement


class ExactSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Options under `online_store` in feature_store.yaml; Feast finds the class by its name."""

    type: str = "ml.adapters.online_store.ExactSqliteOnlineStore"  # type: ignore[assignment]  # a literal there


class ExactSqliteOnlineStore(SqliteOnlineStore):
    """Reads only the features that were asked for; readers do not wait for a writer."""

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        is_new = self._conn is None
        connection: sqlite3.Connection = super()._get_conn(config)
        if is_new:
            connection.execute("pragma journal_mode = wal")
        return connection

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        keys = [
            serialize_entity_key(key, config.entity_key_serialization_version)
            for key in entity_keys
        ]
        names = requested_features or [feature.name for feature in table.features]
        versioned = config.registry.enable_online_feature_view_versioning
        select = (
            "select entity_key, feature_name, value, cast(event_ts as integer)"
            f" from {_quote_id(_table_id(config.project, table, versioned))}"
            f" where feature_name in ({_marks(names)}) and entity_key in "
        )
        times: dict[bytes, int] = {}
        values: defaultdict[bytes, dict[str, Value]] = defaultdict(dict)
        for some in (keys[i : i + _KEYS_AT_ONCE] for i in range(0, len(keys), _KEYS_AT_ONCE)):
            rows = self._get_conn(config).execute(f"{select}({_marks(some)})", [*names, *some])
            for key, name, value, seconds in rows:
                # A feature that was added later may be missing in rows written before.
                times[key] = max(seconds, times.get(key, seconds))
                values[key][name] = Value.FromString(value)
        return [
            (datetime.fromtimestamp(times[key], UTC), values[key]) if key in times else (None, None)
            for key in keys
        ]


def _marks(values: list[str] | list[bytes]) -> str:
    return ", ".join("?" * len(values))
