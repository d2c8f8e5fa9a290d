"""`flightline backup`: one archive of a whole home, taken while its platform runs."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import IO

import psutil
import pyarrow as pa

from ml.adapters import sqlite
from ml.adapters.files import replacing
from ml.core.errors import ConfigError, TransientError
from ml.local.gc import nothing_runs
from ml.render import console
from ml.settings import Settings, settings

FORMAT = 1
MANIFEST = "manifest.json"
_WAIT_SECONDS = 600.0
# Ports and what became of processes are one machine's, locks are held by processes; the rest is
# unfinished.
_LEFT_OUT = re.compile(
    r"platform\.(json|lock)|logs/platform\.jsonl|(locks|tmp)/.*"
    r"|(?!mlflow/artifacts/)(.*/)?\..+\.([0-9a-f]{8}|\d+)"
)
_SQLITE, _SQLITE_PARTS = b"SQLite format 3\0", ("-wal", "-shm", "-journal")
_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Entry:
    """One file of an archive.

    Attributes:
        mode: its permissions.
        changed_at: in whole seconds since 1970, which `flightline gc` decides by; 0 if unknown.
    """

    size: int
    sha256: str
    mode: int
    changed_at: int = 0


@dataclass(frozen=True)
class Manifest:
    """What an archive holds.

    Attributes:
        made_at: ISO 8601, in UTC.
        home: whose state it is; paths in it are rewritten where it is restored.
        files: by path below the home.
    """

    flightline: str
    made_at: str
    home: str
    files: dict[str, Entry] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """What was written; of a newer format only what says so."""
        found = json.loads(text)
        known = {name: found[name] for name in ("flightline", "made_at", "home", "format")}
        if known["format"] > FORMAT:
            return cls(**known)
        files = {name: _entry(**entry) for name, entry in found["files"].items()}
        return cls(**known, files=files)


def _entry(size: int, sha256: str, mode: int, changed_at: int = 0, **_: object) -> Entry:
    """Without fields that a newer version has added to the same format."""
    return Entry(size, sha256, mode, changed_at)


def backup(where: Settings, target: Path, *, made_at: str) -> Manifest:
    """Write all state of the home to one file, which only its owner can read.

    No stage runs meanwhile. Databases are copied by their own means, as of one moment each.

    Raises:
        ConfigError: if there is nothing to keep, the file exists or lies in the home, or
            something in the home may not be read.
        TransientError: if a stage still runs after ten minutes, or a warehouse is open elsewhere.
    """
    _require_apart(where, target)
    manifest = Manifest(version("flightline"), made_at, str(where.home))
    with nothing_runs(where, wait_seconds=_WAIT_SECONDS), replacing(target) as temporary:
        _sweep(temporary)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        # Measured on 54 MB in 5,926 files: zstd 3.8 CPU s and 3.6 MB, gzip 4.9 and 3.8. No xz, no
        # stdlib module before Python 3.14; `tar --zstd` opens it where there is no Flightline.
        with (
            pa.output_stream(str(temporary), compression="zstd") as stream,
            tarfile.open(fileobj=stream, mode="w|") as archive,
        ):
            for path in sorted(_files(where)):
                _add(archive, where.home, path, manifest)
            content = manifest.to_json().encode()
            _put(archive, MANIFEST, io.BytesIO(content), len(content), 0o600, 0)
    return manifest


def _sweep(temporary: Path) -> None:
    """Remove what killed backups to other names have left there: with passwords, and large.

    By its digits of this machine, as in the name of our own: elsewhere a process's number says
    nothing.
    """
    left = re.compile(rf"\..+\.(\d{{1,9}})\.{temporary.suffix[1:5]}[0-9a-f]{{4}}")
    for path in temporary.parent.iterdir():
        if (found := left.fullmatch(path.name)) and not psutil.pid_exists(int(found[1])):
            with suppress(OSError):  # of another user, or another backup was quicker
                if _begins(path, _ZSTD) or path.stat().st_size == 0:
                    path.unlink()


def _require_apart(where: Settings, target: Path) -> None:
    if not any(_files(where)):
        raise ConfigError(
            f"there is no state in {where.home}", repair="check MLOPS_HOME, and run this again"
        )
    if target.resolve().is_relative_to(where.home):
        raise ConfigError(
            f"{target} lies in the home that it is to be a copy of",
            expected="a file outside, best on another disk",
        )
    if target.exists():
        raise ConfigError(f"{target} exists", repair="choose another name, or delete that file")


def _files(where: Settings) -> Iterator[Path]:
    for path in _all(where.home):
        name = path.relative_to(where.home).as_posix()
        if not _LEFT_OUT.fullmatch(name) and not _is_part(path):
            yield path


def _is_part(path: Path) -> bool:
    """Whether a database that lies beside it, and is copied by its own means, has written it."""
    return any(
        path.name.endswith(part) and _is_sqlite(path.with_name(path.name.removesuffix(part)))
        for part in _SQLITE_PARTS
    )


def _all(home: Path) -> Iterator[Path]:
    """Every file.

    Raises:
        ConfigError: at a link that leads out of the home, or a folder that may not be read: the
            copy would lack what is there.
    """
    for folder, folders, files in os.walk(home, onerror=_refuse):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if not path.is_symlink():
                if path.name in files:
                    yield path
            elif not path.resolve().is_relative_to(home):
                raise ConfigError(
                    f"{path} is a link to {path.resolve()}",
                    expected="all state in the home",
                    repair="set MLOPS_HOME to a folder on that disk",
                )


def _refuse(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):  # put away meanwhile, as logs are
        return
    raise ConfigError(
        f"cannot read the folder {error.filename}: {error.strerror}",
        expected="a home of which all may be read: the copy would lack what is there",
        repair="mend its owner or permissions, or back up as the user who runs the platform",
    ) from error


def _add(archive: tarfile.TarFile, home: Path, path: Path, manifest: Manifest) -> None:
    name = path.relative_to(home).as_posix()
    try:
        with _frozen(path) as (file, size):
            found = path.stat()
            mode, changed_at = found.st_mode & 0o777, int(found.st_mtime)
            digest = _put(archive, f"home/{name}", file, size, mode, changed_at)
    except FileNotFoundError:  # a log that was put away meanwhile
        return
    manifest.files[name] = Entry(size, digest, mode, changed_at)


def _put(
    archive: tarfile.TarFile, name: str, file: IO[bytes], size: int, mode: int, changed_at: int
) -> str:
    """Store so many bytes of a file, which may be growing; returns their SHA-256."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, mode, changed_at
    hashed = _Hashed(file)
    archive.addfile(member, hashed)  # type: ignore[arg-type]  # of a file it only reads
    return hashed.digest.hexdigest()


