"""The warehouse on DuckDB, built by dbt: one file, one target folder and one log for a use case."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ml.core.errors import DataError, TransientError
from ml.core.partitions import Partition
from ml.core.ports import BuildResult
from ml.core.spec import UseCase
from ml.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

_LOCKED = "Could not set lock on file"


def _messages(results: Any) -> str:
    return " ".join(str(r.message) for r in results or () if r.status in ("fail", "error"))


@dataclass(frozen=True)
class DuckDBWarehouse:
    """Implements `ml.core.ports.Warehouse`."""

    spec: UseCase
    settings: Settings

    @property
    def path(self) -> Path:
        return self.settings.home / "warehouse" / f"{self.spec.slug}.duckdb"

    @property
    def logs(self) -> Path:
        return self.settings.logs / "dbt" / self.spec.slug

    def environment(self) -> dict[str, str]:
        """What dbt_project.yml and profiles.yml read."""
        return {
            "MLOPS_SLUG": self.spec.slug,
            "MLOPS_LAKE": str(self.settings.home / "lake"),
            "MLOPS_WAREHOUSE": str(self.path),
            "MLOPS_DUCKDB_MEMORY_LIMIT": self.settings.duckdb_memory_limit,
            "MLOPS_DUCKDB_THREADS": str(self.settings.duckdb_threads),
            "DBT_TARGET_PATH": str(self.settings.home / "dbt" / self.spec.slug),
            "DBT_LOG_PATH": str(self.logs),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        }

    def build(self, partitions: Sequence[Partition]) -> BuildResult:
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        self.path.parent.mkdir(parents=True, exist_ok=True)
        project = str(self.settings.dbt_project)
        os.environ.update(self.environment())
        folders = ["--project-dir", project, "--profiles-dir", project]
        # Naive UTC, which is what these flags of dbt are; vars would make it parse everything anew.
        start, end = (
            f"{time:%Y-%m-%dT%H:%M:%S}" for time in (partitions[0].start, partitions[-1].end)
        )
        window = ["--event-time-start", start, "--event-time-end", end]
        result = dbtRunner().invoke(["--quiet", "--no-use-colors", "build", *window, *folders])
        DuckDBConnectionManager.close_all_connections()  # or the file stays locked in this process
        if _LOCKED in f"{result.exception}" or _LOCKED in _messages(result.result):
            raise self._busy()
        if result.exception:
            raise DataError(
                f"dbt could not build {self.spec.slug}: {result.exception}",
                repair=f"read {self.logs / 'dbt.log'}",
            ) from result.exception
        built: Any = result.result  # dbt types it for all of its commands together
        nodes = {r.node.name: (str(r.status), float(r.execution_time)) for r in built}
        if not result.success:
            self._fail(built)
        return BuildResult(nodes)

    def _fail(self, results: Sequence[Any]) -> None:
        failed = [r for r in results if r.status in ("fail", "error")]
        lines = [f"{r.node.name}: {r.message or r.status}" for r in failed]
        raise DataError(
            "dbt: " + "; ".join(lines),
            expected="every model builds and every test passes; what depends on them was not built",
            repair=f"read {self.logs / 'dbt.log'}, mend the data or the model, run transform again",
        )

    def _busy(self) -> TransientError:
        return TransientError(
            f"another process has {self.path} open",
            expected="one writer at a time, and no reader beside it",
            repair="close it there, then run this again",
        )

    @contextmanager
    def _connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if not self.path.exists():
            raise DataError(
                f"there is no warehouse at {self.path}",
                repair=f"run flightline transform {self.spec.slug} first",
            )
        try:
            connection = duckdb.connect(str(self.path), read_only=True)
        except duckdb.IOException as error:
            if _LOCKED in str(error):
                raise self._busy() from error
            raise DataError(f"cannot open the warehouse: {error}") from error
        try:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute(f"set memory_limit = '{self.settings.duckdb_memory_limit}'")
            connection.execute(f"set threads = {self.settings.duckdb_threads}")
            yield connection
        finally:
            connection.close()  # a DuckDB file that is open has no other writer

    def export(self, table: str, partitions: Sequence[Partition]) -> Iterator[pa.Table]:
        order = f"{self.spec.decided_at}, {self.spec.key}"
        with self._connect() as connection:
            for partition in partitions:
                values: list[object] = [partition.start, partition.end]
                query = f"select * from {table} where event_at >= ? and event_at < ? order by all"
                if table == self.spec.mart:
                    values = [partition.key]
                    query = f"select * exclude partition_key from {table} where partition_key = ?"
                    query += f" order by {order}"
                yield connection.sql(query, params=values).to_arrow_table()
