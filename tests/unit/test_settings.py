from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from ml.core.errors import ConfigError
from ml.settings import REPOSITORY, Settings, settings


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLOPS_PROFILE", "moon"),
        ("MLOPS_DUCKDB_THREADS", "many"),
        ("MLOPS_DUCKDB_THREADS", "0"),
        ("MLOPS_DUCKDB_MEMORY_LIMIT", "lots"),
        ("MLOPS_DUCKDB_MEMORY_LIMIT", "1GB'; drop table x"),
        ("MLOPS_AIRFLOW_PORT", "70000"),
    ],
)
def test_a_bad_value_names_the_variable_and_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name) as caught:
        settings()
    assert value in str(caught.value) and f"set or unset {name}" in str(caught.value)


def test_a_relative_home_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Airflow refuses a relative one, and every process has its own working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_HOME", "here")
    assert settings().home == tmp_path.resolve() / "here"


def test_a_tilde_is_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings(home=Path("~/x")).home == tmp_path.resolve() / "x"


def test_without_variables_everything_lies_in_the_repository(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLOPS_HOME", raising=False)
    assert settings().home == REPOSITORY / ".mlops"
    assert settings().tracking_uri is None


def test_all_state_of_the_local_profile_is_under_its_home(tmp_path: Path) -> None:
    where = Settings(home=tmp_path)
    for path in (where.airflow_home, where.mlflow_database, where.artifacts, where.logs):
        assert path.is_relative_to(tmp_path)
    for folder in (where.dbt_project, where.feature_repo, where.dags):
        assert folder.is_dir() and folder.is_relative_to(REPOSITORY)


def test_settings_cannot_be_changed_by_hand(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings(home=tmp_path).profile = "local"  # type: ignore[misc]  # that is the test
