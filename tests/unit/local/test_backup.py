"""A home in one file and back: whole, checked, and by a kill neither lost nor mixed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from support import platform_at
from trained_runs import bare

from ml.adapters.files import exclusive
from ml.core.errors import ConfigError, DataError, TransientError
from ml.local import backup as backups
from ml.local import processes
from ml.local import restore as restores
from ml.local.backup import backup
from ml.local.restore import _exchange, restore
from ml.settings import REPOSITORY, Settings

MADE_AT = "2013-06-01T00:00:00+00:00"
pytestmark = pytest.mark.xdist_group("backup")


def tables(path: Path, rows: int) -> sqlite3.Connection:
    """A database as Airflow has it: much of it only in the write-ahead log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = sqlite3.connect(path)
    opened.execute("pragma journal_mode = wal")
    with opened:
        opened.execute("create table t (n integer)")
        opened.executemany("insert into t values (?)", [(n,) for n in range(rows)])
    return opened


@pytest.fixture
def home(scratch: Settings) -> Settings:
    """Files, databases of both kinds, secrets, and what has no place in a copy."""
    texts = {
        "lake/raw/toy/t/partition_key=2020-01-01/data.parquet": "rows",
        "lake/raw/toy/t/partition_key=2020-01-01/.data.parquet.0123abcd": "half of it",
        "logs/scheduler.log": "",
        "logs/platform.jsonl": "",
        "platform.json": '{"airflow": 1, "mlflow": 2}',
        "locks/toy.lock": "",
        "tmp/toy/spilled": "a stage was killed",
        "platform.lock": "",
    }
    for name, text in texts.items():
        path = scratch.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (scratch.home / "secrets.json").write_text("{}")
    (scratch.home / "secrets.json").chmod(0o600)
    tables(scratch.airflow_home / "airflow.db", rows=100).close()
    (scratch.home / "warehouse").mkdir()
    with closing(duckdb.connect(str(scratch.home / "warehouse" / "toy.duckdb"))) as warehouse:
        warehouse.execute("create table t as select 1 as n")
    return scratch


@pytest.fixture
def other(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "elsewhere" / "home")


@pytest.fixture
def archive(home: Settings, tmp_path: Path) -> Path:
    backup(home, tmp_path / "home.tar.zst", made_at=MADE_AT)
    return tmp_path / "home.tar.zst"


def content(where: Settings) -> dict[str, bytes]:
    paths = (path for path in where.home.rglob("*") if path.is_file())
    found = {path.relative_to(where.home).as_posix(): path.read_bytes() for path in paths}
    return {name: read for name, read in found.items() if not name.startswith(("locks/", "platf"))}


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as opened:
        return int(opened.execute("select count(*) from t").fetchone()[0])


