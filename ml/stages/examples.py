"""Rows for a model: one path for training, validation and scoring, so that they cannot differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from ml.core.errors import DataError
from ml.core.partitions import Partition
from ml.core.ports import Platform


def model_columns(platform: Platform) -> list[str]:
    """What the model sees, in its order; all numbers."""
    return [*platform.features.columns, *platform.spec.features.on_request]


def _and_more(keys: Sequence[str]) -> str:
    return f" and {len(keys) - 1} more, up to {keys[-1]}" if len(keys) > 1 else ""


def require_transformed(platform: Platform, partitions: Sequence[Partition]) -> None:
    """Raise `DataError` naming the first of these partitions that has no exports."""
    spec = platform.spec
    present = set(platform.lake.keys("marts", spec.mart))
    if absent := [p.key for p in partitions if p.key not in present]:
        keys = f"{spec.slug} {absent[0]}" + (f" {absent[-1]}" if len(absent) > 1 else "")
        raise DataError(
            f"not transformed yet: {absent[0]}" + _and_more(absent),
            repair=f"run: flightline ingest {keys} && flightline transform {keys}",
        )


def read_events(platform: Platform, partitions: Sequence[Partition]) -> pd.DataFrame:
    """The mart's rows of these partitions as last exported, ordered by decision time and key.

    Raises:
        DataError: if a partition was not transformed.
    """
    spec = platform.spec
    require_transformed(platform, partitions)
    keys = [partition.key for partition in partitions]
    events: pd.DataFrame = platform.lake.read("marts", spec.mart, keys).to_pandas()
    return events.sort_values([spec.decided_at, spec.key], ignore_index=True)


def read_examples(platform: Platform, partitions: Sequence[Partition]) -> pd.DataFrame:
    """The events of these partitions with their features as of their own decision times.

    Returns:
        One row for each event, in the order of `read_events`: key, partition_key, decision time,
        the label and when it was known, the model's columns as float64 (NaN where unknown).

    Raises:
        DataError: if a partition was not transformed.
    """
    spec, columns = platform.spec, model_columns(platform)
    # Labels come last: what looks features up never gets to see them.
    frame = platform.features.historical(read_events(platform, partitions), spec.decided_at)
    labels = _read_labels(platform, partitions)
    frame = frame.merge(labels, on=spec.key, how="left", validate="one_to_one")
    kept = [spec.key, "partition_key", spec.decided_at, spec.label.column, spec.label.known_at]
    return frame[kept + columns].astype(dict.fromkeys(columns, "float64"))


def _read_labels(platform: Platform, partitions: Sequence[Partition]) -> pd.DataFrame:
    label, keys = platform.spec.label, [partition.key for partition in partitions]
    labels: pd.DataFrame = platform.lake.read("marts", label.table, keys).to_pandas()
    return labels[[platform.spec.key, label.column, label.known_at]]


def with_label(platform: Platform, examples: pd.DataFrame, *, known_by: datetime) -> pd.DataFrame:
    """The rows whose label was known at `known_by`."""
    label = platform.spec.label
    known = examples[label.column].notna() & (examples[label.known_at] <= known_by)
    return examples[known].reset_index(drop=True)


def label_values(platform: Platform, examples: pd.DataFrame) -> np.ndarray:
    """Labels as float64, shape (n,)."""
    return examples[platform.spec.label.column].to_numpy("float64")
