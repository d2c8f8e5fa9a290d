"""Files that are there whole or not at all, and locks that the kernel releases."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from ml.core.errors import ConfigError, TransientError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place if the block succeeds.

    A reader or a `kill -9` sees the old file or the new one, never half of one.

    Raises:
        TransientError: if the disk, the quota or the permitted file size is used up.
        ConfigError: if this user may not write there.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{uuid4().hex[:8]}"
        try:
            yield temporary
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # some file systems find out only here that they are full
            finally:
                os.close(descriptor)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Say what a full or forbidden disk means for `path`; other errors pass as they are.

    Raises:
        TransientError: if the disk, the quota or the permitted file size is used up.
        ConfigError: if this user may not do that there.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise TransientError(
                f"no room for {path}: {error.strerror}",
                expected="space on that disk; what was there before is untouched",
                repair=f"free space below {path.parent}, or raise the quota, then run this again",
            ) from error
        if error.errno in _FORBIDDEN:
            raise ConfigError(
                f"no access to {path}: {error.strerror}",
                expected="a folder that this user may read and write",
                repair=f"mend owner, permissions or mount of {path.parent}, or choose another "
                "place",
            ) from error
        raise


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def exclusive(path: Path, *, wait_seconds: float = 0) -> Iterator[None]:
    """Hold an exclusive lock on `path`.

    Airflow lets a second try run beside an orphan of the first; this lock does not.

    Raises:
        TransientError: if another process still holds it after `wait_seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        deadline = time.monotonic() + wait_seconds
        while not _locked(file):
            if time.monotonic() >= deadline:
                file.seek(0)
                raise TransientError(
                    f"{path.stem} is busy (process {file.read() or 'unknown'})",
                    expected="one writer at a time for a use case",
                    repair="wait until it is done, then run this again",
                )
            time.sleep(0.2)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
