"""The lake: Parquet as `area/slug/table/partition_key=KEY/data.parquet`, on files or on S3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ml.adapters.objects import LocalObjects, Objects, S3Objects
from ml.core.errors import ConfigError, DataError

_COLUMN = "partition_key"
_FILE = "data.parquet"
_OF_ROWS = {b"pandas"}  # metadata that belongs to the rows; all other names are the caller's
_OF_FORMAT = {b"ARROW:schema"}
_TAIL_BYTES = 16 << 10  # holds the footer of a file of some 80 columns
_COMMANDS = {"raw": "ingest", "marts": "transform", "features": "transform", "predictions": "score"}


@dataclass(frozen=True)
class ParquetLake:
    """Implements `ml.core.ports.Lake`."""

    objects: Objects
    slug: str

    def _folder(self, area: str, table: str) -> str:
        return f"{area}/{self.slug}/{table}"

    def _name(self, area: str, table: str, key: str | None) -> str:
        partition = [] if key is None else [f"{_COLUMN}={key}"]
        return "/".join([self._folder(area, table), *partition, _FILE])

    def address(self, area: str, table: str, key: str | None) -> str:
        return self.objects.address(self._name(area, table, key))

    def write(
        self,
        area: str,
        table: str,
        key: str | None,
        rows: pa.Table,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        own = {name.encode(): value.encode() for name, value in (metadata or {}).items()}
        stored = rows.replace_schema_metadata(_of_rows(rows) | own)
        sink = pa.BufferOutputStream()
        pq.write_table(stored, sink, compression="zstd", write_page_checksum=True)
        content = sink.getvalue().to_pybytes()
        self.objects.write(self._name(area, table, key), content)
        return sha256(content).hexdigest()

    def read(self, area: str, table: str, keys: Sequence[str | None] | None = None) -> pa.Table:
        tables = [
            _with_key(self._decoded(area, table, key, content), key)
            for key, content in self._contents(area, table, keys)
        ]
        try:
            return pa.concat_tables(tables) if tables else pa.table({})
        except pa.ArrowInvalid as error:
            raise DataError(
                f"partitions of {self._folder(area, table)} have different columns: {error}",
                repair="make the older ones anew" + self._by(area, "…"),
            ) from error

    def _contents(
        self, area: str, table: str, keys: Sequence[str | None] | None
    ) -> Iterator[tuple[str | None, bytes]]:
        wanted = self.keys(area, table) if keys is None else keys
        names = [self._name(area, table, key) for key in wanted]
        for key, content in zip(wanted, self.objects.read(names), strict=True):
            if content is None:
                raise DataError(
                    f"no partition {key} in {self._folder(area, table)}"
                    if key is not None
                    else f"no {self._folder(area, table)}",
                    expected=f"an object at {self.address(area, table, key)}",
                    repair="make it" + self._by(area, key or "…"),
                )
            yield key, content

    def _decoded(self, area: str, table: str, key: str | None, content: bytes) -> pa.Table:
        with self._readable(area, table, key):
            file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
            # Arrow's threads make files of this size no faster, and now and then they abort or
            # hang a process that ends right after (apache/arrow issues 34314 and 50482).
            return file.read(use_threads=False)

    @contextmanager
    def _readable(self, area: str, table: str, key: str | None) -> Iterator[None]:
        address = self.address(area, table, key)
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{address} cannot be read: {reason}",
                expected="a whole Parquet file",
                repair="restore it from a backup, or delete it and make it anew"
                + self._by(area, key or "…"),
            ) from error

    def _by(self, area: str, key: str) -> str:
        command = _COMMANDS.get(area)
        return f": flightline {command} {self.slug} {key}" if command else ""

    def remove(self, area: str, table: str, key: str | None) -> None:
        self.objects.delete(self._name(area, table, key))

    def tables(self, area: str) -> tuple[str, ...]:
        names = self.objects.names(f"{area}/{self.slug}")
        return tuple(sorted({name.split("/")[2] for name in names if name.endswith(f"/{_FILE}")}))

    def keys(self, area: str, table: str) -> tuple[str, ...]:
        start, end = f"{self._folder(area, table)}/{_COLUMN}=", f"/{_FILE}"
        names = self.objects.names(self._folder(area, table))
        found = (
            name[len(start) : -len(end)]
            for name in names
            if name.startswith(start) and name.endswith(end)
        )
        return tuple(sorted(found))

    def count(self, area: str, table: str, key: str | None) -> int:
        footer = self._footer(area, table, key)
        return footer.num_rows if footer else 0

    def metadata(self, area: str, table: str, key: str | None) -> Mapping[str, str]:
        footer = self._footer(area, table, key)
        stored = (footer.metadata if footer else None) or {}
        with self._readable(area, table, key):
            return {
                name.decode(): value.decode()
                for name, value in stored.items()
                if name not in _OF_ROWS | _OF_FORMAT
            }

    def _footer(self, area: str, table: str, key: str | None) -> pq.FileMetaData | None:
        """What stands at the end of a file, without reading the rest of it."""
        name = self._name(area, table, key)
        tail = self.objects.tail(name, _TAIL_BYTES)
        if tail is None:
            return None
        size = int.from_bytes(tail[-8:-4], "little") + 8  # then the magic bytes `PAR1`
        if size > _TAIL_BYTES == len(tail):
            tail = self.objects.tail(name, size) or b""
        with self._readable(area, table, key):
            return pq.read_metadata(pa.BufferReader(tail))

    def digest(self, area: str, table: str, keys: Sequence[str | None] | None = None) -> str:
        digest = sha256()
        for key, content in self._contents(area, table, keys):
            digest.update(f"{key}={sha256(content).hexdigest()};".encode())
        return digest.hexdigest()


def _of_rows(rows: pa.Table) -> dict[bytes, bytes]:
    stored = rows.schema.metadata or {}
    return {name: stored[name] for name in _OF_ROWS if name in stored}


def _with_key(rows: pa.Table, key: str | None) -> pa.Table:
    """The rows with their partition's key, and without the metadata of their file."""
    rows = rows.replace_schema_metadata(_of_rows(rows) or None)
    if _COLUMN in rows.column_names:
        return rows
    return rows.append_column(_COLUMN, pa.repeat(pa.scalar(key, pa.string()), len(rows)))


def open_lake(url: str, slug: str) -> ParquetLake:
    """The lake at a path or at `s3://bucket/prefix`; nothing is opened before it is used.

    Raises:
        ConfigError: if it is neither.

    >>> open_lake("s3://lake/team", "toy").address("raw", "events", "2020-01-01")
    's3://lake/team/raw/toy/events/partition_key=2020-01-01/data.parquet'
    """
    if "://" not in url:
        return ParquetLake(LocalObjects(Path(url)), slug)
    scheme, _, place = url.partition("://")
    bucket, _, prefix = place.partition("/")
    if scheme != "s3" or not bucket:
        raise ConfigError(f"no lake at {url!r}", expected="a path, or s3://bucket/prefix")
    return ParquetLake(S3Objects(bucket, prefix.strip("/")), slug)
