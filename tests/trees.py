"""Copies of this repository to break, to fork and to run commands in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Tree:
    """A copy of the repository, with a home of its own."""

    root: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        folders = [self.root, self.root / "dags", self.root / "infra" / "airflow"]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_", "PYTEST_"))}
        path = os.pathsep.join(map(str, folders))
        airflow = {"AIRFLOW_HOME": str(self.home / "airflow-of-tests")}
        return {**kept, **airflow, "PYTHONPATH": path, "MLOPS_HOME": str(self.home)}

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the copy; its exit code is for the test to judge."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def flightline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "ml.cli", *arguments)

    def git(self, *arguments: str) -> str:
        return git(self.root, *arguments)


def git(root: Path, *arguments: str) -> str:
    """Run git as somebody, without hooks or settings of this machine."""
    identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")
    done = subprocess.run(
        ["git", "-C", str(root), *identity, "-c", "commit.gpgsign=false", *arguments],
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"git {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def copy_repository(target: Path) -> Tree:
    """Every file that is or would be in the repository, as it is now."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git work tree, so nothing says which files belong to it")
    root = target / "repository"
    for name in filter(None, done.stdout.split("\0")):
        source, copy = ROOT / name, root / name
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    return Tree(root, target / "home")
