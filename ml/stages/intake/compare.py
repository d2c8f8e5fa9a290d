"""Compares two deliveries of one partition, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import polars as pl
import polars.selectors as cs

FLAGS, STAMP = "flags", "corrected_at"
STATUS, _KNOWN = "flightline.status", "flightline.known"  # a table may have columns of any name
TIME = pl.Datetime("us", time_zone="UTC")
SAME, CHANGED, ADDED, REMOVED = "same", "changed", "added", "removed"
_BEFORE = " before"


def content_digest(rows: pl.DataFrame, *, in_order: bool = True) -> str:
    """SHA-256 of values, order and types; 64 hexadecimal digits.

    It does not depend on the file format.

    Args:
        in_order: False: the order of rows and columns does not matter.

    >>> one = pl.DataFrame({"a": [1, None]})
    >>> content_digest(one) == content_digest(one.clone())
    True
    >>> content_digest(one) == content_digest(one.cast(pl.Float64))
    False
    >>> content_digest(one, in_order=False) == content_digest(one.reverse(), in_order=False)
    True
    """
    if not in_order:
        rows = rows.select(sorted(rows.columns))
    nested = [name for name, dtype in rows.schema.items() if dtype.is_nested()]
    plain = rows.with_columns(cs.binary().bin.encode("hex")).with_columns(
        pl.struct(name).struct.json_encode().alias(name) for name in nested
    )
    values = plain.write_csv(null_value="NULL", quote_style="non_numeric")
    if not in_order:
        values = "\n".join(sorted(values.splitlines()))
    text = f"{dict(rows.schema)}\n{values}"
    return sha256(text.encode()).hexdigest()


def compare(old: pl.DataFrame, new: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Rows of `new`, then those that only `old` has, with STATUS and their old `corrected_at`.

    Args:
        old: as the lake has them.
        key: what tells a changed row from a new one; none: every row is new.
    """
    known = _aligned(old, new)
    if not key and known.drop(STAMP).equals(new.drop(FLAGS, strict=False)):
        return new.with_columns(_status(SAME), known[STAMP])
    if not key:  # nobody can tell whether a row is another one or the same, corrected
        added = new.with_columns(_status(ADDED), no_stamp())
        return pl.concat([added, known.with_columns(_status(REMOVED))], how="diagonal")
    joined = new.join(
        known.with_columns(pl.lit(True).alias(_KNOWN)),
        on=list(key),
        how="left",
        suffix=_BEFORE,
        maintain_order="left",
    )
    values = [name for name in new.columns if name not in (*key, FLAGS)]
    differs = [pl.col(name).ne_missing(pl.col(name + _BEFORE)) for name in values]
    status = (
        pl.when(pl.col(_KNOWN).is_null())
        .then(pl.lit(ADDED))
        .when(pl.any_horizontal(pl.lit(False), *differs))
        .then(pl.lit(CHANGED))
        .otherwise(pl.lit(SAME))
    )
    rows = joined.with_columns(status.alias(STATUS)).select(*new.columns, STATUS, STAMP)
    gone = known.join(new, on=list(key), how="anti").with_columns(_status(REMOVED))
    return pl.concat([rows, gone], how="diagonal")


def _aligned(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Rows of the lake in the columns and types of today: what the contract got later is null."""
    types = {name: dtype for name, dtype in new.schema.items() if name != FLAGS} | {STAMP: TIME}
    return old.select(
        (pl.col(name) if name in old.columns else pl.lit(None))
        .cast(dtype, strict=False)
        .alias(name)
        for name, dtype in types.items()
    )


def _status(word: str) -> pl.Expr:
    return pl.lit(word).alias(STATUS)


def no_stamp() -> pl.Expr:
    """`corrected_at` of rows that were known from the beginning."""
    return pl.lit(None, dtype=TIME).alias(STAMP)


def counts(rows: pl.DataFrame) -> dict[str, int]:
    """How many rows were added, changed and removed."""
    found = dict(rows[STATUS].value_counts().iter_rows())
    return {word: found.get(word, 0) for word in (ADDED, CHANGED, REMOVED)}
