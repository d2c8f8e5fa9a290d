"""The command line in an environment that lacks a package: it names it, and the repair."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FLIGHTLINE = Path(sys.executable).with_name("flightline")
REPAIR = "repair: rm -r .venv; make setup"
# Python imports it first: whoever asks for a package that is blocked learns that there is none.
BLOCKER = """
import os, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == os.environ["BLOCKED"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def flightline(tmp_path: Path, blocked: str, *words: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    where = {"PYTHONPATH": str(tmp_path), "BLOCKED": blocked, "MLOPS_HOME": str(tmp_path / "home")}
    return subprocess.run(
        [str(FLIGHTLINE), *words],
        env={**os.environ, **where},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "package", ["typer", "rich", "psutil", "pydantic", "pydantic_settings", "packaging"]
)
def test_the_doctor_says_what_is_missing_and_what_is_not(tmp_path: Path, package: str) -> None:
    done = flightline(tmp_path, package, "doctor")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "python " in done.stdout and "packages " in done.stdout
    assert f"No module named '{package}" in done.stdout
    assert "ConfigError: this machine lacks: " in done.stderr and REPAIR in done.stderr


@pytest.mark.parametrize(
    ("package", "command"),
    [("typer", "--help"), ("rich", "status"), ("psutil", "down"), ("pydantic_settings", "status")],
)
def test_any_command_names_what_is_missing(tmp_path: Path, package: str, command: str) -> None:
    done = flightline(tmp_path, package, command)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert f"ModuleNotFoundError: No module named '{package}" in done.stderr
    assert REPAIR in done.stderr


def test_without_rich_a_mistake_is_told_all_the_same(tmp_path: Path) -> None:
    done = flightline(tmp_path, "rich", "status", "nonsense")
    assert done.returncode == 2 and "ConfigError: unknown use case 'nonsense'" in done.stderr
