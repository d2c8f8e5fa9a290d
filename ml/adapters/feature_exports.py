"""The exported Parquet files, compared with what the feature views declare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ml.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from feast import FeatureView

# DuckDB types that each Feast type may be stored as; Feast's own `apply` accepts anything.
_INTEGERS = ("BIGINT", "INTEGER")
_FEATURES = {"Int64": _INTEGERS, "Float64": ("DOUBLE",), "Bool": ("BOOLEAN",)}
_KEYS = {"INT64": _INTEGERS, "STRING": ("VARCHAR",)}
_TIME = ("TIMESTAMP WITH TIME ZONE",)  # in microseconds: Feast's own stores fail on nanoseconds

Stamp: TypeAlias = tuple[Path, int, int]


def exported_files(folder: Path, *, view: str, slug: str) -> list[Path]:
    """The files of a feature view.

    Raises:
        DataError: if there is none.
    """
    if files := sorted(folder.glob("*/*.parquet")):
        return files
    raise DataError(
        f"feature view {view} has no data in {folder}",
        repair=f"run: flightline transform {slug} …",
    )


def stamps(files: Sequence[Path]) -> list[Stamp]:
    """What tells whether a file was replaced: a writer replaces files whole."""
    return [(file, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files]


def check_schema(view: FeatureView, keys: Mapping[str, str], files: Sequence[Path]) -> None:
    """Every file has the view's keys, times and features, in types that Feast can read.

    All of them, not only the newest: DuckDB would read a retyped or missing column of an older
    partition as nulls, or as another type.

    Args:
        keys: Feast type of each join key.

    Raises:
        ConfigError: if the view declares a feature that is no number, or another type of key.
        DataError: naming the column, its type and the file.
    """
    stored = _schemas(files)
    model = str(view.batch_source.name) if view.batch_source else ""
    for described, (column, kinds) in _expected(view, keys).items():
        for kind, where in stored[column].items():
            if kind not in kinds:
                raise _mismatch(described, kind, kinds, where, model)
        having = {file for where in stored[column].values() for file in where}
        if lacking := sorted({str(file) for file in files} - having):
            raise _mismatch(described, "missing", kinds, lacking, model)


def _expected(
    view: FeatureView, keys: Mapping[str, str]
) -> Mapping[str, tuple[str, Sequence[str]]]:
    """Column and allowed types of all that the view reads, by what it is called in errors."""
    source = view.batch_source
    assert source is not None
    declared = [(f"key {key} of {view.name}", key, kind, _KEYS) for key, kind in keys.items()]
    declared += [
        (f"feature {view.name}:{field.name}", field.name, str(field.dtype), _FEATURES)
        for field in view.features
    ]
    for described, _, kind, known in declared:
        if kind not in known:
            raise ConfigError(
                f"{described} is declared as {kind}", expected=f"one of {', '.join(known)}"
            )
    times = filter(None, (source.timestamp_field, source.created_timestamp_column))
    return {
        **{f"time {time} of {view.name}": (time, _TIME) for time in times},
        **{described: (column, known[kind]) for described, column, kind, known in declared},
    }


def _schemas(files: Sequence[Path]) -> Mapping[str, Mapping[str, list[str]]]:
    """For each column the files that have it, by its DuckDB type."""
    names = [str(file) for file in files]
    try:
        rows = duckdb.execute(
            "select name, duckdb_type, list(file_name order by file_name)"
            " from parquet_schema(?) group by all",
            [names],
        ).fetchall()
    except duckdb.Error as error:
        raise unreadable(files, error) from error
    found: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    for name, kind, where in rows:
        found[name][kind] = where
    return found


def _mismatch(
    what: str, seen: str, kinds: Sequence[str], files: Sequence[str], model: str
) -> DataError:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return DataError(
        f"{what} is {seen} in {files[0]}{more}",
        expected=" or ".join(kinds),
        repair=f"mend the dbt model {model} or the feature view; "
        "a partition that is older than the model's code must be transformed again",
    )


def unreadable(files: Sequence[Path], error: duckdb.Error) -> DataError:
    """The error that names the file: DuckDB's own does not always."""
    for file in files:
        try:
            pq.read_table(file, partitioning=None)
        except (pa.ArrowException, OSError) as reason:
            return DataError(
                f"cannot read {file}: {_first_line(reason)}",
                expected="a Parquet file, as transform writes it",
                repair="delete it and transform its partition again",
            )
    return DataError(
        f"cannot join the exported features: {_first_line(error)}",
        repair="compare the types of the events with those of the feature views' keys",
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
