"""The feature store: Feast, with our own offline store and reader."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ml.core.errors import ConfigError, DataError, TransientError
from ml.core.partitions import Partition
from ml.core.spec import UseCase
from ml.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureService, FeatureStore, FeatureView

# DuckDB types that each Feast type may be stored as; Feast's own `apply` accepts anything.
_STORED_AS = {
    "Int64": ("BIGINT", "INTEGER"),
    "Float64": ("DOUBLE",),
    "String": ("VARCHAR",),
    "Bool": ("BOOLEAN",),
}


@dataclass(frozen=True)
class FeastFeatures:
    """Implements `ml.core.ports.FeatureStore`."""

    spec: UseCase
    settings: Settings

    @cached_property
    def _store(self) -> FeatureStore:
        from feast import FeatureStore

        folder = self.settings.home / "feast"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.update(
            MLOPS_SLUG=self.spec.slug,
            MLOPS_FEAST=str(folder),
            MLOPS_DUCKDB_MEMORY_LIMIT=self.settings.duckdb_memory_limit,
            MLOPS_DUCKDB_THREADS=str(self.settings.duckdb_threads),
        )
        return FeatureStore(
            repo_path=str(self._exports),  # what paths in the definitions are relative to
            fs_yaml_file=self.settings.feature_repo / f"feature_store.{self.settings.profile}.yaml",
        )

    @property
    def _exports(self) -> Path:
        return self.settings.home / "lake" / "features"

    @cached_property
    def _definitions(self) -> list[Any]:
        from feast import Entity, FeatureService, FeatureView

        module = import_module(f"feature_repo.{self.spec.slug}.features")
        kinds = (Entity, FeatureView, FeatureService)
        return [value for value in vars(module).values() if isinstance(value, kinds)]

    @cached_property
    def _service(self) -> FeatureService:
        from feast import FeatureService

        for found in self._definitions:
            if isinstance(found, FeatureService) and found.name == self.spec.features.service:
                return found
        raise ConfigError(
            f"no feature service {self.spec.features.service!r}",
            expected=f"one in feature_repo/{self.spec.slug}/features.py",
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(
            f"{view.name}__{feature.name}"
            for view in self._service.feature_view_projections
            for feature in view.features
        )

    @property
    def _views(self) -> list[FeatureView]:
        from feast import FeatureView

        return [found for found in self._definitions if isinstance(found, FeatureView)]

    def apply(self) -> None:
        for view in self._views:
            self._check_schema(view)
        with _quiet():
            self._store.apply(self._definitions)

    def _check_schema(self, view: FeatureView) -> None:
        source = view.batch_source
        assert source is not None
        files = self._exports / str(getattr(source, "path", ""))
        if not any(files.glob("*/*.parquet")):
            raise DataError(
                f"feature view {view.name} has no data in {files}",
                repair=f"run: flightline transform {self.spec.slug} …",
            )
        newest = max(files.glob("*/*.parquet"))
        described = duckdb.execute(f"describe select * from read_parquet('{newest}')").fetchall()
        stored = {name: kind for name, kind, *_ in described}
        for field in view.features:
            kinds = _STORED_AS.get(str(field.dtype), ())
            if stored.get(field.name) not in kinds:
                raise DataError(
                    f"feature {view.name}:{field.name} is {stored.get(field.name, 'missing')}",
                    expected=f"{field.dtype}, stored as {' or '.join(kinds) or 'nothing'}",
                    repair=f"mend the dbt model {source.name} or the feature view",
                )

    def materialize(self, partitions: Sequence[Partition]) -> int:
        # The window always ends at the newest watermark: with it, a day that is run again cannot
        # overwrite newer values, and the newest row of the whole window wins.
        views = [self._store.get_feature_view(view.name) for view in self._views]
        for view in views:
            start = partitions[0].start - (view.ttl or partitions[0].end - partitions[0].start)
            marks = [end for _, end in view.materialization_intervals]
            end = max([partitions[-1].end, *(_utc(mark) for mark in marks)])
            with _quiet(), _busy_is_transient():
                self._store.materialize(start, end, feature_views=[view.name])
        return len(views)

    def historical(self, events: pd.DataFrame, decided_at: str) -> pd.DataFrame:
        self.apply()  # what the repository defines, not what an earlier run left in the registry
        service = self._store.get_feature_service(self._service.name)
        keys = {
            column.name
            for projection in service.feature_view_projections
            for column in self._store.get_feature_view(projection.name).entity_columns
        }
        entities = events[[self.spec.key, *sorted(keys - {self.spec.key})]]
        job = self._store.get_historical_features(
            entities.assign(event_timestamp=events[decided_at]),
            features=service,
            full_feature_names=True,
        )
        # By key and by name: not every store keeps the rows' order, and none that of the columns.
        found = job.to_df().set_index(self.spec.key).loc[events[self.spec.key]]
        return events.assign(**{name: found[name].to_numpy("float64") for name in self.columns})


@contextmanager
def _busy_is_transient() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        raise TransientError(
            f"the online store is busy: {error}", repair="wait a moment, then run this again"
        ) from error


def _utc(time: datetime) -> datetime:
    from datetime import UTC

    return time if time.tzinfo else time.replace(tzinfo=UTC)


@contextmanager
def _quiet() -> Iterator[None]:
    """Feast prints progress bars and coloured lines, which a log cannot hold; its errors pass."""
    with Path(os.devnull).open("w") as sink, redirect_stdout(sink):
        errors, sys.stderr = sys.stderr, sink
        try:
            yield
        finally:
            sys.stderr = errors
