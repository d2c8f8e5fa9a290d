"""Interfaces between the stages and the outside: each has one module in `ml/adapters`.

A stage gets a `Platform` and knows nothing of what is behind it, so the production profile replaces
adapters and leaves the stages alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from ml.core.errors import DataError
from ml.core.online import OnlineFeatures
from ml.core.partitions import Partition
from ml.core.release import Release
from ml.core.spec import UseCase
from ml.core.trained_run import TrainedRun

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa


class Lake(Protocol):
    """Partitioned Parquet: `area/table/partition`, each written whole or not at all.

    Areas are `raw`, `quarantine`, `stopped`, `mended`, `receipts`, `marts`, `features`,
    `predictions` and `training_sets`. A partition key of None means a table without partitions.
    """

    def write(
        self,
        area: str,
        table: str,
        key: str | None,
        rows: pa.Table,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Replace one partition; returns the SHA-256 of the stored file, 64 digits.

        Args:
            metadata: stored in the file itself, so it is replaced together with the rows.

        Raises:
            TransientError: if the storage is full or away; what was there stays.
        """
        ...

    def metadata(self, area: str, table: str, key: str | None) -> Mapping[str, str]:
        """What `write` got as metadata; empty if there is no such partition."""
        ...

    def address(self, area: str, table: str, key: str | None) -> str:
        """Where a partition is: a path or a URL."""
        ...

    def read(self, area: str, table: str, keys: Sequence[str | None] | None = None) -> pa.Table:
        """All rows of these partitions (None: of all), with a column `partition_key`.

        Raises:
            DataError: if there is no such partition, or its file cannot be read.
        """
        ...

    def remove(self, area: str, table: str, key: str | None) -> None:
        """Drop one partition; fine if there is none."""
        ...

    def tables(self, area: str) -> tuple[str, ...]:
        """Tables of an area that hold anything, in order."""
        ...

    def keys(self, area: str, table: str) -> tuple[str, ...]:
        """Keys of the partitions that exist, in order."""
        ...

    def count(self, area: str, table: str, key: str | None) -> int:
        """Number of rows of one partition; 0 if there is none."""
        ...

    def digest(self, area: str, table: str, keys: Sequence[str] | None = None) -> str:
        """SHA-256 over names and contents of these partitions (None: of all), 64 digits."""
        ...


@dataclass(frozen=True)
class Finding:
    """What a data test found.

    Attributes:
        status: warn or fail, or error if a model or a test did not run at all.
        rows: how many rows failed; 0 for an error.
        sample: a few of them, as text.
    """

    model: str
    test: str
    status: str
    rows: int
    message: str
    sample: tuple[Mapping[str, str], ...] = ()

    def __str__(self) -> str:
        if not self.rows:
            return f"{self.test}: {self.message}"
        return f"{self.test} of {self.model}: {self.rows} row(s)"


@dataclass(frozen=True)
class BuildResult:
    """What one run of the transformations did.

    Attributes:
        nodes: status and seconds of each model and test, by name.
        warnings: what the data tests found that does not stop anything.
    """

    nodes: Mapping[str, tuple[str, float]]
    warnings: tuple[Finding, ...] = ()

    def count(self, *statuses: str) -> int:
        return sum(status in statuses for status, _ in self.nodes.values())


class Warehouse(Protocol):
    """The transformations and their tables."""

    def build(self, partitions: Sequence[Partition]) -> BuildResult:
        """Build and test the slice of these partitions.

        Raises:
            DataError: naming the models and tests that failed, with a sample of the rows; the
                tables are as they were before.
            TransientError: if another process has them open, or the disk is full.
        """
        ...

    def export(self, table: str, partitions: Sequence[Partition]) -> Iterator[pa.Table]:
        """For each partition its rows of a table, in a fixed order.

        A table with a column `partition_key` is split by it, any other by event time.
        """
        ...

    def command(self, arguments: Sequence[str]) -> int:
        """Run any command of the tool behind the tables.

        Returns:
            0, or 3 if what it ran has failed.

        Raises:
            ConfigError: if it was called wrongly.
        """
        ...

    def models(self, table: str = "") -> Mapping[str, str]:
        """SHA-256 of the code of each file that decides what the tables hold, by its name.

        Args:
            table: only what this table is made from.
        """
        ...


class FeatureStore(Protocol):
    """Point-in-time reads for training and scoring, and the online store."""

    def apply(self) -> None:
        """Register entities, views and services exactly as the repository defines them.

        A view that is gone from the definitions goes, with its rows in the online store. Nothing is
        changed unless all checks pass.

        Raises:
            ConfigError: if a service, one that was registered earlier included, names a feature
                that is not defined any more.
            DataError: if the exported data does not have the declared columns, in any partition.
            TransientError: if another process holds the registry.
        """
        ...

    def materialize(self, partitions: Sequence[Partition]) -> int:
        """Bring the online store up to these partitions; returns the number of views.

        Writes the newest row of each key in the time to live before the newest watermark that any
        run ever reached, whichever partitions these are: an older partition that is run again
        never overwrites a newer value, a correction or a late row of it arrives, and so does a
        feature that was added. A run that dies leaves the watermarks, and running it again mends.

        Raises:
            DataError: if an exported file cannot be read, naming it.
            TransientError: if another process holds the online store, or the disk is full.
        """
        ...

    def historical(self, events: pd.DataFrame, decided_at: str) -> pd.DataFrame:
        """`events` in its order, with the service's features as they were known at `decided_at`.

        Of the rows with event time and created time at or before the decision the one with the
        newest event time counts, if it is not older than the view's time to live; a correction
        that came later is not seen. The last column, `features_known_at`, says when the newest
        feature that was used became known, UTC; NaT where there was none or the store does not say.

        Raises:
            ConfigError: as `apply`; or if `events` lacks a join key.
            DataError: as `apply`; or if an exported file cannot be read, naming it.
        """
        ...

    def online(self, entities: pd.DataFrame, at: datetime) -> OnlineFeatures:
        """The service's features of these entities at one time, from the online store.

        The store keeps the newest row of each key, whenever that row became known, with its event
        time in whole seconds. A key that is None or of another type is unknown, and the others of
        its batch are not touched.

        Args:
            entities: the service's join keys, one row for each question.
            at: with a time zone.

        Raises:
            ConfigError: if a join key is no column, or `at` has no zone.
            DataError: if the store was never materialized with these definitions.
        """
        ...

    def keys(self, table: str) -> tuple[str, ...]:
        """Columns that identify an entity in an exported feature table.

        Raises:
            ConfigError: if no feature view reads this table.
        """
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the service's features as `historical` returns them, in a fixed order."""
        ...


