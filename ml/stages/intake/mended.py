"""Files with mended rows: written from the quarantine, changed by hand, and read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ml.core.errors import ConfigError, DataError
from ml.core.ports import Platform
from ml.core.spec import Table
from ml.stages.intake.compare import FLAGS, STAMP
from ml.stages.intake.deliveries import Delivery, partition_name
from ml.stages.intake.judge import GIVEN, KEY, NULLED, STOPPED, STOPPED_BY, contracts
from ml.stages.intake.memory import Mended, conformed, given_digest, recall

_VERDICT = ("outcome", "reasons")
_SEPARATOR = "; "


def quarantined(platform: Platform, table: str, key: str | None) -> pl.DataFrame:
    """The rows of a delivery that was stopped, or else the quarantined rows of what is in the lake.

    They have `outcome` and `reasons`.
    """
    area = STOPPED if was_stopped(platform, table, key) else "quarantine"
    found = frame(platform, area, table, key)
    return found.drop(KEY) if key is None else found


def was_stopped(platform: Platform, table: str, key: str | None) -> bool:
    """Whether a whole delivery waits: nothing of it is in the lake."""
    return STOPPED_BY in platform.lake.metadata(STOPPED, table, key)


def frame(platform: Platform, area: str, table: str, key: str | None) -> pl.DataFrame:
    """One partition of the lake."""
    found = pl.from_arrow(platform.lake.read(area, table, [key]))
    assert isinstance(found, pl.DataFrame)
    return found


def write(rows: pl.DataFrame, path: Path) -> None:
    """Write rows to a .parquet or a .csv file.

    Raises:
        ConfigError: if it is neither, or cannot be written there.
    """
    suffix = _suffix(path)
    try:
        if suffix == ".parquet":
            rows.write_parquet(path)
        else:
            joined = rows.with_columns(pl.col("reasons").list.join(_SEPARATOR))
            joined.write_csv(path, quote_style="non_numeric")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error}", repair="choose another file") from error


def _suffix(path: Path) -> str:
    if path.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"unknown kind of file: {path}", expected="a .parquet or a .csv file")
    return path.suffix


def delivery(platform: Platform, table: Table, key: str | None, path: Path) -> Delivery:
    """A partition after mending.

    The file stands for the whole delivery if that was stopped. Otherwise its rows take the place
    of the quarantined ones: of all, if it has as many; else of those with the same primary key,
    and the others are judged as they are. All other rows are those that the lake has.

    Raises:
        ConfigError: if there is no such file.
        DataError: if it cannot be read or has other columns; if the partition is not in the lake,
            or has other rows with the same keys.
    """
    rows = _read(platform, table, key, path)
    partitions = () if key is None else (platform.spec.partition(key),)
    if was_stopped(platform, table.name, key):
        given = platform.lake.metadata(STOPPED, table.name, key).get(GIVEN)
        if given is None:
            stopped = quarantined(platform, table.name, key)
            given = given_digest(stopped.drop(*_VERDICT, KEY, strict=False))
        return Delivery(table, partitions, rows, {key: given}, path)
    if not platform.lake.metadata("raw", table.name, key):
        raise DataError(
            f"{partition_name(table.name, key)} is not in the lake, so there is nothing to mend",
            repair=f"ingest it first: flightline ingest {platform.spec.slug} {key or '…'}",
        )
    contract = contracts(platform.spec.slug).get(table.name)
    unique = contract.key if contract else ()
    known = recall(platform, table, [key]).get(key)
    if known is None:
        found = _as_delivered(platform, table, key, unique)
        known = Mended(given_digest(found), found)
    merged = _merged(platform, table, key, path, rows, known.rows, unique)
    return Delivery(table, partitions, merged, {key: known.given}, path)


def _merged(
    platform: Platform,
    table: Table,
    key: str | None,
    path: Path,
    rows: pl.DataFrame,
    known: pl.DataFrame,
    unique: Sequence[str],
) -> pl.DataFrame:
    """What is known of a partition, with the rows of a file in the place of quarantined ones."""
    whole = known if key is None else known.with_columns(pl.lit(key).alias(KEY))
    whole = whole.select(rows.columns)
    if _without(rows, whole, whole.columns).is_empty():  # a replay that is given once more
        return whole
    before = quarantined(platform, table.name, key).select(rows.columns)
    left = before.clear() if len(before) == len(rows) else _without(before, rows, unique)
    # A row with a nulled cell is in both.
    others = _without(_without(whole, before, unique or whole.columns), rows, whole.columns)
    if taken := len(others) - len(_without(others, rows, unique)):
        raise DataError(
            f"{taken:,} rows of {path} have the keys of other rows of "
            + partition_name(table.name, key),
            expected="keys that no row of the lake has: nobody could say which one is right",
            repair="mend their keys, or leave them out of the file",
        )
    return pl.concat([others, rows, left], how="diagonal_relaxed")


def _as_delivered(
    platform: Platform, table: Table, key: str | None, unique: Sequence[str]
) -> pl.DataFrame:
    """A partition of the lake with its quarantined rows as they were delivered."""
    aside = quarantined(platform, table.name, key)
    if not unique and NULLED in aside["outcome"].to_list():
        raise DataError(
            f"rows of {partition_name(table.name, key)} were nulled in a cell, and its contract "
            "has no primary key",
            expected="a key: nobody could say which rows of the lake they are",
            repair="give the contract a primary key, or have the source send the rows again",
        )
    raw = frame(platform, "raw", table.name, key).drop(FLAGS, STAMP, KEY, strict=False)
    aside = aside.select(raw.columns)
    return pl.concat([_without(raw, aside, unique), aside], how="diagonal_relaxed")


def _without(rows: pl.DataFrame, others: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Rows that have no equal among the others."""
    return rows.join(others, on=list(key), how="anti", nulls_equal=True) if key else rows


