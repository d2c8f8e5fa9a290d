"""Judge what the source gave by the table's contract: first its columns, then each row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache
from types import new_class
from typing import TYPE_CHECKING

import polars as pl

from ml.core.errors import ConfigError
from ml.stages.intake.compare import FLAGS, STAMP
from ml.use_cases import load_module
from ml.use_cases.contracts import Contract

if TYPE_CHECKING:
    import dataframely as dy

KEY, ROW = "partition_key", "row_number"
REJECTED, NULLED, STOPPED = "rejected", "nulled", "stopped"
STOPPED_BY = "flightline.stopped_by"  # in the metadata of a delivery in the area `stopped`
GIVEN = "flightline.given"  # digest of what the source gave, where people have mended it
RESERVED = (KEY, ROW, FLAGS, STAMP, "outcome", "reasons")
"""Columns that the platform adds to what it keeps of a delivery."""
_TEXTS = pl.List(pl.String)


def contracts(slug: str) -> Mapping[str, Contract]:
    """Contracts of a use case, by table; a table without one is taken as it is."""
    found: Mapping[str, Contract] = load_module(slug, "contract").CONTRACTS
    return found


def require_free_names(table: str, columns: Collection[str]) -> None:
    """Raise `ConfigError` for a column of a table that the platform would add itself."""
    if taken := [name for name in RESERVED if name in columns]:
        raise ConfigError(
            f"{table} has a column {', '.join(taken)}",
            expected=f"other names than those that the platform adds: {', '.join(RESERVED)}",
            repair="rename it in the files or in read() of source.py, and in contract.py",
        )


def conform(
    rows: pl.DataFrame, contract: Contract, *, is_snapshot: bool
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Rows with the contract's columns in its order, and what was different, if anything was.

    Casts that lose nothing are made: an empty column to any type, integers to others or to floats,
    times to another unit. If there are differences, the rows are as they were given.
    """
    wanted = dict(contract.columns) | ({} if is_snapshot else {KEY: pl.String()})
    if rows.is_empty():  # without rows a source may not know its columns; volume is judged later
        return pl.DataFrame(schema=wanted), ()
    missing = [name for name in wanted if name not in rows.columns]
    extra = [name for name in rows.columns if name not in wanted]
    same = {name: _cast(rows[name], dtype) for name, dtype in wanted.items() if name not in missing}
    found = _renamed(missing, extra, rows, wanted)
    found += [
        f"{name} is {rows.schema[name]} instead of {wanted[name]}"
        for name, column in same.items()
        if column is None
    ]
    if found:
        return rows, tuple(found)
    return pl.DataFrame([column for column in same.values() if column is not None]), ()


def _cast(column: pl.Series, wanted: pl.DataType) -> pl.Series | None:
    """The column in another type, or None if that might change a value."""
    given = column.dtype
    if given == wanted:
        return column
    if column.null_count() == len(column):
        return column.cast(wanted)
    units = isinstance(given, pl.Datetime) and isinstance(wanted, pl.Datetime)
    may_be_cast = (
        (given.is_integer() and wanted.is_numeric())
        or (given == pl.Float32 and wanted == pl.Float64)
        or (units and getattr(given, "time_zone", "") == getattr(wanted, "time_zone", ""))
    )
    if not may_be_cast:
        return None
    found = column.cast(wanted, strict=False)
    return found if found.cast(given, strict=False).equals(column) else None


def _renamed(
    missing: Sequence[str],
    extra: Sequence[str],
    rows: pl.DataFrame,
    wanted: Mapping[str, pl.DataType],
) -> list[str]:
    """A text for each column that is missing or new; two that look like one are told together."""
    found, left = [], list(extra)
    for name in missing:
        alike = [new for new in left if _cast(rows[new], wanted[name]) is not None]
        new = max(alike, key=lambda other: _similarity(name, other), default="")
        if new and (_similarity(name, new) >= 0.5 or len(missing) == len(extra) == 1):
            left.remove(new)
            found.append(f"{name} is missing, {new} is new: renamed?")
        else:
            found.append(f"{name} is missing")
    return found + [f"{name} ({rows.schema[name]}) is new" for name in left]