class _Hashed:
    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, sha256()

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self.digest.update(block)
        return block


@contextmanager
def _frozen(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """A file that does not change while it is read, and its size now."""
    with ExitStack() as held:
        if path.suffix == ".duckdb":
            held.enter_context(_unwritten(path))
        elif _is_sqlite(path):
            path = held.enter_context(_snapshot(path))
        file = held.enter_context(path.open("rb"))
        yield file, os.fstat(file.fileno()).st_size


def _is_sqlite(path: Path) -> bool:
    return path.is_file() and _begins(path, _SQLITE)


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


@contextmanager
def _snapshot(path: Path) -> Iterator[Path]:
    """A copy of an SQLite database as of now, whoever writes to it meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        sqlite.copy(path, copy)
        yield copy


@contextmanager
def _unwritten(path: Path) -> Iterator[None]:
    """Keep others from writing to a DuckDB file: its readers hold a lock on it."""
    import duckdb

    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.IOException as error:
        raise TransientError(
            f"cannot copy {path}: {error}",
            expected="a warehouse that no other process has open",
            repair="close it there, then run this again",
        ) from error
    with closing(connection):
        yield


def command(target: Path) -> None:
    """`flightline backup`."""
    made_at = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
    found = backup(settings(), target, made_at=made_at)
    size = sum(entry.size for entry in found.files.values())
    console().print(
        f"{len(found.files):,} files, {size / 2**20:,.1f} MiB, in {target} "
        f"({target.stat().st_size / 2**20:,.1f} MiB); it holds passwords, keep it to yourself",
        markup=False,
        soft_wrap=True,
    )