def _read(platform: Platform, table: Table, key: str | None, path: Path) -> pl.DataFrame:
    suffix = _suffix(path)
    if not path.is_file():
        raise ConfigError(
            f"no file {path}",
            repair=f"write it: flightline quarantine show {platform.spec.slug} {table.name} "
            f"{key or ''} --output {path}",
        )
    try:
        if suffix == ".parquet":
            rows = pl.read_parquet(path)
        else:
            rows = _typed(platform, table, key, pl.read_csv(path, infer_schema=False))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"cannot read {path}: {error}",
            expected=f"a {suffix} file as `flightline quarantine show --output` writes it",
            repair="mend the file, or write it anew",
        ) from error
    rows = rows.drop(*_VERDICT, KEY, strict=False)
    rows = rows if key is None else rows.with_columns(pl.lit(key).alias(KEY))
    return _conforming(platform, table, path, rows)


def _conforming(platform: Platform, table: Table, path: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows in the contract's types; the quarantine stays as it is if that cannot be done."""
    contract = contracts(platform.spec.slug).get(table.name)
    found, differences = conformed(platform, table, rows)
    if differences and contract:
        raise DataError(
            f"{path} has another schema: " + "; ".join(differences),
            expected=f"the columns of {contract.rows.__module__}.{contract.rows.__name__}",
            repair="mend the file",
        )
    return found


def _typed(platform: Platform, table: Table, key: str | None, rows: pl.DataFrame) -> pl.DataFrame:
    """Texts of a CSV file in the types of the contract, or else of what was delivered."""
    contract = contracts(platform.spec.slug).get(table.name)
    types = contract.columns if contract else quarantined(platform, table.name, key).schema
    return rows.with_columns(
        _parsed(name, dtype) for name, dtype in types.items() if name in rows.columns
    )


def _parsed(name: str, dtype: pl.DataType) -> pl.Expr:
    text = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        return text.str.to_datetime(time_unit=dtype.time_unit, time_zone=dtype.time_zone)
    if dtype == pl.Boolean:
        return text.replace_strict({"true": True, "false": False}, return_dtype=pl.Boolean)
    return text.cast(dtype)
