"""What a scan must look like to enter the lake."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from ml.use_cases.contracts import Contract


def _ink() -> dy.Int64:
    """The sum of 8 pixels between 0 and 16."""
    return dy.Int64(nullable=False, min=0, max=128)


class Scans(dy.Schema):
    """One row per scanned box; `digit` is what somebody read there at `read_at`."""

    scan_id = dy.String(primary_key=True, regex=r"^s\d{4}$")
    scanned_at = dy.Datetime(nullable=False, time_zone="UTC", time_unit="us")
    desk = dy.String(nullable=False, regex="^[a-d]$")
    row_0, row_1, row_2, row_3 = _ink(), _ink(), _ink(), _ink()
    row_4, row_5, row_6, row_7 = _ink(), _ink(), _ink(), _ink()
    column_0, column_1, column_2, column_3 = _ink(), _ink(), _ink(), _ink()
    column_4, column_5, column_6, column_7 = _ink(), _ink(), _ink(), _ink()
    digit = dy.Int64(nullable=True, min=0, max=4)
    read_at = dy.Datetime(nullable=True, time_zone="UTC", time_unit="us")


CONTRACTS = {
    "scans": Contract(
        rows=Scans,
        cells_known_at=dict.fromkeys(("digit", "read_at"), pl.col("read_at")),
    )
}
