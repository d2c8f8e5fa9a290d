"""Receipts: what each revision of a partition was, so that several can be told apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import pyarrow as pa

from ml.core.ports import Platform
from ml.stages.intake.deliveries import Extent

_PREFIX = "flightline."
_TIME = pa.timestamp("us", tz="UTC")
_SCHEMA = pa.schema(
    [
        ("revision", pa.int64()),
        ("revision_at", _TIME),
        ("content", pa.string()),
        ("added", pa.int64()),
        ("changed", pa.int64()),
        ("removed", pa.int64()),
        ("rows", pa.int64()),
        ("quarantined", pa.int64()),
        ("nulled", pa.int64()),
        ("newest", _TIME),
        ("lag_seconds", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Revision:
    """What tells one version of a partition from another; it stands in the raw file itself.

    Attributes:
        number: 1 is the first delivery.
        at: when it became known; None for the first delivery.
        content: SHA-256 of the rows as the source gave them, without `flags` and `corrected_at`.
        added, changed, removed: rows, against the revision before.
    """

    number: int
    at: datetime | None
    content: str
    added: int
    changed: int = 0
    removed: int = 0

    def to_metadata(self) -> dict[str, str]:
        plain = self.to_row() | {"revision_at": self.at.isoformat() if self.at else None}
        return {f"{_PREFIX}{k}": str(value) for k, value in plain.items() if value is not None}

    def to_row(self) -> dict[str, Any]:
        return {
            "revision": self.number,
            "revision_at": self.at,
            "content": self.content,
            "added": self.added,
            "changed": self.changed,
            "removed": self.removed,
        }

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Self | None:
        """The revision of a raw file, if it says one."""
        plain = {name.removeprefix(_PREFIX): value for name, value in metadata.items()}
        if "revision" not in plain:
            return None
        at = datetime.fromisoformat(plain["revision_at"]) if "revision_at" in plain else None
        counts = {name: int(plain[name]) for name in ("added", "changed", "removed")}
        return cls(int(plain["revision"]), at, plain["content"], **counts)


@dataclass(frozen=True)
class Receipt:
    """A revision, and what came of it: `rows` in the lake, more of them in the quarantine."""

    revision: Revision
    rows: int
    quarantined: int
    nulled: int
    extent: Extent

    def to_row(self) -> dict[str, Any]:
        lag = self.extent.lag
        return self.revision.to_row() | {
            "rows": self.rows,
            "quarantined": self.quarantined,
            "nulled": self.nulled,
            "newest": self.extent.newest,
            "lag_seconds": None if lag is None else lag.total_seconds(),
        }


class Receipts:
    """The receipts of a table, read once for what a stage needs of them."""

    def __init__(self, platform: Platform, table: str) -> None:
        self._lake, self._table = platform.lake, table
        self._keys = platform.lake.keys("receipts", table)
        self._read: dict[str | None, list[dict[str, Any]]] = {}

    def load(self, keys: Iterable[str | None]) -> None:
        """Read those of these partitions that exist, in one go."""
        wanted = [key for key in keys if self._exists(key) and key not in self._read]
        if not wanted:
            return
        rows = self._lake.read("receipts", self._table, wanted).to_pylist()
        for row in rows:
            self._read.setdefault(row.pop("partition_key"), []).append(row)

    def _exists(self, key: str | None) -> bool:
        if key is None:
            return self._lake.count("receipts", self._table, None) > 0
        return key in self._keys

    def before(self, key: str, number: int) -> Sequence[str]:
        """Keys of the last partitions before one."""
        return [one for one in self._keys if one < key][-number:]

    def rows(self, key: str | None) -> list[dict[str, Any]]:
        """One row for each revision of a partition, oldest first."""
        return self._read.get(key, [])

    def newest_at(self, key: str | None) -> datetime | None:
        """The newest time of a revision of this partition."""
        times = [row["revision_at"] for row in self.rows(key)]
        return max((time for time in times if time is not None), default=None)

    def extents(self) -> dict[str | None, Extent]:
        """What was delivered of the partitions that were loaded, by key."""
        return {key: _extent(rows[-1]) for key, rows in self._read.items()}

    def write(self, key: str | None, receipt: Receipt) -> None:
        """Add a receipt, or put the right one in the place of what a killed run left."""
        number = receipt.revision.number
        rows = [row for row in self.rows(key) if row["revision"] < number] + [receipt.to_row()]
        if rows != self.rows(key):
            table = pa.Table.from_pylist(rows, schema=_SCHEMA)
            self._lake.write("receipts", self._table, key, table)


def _extent(row: Mapping[str, Any]) -> Extent:
    lag = row["lag_seconds"]
    delivered = row["rows"] + row["quarantined"]
    return Extent(delivered, row["newest"], None if lag is None else timedelta(seconds=lag))
