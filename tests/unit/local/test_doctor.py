from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import zoneinfo
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ml.adapters.files import exclusive
from ml.core.errors import ConfigError
from ml.local import doctor, supervisor
from ml.local.doctor import home, locks, machine, times
from ml.local.ports import keep_ports, load_ports
from ml.local.secrets import load_secrets, write_airflow_passwords
from ml.settings import Settings


def find(checks: list[doctor.Check], name: str) -> doctor.Check:
    return next(check for check in checks if check.name == name)


def test_importable_without_heavy_packages():
    """It is for the machine on which the rest does not work."""
    code = (
        "import sys; sys.modules.update(psutil=None, pydantic=None, mlflow=None, airflow=None);"
        "from ml.local.doctor import machine; print(machine.check_python())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_check_that_cannot_be_made_has_failed(scratch, monkeypatch):
    """The other checks go on."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    checks = doctor.diagnose(scratch)
    assert not find(checks, "memory").ok
    assert find(checks, "memory").repair == "rm -r .venv; make setup"
    assert find(checks, "python").ok


def test_missing_tools_are_found(scratch, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    git = find(doctor.diagnose(scratch), "git")
    assert not git.ok
    assert git.repair


@pytest.mark.parametrize(
    ("module", "constant", "name"),
    [(home, "DISK_GIB", "disk"), (home, "DISK_FILES", "disk"), (machine, "MEMORY_GIB", "memory")],
)
def test_a_small_machine_is_told(scratch, monkeypatch, module, constant, name):
    monkeypatch.setattr(module, constant, 10**12)
    if constant == "DISK_FILES" and not os.statvfs("/tmp").f_files:
        pytest.skip("this file system has no limit of files")
    found = find(doctor.diagnose(scratch), name)
    assert not found.ok and found.repair


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 14, 0)])
def test_another_python_is_told(monkeypatch, version):
    monkeypatch.setattr(machine.sys, "version_info", version)
    assert not machine.check_python().ok


def test_a_taken_port_is_told(scratch):
    keep_ports(scratch, load_ports(scratch))
    with socket.socket() as other:
        other.bind(("127.0.0.1", load_ports(scratch).airflow))
        other.listen()
        ports = find(doctor.diagnose(scratch), "ports")
    assert not ports.ok
    assert "MLOPS_AIRFLOW_PORT" in ports.repair


def test_a_diagnosis_writes_nothing(scratch):
    doctor.diagnose(scratch)
    assert not scratch.home.exists()


def test_without_settings_the_rest_is_checked():
    names = [check.name for check in doctor.diagnose(None)]
    assert {"python", "git", "memory"} <= set(names)
    assert not {"home", "disk", "ports"} & set(names)


def test_every_failure_of_this_machine_has_a_repair(tmp_path):
    home = Settings(home=tmp_path, airflow_port=0, mlflow_port=0)
    assert all(check.ok or check.repair for check in doctor.diagnose(home))


# --- state and permissions ---


def test_state_from_a_newer_version_is_told(scratch):
    assert home.check_state(scratch).ok, "before the first start"
    marker = scratch.airflow_home / "migrated-to"
    marker.parent.mkdir(parents=True)
    for version, is_ok in (("3.0.1", True), ("99.0", False)):
        marker.write_text(version)
        found = home.check_state(scratch)
        assert found.ok is is_ok and (is_ok or (version in found.detail and found.repair))
    marker.write_text("")  # it was killed while it wrote that
    assert home.check_state(scratch).ok


@pytest.mark.parametrize("of", ["layout", "mlflow"])
def test_what_a_newer_version_wrote_is_told_and_not_only_of_airflow(scratch, of):
    scratch.mlflow_database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(scratch.mlflow_database)) as opened, opened:
        opened.execute("create table alembic_version (version_num text)")
        opened.execute(
            "insert into alembic_version values (?)", ("fff000" if of == "mlflow" else "",)
        )
    layout = 99 if of == "layout" else 1
    (scratch.home / "state.json").write_text(json.dumps({"layout": layout, "flightline": "9.0"}))
    found = home.check_state(scratch)
    assert not found.ok and "newer version" in found.detail and found.repair


def test_a_start_refuses_what_the_doctor_does(scratch, monkeypatch):
    """Airflow's own migration would begin with a database of the future."""

    def started(name, *_, **__):
        raise AssertionError(f"{name} was started")

    monkeypatch.setattr(supervisor.processes, "start", started)
    scratch.airflow_home.mkdir(parents=True)
    (scratch.airflow_home / "migrated-to").write_text("99.0")
    with pytest.raises(ConfigError, match=r"of Airflow 99\.0"):
        supervisor.up(scratch)


@pytest.fixture
def lived(scratch):
    """A home with secrets and folders."""
    load_secrets(scratch)
    write_airflow_passwords(scratch, {"engineer": "x"})
    (scratch.home / "lake" / "raw").mkdir(parents=True)
    return scratch


def test_a_home_of_ours_is_in_order(lived):
    assert home.check_permissions(lived) == doctor.Check(
        "permissions", True, "secrets are private, folders are ours"
    )


@pytest.mark.parametrize("file", ["secrets.json", "airflow/passwords.json"])
def test_secrets_that_others_may_read_are_told(lived, file):
    (lived.home / file).chmod(0o644)
    found = home.check_permissions(lived)
    assert not found.ok and file in found.detail and "mode 644" in found.detail
    subprocess.run(found.repair, shell=True, check=True)  # noqa: S602  # the repair works as told
    assert home.check_permissions(lived).ok


@pytest.mark.parametrize(("name", "mode"), [("lake/raw", 0o500), ("airflow", 0o600)])
def test_a_folder_that_is_closed_to_its_owner_is_told(lived, name, mode):
    (lived.home / name).chmod(mode)
    try:
        found = home.check_permissions(lived)
        assert not found.ok and name in found.detail
        subprocess.run(found.repair, shell=True, check=True)  # noqa: S602  # the repair works as told
        assert home.check_permissions(lived).ok
    finally:
        (lived.home / name).chmod(0o700)


def test_what_another_user_wrote_is_told(lived, monkeypatch):
    """As after `sudo make demo`."""
    if os.geteuid() == 0:
        os.chown(lived.home / "lake" / "raw", 12345, -1)
    else:
        monkeypatch.setattr(home.os, "geteuid", lambda: 12345)
    found = home.check_permissions(lived)
    assert not found.ok and "belongs to user" in found.detail and "chown" in found.repair


# --- locks ---

HOLD = """
import fcntl, os, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
if "orphan" in sys.argv:
    parent = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == parent:
        time.sleep(0.01)
print("held", os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def hold(lived):
    """Take a lock of the home in another process; returns the id of whoever holds it."""
    started: list[int] = []

    def take(name: str = "locks/toy.lock", *words: str) -> int:
        file = lived.home / name
        file.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-c", HOLD, str(file), *words]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        started.append(int(holder.stdout.readline().split()[1]))
        return started[-1]

    yield take
    for pid in started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_somebody_at_work_is_no_fault(lived, hold):
    pid = hold()
    found = locks.check_locks(lived)
    assert found.ok and f"toy.lock by process {pid}" in found.detail


def test_a_lock_that_nobody_holds_is_no_fault(lived):
    """The file stays, the lock goes with its holder."""
    (lived.home / "platform.lock").touch()
    assert locks.check_locks(lived) == doctor.Check("locks", True, "nobody works on this home")


@pytest.mark.skipif(
    not Path("/proc/self/fdinfo").is_dir(), reason="only Linux tells who has locked"
)
def test_the_diagnosis_takes_no_lock(lived, hold, monkeypatch):
    """Not even for a moment: a stage that begins just then would find its use case busy."""
    pid, free = hold(), lived.home / "platform.lock"
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: pytest.fail("a lock was taken"))
    with free.open("a"):  # as by a stage that is about to lock it
        found = locks.check_locks(lived)
    assert f"toy.lock by process {pid}" in found.detail and "platform.lock" not in found.detail


def test_without_proc_locks_are_asked_and_left_free(lived, hold, monkeypatch, tmp_path):
    pid, free = hold(), lived.home / "platform.lock"
    monkeypatch.setattr(locks, "_PROC", tmp_path / "nowhere")
    with free.open("a"):
        found = locks.check_locks(lived)
    assert f"toy.lock by process {pid}" in found.detail and "platform.lock" not in found.detail
    with exclusive(free):
        pass


@pytest.mark.parametrize(
    ("name", "limit"),
    [("locks/toy.lock", "STAGE_SECONDS"), ("platform.lock", "PLATFORM_SECONDS")],
)
def test_a_holder_that_hangs_is_named(lived, hold, monkeypatch, name, limit):
    pid = hold(name)
    monkeypatch.setattr(locks, limit, 0.0)
    found = locks.check_locks(lived)
    assert not found.ok and f"by process {pid}, which began 0:00:0" in found.detail
    assert "import fcntl" in found.detail, "its command"
    assert f"kill {pid} " in found.repair


def test_a_holder_that_was_stopped_is_named(lived, hold):
    """Ctrl-Z, and forgotten."""
    pid = hold()
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while (found := locks.check_locks(lived)).ok and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not found.ok and "stopped" in found.detail and str(pid) in found.repair


def test_of_a_holder_that_is_gone_its_child_is_named(lived, hold, monkeypatch):
    """The lock lives on in the child that inherited it."""
    pid = hold("locks/toy.lock", "orphan")
    monkeypatch.setattr(locks, "STAGE_SECONDS", 0.0)
    found = locks.check_locks(lived)
    assert not found.ok and f"process {pid}" in found.detail


def test_a_holder_that_ends_under_our_eyes_holds_nothing(lived, hold, monkeypatch):
    pid, look = hold(), locks._holder

    def killed_before(lock, process):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return look(lock, process)

    monkeypatch.setattr(locks, "_holder", killed_before)
    found = locks.check_locks(lived)
    assert found.ok and "nobody works" in found.detail


# --- clock and zones ---


def test_a_clock_behind_the_newest_file_is_told(lived):
    file = lived.home / "secrets.json"
    os.utime(file, (time.time() + 86_400,) * 2)
    found = times.check_clock(lived)
    assert not found.ok and str(file) in found.detail
    assert "1 day, 0:00:00 behind" in found.detail or "23:59:59 behind" in found.detail
    os.utime(file)
    assert times.check_clock(lived).ok


def test_a_file_that_is_gone_tells_nothing_of_the_clock(lived):
    (lived.home / "logs").mkdir(exist_ok=True)
    (lived.home / "logs" / "gone.log").symlink_to("nowhere")
    assert times.check_clock(lived).ok


def test_a_clock_before_the_build_is_told(scratch, monkeypatch):
    """A virtual machine that wakes up in 1970."""
    monkeypatch.setattr(times.time, "time", lambda: 1e9)
    found = times.check_clock(scratch)
    assert not found.ok and "2001-09-09" in found.detail and "uv.lock is from 20" in found.detail


@pytest.mark.parametrize(
    "zone", ["Nowhere/Nothing", "../../etc/passwd", "America", "/no/file", "x"]
)
def test_a_zone_that_nobody_knows_is_told(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    found = times.check_zones()
    assert not found.ok and zone in found.detail and found.repair


@pytest.mark.parametrize("zone", ["", "UTC", ":America/New_York", "EST5EDT", "<+03>-3"])
def test_a_zone_that_the_system_knows_is_fine(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    assert times.check_zones().ok


def test_a_missing_data_base_of_zones_is_told(monkeypatch):
    for name in ["tzdata", *(name for name in sys.modules if name.startswith("tzdata."))]:
        monkeypatch.setitem(sys.modules, name, None)
    path = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        found = times.check_zones()
    finally:
        zoneinfo.reset_tzpath(to=path)
    assert not found.ok and "tzdata" in found.repair
