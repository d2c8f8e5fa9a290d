"""Entities, feature views and the service of `flight_delay`.

A service is the contract between training and serving: it only ever gets a successor.
"""

from __future__ import annotations

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.types import Float64, Int64

from feature_repo.sources import exported

airport = Entity(name="airport", join_keys=["origin"], value_type=ValueType.STRING)
carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
scheduled_hour = Entity(
    name="scheduled_hour", join_keys=["scheduled_hour"], value_type=ValueType.INT64
)

origin_departures = FeatureView(
    name="origin_departures",
    description="Departures of an airport in the last hours, at 15-minute ticks",
    entities=[airport],
    ttl=timedelta(hours=2),
    schema=[
        field
        for hours in (1, 2, 6)
        for field in (
            Field(name=f"departure_count_{hours}h", dtype=Int64),
            Field(name=f"departure_delay_mean_{hours}h_min", dtype=Float64),
            Field(name=f"departure_late_share_{hours}h", dtype=Float64),
        )
    ],
    source=exported("flight_delay", "feat_origin_departures"),
)

carrier_hour_arrivals = FeatureView(
    name="carrier_hour_arrivals",
    description="Arrivals of a carrier's flights of one scheduled hour over 28 days, daily",
    entities=[carrier, scheduled_hour],
    ttl=timedelta(days=3),
    schema=[
        Field(name="arrival_count_28d", dtype=Int64),
        Field(name="arrival_delay_mean_28d_min", dtype=Float64),
        Field(name="arrival_late_share_28d", dtype=Float64),
    ],
    source=exported("flight_delay", "feat_carrier_hour_arrivals"),
)

flight_delay_v1 = FeatureService(
    name="flight_delay_v1", features=[origin_departures, carrier_hour_arrivals]
)
