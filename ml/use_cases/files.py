"""The generic source: the rows of a table from the files that its spec names."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import polars as pl
import pyarrow as pa
from pyarrow.csv import ConvertOptions, ParseOptions, read_csv

from ml.core.errors import ConfigError, DataError
from ml.core.partitions import Cadence, Partition
from ml.core.spec import Files, Table, UseCase
from ml.use_cases import load_module
from ml.use_cases.times import Column, near, partition_keys, read_clock, to_utc

KEY = "partition_key"
REPOSITORY = Path(__file__).resolve().parents[2]
_CSV = (".csv", ".csv.gz", ".csv.zip")
_PARQUET = (".parquet", ".pq")
_KINDS = f"CSV ({', '.join(_CSV)}) or Parquet ({', '.join(_PARQUET)})"
_UNREADABLE = (
    OSError,
    BadZipFile,
    EOFError,
    zlib.error,
    ValueError,
    pa.ArrowException,
    pl.exceptions.PolarsError,
)


def read(spec: UseCase, table: Table, partitions: Sequence[Partition]) -> pl.DataFrame:
    """Rows of a table, from its `files`.

    In CSV the types are inferred, but what the table's contract says is text stays text.

    Args:
        partitions: which ones; a snapshot is read whole.

    Returns:
        The columns of the files. The time column and all times with an offset are UTC; unless the
        table is a snapshot, `partition_key` is added.

    Raises:
        ConfigError: if the spec names a package, variable or kind of file that is not there.
        DataError: if a file is missing or cannot be read, if files differ in their columns, or if
            a time says no instant. The text names the file and the value.
    """
    reader = _Reader(spec, table, partitions)
    return reader.together({path: reader.rows(path) for path in reader.paths()})


class _Reader:
    def __init__(self, spec: UseCase, table: Table, partitions: Sequence[Partition]) -> None:
        assert table.files is not None
        self.spec, self.table, self.partitions = spec, table, partitions
        self.files: Files = table.files
        self.place = f"Files of table {table.name} in ml/use_cases/{spec.slug}/spec.py"
        contracts = load_module(spec.slug, "contract").CONTRACTS if _has_contract(spec.slug) else {}
        columns = contracts[table.name].columns if table.name in contracts else {}
        self.texts = [name for name, dtype in columns.items() if dtype == pl.String]
        self.texts += [self.files.time] if self.files.time else []

    def paths(self) -> list[Path]:
        """The files, all of one kind, in the order of their names."""
        root = self._root()
        if root.is_file():
            if _kind(root):
                return [root]
            raise ConfigError(f"{root} is of no known kind", expected=_KINDS, repair=self._mend())
        if not root.is_dir():
            raise DataError(
                f"neither file nor folder: {root}",
                expected=f"the rows of {self.table.name}",
                repair=f"put it there, or mend `path` in {self.place}",
            )
        found = [p for p in sorted(root.rglob("*")) if _kind(p) and not _is_hidden(p, root)]
        kinds = {_kind(path): path for path in found}
        if len(kinds) != 1:
            seen = " and ".join(str(path) for path in kinds.values()) or "no such file"
            raise DataError(
                f"{seen} in {root}",
                expected=f"files of one kind: {_KINDS}",
                repair=f"take out what does not belong there, or mend `path` in {self.place}",
            )
        return found

    def _root(self) -> Path:
        path = re.sub(r"\$(\w+|\{\w+\})", self._variable, self.files.path)
        return self._base() / Path(path).expanduser()

    def _variable(self, match: re.Match[str]) -> str:
        name = match[1].strip("{}")
        if value := os.environ.get(name):
            return value
        raise ConfigError(
            f"the environment has no {name}",
            expected=f"what {self.files.path} of table {self.table.name} begins with",
            repair=f"export {name}=…, also for Airflow, or mend {self.place}",
        )

    def _base(self) -> Path:
        if not (name := self.files.package):
            return REPOSITORY
        found = find_spec(name)  # does not import it
        if found is None or not found.submodule_search_locations:
            raise ConfigError(
                f"no such package: {name}",
                expected=f"the one that brings {self.files.path}",
                repair=f"add it to pyproject.toml and run make setup, or mend {self.place}",
            )
        return Path(found.submodule_search_locations[0])

    def rows(self, path: Path) -> pl.DataFrame:
        """What a file holds of the partitions that are asked for."""
        rows = self._columns(path)
        if KEY in rows.columns and not self.table.is_snapshot:
            raise DataError(
                f"{path} has a column {KEY}",
                expected="another name: the platform adds one of that name",
                repair="rename it in the files",
            )
        zoned = [n for n, t in rows.schema.items() if isinstance(t, pl.Datetime) and t.time_zone]
        rows = rows.with_columns(pl.col(zoned).dt.convert_time_zone("UTC")) if zoned else rows
        return self._with_time(rows, path) if self.files.time else rows

    def _columns(self, path: Path) -> pl.DataFrame:
        try:
            if _kind(path) == "parquet":
                rows = pl.read_parquet(path, hive_partitioning=False)
            else:
                rows = self._csv(path)
        except (ConnectionError, TimeoutError):
            raise  # away for now; the caller says so
        except _UNREADABLE as error:
            raise DataError(
                f"cannot read {path}: {_reason(error)}",
                expected="Parquet" if _kind(path) == "parquet" else "CSV with a header, in UTF-8",
                repair=f"look at the file; where it comes from says {self.place}",
            ) from error
        texts = [n for n, t in rows.schema.items() if isinstance(t, pl.Categorical | pl.Enum)]
        return rows.with_columns(pl.col(texts).cast(pl.String)) if texts else rows

    def _csv(self, path: Path) -> pl.DataFrame:
        content = _content(path)
        _require_closed_quotes(content.decode("utf-8"))  # pyarrow would make it a column of bytes
        options = ConvertOptions(
            null_values=list(self.files.nulls),
            strings_can_be_null=True,
            column_types=dict.fromkeys(self.texts, pa.string()),
        )
        parsing = ParseOptions(newlines_in_values=True)
        # pyarrow.csv: polars is slow to infer timestamps, and infers from the first rows only.
        rows = pl.from_arrow(read_csv(pa.BufferReader(content), None, parsing, options))
        assert isinstance(rows, pl.DataFrame)
        return rows

    def _with_time(self, rows: pl.DataFrame, path: Path) -> pl.DataFrame:
        name, files = self.files.time, self.files
        if name not in rows.columns:
            raise DataError(
                f"{path} has no column {name}; it has {', '.join(rows.columns)}",
                expected="the column of the time, in CSV separated by commas",
                repair=f"mend the file, or `time` in {self.place}",
            )
        zone = files.zone or self.spec.zone
        column = Column(rows[name], files.time_format, zone, str(path), self.place)
        clock = read_clock(column)
        dated = not self.table.is_snapshot
        if dated and self.spec.cadence is Cadence.HOUR and clock.is_date.any():
            column.fail(
                int(clock.is_date.arg_true()[0]), "", "a time of day, too: a partition is an hour"
            )
        chosen = near(clock, list(self.partitions) if dated else None)
        found = rows[chosen].with_columns(to_utc(clock, column, chosen).alias(name))
        if not dated:
            return found
        keys = partition_keys(found[name], self.spec.calendar).alias(KEY)
        asked = [partition.key for partition in self.partitions]
        return found.with_columns(keys).filter(pl.col(KEY).is_in(asked))

    def together(self, frames: Mapping[Path, pl.DataFrame]) -> pl.DataFrame:
        """The rows of all files, whatever the order of their columns."""
        first, *others = frames
        names = frames[first].columns
        for path in others:
            for one, other in ((first, path), (path, first)):
                if lacking := [c for c in frames[one].columns if c not in frames[other].columns]:
                    raise DataError(
                        f"{other} has no column {', '.join(lacking)}, and {one} has",
                        expected="the same columns in all files of a table",
                        repair=f"mend the files, or let {self.place} name a folder without them",
                    )
        for name in names:
            self._require_one_type(name, {path: f.schema[name] for path, f in frames.items()})
        return pl.concat([f.select(names) for f in frames.values()], how="vertical_relaxed")

    def _require_one_type(self, name: str, types: Mapping[Path, pl.DataType]) -> None:
        """Numbers go together, and an empty column with any; polars would unite dates with them."""
        by_family = {_family(dtype): path for path, dtype in types.items() if dtype != pl.Null}
        if len(by_family) > 1:
            seen = ", ".join(f"{types[path]} in {path}" for path in by_family.values())
            raise DataError(
                f"column {name} is {seen}",
                expected="the same type in all files of a table",
                repair="mend the files; if it is text, say so in contract.py",
            )

    def _mend(self) -> str:
        return f"mend `path` in {self.place}"


def _has_contract(slug: str) -> bool:
    return (Path(__file__).parent / slug / "contract.py").exists()


def _family(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return f"times in {dtype.time_zone}"  # whatever their unit
    return "numbers" if dtype.is_numeric() else str(dtype)


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(_CSV):
        return "csv" if path.is_file() else ""
    return "parquet" if name.endswith(_PARQUET) and path.is_file() else ""


def _is_hidden(path: Path, root: Path) -> bool:
    """Files under way and marks of other tools, such as `_SUCCESS`."""
    return any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def _content(path: Path) -> bytes:
    if path.suffix.lower() == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix.lower() != ".zip":
        return path.read_bytes()
    with ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.lower().endswith(".csv")]
        inside = [n for n in names if not n.startswith("__MACOSX/")]
        if len(inside) != 1:
            raise ValueError(f"{len(inside)} CSV files in the archive instead of one")
        return archive.read(inside[0])


def _require_closed_quotes(text: str) -> None:
    """Or pyarrow takes all lines from the last quote on for one value, without a word."""
    if '"' not in text:
        return
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    end, begin, line = "\x1c", 0, 0
    rows = csv.reader(io.StringIO(f"{text}\n{end}", newline=""))
    for row in rows:
        if row == [end]:
            return
        begin, line = line, rows.line_num
    raise ValueError(f"a quote in line {begin + 1} does not end")


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):  # its own text would hold the whole file
        return f"byte {error.start} is not UTF-8"
    return f"{type(error).__name__}: {error}"
