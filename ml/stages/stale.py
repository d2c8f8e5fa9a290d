"""Which partitions were built from other data or by other models than those of today."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from ml.core.partitions import Partition
from ml.core.ports import Platform

_MODELS, _RAW, _INPUTS = "flightline.models", "flightline.raw", "flightline.inputs"


@dataclass(frozen=True)
class Stamp:
    """What a partition was built from; stored in the file of the mart.

    Attributes:
        models: digest of each dbt file, by name.
        raw: digest of the partition's own raw files.
        inputs: SHA-256 over `raw` and `models` of every partition that its features read, as they
            were when those were built: the tables hold that, whatever was ingested since.
    """

    models: Mapping[str, str]
    raw: str
    inputs: str = ""

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Self | None:
        """The stamp in a file's metadata, if it has one."""
        if not {_MODELS, _RAW, _INPUTS} <= metadata.keys():
            return None
        return cls(json.loads(metadata[_MODELS]), metadata[_RAW], metadata[_INPUTS])

    def to_metadata(self) -> dict[str, str]:
        models = json.dumps(dict(self.models), sort_keys=True)
        return {_MODELS: models, _RAW: self.raw, _INPUTS: self.inputs}

    def is_of(self, models: Mapping[str, str]) -> bool:
        """Whether these files, perhaps not all, were the same then."""
        return all(self.models.get(name) == digest for name, digest in models.items())


@dataclass(frozen=True)
class Stale:
    """A partition that should be built, and why."""

    partition: Partition
    reason: str


def stored_stamp(platform: Platform, key: str) -> Stamp | None:
    """The stamp of a partition that was built."""
    return Stamp.of(platform.lake.metadata("marts", platform.spec.mart, key))


def new_stamps(platform: Platform, partitions: Sequence[Partition]) -> dict[str, Stamp]:
    """By key: the stamps that these partitions get if they are built now, in one run."""
    spec, models = platform.spec, platform.warehouse.models()
    own = {p.key: Stamp(models, _raw_digest(platform, p.key)) for p in partitions}
    earliest = _earliest(platform, partitions[0]) if partitions else ""
    before = {
        key: stamp
        for key in platform.lake.keys("marts", spec.mart)
        if earliest <= key < partitions[-1].key
        and key not in own
        and (stamp := stored_stamp(platform, key))
    }
    known = {key: _identity(stamp) for key, stamp in sorted((before | own).items())}
    keys = [*known]
    inputs = {}
    for p in partitions:
        read = keys[bisect_left(keys, _earliest(platform, p)) : bisect_right(keys, p.key)]
        text = "\n".join(f"{key}:{known[key]}" for key in read)
        inputs[p.key] = sha256(text.encode()).hexdigest()
    return {key: Stamp(models, stamp.raw, inputs[key]) for key, stamp in own.items()}


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
    for key, stamp in new_stamps(platform, partitions).items():
        reason = "not built yet"
        if key in built:
            reason = _difference(stored_stamp(platform, key), stamp)
        if reason:
            found.append(Stale(spec.partition(key), reason))
    return tuple(found)


def stale_warnings(platform: Platform, keys: Collection[str]) -> tuple[str, ...]:
    """What a stage says that reads these partitions, if some of them are stale."""
    stale = [one.partition.key for one in stale_partitions(platform) if one.partition.key in keys]
    if not stale:
        return ()
    repair = f"flightline transform {platform.spec.slug} --stale"
    return (f"{len(stale)} of its partitions are stale, {stale[0]} to {stale[-1]}: {repair}",)


def _difference(before: Stamp | None, now: Stamp) -> str:
    if before is None:
        return "built by an older version"
    names = sorted(before.models.keys() | now.models.keys())
    if changed := [name for name in names if before.models.get(name) != now.models.get(name)]:
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return f"changed: {changed[0]}{others}"
    if before.raw != now.raw:
        return "ingested anew"
    return "" if before.inputs == now.inputs else "reads a day that was built or ingested anew"


def _earliest(platform: Platform, partition: Partition) -> str:
    """Key of the first partition that the features of this one read."""
    spec = platform.spec
    return spec.calendar.containing(partition.start - spec.features.lookback).key


def _raw_digest(platform: Platform, key: str) -> str:
    tables = [table.name for table in platform.spec.tables if not table.is_snapshot]
    digests = (f"{name}={platform.lake.digest('raw', name, [key])}" for name in tables)
    return sha256(";".join(digests).encode()).hexdigest()


def _identity(stamp: Stamp) -> str:
    models = json.dumps(dict(stamp.models), sort_keys=True)
    return f"{stamp.raw}:{sha256(models.encode()).hexdigest()}"
