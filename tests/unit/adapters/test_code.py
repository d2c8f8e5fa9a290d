from __future__ import annotations

from pathlib import Path

import pytest

from ml.adapters import code


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository with two use cases."""
    for name in (
        "ml/core/a.py",
        "ml/stages/train.py",
        "ml/use_cases/one/spec.py",
        "ml/use_cases/two/spec.py",
        "dbt_project/models/one/m.sql",
        "dbt_project/seeds/one/s.csv",
        "feature_repo/one/features.py",
        "README.md",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    monkeypatch.setattr(code, "REPOSITORY", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "ml/core/a.py",
        "ml/stages/train.py",
        "ml/use_cases/one/spec.py",
        "dbt_project/models/one/m.sql",
        "dbt_project/seeds/one/s.csv",
        "feature_repo/one/features.py",
        "ml/adapters/new.py",
    ],
)
def test_whatever_can_change_a_model_changes_the_digest(repository: Path, name: str) -> None:
    before = code.code_digest("one")
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text("y")
    assert code.code_digest("one") != before


@pytest.mark.parametrize(
    "name", ["README.md", "ml/use_cases/two/spec.py", "ml/core/__pycache__/a.cpython-311.pyc"]
)
def test_what_cannot_change_it_does_not(repository: Path, name: str) -> None:
    before = code.code_digest("one")
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text("y")
    assert code.code_digest("one") == before


def test_a_renamed_file_is_another_code(repository: Path) -> None:
    before = code.code_digest("one")
    (repository / "ml/core/a.py").rename(repository / "ml/core/b.py")
    assert code.code_digest("one") != before


def test_outside_git_the_tags_say_so_and_nothing_fails(repository: Path) -> None:
    tags = code.code_tags()
    assert tags["git.commit"] == "unknown" and tags["env.lock_sha256"] == "unknown"


def test_without_git_installed_nothing_fails(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert code.code_tags()["git.commit"] == "unknown"
