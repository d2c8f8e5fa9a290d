"""`flightline list`: each use case in a line, with its state, quickly and without libraries."""

from __future__ import annotations

import http.server
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT, small_spec

from ml.core.errors import ConfigError
from ml.core.spec import Table, UseCase
from ml.local import use_cases
from ml.local.use_cases import Listed, listing
from ml.settings import Settings

SLUGS = ("alpha", "beta")
DAGS = ("daily", "history", "retrain")


def spec(slug: str) -> UseCase:
    tables = (Table(name="stations", is_snapshot=True), Table(name="events"), Table(name="late"))
    return small_spec(slug=slug, tables=tables)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of two use cases."""
    monkeypatch.setattr(use_cases, "load_spec", spec)
    names = [
        "ml/use_cases/{}/spec.py",
        "ml/use_cases/{}/contract.py",
        "feature_repo/{}/features.py",
    ]
    names += [f"dags/{{}}_{job}.py" for job in DAGS]
    for slug in SLUGS:
        for name in names:
            path = tmp_path / name.format(slug)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x = 1\n")
    return tmp_path


def ingested(where: Settings, slug: str, table: str, *keys: str) -> None:
    for key in keys:
        folder = where.home / "lake" / "raw" / slug / table / f"partition_key={key}"
        folder.mkdir(parents=True)
        (folder / "data.parquet").write_text("x")


def released(where: Settings, **aliases: int) -> None:
    """MLflow's database, as far as it is read."""
    where.mlflow_database.parent.mkdir(parents=True)
    with sqlite3.connect(where.mlflow_database) as connection:
        connection.execute("create table registered_model_aliases (alias, version, name)")
        for alias, version in aliases.items():
            connection.execute(
                "insert into registered_model_aliases values (?, ?, 'alpha')", (alias, version)
            )
    connection.close()


def by_slug(where: Settings, root: Path) -> dict[str, Listed]:
    return {one.slug: one for one in listing(where, root)}


def test_each_state_is_told(root: Path, scratch: Settings) -> None:
    assert {one.state for one in listing(scratch, root)} == {"never ingested"}
    ingested(scratch, "alpha", "events", "2020-01-01", "2020-01-03", "2020-01-02")
    ingested(scratch, "alpha", "late", "2020-02-01")
    assert by_slug(scratch, root)["alpha"].state == "no model"
    released(scratch, champion=2, canary=3, previous=1)
    alpha, beta = listing(scratch, root)
    assert (alpha.state, alpha.champion, alpha.canary) == ("ok", 2, 3)
    assert alpha.data_to == "2020-01-03", "of the events, not of another table"
    assert (alpha.owner, alpha.problem, alpha.cadence) == ("team", "binary", "daily")
    assert alpha.dags == DAGS
    assert (beta.state, beta.data_to, beta.champion) == ("never ingested", "", None)


def test_a_partition_without_its_file_does_not_count(root: Path, scratch: Settings) -> None:
    ingested(scratch, "alpha", "events", "2020-01-01", "2020-01-02")
    (scratch.home / "lake/raw/alpha/events/partition_key=2020-01-02/data.parquet").unlink()
    assert by_slug(scratch, root)["alpha"].data_to == "2020-01-01"


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("ml/use_cases/alpha/contract.py", "x = (", "alpha/contract.py, line 1: '(' was never"),
        ("feature_repo/alpha/features.py", None, "no feature_repo/alpha/features.py"),
        ("ml/use_cases/alpha/contract.py", None, "no ml/use_cases/alpha/contract.py"),
        ("dags/alpha_history.py", None, "no Dag file for history"),
        ("dags/alpha_daily.py", "def", "dags/alpha_daily.py, line 1: invalid syntax"),
    ],
)
def test_a_broken_one_is_told_and_the_others_are_as_they_were(
    root: Path, scratch: Settings, file: str, text: str | None, told: str
) -> None:
    (root / file).unlink() if text is None else (root / file).write_text(text)
    found = by_slug(scratch, root)
    assert found["alpha"].state.startswith("broken: ") and told in found["alpha"].state
    assert found["beta"].state == "never ingested"


