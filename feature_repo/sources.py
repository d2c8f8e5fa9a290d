"""What the feature definitions of every use case need alike.

Where feature views read from is said here only: the one place that a profile changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import PrimitiveFeastType


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


def entity(name: str, join_key: str = "", value_type: ValueType = ValueType.STRING) -> Entity:
    """Something that features are about.

    Args:
        join_key: its column in the mart and in the feature tables; default: its name.
    """
    return Entity(name=name, join_keys=[join_key or name], value_type=value_type)


def view(
    slug: str,
    name: str,
    *,
    description: str,
    entities: Sequence[Entity],
    ttl: timedelta,
    columns: Mapping[str, PrimitiveFeastType],
) -> FeatureView:
    """The view of the dbt model `feat_{name}` of a use case.

    Args:
        ttl: what is older when a decision is made is not used.
        columns: types of the features by their names.
    """
    return FeatureView(
        name=name,
        description=description,
        entities=list(entities),
        ttl=ttl,
        schema=[Field(name=column, dtype=dtype) for column, dtype in columns.items()],
        source=exported(slug, f"feat_{name}"),
    )
