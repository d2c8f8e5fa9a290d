from __future__ import annotations

import os
import subprocess
import sys
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
        ("MLOPS_KEEP_LOGS_DAYS", "0"),
        ("MLOPS_KEEP_LOGS_DAYS", "36501"),
        ("MLOPS_KEEP_AIRFLOW_DAYS", "1000000"),
        ("MLOPS_KEEP_RUNS_DAYS", "36501"),
        ("MLOPS_KEEP_QUARANTINE_DAYS", "36501"),
        ("MLOPS_TRACKING_URI", "localhost:5000"),
        ("MLOPS_TRACKING_URI", "http://"),
        ("MLOPS_TRACKING_URI", "http://:5000"),
        ("MLOPS_TRACKING_URI", "http://server:99999"),
        ("MLOPS_TRACKING_URI", "http://server:0"),
        ("MLOPS_TRACKING_URI", "http://server:"),
        ("MLOPS_TRACKING_URI", "http://server:port"),
        ("MLOPS_TRACKING_URI", "http://my server"),
        ("MLOPS_TRACKING_URI", "http://server/#/experiments"),
        ("MLOPS_TRACKING_URI", "ftp://server"),
        ("MLOPS_TRACKING_URI", "sqlite:///"),
        ("MLOPS_TRACKING_URI", "sqlite://mlflow.db"),
        ("MLOPS_NOTIFY_RUNBOOKS", "docs/runbooks"),
        ("MLOPS_NOTIFY_TIMEOUT_S", "0"),
        ("MLOPS_NOTIFY_TIMEOUT_S", "soon"),
        ("MLOPS_HOME", "/"),
        ("MLOPS_HOME", "~"),
        ("MLOPS_HOME", str(REPOSITORY)),
        ("MLOPS_HOME", str(REPOSITORY.parent)),
        ("MLOPS_HOME", "/etc/passwd"),
        ("MLOPS_HOME", "/etc/passwd/below"),
        ("MLOPS_HOME", "~no_such_user_here/x"),
        ("MLOPS_HOME", "/tmp/$HOME/x"),
        ("MLOPS_HOME", "/tmp/o'clock"),
        ("MLOPS_HOME", "/tmp/c#/x"),
        ("MLOPS_HOME", "/tmp/why?"),
        ("MLOPS_HOME", "/tmp/old [2]"),
        ("MLOPS_HOME", "/tmp/*"),
    ],
)
def test_a_bad_value_names_the_variable_and_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name) as caught:
        settings()
    assert value in str(caught.value) and f"set or unset {name}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MLOPS_DUCKDB_MEMORY_LIMIT", "lots", "a size such as 2GB or 512MiB"),
        ("MLOPS_DUCKDB_THREADS", "0", "a whole number, at least 1"),
        ("MLOPS_DUCKDB_THREADS", "many", "a whole number, at least 1"),
        ("MLOPS_AIRFLOW_PORT", "70000", "a port number, 0 to 65535"),
        ("MLOPS_MLFLOW_PORT", "x", "a port number, 0 to 65535"),
        ("MLOPS_KEEP_RUNS_DAYS", "36501", "a number of days, 1 to 36500"),
    ],
)
def test_what_was_expected_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        settings()
    assert caught.value.expected == expected


def test_a_relative_home_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Airflow refuses a relative one, and every process has its own working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_HOME", "here")
    assert settings().home == tmp_path.resolve() / "here"


def test_a_tilde_is_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings(home=Path("~/x")).home == tmp_path.resolve() / "x"