def _similarity(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def judge(rows: pl.DataFrame, contract: Contract | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What goes on, and what was found.

    Args:
        rows: as `conform` returns them, with their number in the column ROW.

    Returns:
        Good rows in the order of their primary key, with impossible cells nulled and a column
        `flags`; and for each row that was not good as it was its number, `outcome` (rejected or
        nulled) and `reasons`: every rule that it broke.
    """
    if contract is None:
        found = pl.DataFrame(schema={ROW: pl.UInt32, "outcome": pl.String, "reasons": _TEXTS})
        return rows.drop(ROW).with_columns(flags=_names({})), found
    schema = _numbered_schema(contract.rows, KEY in rows.columns)
    good, failure = schema.filter(_null_cells(rows, contract))
    order = [name for name in (KEY, *contract.key) if name in rows.columns and contract.key]
    names = [name for name in rows.columns if name != ROW]
    flagged = good.sort(order).select(*names, flags=_names(contract.flags))
    return flagged, _verdicts(_nulled_cells(rows, contract), _broken_rules(failure))


@cache
def _numbered_schema(schema: type[dy.Schema], is_partitioned: bool) -> type[dy.Schema]:
    """The schema with the row's number and its partition, within which the key is unique.

    A range is judged in one go and must give what its partitions give one by one.
    """
    import dataframely as dy

    columns: dict[str, dy.Column] = {ROW: dy.UInt32(nullable=False)}
    if is_partitioned:
        columns[KEY] = dy.String(primary_key=bool(schema.primary_key()), nullable=False)
    found: type[dy.Schema]
    found = new_class(schema.__name__, (schema,), exec_body=lambda names: names.update(columns))
    return found


def _names(conditions: Mapping[str, pl.Expr]) -> pl.Expr:
    """List of the conditions that hold for a row; one that cannot be told does not hold."""
    if not conditions:
        return pl.lit([], dtype=_TEXTS)
    return pl.concat_list(
        [pl.when(condition).then(pl.lit(name)) for name, condition in conditions.items()]
    ).list.drop_nulls()


def _null_cells(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    by_column: dict[str, list[pl.Expr]] = {}
    for column, condition in contract.cells.values():
        by_column.setdefault(column, []).append(condition.fill_null(False))
    return rows.with_columns(
        pl.when(~pl.any_horizontal(conditions)).then(column).alias(column)
        for column, conditions in by_column.items()
    )


def _nulled_cells(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    conditions = {name: condition for name, (_, condition) in contract.cells.items()}
    found = rows.select(ROW, reasons=_names(conditions))
    return found.filter(pl.col("reasons").list.len() > 0)


def _broken_rules(failure: dy.FailureInfo) -> pl.DataFrame:
    details = failure.details()
    given = set(failure.invalid().columns)
    rules = {name: pl.col(name) == "invalid" for name in details.columns if name not in given}
    return details.select(ROW, reasons=_names(rules))


def _verdicts(nulled: pl.DataFrame, broken: pl.DataFrame) -> pl.DataFrame:
    """One row for each that was found: a rejected one has the reasons of its cells, too."""
    both = pl.concat([nulled, broken]).group_by(ROW, maintain_order=True)
    return both.agg(pl.col("reasons").explode()).select(
        ROW,
        outcome=pl.when(pl.col(ROW).is_in(broken[ROW].to_list()))
        .then(pl.lit(REJECTED))
        .otherwise(pl.lit(NULLED)),
        reasons="reasons",
    )


def reason_counts(rows: pl.DataFrame) -> dict[str, int]:
    """How many of these rows have each reason, the most frequent first."""
    counts = rows["reasons"].explode().drop_nulls().value_counts()
    return dict(counts.sort("count", "reasons", descending=[True, False]).iter_rows())
