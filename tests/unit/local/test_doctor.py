from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from ml.local import doctor
from ml.local.ports import keep_ports, load_ports
from ml.settings import Settings


def find(checks: list[doctor.Check], name: str) -> doctor.Check:
    return next(check for check in checks if check.name == name)


def test_importable_without_heavy_packages():
    """It is for the machine on which the rest does not work."""
    code = (
        "import sys; sys.modules.update(psutil=None, pydantic=None, mlflow=None, airflow=None);"
        "from ml.local import doctor; print(doctor.check_python())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_check_that_cannot_be_made_has_failed(scratch, monkeypatch):
    """The other checks go on."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    checks = doctor.diagnose(scratch)
    assert not find(checks, "memory").ok
    assert find(checks, "python").ok


def test_missing_tools_are_found(scratch, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    git = find(doctor.diagnose(scratch), "git")
    assert not git.ok
    assert git.repair


@pytest.mark.parametrize(("constant", "name"), [("DISK_GIB", "disk"), ("MEMORY_GIB", "memory")])
def test_a_small_machine_is_told(scratch, monkeypatch, constant, name):
    monkeypatch.setattr(doctor, constant, 1e9)
    assert not find(doctor.diagnose(scratch), name).ok


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