@pytest.mark.parametrize(
    "uri",
    [
        "http://server",
        "https://server:5000/",
        "https://company.example/mlflow",
        "http://[::1]:5000",
        "sqlite:////data/mlflow.db",
    ],
)
def test_a_server_or_a_database_may_track(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLOPS_TRACKING_URI", uri)
    assert settings().tracking_uri == uri


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home would be the working directory, which a fresh demo would then delete."""
    for name in ("MLOPS_HOME", "MLOPS_TRACKING_URI", "MLOPS_AIRFLOW_PORT"):
        monkeypatch.setenv(name, "")
    assert settings() == Settings(home=REPOSITORY / ".mlops")


def test_one_port_for_two_servers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_AIRFLOW_PORT", "9000")
    monkeypatch.setenv("MLOPS_MLFLOW_PORT", "9000")
    with pytest.raises(ConfigError, match="MLOPS_MLFLOW_PORT='9000'") as caught:
        settings()
    assert "another port than MLOPS_AIRFLOW_PORT" in str(caught.value)
    monkeypatch.setenv("MLOPS_MLFLOW_PORT", "9001")
    assert settings().mlflow_port == 9001


def test_two_free_ports_are_not_the_same_port() -> None:
    """0 means: choose one."""
    assert Settings(airflow_port=0, mlflow_port=0).mlflow_port == 0


@pytest.mark.parametrize("name", ["a b", "größe", "a&b", 'a"b', "a{b}"])
def test_other_special_characters_may_be_in_the_name_of_a_home(tmp_path: Path, name: str) -> None:
    assert Settings(home=tmp_path / name).home.name == name


def test_a_character_that_databases_read_as_theirs_is_named() -> None:
    with pytest.raises(ValidationError, match=r"a path without # % \?, which has a meaning"):
        Settings(home=Path("/tmp/?/50%/#"))


def test_a_user_without_a_home_and_a_name_may_set_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container that runs under any number."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert Settings(home=tmp_path / "x").home == tmp_path.resolve() / "x"
    monkeypatch.setenv("MLOPS_HOME", "~/x")
    with pytest.raises(ConfigError, match="MLOPS_HOME='~/x'"):
        settings()


@pytest.mark.parametrize("given", [True, False])
def test_a_home_that_can_only_be_read_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: bool
) -> None:
    """Or on a disk that became read-only nobody could ask what runs, or stop it."""
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK and access(path, mode))
    monkeypatch.delenv("MLOPS_HOME", raising=False)
    if given:
        monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "new" / "home"))
    assert settings().home


@pytest.mark.parametrize("given", [True, False])
def test_a_home_that_cannot_be_read_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: bool
) -> None:
    """Also the default one, in a repository that belongs to somebody else."""
    exists = os.path.exists  # instead of the real check: root may write anywhere
    monkeypatch.setattr("os.access", lambda path, mode: mode == os.F_OK and exists(path))
    if given:
        monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "new" / "home"))
    else:
        monkeypatch.delenv("MLOPS_HOME", raising=False)
    with pytest.raises(ConfigError, match=r"MLOPS_HOME='/.*\n.*that you may read") as caught:
        settings()
    assert caught.value.repair == ("set or unset MLOPS_HOME" if given else "set MLOPS_HOME")


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


def test_a_bad_webhook_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever knows its address may write to it; errors end in logs and tickets."""
    monkeypatch.setenv("MLOPS_NOTIFY_WEBHOOK", "hooks.example.com/secret")
    with pytest.raises(ConfigError, match="MLOPS_NOTIFY_WEBHOOK") as caught:
        settings()
    assert "secret" not in str(caught.value) and "http(s)" in str(caught.value)
    monkeypatch.setenv("MLOPS_NOTIFY_WEBHOOK", "https://hooks.example.com/secret")
    settings.cache_clear()
    assert "secret" not in repr(settings())


def test_the_tests_keep_away_from_a_teams_mlflow_and_webhook(tmp_path: Path) -> None:
    given = {"MLOPS_TRACKING_URI": "http://mlflow", "MLOPS_NOTIFY_WEBHOOK": "http://hooks"}
    code = "import conftest, os; print(*(name for name in os.sys.argv if name in os.environ))"
    done = subprocess.run(
        [sys.executable, "-c", code, *given, "MLOPS_HOME"],
        env={
            **os.environ,
            **given,
            "MLOPS_HOME": str(tmp_path),
            "PYTHONPATH": str(REPOSITORY / "tests"),
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["MLOPS_HOME"]


@pytest.mark.parametrize(
    "address",
    ["http://bob:hunter2@host", "https://bob:h/unter2@host:5000/a", "http://bob:hunter2@host?x=1"],
)
def test_a_password_in_an_address_is_refused_and_not_told(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """It would stand in links and logs."""
    monkeypatch.setenv("MLOPS_TRACKING_URI", address)
    with pytest.raises(ConfigError, match="setting MLOPS_TRACKING_URI='…'") as caught:
        settings()
    assert "unter2" not in str(caught.value)


def test_where_a_log_in_belongs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_TRACKING_URI", "http://bob:hunter2@host")
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD"):
        settings()
