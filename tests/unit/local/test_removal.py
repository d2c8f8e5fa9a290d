"""Taking use cases out: what goes, what stays, and that an interrupted removal is finished."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ml.adapters.files import exclusive
from ml.core.errors import ConfigError, TransientError
from ml.local import removal
from ml.local.slices import Slice, present
from ml.settings import Settings

FILES = (
    "dags/{slug}_daily.py",
    "dags/{slug}_history.py",
    "dags/{slug}_report.py",
    "dbt_project/models/{slug}/marts/fct_things.sql",
    "dbt_project/seeds/{slug}/seeds.yml",
    "docs/runbooks/{slug}.md",
    "feature_repo/{slug}/features.py",
    "ml/use_cases/{slug}/__init__.py",
    "ml/use_cases/{slug}/spec.py",
    "tests/use_cases/{slug}/test_contract.py",
)
SHARED = ("dags/orchestration/builders.py", "ml/use_cases/__init__.py", "feature_repo/sources.py")
DATA = (
    "lake/raw/{slug}/events/partition_key=2020-01-01/data.parquet",
    "lake/marts/{slug}/fct_things/partition_key=2020-01-01/data.parquet",
    "warehouse/{slug}.duckdb",
    "feast/{slug}.online.sqlite",
    "dbt/{slug}/manifest.json",
    "logs/dbt/{slug}/dbt.log",
    "reports/{slug}.html",
    "tmp/{slug}/spilled",
    "airflow/logs/dag_id={slug}_daily/run_id=1/task.log",
)


def make(root: Path, names: tuple[str, ...], slug: str = "") -> set[Path]:
    paths = {root / name.format(slug=slug) for name in names}
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two use cases, of which the name of one begins with that of the other."""
    make(tmp_path / "repository", SHARED)
    for slug in ("co2", "co2_trend"):
        make(tmp_path / "repository", FILES, slug)
    return tmp_path / "repository"


@pytest.fixture
def home(scratch: Settings) -> Settings:
    for slug in ("co2", "co2_trend"):
        make(scratch.home, DATA, slug)
    return scratch


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def remove(root: Path, where: Settings, *slugs: str, **options: bool) -> None:
    removal.carry_out(removal.plan(slugs, where, root=root, **options), where)


def test_its_files_go_and_nothing_else_does(root: Path, home: Settings) -> None:
    """Neither shared files, nor the other use case, nor any data."""
    before = files(home.home)
    remove(root, home, "co2")
    others = {name.format(slug="co2_trend") for name in FILES}
    assert files(root) == {*SHARED, *others, removal.RECORD}
    assert files(home.home) >= before
    assert removal.removed(root) == ("co2",)


def test_what_is_shown_is_what_goes(root: Path, home: Settings) -> None:
    [planned] = removal.plan(["co2"], home, root=root, with_data=True)
    shown = {path.relative_to(root).as_posix() for path in planned.files}
    assert shown == {name.format(slug="co2") for name in FILES}
    assert len(planned.unsaved) == len(FILES), "without git, nothing could be restored"
    gone = files(home.home)
    removal.carry_out([planned], home)
    gone -= files(home.home)
    assert gone == {name.format(slug="co2") for name in DATA}


def test_several_go_at_once(root: Path, home: Settings) -> None:
    remove(root, home, "co2_trend", "co2")
    assert files(root) == {*SHARED, removal.RECORD}
    assert present(root) == ()
    assert removal.removed(root) == ("co2", "co2_trend")


def test_data_that_stayed_goes_with_a_second_call(root: Path, home: Settings) -> None:
    remove(root, home, "co2")
    remove(root, home, "co2", with_data=True)
    assert files(home.home) >= {name.format(slug="co2_trend") for name in DATA}
    assert not {name.format(slug="co2") for name in DATA} & files(home.home)


