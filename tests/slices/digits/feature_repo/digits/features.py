"""Entities, feature views and the service of `digits`."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureService
from feast.types import Float64, Int64

from feature_repo.sources import entity, view

scan = entity("scan", "scan_id")
desk = entity("desk")

scan_rows = view(
    "digits",
    "scan_rows",
    description="Ink in each row of pixels of a box",
    entities=[scan],
    ttl=timedelta(hours=6),
    columns={f"row_{number}_ink": Int64 for number in range(8)},
)
desk_scans = view(
    "digits",
    "desk_scans",
    description="Scans of a desk in the last six hours, hourly",
    entities=[desk],
    ttl=timedelta(hours=2),
    columns={"scan_count_6h": Int64, "middle_ink_mean_6h": Float64},
)

digits_v1 = FeatureService(
    name="digits_v1", description="What a scan shows", features=[scan_rows, desk_scans]
)
