"""`flightline restore`: an archive becomes the home, whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO

import pyarrow as pa

from ml.adapters import sqlite, state
from ml.adapters.files import exclusive, storage_errors
from ml.core.errors import ConfigError, DataError
from ml.local import home as homes
from ml.local import processes
from ml.local.backup import FORMAT, MANIFEST, Entry, Manifest
from ml.local.gc import nothing_runs
from ml.local.ports import ports_file
from ml.render import console
from ml.settings import Settings, settings

_BLOCK = 1 << 20
_CLASHES = (FileExistsError, NotADirectoryError)  # of names in it
# Where MLflow writes down where things are; found by a test that searches a restored home.
_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("datasets", "dataset_source"),
    ("tags", "value"),
)


def restore(where: Settings, source: Path, *, replace: bool) -> Manifest:
    """Put the state of an archive into the home; until all of it is checked, nothing changes.

    A kill leaves the old state or the new one; what it left beside is cleared by the next call,
    unless it may be the only copy.

    Args:
        replace: whether state that is there may go.

    Raises:
        ConfigError: if the platform runs, the home is not empty or has what is not the platform's,
            the archive is none, or a newer version has written its state or its tables.
        DataError: if the archive is damaged.
        TransientError: if a stage runs, or there is no room.
    """
    home = where.home
    new, old = (home.with_name(f".{home.name}.{word}") for word in ("restoring", "restored-over"))
    _require_archive(source)
    if home.is_mount():
        raise _mounted(home)
    with storage_errors(home):
        _take_back(old, home)
        home.mkdir(parents=True, exist_ok=True)
    _require_replaceable(home, source, replace=replace)
    with exclusive(where.platform_lock), nothing_runs(where, wait_seconds=0):
        _require_down(home)
        _require_replaceable(home, source, replace=replace)  # a stage may have run meanwhile
        with storage_errors(new):
            shutil.rmtree(new, ignore_errors=True)
            try:
                manifest = _unpack(source, new)
                _require_known(where, source, new)
                relocate(new, Path(manifest.home), home)
                _keep_ports(where, new)
                os.sync()
                _exchange(new, home, old)
            finally:
                shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    return manifest


def _mounted(home: Path) -> ConfigError:
    return ConfigError(
        f"{home} is where a disk is mounted: it cannot be exchanged with another folder",
        expected="a home that is a folder on its disk; nothing was changed",
        repair=f"set MLOPS_HOME to a folder below it, such as {home / 'home'}, and restore there",
    )


def _take_back(old: Path, home: Path) -> None:
    """Undo half an exchange: one that was killed between two renames."""
    if old.exists() and home.exists():
        raise ConfigError(
            f"a restore was killed: {old} is what it had set aside, and there is {home}, too",
            expected="one of them",
            repair=f"look at both: delete {old}, or delete {home} and rename {old} to {home}",
        )
    if old.exists():
        old.rename(home)


def _require_archive(source: Path) -> None:
    if not source.is_file():
        raise ConfigError(f"there is no file {source}", expected="what flightline backup wrote")


def _require_down(home: Path) -> None:
    if processes.supervised(home):
        raise ConfigError(
            f"the platform of {home} is running",
            expected="nobody who works on the state that is replaced",
            repair="flightline down, then run this again",
        )


def _require_replaceable(home: Path, source: Path, *, replace: bool) -> None:
    if replace:
        homes.require_own(home)
    elif any(homes.entries(home)):
        raise ConfigError(
            f"{home} is not empty",
            expected="an empty home: set MLOPS_HOME to another folder",
            repair=f"or give up what is there: flightline restore {source} --replace",
        )


def _require_known(where: Settings, source: Path, new: Path) -> None:
    """Check who has written what was unpacked, as the next `up` would."""
    try:
        state.check_all(where.model_copy(update={"home": new, "tracking_uri": None}))
    except ConfigError as error:
        raise ConfigError(
            error.seen.replace(str(new), str(source)),
            expected=f"{error.expected}; nothing was changed",
            repair="restore it with that version, or take an older archive",
        ) from error


def _unpack(source: Path, folder: Path) -> Manifest:
    """Write the archive's files below a folder, and compare each with the manifest.

    Raises:
        DataError: if anything is missing, changed or too much.
        ConfigError: if it was written in a newer format.
    """
    found: dict[str, Entry] = {}
    manifest = None
    folder.mkdir(mode=0o700)
    (folder / "locks").mkdir(mode=0o700)  # by which it is known as a home
    with (
        _readable(source),
        pa.input_stream(str(source), compression="zstd") as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        for member in archive:
            file = archive.extractfile(member)
            if member.name == MANIFEST and file:
                manifest = Manifest.from_json(file.read().decode())
            elif (name := _inside(folder, member.name)) and file:
                found[name] = _write(file, folder / name, member)
            else:
                raise _damaged(source, f"{member.name} does not belong there")
    if manifest is None:
        raise _damaged(source, "it ends before its manifest")
    if manifest.format > FORMAT:
        raise ConfigError(
            f"{source} was written by Flightline {manifest.flightline}",
            expected=f"an archive of format {FORMAT}",
            repair="restore it with that version",
        )
    if wrong := sorted({n for n, _ in found.items() ^ manifest.files.items()}):
        raise _damaged(source, f"{wrong[0]} is not what was written ({len(wrong)} such files)")
    return manifest


def _inside(folder: Path, name: str) -> str:
    """A member's path below the home; empty if it is none, or may lead out of the folder."""
    below = name.removeprefix("home/")
    path = PurePosixPath(below)
    is_plain = below != name and path.as_posix() == below and ".." not in path.parts
    return below if is_plain and _is_below(folder, folder / path) else ""


