"""What a restore refuses, and that a kill neither loses nor mixes a state."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from archives import MADE_AT, changed, content, count, rewrite_manifest

from ml.adapters.files import exclusive
from ml.core.errors import ConfigError, DataError, TransientError
from ml.local import processes
from ml.local import restore as restores
from ml.local.backup import backup
from ml.local.restore import _exchange, restore
from ml.settings import REPOSITORY, Settings

pytestmark = pytest.mark.xdist_group("backup")


@pytest.mark.parametrize(
    "how",
    [
        *("truncated", "a byte", "no archive", "empty"),
        *("a row", "a file less", "permissions", "times", "a path that leads out"),
        *("an absolute path", "a set-user-id bit"),
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


def test_state_of_a_newer_version_is_refused_before_anything_is_touched(
    home: Settings, other: Settings, tmp_path: Path
) -> None:
    (home.home / "state.json").write_text(json.dumps({"layout": 99, "flightline": "9.0"}))
    backup(home, tmp_path / "newer.tar.zst", made_at=MADE_AT)
    with pytest.raises(ConfigError, match="of a newer version: layout 99"):
        restore(other, tmp_path / "newer.tar.zst", replace=False)
    assert content(other) == {}


@pytest.mark.parametrize("old", ["", "state"])
def test_tables_of_a_newer_version_are_refused_before_anything_is_touched(
    home: Settings, other: Settings, tmp_path: Path, old: str
) -> None:
    """Else the old state is gone, and the next start refuses the new one."""
    (home.airflow_home / "migrated-to").write_text("99.0.0")
    backup(home, tmp_path / "newer.tar.zst", made_at=MADE_AT)
    if old:
        (other.home / "locks").mkdir(parents=True)
        other.lake.mkdir()
        (other.lake / old).touch()
    before = content(other)
    with pytest.raises(ConfigError, match=r"newer\.tar\.zst/airflow is of Airflow 99\.0\.0"):
        restore(other, tmp_path / "newer.tar.zst", replace=bool(old))
    assert content(other) == before and not list(other.home.parent.glob(".*"))


@pytest.mark.parametrize("umask", [0o022, 0])
def test_what_was_private_stays_private(
    home: Settings, other: Settings, archive: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        restore(other, archive, replace=False)
        restore(home, archive, replace=True)
    finally:
        os.umask(before)
    for where in (home, other):
        folders = [where.home, *(path for path in where.home.rglob("*") if path.is_dir())]
        assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("names", [("thesis.tex", "locks"), ("airflow", "dbt", "logs")])
def test_a_folder_that_is_no_home_is_kept_and_does_not_begin_to_look_like_one(
    other: Settings, archive: Path, names: tuple[str, ...], replace: bool
) -> None:
    for name in names:
        (other.home / name).mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"thesis\.tex|neither platform\.lock|not empty"):
            restore(other, archive, replace=replace)
    assert {path.name for path in other.home.iterdir()} == {*names}


def test_a_restored_home_may_be_restored_again(other: Settings, archive: Path) -> None:
    """Nothing has worked in it since, so its locks are all that tells what it is."""
    restore(other, archive, replace=False)
    restore(other, archive, replace=True)
    assert count(other.airflow_home / "airflow.db") == 100


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
