"""The lake on local files: Parquet in folders `area/slug/table/partition_key=KEY/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ml.adapters.files import file_digest, replacing
from ml.core.errors import DataError

_PREFIX = "partition_key="


@dataclass(frozen=True)
class LocalLake:
    """Implements `ml.core.ports.Lake`."""

    root: Path
    slug: str

    def folder(self, area: str, table: str) -> Path:
        return self.root / area / self.slug / table

    def _file(self, area: str, table: str, key: str | None) -> Path:
        folder = self.folder(area, table)
        return (folder / f"{_PREFIX}{key}" if key else folder) / "data.parquet"

    def write(self, area: str, table: str, key: str | None, rows: pa.Table) -> str:
        path = self._file(area, table, key)
        with replacing(path) as temporary:
            pq.write_table(rows, temporary, compression="zstd")
        return file_digest(path)

    def read(self, area: str, table: str, keys: Sequence[str] | None = None) -> pa.Table:
        tables = []
        for key in self.keys(area, table) if keys is None else keys:
            path = self._file(area, table, key)
            if not path.exists():
                raise DataError(
                    f"no partition {key} in {area}/{self.slug}/{table}",
                    repair=f"ingest it: flightline ingest {self.slug} {key}",
                )
            rows = pq.read_table(path, partitioning=None)
            tables.append(rows.append_column("partition_key", pa.array([key] * len(rows))))
        return pa.concat_tables(tables) if tables else pa.table({})

    def remove(self, area: str, table: str, key: str | None) -> None:
        path = self._file(area, table, key)
        path.unlink(missing_ok=True)
        if path.parent.exists() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def keys(self, area: str, table: str) -> tuple[str, ...]:
        files = self.folder(area, table).glob(f"{_PREFIX}*/data.parquet")
        return tuple(sorted(path.parent.name.removeprefix(_PREFIX) for path in files))

    def count(self, area: str, table: str, key: str | None) -> int:
        path = self._file(area, table, key)
        return pq.read_metadata(path).num_rows if path.exists() else 0

    def digest(self, area: str, table: str, keys: Sequence[str] | None = None) -> str:
        digest = sha256()
        for key in self.keys(area, table) if keys is None else keys:
            digest.update(f"{key}={file_digest(self._file(area, table, key))};".encode())
        return digest.hexdigest()
