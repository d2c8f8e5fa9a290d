"""Where feature views read from; the one place that a profile changes."""

from __future__ import annotations

from feast import FileSource
from feast.data_format import ParquetFormat

from ml.settings import settings


def exported(slug: str, table: str) -> FileSource:
    """The Parquet partitions that `transform` exports for a feature table."""
    return FileSource(
        name=table,
        path=str(settings().home / "lake" / "features" / slug / table),
        file_format=ParquetFormat(),
        timestamp_field="event_at",
        created_timestamp_column="created_at",
    )
