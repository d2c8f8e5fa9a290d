"""dbt at a use case's own place: neither the user's shell nor a wrong query leads it elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from support import ROOT, platform_at

from ml.core.ports import Platform
from ml.stages import ingest, transform
from ml.use_cases import available, load_spec

SLUG = "co2_trend"  # its weeks are small
WEEKS = ("1961-12-25", "1962-01-01", "1962-01-08")
pytestmark = [
    pytest.mark.xdist_group(SLUG),
    pytest.mark.skipif(SLUG not in available(), reason="the use case was removed"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    spec = load_spec(SLUG)
    platform = platform_at(tmp_path_factory.mktemp("dbt-commands") / "home", spec)
    weeks = spec.partitions(WEEKS[0], WEEKS[-1])
    ingest.run(platform, partitions=weeks)
    transform.run(platform, partitions=weeks)
    return platform


def path_of(platform: Platform) -> Path:
    path: Path = platform.warehouse.path  # type: ignore[attr-defined]  # the adapter's
    return path


def rows(platform: Platform) -> dict[str, int]:
    with duckdb.connect(str(path_of(platform)), read_only=True) as connection:
        query = "select table_name from duckdb_tables()"
        tables = [name for (name,) in connection.sql(query).fetchall()]
        return {t: connection.sql(f"select count(*) from {t}").fetchall()[0][0] for t in tables}


def flightline(platform: Platform, *words: str, **shell: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ml.cli", *words],
        cwd=ROOT,
        env={**os.environ, "MLOPS_HOME": str(path_of(platform).parents[1]), **shell},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "name", ["DBT_FULL_REFRESH", "DBT_ENGINE_FULL_REFRESH", "DBT_TARGET", "DBT_EMPTY"]
)
def test_options_in_the_shell_change_no_build(
    built: Platform, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A full refresh of one partition would leave that one alone in every table."""
    before, value = rows(built), "prod" if name == "DBT_TARGET" else "true"
    assert all(count >= len(WEEKS) for count in before.values())
    monkeypatch.setenv(name, value)
    transform.run(built, partitions=[built.spec.partition(WEEKS[-1])])
    assert rows(built) == before
    assert os.environ[name] == value, "the caller's environment is as it was"
    assert "DBT_TARGET_PATH" not in os.environ


def test_options_in_the_shell_change_no_command(built: Platform) -> None:
    before = rows(built)
    shell = {"DBT_TARGET": "prod", "DBT_FULL_REFRESH": "true", "DBT_PROFILES_DIR": "/nowhere"}
    week = built.spec.partition(WEEKS[-1])
    window = [f"--event-time-start={week.start:%Y-%m-%d}", f"--event-time-end={week.end:%Y-%m-%d}"]
    done = flightline(built, "dbt", SLUG, "run", *window, **shell)
    assert done.returncode == 0, done.stdout
    assert rows(built) == before


def test_a_wrong_query_is_told_once_and_without_a_traceback(built: Platform) -> None:
    """Nor does dbt warn of a folder that this use case does not have."""
    words = ("--no-partial-parse", "show", "--inline", "select * from nowhere")
    done = flightline(built, "dbt", SLUG, *words)
    assert done.returncode == 2 and "nowhere does not exist" in done.stderr
    assert "Traceback" not in done.stderr
    assert "WARNING" not in done.stdout
