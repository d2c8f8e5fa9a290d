"""The feature store: Feast, with our own offline store and reader."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from ml.adapters.feature_definitions import Definitions
from ml.adapters.feature_exports import Stamp, check_schema, exported_files, stamps, unreadable
from ml.adapters.files import database_error, storage_errors
from ml.adapters.online import read_online
from ml.core.errors import ConfigError, DataError, TransientError
from ml.core.online import OnlineFeatures
from ml.core.partitions import Partition
from ml.core.spec import UseCase
from ml.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from feast import FeatureService, FeatureStore, FeatureView

_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_ROW = "row_of_events"
FEATURES_KNOWN_AT = "features_known_at"
"""Of `historical`: when the newest feature row became known that an event's features are of."""


@dataclass(frozen=True)
class FeastFeatures:
    """Implements `ml.core.ports.FeatureStore`."""

    spec: UseCase
    settings: Settings

    @property
    def folder(self) -> Path:
        return self.settings.home / "feast"

    @cached_property
    def _store(self) -> FeatureStore:
        from feast import FeatureStore

        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        os.environ.update(
            MLOPS_SLUG=self.spec.slug,
            MLOPS_FEAST=str(self.folder),
            MLOPS_DUCKDB_MEMORY_LIMIT=self.settings.duckdb_memory_limit,
            MLOPS_DUCKDB_THREADS=str(self.settings.duckdb_threads),
        )
        return FeatureStore(
            repo_path=str(self._exports),  # what paths in the definitions are relative to
            fs_yaml_file=self.settings.feature_repo / f"feature_store.{self.settings.profile}.yaml",
        )

    @property
    def _exports(self) -> Path:
        return self.settings.lake / "features"

    @cached_property
    def _definitions(self) -> Definitions:
        return Definitions.load(self.spec.slug)

    @property
    def _service(self) -> FeatureService:
        return self._definitions.service(self.spec.features.service)

    def keys(self, table: str) -> tuple[str, ...]:
        for view in self._definitions.views:
            if view.batch_source is not None and view.batch_source.name == table:
                return tuple(self._definitions.key_types(view))
        raise ConfigError(
            f"no feature view reads the table {table!r}",
            expected=f"one in feature_repo/{self.spec.slug}/features.py",
            repair="define it, or take the table out of `features` in the spec",
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(
            f"{view.name}__{feature.name}"
            for view in self._service.feature_view_projections
            for feature in view.features
        )

    def _files(self, view: FeatureView) -> list[Path]:
        folder = self._exports / str(getattr(view.batch_source, "path", ""))
        return exported_files(folder, view=view.name, slug=self.spec.slug)

    @cached_property
    def _checked(self) -> set[Stamp]:
        """Files whose schema was compared already: a year of them takes half a second."""
        return set()

    def _check(self) -> None:
        self._definitions.check_services(self._store.list_feature_services())
        for view in self._definitions.views:
            found = stamps(self._files(view))
            if fresh := [stamp for stamp in found if stamp not in self._checked]:
                files = [file for file, *_ in fresh]
                check_schema(view, self._definitions.key_types(view), files)
                self._checked.update(fresh)

    def apply(self) -> None:
        with self._typed_errors(), _quiet():
            self._check()
            names = {view.name for view in self._definitions.views}
            gone = [view for view in self._store.list_feature_views() if view.name not in names]
            self._store.apply(
                self._definitions.copies(),
                objects_to_delete=gone,  # type: ignore[arg-type]  # a list of one kind is one, too
                partial=False,
            )

    def materialize(self, partitions: Sequence[Partition]) -> int:
        with self._typed_errors(), _quiet():
            views = self._store.list_feature_views()
            marks = [end for view in views for _, end in view.materialization_intervals]
            newest = max([partitions[-1].end, *(_utc(mark) for mark in marks)])
            # What is older than the TTL at the newest watermark is of no use online. All that is
            # not is written each time: late rows, corrections of any day, features that are new.
            starts = {view.name: newest - view.ttl if view.ttl else _EVER for view in views}
            for start in sorted(set(starts.values())):
                names = [name for name, of_view in starts.items() if of_view == start]
                self._store.materialize(start, newest, feature_views=names)
        return len(views)

    def historical(self, events: pd.DataFrame, decided_at: str) -> pd.DataFrame:
        import pandas as pd

        with self._typed_errors():
            self._check()
            keys = self._keys(events, repair=f"add it to the mart {self.spec.mart}")
            with _quiet():  # what the repository defines, not what an earlier run registered
                self._store.apply(self._definitions.copies())
            found = self._joined(events[keys].assign(event_timestamp=events[decided_at]))
        values = np.empty((len(self.columns), len(events)))  # one block: pandas would copy columns
        for row, name in zip(values, self.columns, strict=True):
            row[:] = found[name].cast("float64", safe=False).to_numpy()
        features = pd.DataFrame(values.T, events.index, list(self.columns), copy=False)
        known_at = pd.Series(self._known_at(found), events.index, name=FEATURES_KNOWN_AT)
        return pd.concat([events, features, known_at.dt.tz_localize("UTC")], axis=1, copy=False)

    def _known_at(self, found: pa.Table) -> np.ndarray:
        """When the newest of the rows that were used became known; shape (n,), UTC.

        NaT where there was none, and everywhere if the store does not say.
        """
        from ml.adapters.asof_store import known_at_column

        names = [known_at_column(view.name) for view in self._service.feature_view_projections]
        if not set(names) <= set(found.column_names):
            return np.full(len(found), np.datetime64("NaT", "us"))
        newest: np.ndarray = np.fmax.reduce([found[name].to_numpy() for name in names])
        return newest

    def _joined(self, questions: pd.DataFrame) -> pa.Table:
        """The features as known at `event_timestamp`, in the order of the questions."""
        job = self._store.get_historical_features(
            questions.assign(**{_ROW: range(len(questions))}),
            features=self._service,
            full_feature_names=True,
            filter_by_created_timestamp=True,
        )
        found: pa.Table = job.to_arrow()
        rows = found[_ROW].to_numpy()  # not every store keeps the order
        return found if (rows[:-1] < rows[1:]).all() else found.sort_by(_ROW)

    def online(self, entities: pd.DataFrame, at: datetime) -> OnlineFeatures:
        keys = self._keys(entities, repair="give every key; None where there is none")
        views = {
            projection.name: [feature.name for feature in projection.features]
            for projection in self._service.feature_view_projections
        }
        defined = {name: self._definitions.view(name) for name in views}
        with self._typed_errors():
            return read_online(
                self._store,
                entities[keys],
                at,
                features=views,
                keys={name: self._definitions.key_types(view) for name, view in defined.items()},
                ttls={name: view.ttl for name, view in defined.items()},
            )

    def _keys(self, frame: pd.DataFrame, *, repair: str) -> list[str]:
        """The service's join keys, all of which are columns of this frame."""
        keys = {
            key
            for projection in self._service.feature_view_projections
            for key in self._definitions.key_types(self._definitions.view(projection.name))
        }
        if absent := sorted(keys - set(frame.columns)):
            raise ConfigError(
                f"no column {', '.join(absent)} among {', '.join(map(str, frame.columns))}",
                expected=f"every join key of {self.spec.features.service}",
                repair=repair,
            )
        return sorted(keys)

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        from sqlalchemy.exc import OperationalError

        try:
            yield
        except (sqlite3.OperationalError, OperationalError) as error:
            raise self._database_error(error) from error
        except duckdb.OutOfMemoryException as error:
            raise ConfigError(
                f"DuckDB needs more memory than {self.settings.duckdb_memory_limit}: {error}",
                repair="set MLOPS_DUCKDB_MEMORY_LIMIT higher, or read fewer partitions at once",
            ) from error
        except duckdb.Error as error:
            files = [file for view in self._definitions.views for file in self._files(view)]
            raise unreadable(files, error) from error

    def _database_error(self, error: Exception) -> Exception:
        text = str(getattr(error, "orig", error))
        if "locked" in text:
            return TransientError(
                f"a database in {self.folder} is busy: {text}",
                expected="one writer at a time",
                repair="wait a moment, then run this again",
            )
        if told := database_error(text, self.folder / f"{self.spec.slug}.online.sqlite"):
            return told
        if "no such table" in text:
            return DataError(
                f"nothing was materialized in {self.folder} yet: {text}",
                repair=f"run: flightline materialize {self.spec.slug} …",
            )
        return error


def _utc(time: datetime) -> datetime:
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
