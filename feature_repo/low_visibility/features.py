"""The entity, the view and the service of `low_visibility`."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureService
from feast.types import Float64

from feature_repo.sources import entity, view

_NOW = (
    "visibility_mi",
    "visibility_min_city_mi",
    "humidity_pct",
    "dew_point_spread_f",
    "wind_speed_mph",
    "wind_east_mph",
    "wind_north_mph",
    "precipitation_in",
    "pressure_mbar",
)
_SINCE = (
    "visibility_min_{}h_mi",
    "visibility_mean_{}h_mi",
    "dew_point_spread_min_{}h_f",
    "precipitation_sum_{}h_in",
    "pressure_trend_{}h_mbar",
)
airport = entity("airport", "origin")
airport_weather = view(
    "low_visibility",
    "airport_weather",
    description="The last observation at an airport and the 24 hours before, hourly",
    entities=[airport],
    ttl=timedelta(hours=4),
    columns=dict.fromkeys(
        [*_NOW, *(name.format(hours) for hours in (3, 6, 24) for name in _SINCE)], Float64
    ),
)

low_visibility_v1 = FeatureService(
    name="low_visibility_v1",
    description="The weather as it was known at each full hour",
    features=[airport_weather],
)