def test_a_spec_that_cannot_be_loaded_is_told_in_one_line(
    root: Path, scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(slug: str) -> UseCase:
        raise ConfigError("spec.py, line 3: UseCase is not valid\n  title: Field required")

    monkeypatch.setattr(use_cases, "load_spec", broken)
    state = by_slug(scratch, root)["alpha"].state
    assert state == "broken: spec.py, line 3: UseCase is not valid title: Field required"


def test_a_damaged_store_of_models_is_told_and_the_rest_is_there(
    root: Path, scratch: Settings
) -> None:
    ingested(scratch, "alpha", "events", "2020-01-01")
    scratch.mlflow_database.parent.mkdir(parents=True)
    scratch.mlflow_database.write_text("this is not a database " * 100)
    alpha = by_slug(scratch, root)["alpha"]
    assert alpha.data_to == "2020-01-01" and alpha.state.startswith("models unknown: ")


@pytest.fixture
def server() -> Iterator[str]:
    """Answers as MLflow does, for one registered model."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.path.endswith("name=alpha")
            self.send_response(200 if is_known else 404)
            self.end_headers()
            aliases = [{"alias": "champion", "version": "7"}]
            self.wfile.write(json.dumps({"registered_model": {"aliases": aliases}}).encode())

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


def test_versions_come_from_the_server_of_the_settings(
    root: Path, scratch: Settings, server: str
) -> None:
    for slug in SLUGS:
        ingested(scratch, slug, "events", "2020-01-01")
    where = scratch.model_copy(update={"tracking_uri": server})
    found = by_slug(where, root)
    assert (found["alpha"].champion, found["alpha"].state) == (7, "ok")
    assert found["beta"].state == "no model"
    away = where.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    assert by_slug(away, root)["alpha"].state.startswith("models unknown: http://127.0.0.1:9")


def test_a_server_that_speaks_no_http_is_told(root: Path, scratch: Settings, babbler: int) -> None:
    ingested(scratch, "alpha", "events", "2020-01-01")
    url = f"http://127.0.0.1:{babbler}"
    found = by_slug(scratch.model_copy(update={"tracking_uri": url}), root)
    assert found["alpha"].state == f"models unknown: {url}: SSH-2.0-OpenSSH"


def test_it_is_one_line_each_also_in_a_narrow_terminal(
    root: Path, scratch: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    use_cases._print(listing(scratch, root))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["use", *SLUGS]


def test_it_is_quick_and_imports_no_heavy_library(tmp_path: Path) -> None:
    """Over the real use cases, in a home in which nothing was ever run."""
    code = (
        "import sys; from ml.cli import app; app(['list', '--json'], standalone_mode=False);"
        "heavy = {'mlflow', 'pandas', 'pyarrow', 'feast', 'duckdb', 'polars'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    home = tmp_path / "home"
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MLOPS_HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    after = os.times()
    assert done.returncode == 0, done.stderr
    assert all(one["slug"] for one in json.loads(done.stdout))
    assert not home.exists(), "looking makes nothing"
    cpu = after.children_user + after.children_system
    assert cpu - before.children_user - before.children_system < 2.0


def test_the_bundle_takes_a_dag_as_changed_when_its_spec_is(tmp_path: Path) -> None:
    """Airflow looks at Dag files alone; one is a line, and what it is made from lies elsewhere."""
    names = ["dags/orchestration/builders.py", "ml/core/spec.py"]
    names += ["ml/use_cases/co2/spec.py", "ml/use_cases/co2_trend/spec.py"]
    names += ["dags/co2_daily.py", "dags/co2_trend_weekly.py", "dags/platform_clean_up.py"]
    old = time.time() - 1000
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
        os.utime(path, (old, old))
    code = (
        "import sys; from flightline_bundle import RepositoryBundle as B;"
        "B(name='x', path=sys.argv[1] + '/dags', repository=sys.argv[1]).refresh()"
    )

    def changed(name: str) -> set[str]:
        dags = sorted((tmp_path / "dags").glob("*.py"))
        before = {path: path.stat().st_mtime_ns for path in dags}
        (tmp_path / name).write_text("x = 2\n")
        for _ in range(2):
            subprocess.run(
                [sys.executable, "-c", code, str(tmp_path)],
                env={**os.environ, "PYTHONPATH": str(ROOT / "infra" / "airflow")},
                check=True,
                capture_output=True,
            )
        return {path.stem for path in dags if path.stat().st_mtime_ns != before[path]}

    assert changed("ml/use_cases/co2/spec.py") == {"co2_daily"}
    assert changed("ml/use_cases/co2_trend/spec.py") == {"co2_trend_weekly"}
    shared = {"co2_daily", "co2_trend_weekly", "platform_clean_up"}
    assert changed("dags/orchestration/builders.py") == shared
