"""What a weekly reading must look like to enter the lake."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from ml.use_cases.contracts import Contract


class Readings(dy.Schema):
    """One row per week, dated by its Saturday; a week without a measurement has a row, too."""

    date = dy.Datetime(primary_key=True, time_zone="UTC", time_unit="us")
    # Thousands of years of ice cores lie between 180 and 300 ppm.
    co2 = dy.Float64(nullable=True, min=250, max=600)

    @dy.rule()
    def is_a_saturday(cls) -> pl.Expr:
        return pl.col("date").dt.weekday() == 6


CONTRACTS = {
    "readings": Contract(
        rows=Readings,
        flags={"not_measured": pl.col("co2").is_null()},
        known_at=pl.col("date") + pl.duration(days=1),
    ),
}
