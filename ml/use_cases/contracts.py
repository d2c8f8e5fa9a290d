"""What a use case says about the rows of a table: `CONTRACTS` in its contract.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:  # it brings SQLAlchemy, and who only counts what is in quarantine needs neither
    import dataframely as dy


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The contract of a table. Whatever a rule is called is the reason that people read.

    Attributes:
        rows: columns, their types and rules, without `partition_key`; `flags`, `corrected_at`,
            `row_number`, `outcome` and `reasons` are the platform's names. A row that breaks a rule
            is rejected: it goes to the quarantine. Its primary key tells a correction from a new
            row.
        cells: by name a column and a condition under which its value is impossible. The cell is
            nulled and the row goes on; the quarantine keeps the row as it was.
        flags: by name a condition that is only noted, in the column `flags` of the row.
        known_at: when a row becomes known, UTC; None: at the time by which it belongs to its
            partition. The conformance suite takes away what was not known yet, and no feature of
            an earlier decision may change.
        cells_known_at: by column, where a value comes later than its row, such as the outcome in
            the row of a plan.
    """

    rows: type[dy.Schema]
    cells: Mapping[str, tuple[str, pl.Expr]] = field(default_factory=dict)
    flags: Mapping[str, pl.Expr] = field(default_factory=dict)
    known_at: pl.Expr | None = None
    cells_known_at: Mapping[str, pl.Expr] = field(default_factory=dict)

    @property
    def columns(self) -> Mapping[str, pl.DataType]:
        """Types of the columns, by name, in order."""
        return self.rows.create_empty().schema

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(self.rows.primary_key())
