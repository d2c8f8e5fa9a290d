"""Which partitions were built from other data or by other models than those of today."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from ml.core.partitions import Partition
from ml.core.ports import Platform

_MODELS, _INPUTS = "flightline.models", "flightline.inputs"


@dataclass(frozen=True)
class Stamp:
    """What a partition was built from; stored in the file of the mart.

    Attributes:
        models: digest of each dbt file, by name.
        inputs: SHA-256 over the raw partitions that its features read.
    """

    models: Mapping[str, str]
    inputs: str

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Self | None:
        """The stamp in a file's metadata, if it has one."""
        if _MODELS not in metadata or _INPUTS not in metadata:
            return None
        return cls(json.loads(metadata[_MODELS]), metadata[_INPUTS])

    def to_metadata(self) -> dict[str, str]:
        return {_MODELS: json.dumps(dict(self.models), sort_keys=True), _INPUTS: self.inputs}


@dataclass(frozen=True)
class Stale:
    """A partition that should be built, and why."""

    partition: Partition
    reason: str


def current_stamps(platform: Platform, partitions: Sequence[Partition]) -> dict[str, Stamp]:
    """By key: what these partitions would be built from now."""
    models = platform.warehouse.models()
    digests = _raw_digests(platform)
    return {p.key: Stamp(models, _inputs(platform, digests, p)) for p in partitions}


def stale_partitions(platform: Platform) -> tuple[Stale, ...]:
    """Ingested partitions whose tables are missing, or of other data or models than today's.

    Snapshot tables do not count: they are replaced by each ingest.
    """
    spec = platform.spec
    tables = [table.name for table in spec.tables if not table.is_snapshot]
    ingested = set.intersection(*(set(platform.lake.keys("raw", name)) for name in tables))
    partitions = [spec.partition(key) for key in sorted(ingested)]
    built = set(platform.lake.keys("marts", spec.mart))
    found = []
    for key, stamp in current_stamps(platform, partitions).items():
        before = Stamp.of(platform.lake.metadata("marts", spec.mart, key)) if key in built else None
        if reason := "not built yet" if key not in built else _difference(before, stamp):
            found.append(Stale(spec.partition(key), reason))
    return tuple(found)


def _difference(before: Stamp | None, now: Stamp) -> str:
    if before is None:
        return "built by an older version"
    names = sorted(before.models.keys() | now.models.keys())
    if changed := [name for name in names if before.models.get(name) != now.models.get(name)]:
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return f"changed: {changed[0]}{others}"
    return "" if before.inputs == now.inputs else "raw data that it reads was ingested anew"


def _raw_digests(platform: Platform) -> dict[str, str]:
    """Digest of the raw files of all tables, by partition key."""
    found: dict[str, str] = {}
    for table in platform.spec.tables:
        if not table.is_snapshot:
            for key in platform.lake.keys("raw", table.name):
                digest = platform.lake.digest("raw", table.name, [key])
                found[key] = f"{found.get(key, '')}{table.name}={digest};"
    return found


def _inputs(platform: Platform, digests: Mapping[str, str], partition: Partition) -> str:
    spec, keys = platform.spec, sorted(digests)
    earliest = spec.calendar.containing(partition.start - spec.features.lookback).key
    read = keys[bisect_left(keys, earliest) : bisect_right(keys, partition.key)]
    return sha256("\n".join(f"{key}:{digests[key]}" for key in read).encode()).hexdigest()
