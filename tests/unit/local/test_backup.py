"""A home in one file and back: whole, checked, and without what has no place in a copy."""

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
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from archives import MADE_AT, content, count, rewritten
from support import platform_at
from trained_runs import bare

from ml.adapters.files import exclusive
from ml.core.errors import ConfigError, TransientError
from ml.local import backup as backups
from ml.local import restore as restores
from ml.local.backup import backup
from ml.local.restore import restore
from ml.settings import REPOSITORY, Settings

pytestmark = pytest.mark.xdist_group("backup")


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


@pytest.mark.parametrize("name", ["flight-journal", "airflow.db-wal", "notes-shm"])
def test_a_file_that_is_only_called_like_a_part_of_a_database_comes_along(
    home: Settings, tmp_path: Path, name: str
) -> None:
    """Whose base is not there, or is no database, has no other copy."""
    folder = home.artifacts / "1" / "artifacts"
    folder.mkdir(parents=True)
    (folder / name).write_text("kept")
    (folder / "notes").write_text("no database")
    found = backup(home, tmp_path / "x.tar.zst", made_at=MADE_AT)
    assert found.files[f"mlflow/artifacts/1/artifacts/{name}"].size == len("kept")


@pytest.mark.parametrize("name", ["lake/raw", "mlflow/artifacts/1"])
def test_a_folder_that_may_not_be_read_is_refused(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The archive would be whole by its own manifest, and lack all below."""
    closed, real = home.home / name, os.scandir
    closed.mkdir(parents=True, exist_ok=True)

    def scandir(path: Any) -> Any:  # root, who runs tests in a container, may read everything
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ConfigError, match=f"cannot read the folder {closed}: Permission denied"):
        backup(home, tmp_path / "x.tar.zst", made_at=MADE_AT)
    assert list(tmp_path.glob("*.zst*")) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from ml.local import backup
from ml.settings import REPOSITORY, Settings
real = backup._add
def add(*arguments):
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
backup._add = add
backup.backup(Settings(home=Path(sys.argv[1])), Path(sys.argv[2]), made_at="")
"""


def test_what_a_killed_backup_has_left_goes_with_the_next_one_of_any_name(
    home: Settings, tmp_path: Path
) -> None:
    """Nightly ones have a new name each night, and each such file holds passwords."""
    folder = tmp_path / "backups"
    folder.mkdir()
    command = [sys.executable, "-c", KILLED, str(home.home), str(folder / "monday.tar.zst")]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
    [left] = folder.iterdir()
    stem, dead, own = left.name.rsplit(".", 2)
    kept = {
        f"{stem}.{os.getpid()}.{own}": b"",  # it may still be written to
        f"{stem}.{dead}.{'0' if own[0] != '0' else '1'}{own[1:]}": b"",  # of another machine
        f".notes.{dead}.{own}": b"of a person",
    }
    for name, text in kept.items():
        (folder / name).write_bytes(text)
    backup(home, folder / "tuesday.tar.zst", made_at=MADE_AT)
    assert {path.name for path in folder.iterdir()} == {*kept, "tuesday.tar.zst"}


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
