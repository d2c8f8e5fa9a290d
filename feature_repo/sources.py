"""Where feature views read from; the one place that a profile changes."""

from __future__ import annotations

from feast import FileSource
from feast.data_format import ParquetFormat


def exported(slug: str, table: str) -> FileSource:
    """The Parquet partitions that `transform` exports for a feature table.

    The path is relative to the store's folder of all features, so definitions hold in every home.
    """
    return FileSource(
        name=table,
        path=f"{slug}/{table}",
        file_format=ParquetFormat(),
        timestamp_field="event_at",
        created_timestamp_column="created_at",
    )
