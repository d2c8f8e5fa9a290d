from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import pytest

from ml.adapters.files import (
    database_error,
    exclusive,
    file_digest,
    held,
    locked,
    replacing,
    require_writable,
    scratch,
    storage_errors,
)
from ml.core.errors import ConfigError, FlightlineError, TransientError


def test_a_block_that_succeeds_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "data.txt"
    for text in ("old", "new"):
        with replacing(path) as temporary:
            temporary.write_text(text)
    assert path.read_text() == "new" and [p.name for p in path.parent.iterdir()] == ["data.txt"]


def test_an_exception_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half"), replacing(path) as temporary:  # noqa: PT012  # it must fail in the middle
        temporary.write_text("half of the n")
        raise RuntimeError("half")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


def test_the_temporary_file_is_never_seen_as_data(tmp_path: Path) -> None:
    """dbt and Feast read `*.parquet`; a file that is being written must not match."""
    path = tmp_path / "data.parquet"
    with replacing(path) as temporary:
        temporary.write_text("x")
        assert temporary.parent == path.parent, "a rename is atomic within one folder"
        assert list(tmp_path.glob("*.parquet")) == []


_CHILD = """
import sys, time
from pathlib import Path
from ml.adapters.files import exclusive, replacing
path = Path(sys.argv[1])
with exclusive(path.with_suffix(".lock")), replacing(path) as temporary:
    temporary.write_text("half of the n")
    print("writing", flush=True)
    time.sleep(60)
"""


def _start_writer(path: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout and child.stdout.readline() == "writing\n"
    return child


def test_kill_9_while_writing_leaves_the_old_file_and_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_text("old")
    child = _start_writer(path)
    try:
        with pytest.raises(TransientError, match="is busy"), exclusive(path.with_suffix(".lock")):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    finally:
        child.kill()
    assert path.read_text() == "old" and list(tmp_path.glob("*.parquet")) == [path]
    with exclusive(path.with_suffix(".lock")), replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    child = _start_writer(path)
    (left,) = tmp_path.glob(".data.parquet.*")
    with replacing(path) as temporary:
        temporary.write_text("a second writer leaves a live one alone")
    assert left.exists()
    child.kill()
    child.wait(10)
    other = tmp_path / ".data.parquet.index"
    other.touch()
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert {p.name for p in tmp_path.glob(".*")} == {other.name}


@pytest.mark.parametrize(
    "name",
    [
        ".data.parquet.{dead}.ffff{random}",  # another container's: this number is alive there
        ".data.parquet.{dead}.csv",
        ".data.parquet.{dead}.{here}{random}.bak",
        ".data.parquet.99999999999999999999.{here}{random}",
        ".data-parquet.{dead}.{here}{random}",
    ],
)
def test_what_no_killed_writer_of_this_machine_left_stays(tmp_path: Path, name: str) -> None:
    child = _start_writer(tmp_path / "data.parquet")
    (left,) = tmp_path.glob(".data.parquet.*")
    child.kill()
    dead, random = child.wait(10) and child.pid, left.name[-4:]
    other = tmp_path / name.format(dead=dead, here=left.name[-8:-4], random=random)
    other.touch()
    with replacing(tmp_path / "data.parquet") as temporary:
        temporary.write_text("new")
    assert {p.name for p in tmp_path.glob(".*")} == {other.name}


def test_temporary_files_of_a_killed_stage_are_gone_when_the_next_begins(tmp_path: Path) -> None:
    before, folder = tempfile.gettempdir(), tmp_path / "tmp"
    folder.mkdir()
    (folder / "left").touch()
    with scratch(folder):
        assert list(folder.iterdir()) == []
        assert Path(tempfile.mkdtemp()).parent == folder
    assert not folder.exists() and tempfile.gettempdir() == before


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("database or disk is full", TransientError),
        ("(sqlite3.OperationalError) disk I/O error", TransientError),
        ("attempt to write a readonly database", ConfigError),
        ("unable to open database file", ConfigError),
        ("no such table: runs", type(None)),
    ],
)
def test_what_sqlite_says_of_a_disk_names_the_database(text: str, kind: type) -> None:
    told = database_error(text, Path("mlflow/mlflow.db"))
    assert type(told) is kind
    assert told is None or "mlflow/mlflow.db" in str(told)


