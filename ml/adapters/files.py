"""Files that are there whole or not at all, and locks that the kernel releases."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from ml.core.errors import ConfigError, FlightlineError, TransientError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL_DATABASE = ("database or disk is full", "disk I/O error")
_CLOSED_DATABASE = ("attempt to write a readonly database", "unable to open database file")
_REPLACED_AT_MOST = 100  # homes, while somebody waits for a lock in them


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place if the block succeeds.

    A reader or a `kill -9` sees the old file or the new one, never half of one; a power cut, too,
    but it may bring the old one back: to sync the folder takes 6 ms more for each file, which is
    more than the file itself takes, and a stage makes thousands of a year.

    Raises:
        TransientError: if the disk, the quota or the permitted file size is used up.
        ConfigError: if this user may not write there.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        temporary = path.parent / f".{path.name}.{os.getpid()}.{_here()}{uuid4().hex[:4]}"
        try:
            yield temporary
            sync(temporary)  # some file systems find out only here that they are full
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str) -> None:
    """One line in one write: lines of several processes never mix, but empty ones may come between.

    Such a one ends what a kill or a full disk has cut off, or seems to be: it is still written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        is_cut = size and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (("\n" if is_cut else "") + line + "\n").encode())
    finally:
        os.close(descriptor)


def _sweep(path: Path) -> None:
    """Remove what killed writers of `path` have left beside it; of other machines, `gc` does."""
    left = re.compile(rf"\.{re.escape(path.name)}\.([0-9]{{1,9}})\.{_here()}[0-9a-f]{{4}}")
    for entry in os.scandir(path.parent):
        if (found := left.fullmatch(entry.name)) and not _is_alive(int(found[1])):
            Path(entry.path).unlink(missing_ok=True)


@cache
def _here() -> str:
    """Four digits for this machine or container: elsewhere a number means another process."""
    try:
        numbers = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux: without containers
        numbers = 0
    return sha256(f"{os.uname().nodename} {numbers}".encode()).hexdigest()[:4]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


@contextmanager
def scratch(folder: Path) -> Iterator[None]:
    """Temporary files of this process go to `folder`, which is emptied before and removed after.

    In the system's own folder those of a killed stage would stay until somebody looks.
    """
    with storage_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Say what a full or forbidden disk means for `path`, or for the file that an error names.

    Other errors pass as they are.

    Raises:
        TransientError: if the disk, the quota or the permitted file size is used up.
        ConfigError: if this user may not do that there.
    """
    try:
        yield
    except OSError as error:
        if told := storage_error(error, _blamed(error, path)):
            raise told from error
        raise


def _blamed(error: OSError, path: Path) -> Path:
    """The file that an error names, which may be another one; a temporary one is `path`."""
    named = error.filename
    if not isinstance(named, str) or Path(named).name.startswith(f".{path.name}."):
        return path
    return Path(named)


def storage_error(error: OSError, path: Path) -> FlightlineError | None:
    """What an error says of the disk below `path`, if it is the disk's."""
    if error.errno in _FULL:
        return _no_room(path, str(error.strerror))
    return _no_access(path, str(error.strerror)) if error.errno in _FORBIDDEN else None


def database_error(text: str, path: Path) -> FlightlineError | None:
    """What SQLite's words say of the disk below `path`, where its database is."""
    if any(words in text for words in _FULL_DATABASE):
        return _no_room(path, text)
    return _no_access(path, text) if any(words in text for words in _CLOSED_DATABASE) else None


def _no_room(path: Path, reason: str) -> TransientError:
    return TransientError(
        f"no room for {path}: {reason}",
        expected="space on that disk; what was there before is untouched",
        repair=f"free space below {path.parent}, or raise the quota, then run this again",
    )


def _no_access(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"no access to {path}: {reason}",
        expected="a folder that this user may read and write",
        repair=f"mend owner, permissions or mount of {path.parent}, or choose another place",
    )


def require_writable(folder: Path) -> None:
    """Before much is done for nothing.

    Raises:
        ConfigError: if this user may not write to it, or to where it would be made.
    """
    nearest = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))
    if not os.access(nearest, os.W_OK | os.X_OK):
        is_closed = os.statvfs(nearest).f_flag & os.ST_RDONLY
        raise ConfigError(
            f"no access to {nearest}: {os.strerror(errno.EROFS if is_closed else errno.EACCES)}",
            expected="a folder that this user may read and write",
            repair=f"mend owner, permissions or mount of {nearest}, or set MLOPS_HOME",
        )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def exclusive(path: Path, *, wait_seconds: float = 0, must_write: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on `path`.

    Airflow lets a second try run beside an orphan of the first; this lock does not.

    Raises:
        TransientError: if another process still holds it after `wait_seconds`, or the disk is full.
        ConfigError: if this user may not write there.
    """
    deadline = time.monotonic() + wait_seconds

    def acquire(file: BinaryIO) -> None:
        while not locked(file):
            if time.monotonic() >= deadline:
                file.seek(0)
                raise TransientError(
                    f"{path.stem} is busy (process {file.read().decode() or 'unknown'})",
                    expected="one writer at a time for a use case",
                    repair="wait until it is done, then run this again",
                )
            time.sleep(0.2)

    with held(path, acquire, must_write=must_write):
        yield


@contextmanager
def held(
    path: Path, acquire: Callable[[BinaryIO], None], *, must_write: bool = True
) -> Iterator[None]:
    """Hold the lock of this name.

    Whoever replaces or deletes a home takes its locks away: the file that has the name now counts.

    Args:
        acquire: locks a file, or raises.
        must_write: False also holds a lock on a disk that is full or closed; one that is missing
            there and cannot be made is held by nobody, and the block runs without.

    Raises:
        TransientError: if the disk is full.
        ConfigError: if this user may not write there, or the file system does not tell files apart.
    """
    for _ in range(_REPLACED_AT_MOST):
        file = _lock_file(path, must_write=must_write)
        if file is None:
            yield
            return
        with file:
            acquire(file)
            if _has_name(file, path):
                with suppress(OSError):  # told to those who wait: a full disk hinders no holder
                    file.truncate(0)
                    file.write(str(os.getpid()).encode())
                yield
                return
    raise ConfigError(
        f"{path} is another file at each look",
        expected="a file system that numbers its files, as local disks do",
        repair="set MLOPS_HOME to a folder on another disk",
    )


def _lock_file(path: Path, *, must_write: bool) -> BinaryIO | None:
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without a buffer: on a full disk, closing would raise once more what it still holds.
            return path.open("a+b", buffering=0)
        except OSError as error:
            if must_write or error.errno not in _FULL | _FORBIDDEN:
                raise
        with suppress(FileNotFoundError):
            return path.open("rb", buffering=0)
    return None


def _has_name(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def locked(file: BinaryIO) -> bool:
    """Lock it, unless another process has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
