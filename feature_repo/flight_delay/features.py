"""Entities, feature views and the service of `flight_delay`.

A service is the contract between training and serving: it only ever gets a successor.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from feast import FeatureService, ValueType
from feast.types import Float64, Int64, PrimitiveFeastType

from feature_repo.sources import entity, view

airport = entity("airport", "origin")
destination = entity("destination")
carrier = entity("carrier")
flight_number = entity("flight_number", value_type=ValueType.INT64)
scheduled_hour = entity("scheduled_hour", value_type=ValueType.INT64)
flight = entity("flight", "flight_id")


_view = partial(view, "flight_delay")


def _windows(event: str, windows: Sequence[str]) -> dict[str, PrimitiveFeastType]:
    return {
        column: dtype
        for window in windows
        for column, dtype in (
            (f"{event}_count_{window}", Int64),
            (f"{event}_delay_mean_{window}_min", Float64),
            (f"{event}_late_share_{window}", Float64),
        )
    }


TICK, SNAPSHOT = timedelta(hours=2), timedelta(days=3)

origin_departures = _view(
    "origin_departures",
    description="Departures of an airport in the last hours, at 15-minute ticks",
    entities=[airport],
    ttl=TICK,
    columns=_windows("departure", ["1h", "2h", "6h"]),
)
origin_overdue = _view(
    "origin_overdue",
    description="Flights of an airport that should have left and have not, at 15-minute ticks",
    entities=[airport],
    ttl=TICK,
    columns={"due_count_6h": Int64, "overdue_count_2h": Int64, "overdue_count_6h": Int64},
)
carrier_departures = _view(
    "carrier_departures",
    description="Departures of a carrier from an airport in the last hours, at ticks where a "
    "decision looks",
    entities=[airport, carrier],
    ttl=TICK,
    columns=_windows("departure", ["2h", "6h", "24h"]),
)
destination_arrivals = _view(
    "destination_arrivals",
    description="Arrivals at a destination in the last hours, at ticks where a decision looks",
    entities=[destination],
    ttl=TICK,
    columns=_windows("arrival", ["3h", "12h"]),
)
route_arrivals = _view(
    "route_arrivals",
    description="Arrivals of a route over 28 days, daily",
    entities=[airport, destination],
    ttl=SNAPSHOT,
    columns=_windows("arrival", ["28d"]),
)
flight_number_arrivals = _view(
    "flight_number_arrivals",
    description="Arrivals of a flight number over 28 days, daily",
    entities=[carrier, flight_number],
    ttl=SNAPSHOT,
    columns=_windows("arrival", ["28d"]),
)
carrier_hour_arrivals = _view(
    "carrier_hour_arrivals",
    description="Arrivals of a carrier's flights of one scheduled hour over 28 days, daily",
    entities=[carrier, scheduled_hour],
    ttl=SNAPSHOT,
    columns=_windows("arrival", ["28d"]),
)
origin_weather = _view(
    "origin_weather",
    description="The last observation at an airport and its last six hours, hourly",
    entities=[airport],
    ttl=timedelta(hours=4),
    columns={
        "temperature_f": Float64,
        "dew_point_f": Float64,
        "humidity_pct": Float64,
        "wind_direction_deg": Int64,
        "wind_speed_mph": Float64,
        "wind_gust_mph": Float64,
        "wind_east_mph": Float64,
        "wind_north_mph": Float64,
        "precipitation_in": Float64,
        "pressure_mbar": Float64,
        "visibility_mi": Float64,
        "precipitation_sum_6h_in": Float64,
        "visibility_min_6h_mi": Float64,
        "pressure_trend_6h_mbar": Float64,
    },
)
flight_schedule = _view(
    "flight_schedule",
    description="What the published schedule says of a flight, 36 hours before its departure",
    entities=[flight],
    ttl=timedelta(days=3),
    columns={
        "scheduled_minute": Int64,
        "scheduled_hour": Int64,
        "day_of_week": Int64,
        "distance_miles": Int64,
        "scheduled_block_min": Int64,
        "scheduled_count_prev_60min": Int64,
        "scheduled_count_near_15min": Int64,
        "scheduled_count_next_60min": Int64,
        "scheduled_count_day": Int64,
        "scheduled_count_day_carrier": Int64,
        "days_to_holiday": Int64,
    },
)

# What is left out has been measured: with less than a year of data, temperature, pressure, the
# day's volume and the distance to a holiday have ranges that no earlier month had, and cost
# calibration (an error of 0.07 in April). Other windows and raw counts add fits, not skill.
flight_delay_v1 = FeatureService(
    name="flight_delay_v1",
    description="The compact set, two hours before the scheduled departure",
    features=[
        origin_departures[
            [
                "departure_late_share_1h",
                "departure_delay_mean_2h_min",
                "departure_late_share_2h",
                "departure_delay_mean_6h_min",
            ]
        ],
        origin_overdue,
        carrier_departures[
            ["departure_late_share_2h", "departure_late_share_6h", "departure_late_share_24h"]
        ],
        destination_arrivals[["arrival_delay_mean_3h_min", "arrival_delay_mean_12h_min"]],
        route_arrivals[["arrival_late_share_28d"]],
        flight_number_arrivals[["arrival_delay_mean_28d_min", "arrival_late_share_28d"]],
        carrier_hour_arrivals[["arrival_delay_mean_28d_min"]],
        origin_weather[
            [
                "visibility_mi",
                "visibility_min_6h_mi",
                "precipitation_sum_6h_in",
                "wind_speed_mph",
                "wind_gust_mph",
                "wind_east_mph",
                "wind_north_mph",
            ]
        ],
        flight_schedule[["scheduled_block_min", "scheduled_count_prev_60min"]],
    ],
)
