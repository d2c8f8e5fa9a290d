"""Materialize: from the exported features into the online store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.stages.examples import require_transformed


@dataclass(frozen=True)
class MaterializeResult:
    """What reached the online store.

    Attributes:
        views: how many feature views were brought up to date.
    """

    partitions: int
    views: int


def run(platform: Platform, *, partitions: Sequence[Partition]) -> MaterializeResult:
    """Bring the online store up to these partitions; running it again gives the same rows.

    Raises:
        ConfigError: if a feature service names a feature that is not defined.
        DataError: if a partition was not transformed, or the exported data does not have the
            declared columns.
        TransientError: if another process holds the registry or the online store.
    """
    require_transformed(platform, partitions)
    platform.features.apply()
    return MaterializeResult(len(partitions), platform.features.materialize(partitions))
