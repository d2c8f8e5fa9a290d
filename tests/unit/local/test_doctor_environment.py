"""The doctor on an environment that is half installed, moved, or of another lock."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from ml.local.doctor import environment


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A copy of the metadata of this environment, to break."""
    real = Path(environment.sysconfig.get_path("purelib"))
    copy = tmp_path / "site-packages"
    copy.mkdir()
    for path in real.iterdir():
        if path.suffix == ".dist-info":
            shutil.copytree(path, copy / path.name)
        else:
            (copy / path.name).symlink_to(path)
    (tmp_path / "bin").symlink_to(Path(sys.executable).parent)
    monkeypatch.setattr(environment.sysconfig, "get_path", lambda _: str(copy))
    return copy


def metadata_of(site, name):
    return next(site.glob(f"{name}-*.dist-info"))


def test_the_locked_environment_is_whole(site):
    found = environment.check_packages()
    assert found.ok, found.detail


def test_a_missing_package_is_told(site):
    shutil.rmtree(metadata_of(site, "rich"))
    found = environment.check_packages()
    assert (found.ok, found.detail) == (False, "rich is missing")
    assert "make setup" in found.repair


def test_another_version_is_told(site):
    folder = metadata_of(site, "duckdb")
    folder.rename(site / "duckdb-0.1.dist-info")
    found = environment.check_packages()
    version = folder.name.removesuffix(".dist-info").removeprefix("duckdb-")
    assert (found.ok, found.detail) == (False, f"duckdb is 0.1 instead of {version}")


def test_a_package_that_was_half_installed_is_told(site):
    """`make setup` was interrupted between two files."""
    (site / "rich").unlink()
    (metadata_of(site, "dbt_core") / "RECORD").unlink()
    found = environment.check_packages()
    assert not found.ok
    assert "dbt-core lacks RECORD" in found.detail and "rich lacks rich/" in found.detail
    assert found.repair == "rm -r .venv; make setup", "less does not bring a lost file back"


def test_many_faults_are_counted(site):
    for folder in site.glob("*.dist-info"):
        shutil.rmtree(folder)
    assert environment.check_packages().detail.count("is missing") == environment.SHOWN
    assert " more" in environment.check_packages().detail


def test_what_is_not_compiled_is_a_hint_only(site, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "no-bytecode"))
    found = environment.check_packages()
    assert found.ok and "not compiled" in found.detail


def test_the_lock_is_read_for_this_machine(tmp_path):
    """Markers, extras and several versions of one package."""
    lock = tmp_path / "uv.lock"
    lock.write_text(LOCK)
    assert environment.locked(lock) == {"a": "1", "b": "2", "c": "1", "d": "2"}


LOCK = """
[[package]]
name = "flightline"
version = "0"
dependencies = [
  {name = "a", extra = ["more"]},
  {name = "d", version = "1", marker = "python_full_version < '3'"},
  {name = "d", version = "2", marker = "python_full_version >= '3'"},
]
[[package]]
name = "a"
version = "1"
dependencies = [{name = "b"}, {name = "windows", marker = "sys_platform == 'win32'"}]
optional-dependencies.more = [{name = "c"}]
optional-dependencies.less = [{name = "unwanted"}]
[[package]]
name = "b"
version = "2"
dependencies = [{name = "a"}]
[[package]]
name = "c"
version = "1"
[[package]]
name = "d"
version = "1"
[[package]]
name = "d"
version = "2"
[[package]]
name = "unwanted"
version = "1"
[[package]]
name = "windows"
version = "1"
"""


def test_a_missing_or_moved_script_is_told(tmp_path, monkeypatch):
    for name in environment.SCRIPTS:
        (tmp_path / name).write_text(f"#!{sys.executable}\n")
    monkeypatch.setattr(environment.sys, "executable", str(tmp_path / "python"))
    assert environment.check_scripts().ok
    (tmp_path / "airflow").unlink()
    assert f"{tmp_path}/airflow is missing" in environment.check_scripts().detail
    (tmp_path / "mlflow").write_text("#!/moved/away/bin/python\n")
    found = environment.check_scripts()
    assert not found.ok and "mlflow asks for /moved/away/bin/python, which is gone" in found.detail
    assert "make setup" in found.repair
