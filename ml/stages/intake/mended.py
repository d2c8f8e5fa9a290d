"""Rows mended by hand: written to a file from the quarantine, changed there, and read back.

What the source gave is kept beside them, in the area `mended`: if it gives the same once more, the
mended rows stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import polars.selectors as cs

from ml.core.errors import ConfigError, DataError
from ml.core.ports import Platform
from ml.core.spec import Table
from ml.stages.intake.compare import FLAGS, STAMP
from ml.stages.intake.deliveries import Delivery, partition_name, split
from ml.stages.intake.judge import KEY, STOPPED, STOPPED_BY, conform, contracts
from ml.stages.intake.receipts import Revision

_VERDICT = ("outcome", "reasons")
_SEPARATOR = "; "
_MENDED = "mended"


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
        given = quarantined(platform, table.name, key).drop(*_VERDICT, KEY, strict=False)
        return Delivery(table, partitions, rows, {key: given})
    if not platform.lake.metadata("raw", table.name, key):
        raise DataError(
            f"{partition_name(table.name, key)} is not in the lake, so there is nothing to mend",
            repair=f"ingest it first: flightline ingest {platform.spec.slug} {key or '…'}",
        )
    contract = contracts(platform.spec.slug).get(table.name)
    unique = contract.key if contract else ()
    before = quarantined(platform, table.name, key).drop(_VERDICT)
    _, kept = _given(platform, table.name, key)
    given = _as_delivered(platform, table, key).drop(KEY, strict=False) if kept is None else kept
    left = before.clear() if len(before) == len(rows) else _without(before, rows, unique)
    raw = frame(platform, "raw", table.name, key).select(rows.columns)
    # A row with a nulled cell is in both; a mended one is, too, if a replay was killed.
    known = _without(_without(raw, before, unique), rows, raw.columns)
    if taken := len(known) - len(_without(known, rows, unique)):
        raise DataError(
            f"{taken:,} rows of {path} have the keys of other rows of "
            + partition_name(table.name, key),
            expected="keys that no row of the lake has: nobody could say which one is right",
            repair="mend their keys, or leave them out of the file",
        )
    merged = pl.concat([known, rows, left], how="diagonal_relaxed")
    return Delivery(table, partitions, merged, {key: given})


def remembered(platform: Platform, found: Delivery) -> tuple[Delivery, tuple[str, ...]]:
    """The delivery, but mended rows where the source gives again what people have mended.

    Returns:
        also the names of the partitions of which that is true.
    """
    name = found.table.name
    kept = (None,) if found.table.is_snapshot else platform.lake.keys(_MENDED, name)
    if not (known := set(kept) & set(found.keys)):
        return found, ()
    rows, _ = _conformed(platform, found.table, found.rows)
    parts = split(rows, found.keys)

    def is_again(key: str | None) -> bool:
        number, given = _given(platform, name, key)
        return number == 0 and given is not None and _is_same(given, parts[key])

    again = [key for key in found.keys if key in known and is_again(key)]
    if not again:
        return found, ()
    others = [rows.filter(~pl.col(KEY).is_in(again))] if KEY in rows.columns else []
    mended = [_as_delivered(platform, found.table, key) for key in again]
    whole = pl.concat([*others, *mended], how="diagonal_relaxed")
    return replace(found, rows=whole), tuple(found.name(key) for key in again)


def remember(platform: Platform, found: Delivery, key: str | None, revision: Revision) -> None:
    """Keep what the source gave of a partition that was mended by hand.

    Args:
        revision: which the mended rows are going to be; it tells whether the lake has them.
    """
    if key in found.mended:
        given = found.mended[key].to_arrow()
        platform.lake.write(_MENDED, found.table.name, key, given, revision.to_metadata())


def _given(platform: Platform, table: str, key: str | None) -> tuple[int, pl.DataFrame | None]:
    """What the source gave, and how many revisions the lake is behind its mended form.

    None of it counts after a newer delivery of the source. A replay that was killed before it
    wrote the raw rows is one revision behind.
    """
    lake = platform.lake
    mended, now = (Revision.of(lake.metadata(area, table, key)) for area in (_MENDED, "raw"))
    if mended is None or now is None:
        return 0, None
    behind = mended.number - now.number
    if behind == 1 or (behind == 0 and mended.content == now.content):
        return behind, frame(platform, _MENDED, table, key).drop(KEY)
    return 0, None


def _is_same(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Whether both have the same rows, in whatever order."""

    def ordered(rows: pl.DataFrame) -> pl.DataFrame:
        rows = rows.select(sorted(rows.columns))
        return rows.sort(~cs.nested())

    return one.schema == other.schema and ordered(one).equals(ordered(other))


def _as_delivered(platform: Platform, table: Table, key: str | None) -> pl.DataFrame:
    """A partition of the lake with its quarantined rows, so that judging it gives the same."""
    contract = contracts(platform.spec.slug).get(table.name)
    unique = contract.key if contract else ()
    raw = frame(platform, "raw", table.name, key).drop(FLAGS, STAMP, strict=False)
    if not platform.lake.count("quarantine", table.name, key):
        return raw.drop(KEY) if key is None else raw
    aside = frame(platform, "quarantine", table.name, key).select(raw.columns)
    whole = pl.concat([_without(raw, aside, unique), aside], how="diagonal_relaxed")
    return whole.drop(KEY) if key is None else whole


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
    found, differences = _conformed(platform, table, rows)
    if differences and contract:
        raise DataError(
            f"{path} has another schema: " + "; ".join(differences),
            expected=f"the columns of {contract.rows.__module__}.{contract.rows.__name__}",
            repair="mend the file",
        )
    return found


def _conformed(
    platform: Platform, table: Table, rows: pl.DataFrame
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    contract = contracts(platform.spec.slug).get(table.name)
    if contract is None:
        return rows, ()
    return conform(rows, contract, is_snapshot=table.is_snapshot)


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