class Model(Protocol):
    """A loaded model."""

    kind: str
    """What it is: rule, logistic or lightgbm."""
    columns: tuple[str, ...]
    """What it reads; categorical columns hold text."""
    contract_sha256: str
    """Digest of columns, their order and the categories behind each code, 64 digits."""

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Probability of class 1 or value, shape (n,); of each class, shape (n, classes).

        Raises:
            DataError: if a column is missing.
        """
        ...

    def interval(self, features: pd.DataFrame) -> np.ndarray | None:
        """Lower and upper end around each value, shape (n, 2); None if it has learned none."""
        ...


@dataclass(frozen=True)
class ModelVersion:
    """A registered version and where to look at it."""

    version: int
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    url: str = ""
    description: str = ""


class Tracking(Protocol):
    """Experiments and runs."""

    def ping(self) -> None:
        """Raise `TransientError` if the store does not answer, before the work and not after."""
        ...

    def find(self, identity: str) -> str | None:
        """Id of the finished run with this identity whose model can still be loaded.

        Stale unfinished runs are closed: every one of this identity that is open counts as stale,
        which assumes one writer to a home, as the lock of the stages grants.
        """
        ...

    def log_training(self, run: TrainedRun) -> str:
        """Record a training; returns the run's id once everything is stored."""
        ...

    def log_validation(
        self,
        run_id: str,
        evidence: Mapping[str, Any],
        metrics: Mapping[str, float],
        *,
        tables: Mapping[str, pd.DataFrame] | None = None,
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a validation's evidence to the run of its candidate, replacing what was there.

        Args:
            evidence: everything that the verdicts rest on, and the verdicts, for JSON.
            metrics: as they appear in the tracking UI.
            tables, figures: path of the artifact to data frame and to Matplotlib figure.
        """
        ...

    def document(self, run_id: str, path: str) -> str:
        """Text of an artifact of a run.

        Raises:
            DataError: if the run has no such artifact.
        """
        ...

    def tags(self, run_id: str) -> Mapping[str, str]:
        """All tags of a run."""
        ...

    def url(self, run_id: str) -> str:
        """Page of a run in the tracking UI; empty without a server."""
        ...

    def evidence(self, run_id: str) -> Mapping[str, Any] | None:
        """What `log_validation` stored for the candidate of this run, if it was judged."""
        ...

    def load_model(self, run_id: str, *, any_contract: bool = False) -> Model:
        """The model of a run.

        Args:
            any_contract: also one whose contract is not the recorded one; for the validation,
                whose gate says so.

        Raises:
            DataError: if a stored file is gone or is not the one that was recorded.
        """
        ...

    def load_rule(self, run_id: str) -> Model:
        """The rule that the model of a run has to beat.

        Raises:
            DataError: as `load_model`.
        """
        ...


class Registry(Protocol):
    """Registered versions and what is released; the full release process replaces it."""

    def register(
        self, run_id: str, tags: Mapping[str, str], *, description: str = ""
    ) -> ModelVersion:
        """The version of this run, made if there is none yet."""
        ...

    def describe(self, version: int, description: str) -> None:
        """Replace what a version says of itself; Markdown for people."""
        ...

    def version(self, version: int) -> ModelVersion:
        """One version with its tags and aliases.

        Raises:
            ConfigError: if there is no such version.
        """
        ...

    def versions(self) -> tuple[ModelVersion, ...]:
        """All versions, oldest first."""
        ...

    def tag(self, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        ...

    def releases(self) -> tuple[Release, ...]:
        """Every revision that was ever in force, oldest first."""
        ...

    def publish(self, release: Release) -> None:
        """Put a revision in force; publishing the same one again repairs aliases and tags.

        Raises:
            DataError: if its champion or canary is not registered any more; nothing is written.
        """
        ...


@dataclass(frozen=True)
class Platform:
    """Everything outside, for one use case."""

    spec: UseCase
    lake: Lake
    warehouse: Warehouse
    features: FeatureStore
    tracking: Tracking
    registry: Registry
    code_digest: str
    code_tags: Mapping[str, str]

    def data_time(self) -> datetime:
        """The end of the newest partition that was ingested.

        Raises:
            DataError: if there is none.
        """
        table = next(t.name for t in self.spec.tables if not t.is_snapshot)
        keys = self.lake.keys("raw", table)
        if not keys:
            raise DataError(
                f"nothing of {self.spec.slug} was ingested yet",
                repair=f"run: flightline ingest {self.spec.slug} {self.spec.coverage.first}",
            )
        return self.spec.calendar.parse(keys[-1]).end
