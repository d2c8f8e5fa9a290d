"""The warehouse on DuckDB, built by dbt: one file, one target folder and one log for a use case."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from ml.adapters.dbt_code import code_digests
from ml.adapters.files import replacing, storage_errors
from ml.adapters.variables import only_ours
from ml.core.errors import ConfigError, DataError, TransientError
from ml.core.partitions import Partition
from ml.core.ports import BuildResult, Finding
from ml.core.spec import UseCase
from ml.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from dbt.cli.main import dbtRunnerResult

_LOCKED = "Could not set lock on file"


_FULL = ("No space left", "File too large", "Could not write", "disk is full", "Out of disk")
_CLOSED = ("Read-only file system", "Permission denied")
_SAMPLE_ROWS = 5


def _messages(results: Any) -> str:
    return " ".join(str(r.message) for r in results or () if r.status in ("fail", "error"))


def _results(result: Any) -> Any:
    """What ran; some commands return something else."""
    return result if hasattr(result, "results") else ()


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
        """What dbt_project.yml, profiles.yml and the macros read."""
        coverage = [self.spec.partition(key) for key in dict(self.spec.coverage).values()]
        return {
            "MLOPS_SLUG": self.spec.slug,
            "MLOPS_COVERAGE_START": _naive(coverage[0].start),
            "MLOPS_COVERAGE_END": _naive(coverage[-1].end),
            "MLOPS_LAKE": str(self.settings.lake),
            "MLOPS_WAREHOUSE": str(self.path),
            "MLOPS_DUCKDB_MEMORY_LIMIT": self.settings.duckdb_memory_limit,
            "MLOPS_DUCKDB_THREADS": str(self.settings.duckdb_threads),
            "DBT_TARGET_PATH": str(self.settings.home / "dbt" / self.spec.slug),
            "DBT_LOG_PATH": str(self.logs),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        }

    def build(self, partitions: Sequence[Partition]) -> BuildResult:
        # Naive UTC, which is what these flags of dbt are; vars would make it parse everything anew.
        start, end = (_naive(time) for time in (partitions[0].start, partitions[-1].end))
        window = ["--event-time-start", start, "--event-time-end", end]
        # Unit tests look at models, not at data: `make test` runs them.
        only = ["--exclude-resource-type", "unit_test"]
        with self._all_or_nothing():
            result = self.invoke(["--quiet", "--no-use-colors", "build", *window, *only])
            self._require_room_and_lock(f"{result.exception} {_messages(result.result)}")
            if isinstance(result.exception, KeyboardInterrupt):
                raise result.exception
            if result.exception:
                raise DataError(
                    f"dbt could not build {self.spec.slug}: {result.exception}",
                    repair=f"read {self.logs / 'dbt.log'}",
                ) from result.exception
            built: Any = result.result  # dbt types it for all of its commands together
            found = self._findings(built)
            if not result.success:
                raise self._failure(found)
        return BuildResult(
            nodes={r.node.name: (str(r.status), float(r.execution_time)) for r in built},
            warnings=tuple(found),
        )

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Rows that fail their tests must not be there when the next partition is built.

        A copy is made before, empty if there is nothing to copy; one that is still there is of a
        build that was killed.
        """
        copy = self.path.with_suffix(".before")
        if self.path.exists():
            # What a kill has left may be no database any more; then only the copy counts.
            with suppress(DataError) if copy.exists() else nullcontext():
                self._require_unlocked()
        if copy.exists():
            self._restore(copy)
        with replacing(copy) as temporary:
            if self.path.exists():
                shutil.copyfile(self.path, temporary)
            else:
                temporary.touch()
        try:
            yield
        except BaseException:
            self._restore(copy)
            raise
        copy.unlink(missing_ok=True)

    def _restore(self, copy: Path) -> None:
        self.path.with_suffix(".duckdb.wal").unlink(missing_ok=True)
        shutil.rmtree(self.path.with_suffix(".duckdb.tmp"), ignore_errors=True)
        if copy.stat().st_size:
            copy.replace(self.path)
        else:
            self.path.unlink(missing_ok=True)
            copy.unlink()

    def _require_unlocked(self) -> None:
        with self._connect():
            pass

    def _require_room_and_lock(self, text: str) -> None:
        if _LOCKED in text:
            raise self._busy()
        if any(sign in text for sign in _FULL):
            raise TransientError(
                f"no room for the warehouse {self.path}",
                expected="space for it and for a copy while it is built",
                repair="free some space, then run this again; it is as it was before",
            )
        if any(sign in text for sign in _CLOSED):
            raise ConfigError(
                f"no access to the warehouse {self.path}",
                expected="folders that this user may read and write",
                repair=f"mend owner, permissions or mount of {self.path.parent}; "
                f"{self.logs / 'dbt.log'} may say more",
            )

    def invoke(self, arguments: Sequence[str]) -> dbtRunnerResult:
        """Run dbt in this process on this use case's project, files and folders."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        project = str(self.settings.dbt_project)
        result = None
        try:
            with storage_errors(self.path), only_ours(self.environment()):
                result = dbtRunner().invoke(
                    [*arguments, "--project-dir", project, "--profiles-dir", project]
                )
            if result.exception:  # its frames hold a pool that dbt left open: Python's end stumbles
                traceback.clear_frames(result.exception.__traceback__)
            return result
        finally:  # or the file stays locked in this process
            DuckDBConnectionManager.close_all_connections()
            if result is None or not result.success:
                gc.collect()  # from Python 3.13 on, what has failed holds a connection in a cycle

    def command(self, arguments: Sequence[str]) -> int:
        if self.path.exists():
            self._require_unlocked()
        result = self.invoke(arguments)
        self._require_room_and_lock(f"{result.exception} {_messages(_results(result.result))}")
        if result.exception:
            raise ConfigError(f"dbt: {result.exception}", repair="see: dbt --help") from (
                result.exception
            )
        return 0 if result.success else 3

    def _findings(self, results: Sequence[Any]) -> list[Finding]:
        reported = [r for r in results if r.status in ("fail", "error", "warn")]
        samples: dict[str, tuple[Mapping[str, str], ...]] = {}
        if with_rows := [r for r in reported if r.failures and r.node.compiled_code]:
            with self._connect() as connection:
                for one in with_rows:
                    samples[one.node.unique_id] = _sample(connection, one.node.compiled_code)
        return [
            Finding(
                model=str(getattr(r.node, "attached_node", None) or r.node.name).split(".")[-1],
                test=r.node.name,
                status=str(r.status),
                rows=int(r.failures or 0),
                message=str(r.message or r.status),
                sample=samples.get(r.node.unique_id, ()),
            )
            for r in reported
        ]

    def _failure(self, found: Sequence[Finding]) -> DataError:
        failed = [one for one in found if one.status != "warn"]
        lines = ["dbt: " + "; ".join(map(str, failed))]
        for one in failed:
            lines += [f"  {one.test}: {_line(row)}" for row in one.sample]
        return DataError(
            "\n".join(lines),
            expected="every model builds and every test passes; what depends on them was not built",
            repair=f"read {self.logs / 'dbt.log'}, mend the data or the model, run transform again",
            details=[dataclasses.asdict(one) for one in sorted(found, key=_warnings_last)],
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
            self._require_room_and_lock(str(error))
            raise DataError(f"cannot open the warehouse: {error}") from error
        try:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute(f"set memory_limit = '{self.settings.duckdb_memory_limit}'")
            connection.execute(f"set threads = {self.settings.duckdb_threads}")
            yield connection
        finally:
            connection.close()  # a DuckDB file that is open has no other writer

    def export(self, table: str, partitions: Sequence[Partition]) -> Iterator[pa.Table]:
        with self._connect() as connection:
            columns = connection.sql(f"select * from {table} limit 0").columns
            for chunk in (partitions[i : i + 31] for i in range(0, len(partitions), 31)):
                if "partition_key" in columns:
                    yield from _by_key(connection, table, chunk)
                else:
                    yield from _by_time(connection, table, chunk)

    def models(self, table: str = "") -> Mapping[str, str]:
        return code_digests(self.settings.dbt_project, self.spec.slug, table)


def _by_key(
    connection: duckdb.DuckDBPyConnection, table: str, partitions: Sequence[Partition]
) -> Iterator[pa.Table]:
    query = f"""select * from {table} where partition_key between ? and ?
                order by partition_key, columns(* exclude partition_key)"""
    keys = [partition.key for partition in partitions]
    rows = connection.sql(query, params=[keys[0], keys[-1]]).to_arrow_table()
    stored = rows["partition_key"].to_numpy()
    for key in keys:
        first = int(np.searchsorted(stored, key, "left"))
        after = int(np.searchsorted(stored, key, "right"))
        yield rows.slice(first, after - first).drop_columns(["partition_key"])


def _by_time(
    connection: duckdb.DuckDBPyConnection, table: str, partitions: Sequence[Partition]
) -> Iterator[pa.Table]:
    query = f"""select * from {table} where event_at >= ? and event_at < ?
                order by event_at, columns(* exclude event_at)"""
    window = [partitions[0].start, partitions[-1].end]
    rows = connection.sql(query, params=window).to_arrow_table()
    stored = rows["event_at"].to_numpy()
    for partition in partitions:
        first, after = (
            int(np.searchsorted(stored, np.datetime64(time.replace(tzinfo=None), "us")))
            for time in (partition.start, partition.end)
        )
        yield rows.slice(first, after - first)


def _sample(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Mapping[str, str], ...]:
    """A few of the rows that a data test selects; none if it cannot be run again."""
    try:
        rows = connection.sql(f"select * from ({query}) limit {_SAMPLE_ROWS}")
        return tuple(
            {name: str(value) for name, value in zip(rows.columns, row, strict=True)}
            for row in rows.fetchall()
        )
    except duckdb.Error:
        return ()


def _warnings_last(found: Finding) -> bool:
    return found.status == "warn"


def _line(row: Mapping[str, str]) -> str:
    shown = [f"{name}={value}" for name, value in row.items()]
    return ", ".join(shown[:8]) + (" …" if len(shown) > 8 else "")


def _naive(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}"
