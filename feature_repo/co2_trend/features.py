"""The entity, the view and the service of `co2_trend`."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureService
from feast.types import Float64, Int64

from feature_repo.sources import entity, view

station = entity("station", "station_id")

station_readings = view(
    "co2_trend",
    "station_readings",
    description="The newest CO2 at a station, how it changed, and the same weeks a year ago",
    entities=[station],
    ttl=timedelta(weeks=2),
    columns={
        "level_ppm": Float64,
        "level_age_weeks": Int64,
        **{f"change_{weeks}w_ppm": Float64 for weeks in (1, 4, 52)},
        **{f"deviation_{weeks}w_ppm": Float64 for weeks in (4, 52)},
        "growth_deviation_26w_ppm": Float64,
        "change_next_4w_1y_ago_ppm": Float64,
        "seasonal_naive_ppm": Float64,
    },
)

co2_trend_v1 = FeatureService(
    name="co2_trend_v1",
    description="All of it, on the day after the week's reading",
    features=[station_readings],
)