def _is_below(folder: Path, path: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _make_private(folder: Path) -> None:
    """Make a folder, and those above that are missing, for its owner alone.

    `Path.mkdir` gives those above the permissions of the process.
    """
    if not folder.exists():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700)


def _write(file: IO[bytes], path: Path, member: tarfile.TarInfo) -> Entry:
    _make_private(path.parent)
    digest, size, changed_at = sha256(), 0, int(member.mtime)
    mode = member.mode & 0o777  # never with the rights of another user
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as target:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
            target.write(block)
    path.chmod(mode)
    if changed_at:
        os.utime(path, (changed_at, changed_at))
    return Entry(size, digest.hexdigest(), mode, changed_at)


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        raise _damaged(source, str(error)) from error
    except OSError as error:
        if isinstance(error, _CLASHES) or error.errno is None:  # as the decoder says it
            raise _damaged(source, str(error)) from error
        raise


def _damaged(source: Path, how: str) -> DataError:
    return DataError(
        f"{source} is damaged: {how}",
        expected="the whole file that flightline backup wrote; nothing was changed",
        repair="copy it again from where it was kept, or take an older one",
    )


def relocate(folder: Path, before: Path, after: Path) -> None:
    """Rewrite the paths that state keeps of its own home."""
    if before == after:
        return
    moved = partial(_moved, before=before, after=after)
    database = folder / "mlflow" / "mlflow.db"
    if database.exists():
        with sqlite.opened(database) as connection, connection:
            connection.create_function("moved", 1, moved, deterministic=True)
            for table, column in _PATHS:
                told = f"where {column} is not null"
                connection.execute(f"update {table} set {column} = moved({column}) {told}")
    for file in (folder / "mlflow" / "artifacts").glob("*/models/*/artifacts/MLmodel"):
        file.write_text(moved(file.read_text()))
    for warehouse in (folder / "warehouse").glob("*.duckdb"):
        _drop_views(warehouse, before)
    shutil.rmtree(folder / "dbt", ignore_errors=True)  # made anew by the next build, or wrong


def _moved(value: str, *, before: Path, after: Path) -> str:
    """A value with the new home for the old one: in URLs, in JSON, or as a path.

    A path counts where it begins, because another may end like it: `/mnt/home` and `/home`.
    """
    for written in (_as_url, _as_json):
        value = value.replace(written(before), written(after))
    return (
        f"{after}/" + value.removeprefix(f"{before}/") if value.startswith(f"{before}/") else value
    )


def _as_url(home: Path) -> str:
    return f"{home.as_uri()}/"


def _as_json(home: Path) -> str:
    return json.dumps(f"{home}/").removesuffix('"')


def _drop_views(warehouse: Path, before: Path) -> None:
    """The next build of dbt makes them anew; they read the lake by its whole path."""
    import duckdb

    listed = """select format('drop view "{}"."{}"', schema_name, view_name) from duckdb_views()
                where not internal and contains(sql, ?)"""
    with closing(duckdb.connect(str(warehouse))) as connection:
        for (drop,) in connection.execute(listed, [f"{before}/"]).fetchall():
            connection.execute(drop)


def _keep_ports(where: Settings, new: Path) -> None:
    """They are this machine's, and bookmarks point to them."""
    with suppress(FileNotFoundError):
        shutil.copy2(ports_file(where), new / ports_file(where).name)


def _exchange(new: Path, home: Path, aside: Path) -> None:
    """Swap two folders in one step where the system can; else there is a moment without a home."""
    try:
        _renamed_both(new, home)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EXDEV):
            raise _mounted(home) from error
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise
        try:
            home.rename(aside)
            new.rename(home)
        except BaseException:
            if not home.exists():
                aside.rename(home)
            raise


def _renamed_both(one: Path, other: Path) -> None:
    """Linux's `renameat2` with RENAME_EXCHANGE.

    Raises:
        OSError: with ENOSYS if there is none.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, "no renameat2")
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if call(here, os.fsencode(one), here, os.fsencode(other), exchange):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def command(source: Path, *, replace: bool) -> None:
    """`flightline restore`."""
    where = settings()
    found = restore(where, source, replace=replace)
    console().print(
        f"{where.home} is as of {found.made_at}: {len(found.files):,} files",
        markup=False,
        soft_wrap=True,
    )