def test_all_of_it_comes_back_and_nothing_else(
    home: Settings, other: Settings, archive: Path
) -> None:
    found = restore(other, archive, replace=False)
    assert found.made_at == MADE_AT and found.home == str(home.home)
    names = content(home).keys() - {
        "lake/raw/toy/t/partition_key=2020-01-01/.data.parquet.0123abcd",
        "logs/platform.jsonl",
        "tmp/toy/spilled",
    }
    assert content(other).keys() == found.files.keys() == names
    assert not (other.home / "platform.json").exists(), "ports are of one machine"
    assert stat.S_IMODE((other.home / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert count(other.airflow_home / "airflow.db") == 100
    with closing(duckdb.connect(str(other.home / "warehouse" / "toy.duckdb"))) as warehouse:
        assert warehouse.sql("select n from t").fetchall() == [(1,)]
    assert [path.name for path in other.home.parent.iterdir()] == ["home"], "nothing beside it"


def test_gc_finds_files_as_old_as_they_were(home: Settings, other: Settings) -> None:
    name = "logs/dbt/toy/dbt.log.1"
    (home.home / name).parent.mkdir(parents=True)
    (home.home / name).touch()
    os.utime(home.home / name, (1_000_000, 1_000_000.5))
    target = home.home.parent / "home.tar.zst"
    found = backup(home, target, made_at=MADE_AT)
    assert restore(other, target, replace=False) == found
    restored = {n: int((other.home / n).stat().st_mtime) for n in found.files}
    assert restored == {n: int((home.home / n).stat().st_mtime) for n in found.files}
    assert restored[name] == 1_000_000


def test_an_archive_of_before_times_were_kept_is_restored_as_of_now(
    home: Settings, other: Settings, archive: Path
) -> None:
    """Files of 1970 would be the first that gc takes."""
    rewritten(archive, "no times")
    restore(other, archive, replace=False)
    assert min(path.stat().st_mtime for path in other.home.rglob("*")) > time.time() - 600


def test_a_database_is_copied_whole_while_somebody_writes(home: Settings, other: Settings) -> None:
    """What is committed lies in its log only, and what is not must not come along."""
    with closing(sqlite3.connect(home.airflow_home / "airflow.db")) as writer:
        with writer:
            writer.execute("insert into t values (100)")
        writer.execute("insert into t values (101)")
        target = home.home.parent / "home.tar.zst"
        backup(home, target, made_at=MADE_AT)
    restore(other, target, replace=False)
    assert count(other.airflow_home / "airflow.db") == 101
    assert not list(other.airflow_home.glob("*-wal"))


def test_a_log_may_grow_meanwhile(home: Settings, other: Settings, tmp_path: Path) -> None:
    log, real = home.home / "logs" / "scheduler.log", backups._put
    log.write_text("a line\n")

    def put(*arguments: object) -> str:
        with log.open("a") as file:
            file.write("another\n")
        return real(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backups, "_put", put)
        backup(home, tmp_path / "x.tar.zst", made_at=MADE_AT)
    restore(other, tmp_path / "x.tar.zst", replace=False)
    assert (other.home / "logs/scheduler.log").read_text().startswith("a line\n")


def test_it_waits_for_stages_and_says_which(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_WAIT_SECONDS", 0.0)
    with (
        exclusive(home.home / "locks" / "toy.lock"),
        pytest.raises(TransientError, match="toy is busy"),
    ):
        backup(home, tmp_path / "x.tar.zst", made_at=MADE_AT)
    assert not (tmp_path / "x.tar.zst").exists()


def test_a_warehouse_that_is_open_elsewhere_is_refused(home: Settings, tmp_path: Path) -> None:
    code = f"import duckdb; c = duckdb.connect({str(home.home / 'warehouse/toy.duckdb')!r}); "
    code += "print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout and holder.stdout.readline()
        with pytest.raises(TransientError, match=r"cannot copy .*toy\.duckdb"):
            backup(home, tmp_path / "x.tar.zst", made_at=MADE_AT)
        holder.communicate(b"\n")
    assert list(tmp_path.glob("*.zst")) == []


def test_bad_targets_are_refused(home: Settings, other: Settings, archive: Path) -> None:
    for where, target, words in (
        (home, home.home / "logs" / "x.tar.zst", "lies in the home"),
        (home, archive, "exists"),
        (other, archive.with_name("x.tar.zst"), "there is no state"),
    ):
        with pytest.raises(ConfigError, match=words):
            backup(where, target, made_at=MADE_AT)


def test_a_link_out_of_the_home_is_refused(home: Settings, tmp_path: Path) -> None:
    """A copy without what is behind it would be none; a link inside is no loss."""
    (home.airflow_home / "latest").symlink_to("airflow.db")
    backup(home, tmp_path / "x.tar.zst", made_at=MADE_AT)
    (tmp_path / "disk").mkdir()
    (home.home / "mlflow").symlink_to(tmp_path / "disk")
    with pytest.raises(ConfigError, match="is a link to"):
        backup(home, tmp_path / "y.tar.zst", made_at=MADE_AT)


# Paths in it


NAMES = ("home", "a disk/für mich/home", "mnt/home")


@pytest.mark.parametrize(("before", "after"), [NAMES[:2], NAMES[1:]])
def test_what_mlflow_says_of_places_follows_a_home_of_any_name(
    tmp_path: Path, before: str, after: str
) -> None:
    """MLflow writes URLs, in which a space is %20, and JSON, in which an umlaut is a number."""
    old, new = Settings(home=tmp_path / before), Settings(home=tmp_path / after)
    address = str(old.home / "lake" / "training_sets" / "data.parquet")
    recorded = bare(dataset_address=address, tags=bare().tags | {"dataset.path": address})
    run_id = platform_at(old.home).tracking.log_training(recorded)
    backup(old, tmp_path / "x.tar.zst", made_at=MADE_AT)
    restore(new, tmp_path / "x.tar.zst", replace=False)
    shutil.rmtree(old.home)
    tracking: Any = platform_at(new.home).tracking
    assert tracking.load_model(run_id).columns
    assert tracking.tags(run_id)["dataset.path"] == address.replace(str(old.home), str(new.home))
    [data] = tracking._client.get_run(run_id).inputs.dataset_inputs
    assert json.loads(data.dataset.source)["uri"].startswith(f"{new.home}/lake/")
    forms = (str(old.home), old.home.as_uri(), json.dumps(str(old.home))[1:-1])
    named = [p for p in new.home.rglob("*") if p.is_file() for f in forms if named_in(p, f)]
    assert named == []


def named_in(path: Path, text: str) -> bool:
    return text.encode() in path.read_bytes()


@pytest.mark.parametrize(
    "value",
    [
        *("/mnt/data/home/x", "file:///mnt/data/home/x", '{"uri": "/mnt/data/home/x"}'),
        *("/data/home2/x", "s3://lake/data/home/x"),
    ],
)
def test_a_place_that_is_only_called_like_the_old_home_stays(value: str) -> None:
    assert restores._moved(value, before=Path("/data/home"), after=Path("/new")) == value


# Restore refuses


def changed(archive: Path, how: str) -> None:
    whole = archive.read_bytes()
    middle = len(whole) // 2
    if how == "truncated":
        archive.write_bytes(whole[:middle])
    elif how == "a byte":
        archive.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    elif how == "no archive":
        archive.write_text("not an archive")
    elif how == "empty":
        archive.write_bytes(b"")
    else:
        rewritten(archive, how)


def rewritten(archive: Path, how: str) -> None:
    """Unpacked, changed by somebody who knows the format, and packed again."""
    with (
        pa.input_stream(str(archive), compression="zstd") as s,
        tarfile.open(fileobj=s, mode="r|") as t,
    ):
        members = [(member, file.read()) for member in t if (file := t.extractfile(member))]
    if how == "a row":
        members = [(m, c.replace(b"rows", b"bows")) for m, c in members]
    elif how == "a file less":
        members = [(m, c) for m, c in members if "parquet" not in m.name]
    elif how == "permissions":
        for member, _ in members:
            member.mode |= 0o044
    elif how == "times":
        members[0][0].mtime += 60
    elif how == "no times":
        members = without_times(members)
    elif how == "a path that leads out":
        members[0][0].name = "home/../../escaped"
    with (
        pa.output_stream(str(archive), compression="zstd") as s,
        tarfile.open(fileobj=s, mode="w|") as t,
    ):
        for member, data in members:
            t.addfile(member, pa.BufferReader(data))


def without_times(members: list[tuple[tarfile.TarInfo, bytes]]) -> Any:
    """As it was written once: times neither in the archive nor in its manifest."""
    plain = json.loads(members[-1][1])
    for entry in plain["files"].values():
        del entry["changed_at"]
    for member, _ in members:
        member.mtime = 0
    members[-1] = (members[-1][0], json.dumps(plain).encode())
    members[-1][0].size = len(members[-1][1])
    return members


@pytest.mark.parametrize(
    "how",
    [
        *("truncated", "a byte", "no archive", "empty"),
        *("a row", "a file less", "permissions", "times", "a path that leads out"),
    ],
)
def test_a_damaged_archive_is_refused_before_anything_is_touched(
    home: Settings, other: Settings, archive: Path, how: str, tmp_path: Path
) -> None:
    changed(archive, how)
    before = content(home)
    with pytest.raises(DataError, match="is damaged"):
        restore(home, archive, replace=True)
    with pytest.raises(DataError, match="is damaged"):
        restore(other, archive, replace=False)
    assert content(home) == before and content(other) == {}
    assert not list(home.home.parent.glob(".*")) and not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize(
    "newer", [{}, {"colour": "red"}, {"files": {"lake/x": {"colour": "red"}}}, {"files": []}]
)
def test_an_archive_of_a_newer_format_is_refused(
    home: Settings, archive: Path, newer: dict[str, Any]
) -> None:
    rewrite_manifest(archive, {"format": 2, "flightline": "9.0"} | newer)
    with pytest.raises(ConfigError, match=r"written by Flightline 9\.0"):
        restore(home, archive, replace=True)


def test_fields_that_a_newer_version_has_added_are_no_damage(
    other: Settings, archive: Path
) -> None:
    rewrite_manifest(archive, {"colour": "red"})
    restore(other, archive, replace=False)
    assert count(other.airflow_home / "airflow.db") == 100


def rewrite_manifest(archive: Path, changes: dict[str, Any]) -> None:
    with (
        pa.input_stream(str(archive), compression="zstd") as s,
        tarfile.open(fileobj=s, mode="r|") as t,
    ):
        members = [(member, file.read()) for member in t if (file := t.extractfile(member))]
    plain = json.loads(members[-1][1])
    for entry in plain["files"].values():
        entry.update(colour="red")
    plain |= changes
    members[-1] = (members[-1][0], json.dumps(plain).encode())
    with (
        pa.output_stream(str(archive), compression="zstd") as s,
        tarfile.open(fileobj=s, mode="w|") as t,
    ):
        for member, data in members:
            member.size = len(data)
            t.addfile(member, pa.BufferReader(data))


def test_state_of_a_newer_version_is_refused_before_anything_is_touched(
    home: Settings, other: Settings, tmp_path: Path
) -> None:
    (home.home / "state.json").write_text(json.dumps({"layout": 99, "flightline": "9.0"}))
    backup(home, tmp_path / "newer.tar.zst", made_at=MADE_AT)
    with pytest.raises(ConfigError, match="of a newer version: layout 99"):
        restore(other, tmp_path / "newer.tar.zst", replace=False)
    assert content(other) == {}


def test_state_is_given_up_only_if_asked(home: Settings, archive: Path) -> None:
    (home.home / "lake" / "newer").write_text("x")
    (home.home / "platform.json").write_text('{"airflow": 3, "mlflow": 4}')
    with pytest.raises(ConfigError, match="is not empty"):
        restore(home, archive, replace=False)
    assert (home.home / "lake" / "newer").exists()
    restore(home, archive, replace=True)
    assert not (home.home / "lake" / "newer").exists()
    assert json.loads((home.home / "platform.json").read_text())["airflow"] == 3, "this machine's"


@pytest.mark.skipif(not Path("/proc").is_mount(), reason="no such mount here")
def test_a_mount_point_is_refused_before_anything_is_touched(archive: Path) -> None:
    with pytest.raises(ConfigError, match="/proc is where a disk is mounted") as refused:
        restore(Settings(home=Path("/proc")), archive, replace=True)
    assert "MLOPS_HOME" in refused.value.repair


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
def test_a_folder_that_is_mounted_from_the_same_disk_is_told_as_such(
    home: Settings, archive: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "as the system says")

    monkeypatch.setattr(restores, "_renamed_both", refuse)
    before = content(home)
    with pytest.raises(ConfigError, match="is where a disk is mounted"):
        restore(home, archive, replace=True)
    assert content(home) == before and not list(home.home.parent.glob(".*"))


def test_a_place_where_no_home_can_be_made_is_told_as_such(archive: Path) -> None:
    with pytest.raises(ConfigError, match="no access to /sys"):
        restore(Settings(home=Path("/sys/flightline")), archive, replace=False)


def test_a_missing_file_is_refused(other: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        restore(other, tmp_path / "none.tar.zst", replace=False)


def test_a_running_platform_is_refused(home: Settings, archive: Path) -> None:
    log = home.home / "logs" / "mlflow.log"
    journal = home.home / "logs" / "platform.jsonl"
    processes.start(
        "mlflow", ["sleep", "60"], home=home.home, log=log, journal=journal, env=os.environ
    )
    try:
        with pytest.raises(ConfigError, match="is running") as refused:
            restore(home, archive, replace=True)
    finally:
        processes.stop_all(home.home, grace_seconds=1)
    assert "flightline down" in str(refused.value)


def test_a_running_stage_is_refused(home: Settings, archive: Path) -> None:
    with (
        exclusive(home.home / "locks" / "toy.lock"),
        pytest.raises(TransientError, match="toy is busy"),
    ):
        restore(home, archive, replace=True)


# Kills


KILLED = """
import os, signal, sys
from pathlib import Path
from ml.local import restore
from ml.settings import Settings
name, when = sys.argv[3:]
real = getattr(restore, name)
def kill(*arguments):
    if when == "after":
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(restore, name, kill)
restore.restore(Settings(home=Path(sys.argv[1])), Path(sys.argv[2]), replace=True)
"""


@pytest.mark.parametrize(
    ("name", "when", "is_new"),
    [("_write", "after", False), ("_exchange", "before", False), ("_exchange", "after", True)],
)
def test_a_kill_leaves_the_old_state_or_the_new(
    home: Settings, archive: Path, name: str, when: str, is_new: bool
) -> None:
    mark = home.home / "lake" / "newer"
    mark.write_text("x")
    before = content(home)
    command = [sys.executable, "-c", KILLED, str(home.home), str(archive), name, when]
    done = subprocess.run(command, cwd=REPOSITORY, check=False)
    assert done.returncode == -signal.SIGKILL
    assert mark.exists() is not is_new
    if not is_new:
        assert content(home) == before
    restore(home, archive, replace=True)
    assert not mark.exists() and count(home.airflow_home / "airflow.db") == 100
    assert not list(home.home.parent.glob(".*")), "what the kill left is cleared"


def test_where_folders_cannot_be_swapped_in_one_step_a_kill_between_is_mended(
    home: Settings, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the home has no name for a moment, and the next restore gives it back first."""
    home.home.rename(home.home.with_name(".home.restored-over"))
    with pytest.raises(ConfigError, match="is not empty"):
        restore(home, archive, replace=False)
    assert count(home.airflow_home / "airflow.db") == 100


def test_a_state_that_was_set_aside_is_not_deleted_for_a_home_that_was_made_since(
    home: Settings, archive: Path
) -> None:
    """It may be the only copy: another command had made a home before the next restore."""
    aside = home.home.with_name(".home.restored-over")
    home.home.rename(aside)
    (home.home / "locks").mkdir(parents=True)
    changed(archive, "truncated")
    for replace in (False, True):
        with pytest.raises(ConfigError, match="a restore was killed"):
            restore(home, archive, replace=replace)
    assert count(aside / "airflow" / "airflow.db") == 100


@pytest.fixture
def _without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOSYS, "no renameat2")

    monkeypatch.setattr(restores, "_renamed_both", none)


@pytest.mark.usefixtures("_without_exchange")
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_an_error_between_two_renames_leaves_the_old_state(
    home: Settings, archive: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before, real = content(home), Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == ".home.restoring":
            raise error
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(type(error)):
        restore(home, archive, replace=True)
    assert content(home) == before and not list(home.home.parent.glob(".*"))


@pytest.mark.usefixtures("_without_exchange")
def test_without_the_system_call_a_restore_leaves_nothing_beside(
    home: Settings, archive: Path
) -> None:
    (home.home / "lake" / "newer").touch()
    restore(home, archive, replace=True)
    assert not (home.home / "lake" / "newer").exists()
    assert not list(home.home.parent.glob(".*"))


@pytest.mark.usefixtures("_without_exchange")
def test_without_the_system_call_two_renames_do(tmp_path: Path) -> None:
    for name in ("new", "home"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    _exchange(tmp_path / "new", tmp_path / "home", tmp_path / "aside")
    assert (tmp_path / "home" / "new").exists() and (tmp_path / "aside" / "home").exists()
