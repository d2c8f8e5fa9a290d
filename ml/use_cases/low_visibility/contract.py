"""What the weather must look like to enter the lake."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from ml.use_cases.contracts import Contract


class Weather(dy.Schema):
    """One row per airport and hour, observed within the hour."""

    origin = dy.String(primary_key=True, regex="^(EWR|JFK|LGA)$")
    year = dy.Int64(nullable=False)
    month = dy.Int64(nullable=False, min=1, max=12)
    day = dy.Int64(nullable=False, min=1, max=31)
    hour = dy.Int64(nullable=False, min=0, max=23)
    temp = dy.Float64(nullable=True, min=-60, max=130)
    dewp = dy.Float64(nullable=True, min=-80, max=100)
    humid = dy.Float64(nullable=True, min=0, max=100)
    wind_dir = dy.Int64(nullable=True, min=0, max=360)
    wind_speed = dy.Float64(nullable=True, min=0)
    wind_gust = dy.Float64(nullable=True, min=0, max=250)
    precip = dy.Float64(nullable=True, min=0, max=20)
    pressure = dy.Float64(nullable=True, min=850, max=1100)
    visib = dy.Float64(nullable=False, min=0, max=10)
    time_hour = dy.Datetime(primary_key=True, time_zone="UTC", time_unit="us")


CONTRACTS = {
    "weather": Contract(
        rows=Weather,
        known_at=pl.col("time_hour") + pl.duration(hours=1),
        # A bad sensor is no reason to lose the hour's other values.
        cells={"wind_speed_over_150_mph": ("wind_speed", pl.col("wind_speed") > 150)},
        flags={"no_observation": pl.all_horizontal(pl.col("temp", "dewp", "humid").is_null())},
    )
}