def test_a_busy_lock_is_refused_at_once_and_names_the_process(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    child = _start_writer(path)
    try:
        start = time.perf_counter()
        with (
            pytest.raises(TransientError, match=rf"data is busy \(process {child.pid}\)"),
            exclusive(path.with_suffix(".lock")),
        ):
            pass
        assert time.perf_counter() - start < 2
    finally:
        child.kill()
        child.wait(10)


def test_a_lock_is_free_again_after_an_exception(tmp_path: Path) -> None:
    lock = tmp_path / "a" / "toy.lock"
    with pytest.raises(RuntimeError), exclusive(lock):
        raise RuntimeError
    with exclusive(lock):
        pass


def test_locks_of_two_use_cases_do_not_meet(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a.lock"), exclusive(tmp_path / "b.lock"):
        pass


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_lock_whose_file_was_taken_away_meanwhile_is_taken_anew(
    tmp_path: Path, is_replaced: bool
) -> None:
    """A home is deleted by `demo --fresh` and replaced by `restore` while others wait."""
    lock, taken = tmp_path / "locks" / "toy.lock", list[int]()

    def acquire(file: BinaryIO) -> None:
        assert locked(file)
        if not taken:
            lock.parent.rename(tmp_path / "before")
        if not taken and is_replaced:
            lock.parent.mkdir()
            lock.touch()
        taken.append(os.fstat(file.fileno()).st_ino)

    with held(lock, acquire):
        assert len(taken) == 2 and taken[1] == lock.stat().st_ino
        with pytest.raises(TransientError, match=f"toy is busy .process {os.getpid()}"):
            _hold(lock)


def test_a_lock_that_is_another_file_at_each_look_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a file system numbers its files anew: it would be waited for without an end."""
    monkeypatch.setattr("ml.adapters.files.os.path.samestat", lambda *_: False)
    with pytest.raises(ConfigError, match="another file at each look") as caught:
        _hold(tmp_path / "toy.lock")
    assert "MLOPS_HOME" in caught.value.repair


def _hold(lock: Path) -> None:
    with exclusive(lock):
        pass


def test_a_folder_that_may_be_written_to_or_made_passes(tmp_path: Path) -> None:
    require_writable(tmp_path)
    require_writable(tmp_path / "new" / "home")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_closed_is_refused_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exists = os.path.exists  # instead of the real check: root may write anywhere
    monkeypatch.setattr("os.access", lambda path, mode: mode == os.F_OK and exists(path))
    with pytest.raises(ConfigError, match=f"no access to {tmp_path}: Permission") as caught:
        require_writable(tmp_path / "new" / "home")
    assert f"mount of {tmp_path}" in caught.value.repair


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_the_digest_is_sha256_of_the_content(tmp_path: Path, size: int) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * size)
    assert file_digest(path) == sha256(b"x" * size).hexdigest()


@pytest.mark.parametrize(
    ("code", "kind", "seen"),
    [
        (errno.ENOSPC, TransientError, "no room for"),
        (errno.EDQUOT, TransientError, "no room for"),
        (errno.EFBIG, TransientError, "no room for"),
        (errno.EACCES, ConfigError, "no access to"),
        (errno.EPERM, ConfigError, "no access to"),
        (errno.EROFS, ConfigError, "no access to"),
    ],
    ids=errno.errorcode.get,
)
def test_a_disk_that_refuses_says_what_to_do(
    tmp_path: Path, code: int, kind: type[FlightlineError], seen: str
) -> None:
    """A disk that is really full or read-only is in test_lake.py."""
    path = tmp_path / "data"
    path.write_text("old")
    with (
        pytest.raises(kind, match=f"{seen} {path}: {os.strerror(code)}") as caught,
        replacing(path),
    ):
        raise OSError(code, os.strerror(code))
    assert str(tmp_path) in caught.value.repair
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_other_errors_of_the_disk_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output"), storage_errors(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to this user")
def test_a_folder_of_someone_else_is_a_wrong_setting(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ConfigError, match="Permission denied"), replacing(tmp_path / "a" / "data"):
        pass


def test_the_file_that_could_not_be_read_is_blamed_and_not_the_one_to_be_written(
    tmp_path: Path,
) -> None:
    closed = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "secret"))
    with pytest.raises(ConfigError, match=r"no access to .*/secret"), replacing(tmp_path / "copy"):
        raise closed


def test_a_temporary_file_is_told_by_the_name_that_it_was_to_have(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "copy") as temporary:
            raise OSError(errno.ENOSPC, "No space left", str(temporary))

    with pytest.raises(TransientError, match=r"no room for .*/copy: No space"):
        write()