@pytest.mark.parametrize("after", range(len(FILES)))
def test_an_interrupted_removal_is_finished_by_a_second_call(
    root: Path, home: Settings, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Killed after any of its steps."""
    real, done = removal.delete, []

    def delete(path: Path) -> None:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(path)
        real(path)

    monkeypatch.setattr(removal, "delete", delete)
    try:
        remove(root, home, "co2")
    except KeyboardInterrupt:
        monkeypatch.setattr(removal, "delete", real)
        remove(root, home, "co2")
    assert files(root) == {*SHARED, removal.RECORD, *(f.format(slug="co2_trend") for f in FILES)}


def test_it_is_refused_while_a_stage_runs(root: Path, home: Settings) -> None:
    """Of one of several: then none of them is touched."""
    before = files(root)
    with (
        exclusive(home.home / "locks" / "co2_trend.lock"),
        pytest.raises(TransientError, match="co2_trend is busy"),
    ):
        remove(root, home, "co2", "co2_trend")
    assert files(root) == before
    remove(root, home, "co2", "co2_trend")


@pytest.mark.parametrize("slug", ["nonsense", "../co2", "co2/../co2_trend", ""])
def test_an_unknown_slug_is_an_error_and_deletes_nothing(
    root: Path, home: Settings, slug: str
) -> None:
    before = files(root)
    with pytest.raises(ConfigError, match=r"unknown use case|bad use case name"):
        remove(root, home, "co2", slug)
    assert files(root) == before


def test_a_linked_folder_is_unlinked_and_not_emptied(root: Path, home: Settings) -> None:
    mine = root.parent / "mine"
    make(mine, ("precious.txt",))
    (root / "feature_repo" / "co2" / "features.py").unlink()
    (root / "feature_repo" / "co2").rmdir()
    (root / "feature_repo" / "co2").symlink_to(mine)
    remove(root, home, "co2")
    assert files(mine) == {"precious.txt"}
    assert not (root / "feature_repo" / "co2").exists()


def test_half_a_use_case_can_be_removed(root: Path, home: Settings) -> None:
    """Somebody has deleted the spec by hand: the rest is found by its name."""
    removal.delete(root / "ml" / "use_cases" / "co2")
    assert "co2" in present(root)
    remove(root, home, "co2")
    assert present(root) == ("co2_trend",)


def test_its_project_leaves_the_registry_of_features(root: Path, home: Settings) -> None:
    """And the other one's stays, with what is defined in it."""
    from feast import Entity, ValueType
    from feast.infra.registry.sql import SqlRegistry, SqlRegistryConfig
    from feast.project import Project

    path = home.home / "feast" / "registry.sqlite"
    config = SqlRegistryConfig(registry_type="sql", path=f"sqlite:///{path}", cache_ttl_seconds=0)
    for slug in ("co2", "co2_trend"):
        registry = SqlRegistry(config, slug, None)
        registry.apply_project(Project(name=slug))
        registry.apply_entity(Entity(name="station", value_type=ValueType.STRING), slug)
    for _ in range(2):
        remove(root, home, "co2", with_data=True)
        with sqlite3.connect(path) as connection:
            kept = connection.execute("select project_id from entities").fetchall()
        assert kept == [("co2_trend",)]


def test_its_models_go_and_the_name_is_free_again(root: Path, home: Settings) -> None:
    """MLflow keeps a deleted experiment: a use case of the same name could not be trained."""
    from ml.adapters.mlflow_client import client

    home.mlflow_database.parent.mkdir(parents=True)
    mlflow = client(f"sqlite:///{home.mlflow_database}")
    for slug in ("co2", "co2_trend"):
        mlflow.create_experiment(slug, artifact_location=(home.artifacts / slug).as_uri())
        mlflow.create_registered_model(slug)
        make(home.artifacts, (f"{slug}/model.lgb",))
    for _ in range(2):
        remove(root, home, "co2", with_models=True)
        assert [m.name for m in mlflow.search_registered_models()] == ["co2_trend"]
        names = {found.name for found in mlflow.search_experiments()}
        assert names == {"Default", "co2_trend"}
        assert files(home.artifacts) == {"co2_trend/model.lgb"}
        mlflow.create_experiment("co2")


def test_dags_of_a_longer_name_are_not_its_own(root: Path) -> None:
    assert Slice("co2", root).dags() == ["co2_daily", "co2_history", "co2_report"]
