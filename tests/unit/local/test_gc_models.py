"""What gc takes of MLflow: old runs that no version needs, with all that is theirs."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from pathlib import Path

import pytest
from old_homes import NOW, SLUG, made, swept

from ml.adapters.mlflow_client import client
from ml.local import gc
from ml.local.gc_items import DAY_SECONDS
from ml.settings import Settings

pytestmark = pytest.mark.xdist_group("gc")


@pytest.fixture(autouse=True)
def _one_use_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "available", lambda: (SLUG,))


@dataclasses.dataclass
class Models:
    """A store with runs, made as the stages make them."""

    where: Settings

    def __post_init__(self) -> None:
        self.uri = f"sqlite:///{self.where.mlflow_database}"
        self.client = client(self.uri)
        self.experiments: dict[str, str] = {}

    def run(
        self, *, days: float, digest: str = "", experiment: str = SLUG, **tags: str
    ) -> tuple[str, str]:
        """A finished run with a file, a model and a training set; their ids."""
        if experiment not in self.experiments:
            folder = (self.where.artifacts / experiment).as_uri()
            made_one = self.client.create_experiment(experiment, artifact_location=folder)
            self.experiments[experiment] = made_one
        number = self.experiments[experiment]
        tags = {**tags, **({"dataset.sha256": digest} if digest else {})}
        run_id = self.client.create_run(number, start_time=0, tags=tags).info.run_id
        self.client.log_text(run_id, "x" * 1000, "notes.txt")
        self.client.log_metric(run_id, "loss", 0.5)
        model = self.client.create_logged_model(number, source_run_id=run_id)
        path = Path(model.artifact_location.removeprefix("file://"))
        path.mkdir(parents=True)
        (path / "MLmodel").write_text("x")
        self.client.log_metric(run_id, "loss_of_model", 0.5, model_id=model.model_id)
        self.client.finalize_logged_model(model.model_id, "READY")
        ended = int((NOW - days * DAY_SECONDS) * 1000)
        self.client.set_terminated(run_id, end_time=ended)
        if digest:
            made(self.where, f"lake/training_sets/{SLUG}/{digest[:32]}/data.parquet", days=days)
        return run_id, str(model.model_id)

    def register(self, run_id: str, model_id: str) -> None:
        if not self.client.search_registered_models():
            self.client.create_registered_model(SLUG)
        self.client.create_model_version(
            SLUG, source=f"models:/{model_id}", run_id=run_id, model_id=model_id
        )

    def runs(self) -> set[str]:
        found = self.client.search_runs([*self.experiments.values()], run_view_type=3)  # all
        return {run.info.run_id for run in found}

    def sets(self) -> set[str]:
        return {path.name for path in (self.where.home / "lake/training_sets" / SLUG).glob("*")}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables take seconds to make: they are copied."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def models(scratch: Settings, empty_store: Path) -> Models:
    scratch.mlflow_database.parent.mkdir(parents=True)
    shutil.copyfile(empty_store, scratch.mlflow_database)
    return Models(scratch)


A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def test_an_old_run_without_a_version_goes_with_model_files_and_training_set(
    models: Models,
) -> None:
    trial, _ = models.run(days=400, digest=A)
    young, _ = models.run(days=100, digest=B)
    [runs, sets] = gc.plan(models.where, NOW)
    assert [item.name for item in runs.items] == [trial] and runs.size > 1000
    assert len(sets.items) == 1
    swept(models.where)
    assert models.runs() == {young} and models.sets() == {B[:32]}
    assert not list(models.where.artifacts.rglob(f"*{trial}*"))
    assert len(list(models.where.artifacts.rglob("MLmodel"))) == 1, "the young one's"
    assert gc.plan(models.where, NOW) == []


def test_what_a_version_needs_never_goes(models: Models) -> None:
    """Its run, its model, the points of its search and its training set, however old."""
    run_id, model_id = models.run(days=4000, digest=A)
    models.register(run_id, model_id)
    point, _ = models.run(days=4000, **{"mlflow.parentRunId": run_id, "stage": "search"})
    trial, _ = models.run(days=4000, digest=B)
    of_trial, _ = models.run(days=4000, **{"mlflow.parentRunId": trial, "stage": "search"})
    swept(models.where)
    assert models.runs() == {run_id, point} and models.sets() == {A[:32]}
    assert of_trial not in models.runs()
    assert len(list(models.where.artifacts.rglob("MLmodel"))) == 2


def test_a_version_whose_run_was_thrown_away_by_hand_keeps_it(models: Models) -> None:
    """MLflow's own `gc` would delete it, and the version would have no model."""
    run_id, model_id = models.run(days=4000, digest=A)
    models.register(run_id, model_id)
    models.client.delete_run(run_id)
    long_after = NOW + 4000 * DAY_SECONDS
    assert gc.plan(models.where, long_after) == []


def test_the_model_of_a_version_is_kept_even_if_the_version_names_another_run(
    models: Models,
) -> None:
    """As a version has that was copied or registered by hand."""
    run_id, model_id = models.run(days=4000)
    other, _ = models.run(days=4000)
    models.register(other, model_id)
    assert gc.plan(models.where, NOW) == []
    assert models.runs() == {run_id, other}


def test_a_training_set_that_two_runs_share_stays_with_the_one_that_stays(models: Models) -> None:
    models.run(days=400, digest=A)
    models.run(days=100, digest=A)
    made(models.where, f"lake/training_sets/{SLUG}/{A[:32]}/data.parquet", days=400)
    swept(models.where)
    assert models.sets() == {A[:32]}


def test_a_person_can_restore_a_deleted_run_for_as_long(models: Models) -> None:
    run_id, _ = models.run(days=400)
    models.client.delete_run(run_id)
    assert gc.plan(models.where, NOW) == [], "it is in the trash since today"
    [waste] = gc.plan(models.where, NOW + 200 * DAY_SECONDS)
    assert [item.name for item in waste.items] == [run_id]


def test_experiments_of_people_stay_until_they_delete_them(models: Models) -> None:
    run_id, _ = models.run(days=400, experiment="my own")
    assert gc.plan(models.where, NOW) == []
    models.client.delete_experiment(models.experiments["my own"])
    [waste] = gc.plan(models.where, NOW + 200 * DAY_SECONDS)
    assert [item.name for item in waste.items] == [run_id]


@pytest.mark.parametrize("step", ["_hard_delete_logged_model", "_hard_delete_run"])
def test_a_deletion_that_was_killed_is_finished_by_the_next(
    models: Models, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first, _ = models.run(days=400, digest=A)
    second, _ = models.run(days=400)
    store = models.client._tracking_client.store
    with monkeypatch.context() as killed:

        def kill(*_: object) -> None:
            raise KeyboardInterrupt

        killed.setattr(type(store), step, kill)
        with pytest.raises(KeyboardInterrupt):
            swept(models.where)
    assert {first, second} <= models.runs()
    swept(models.where)
    assert models.runs() == set() and models.sets() == set()
    assert not list(models.where.artifacts.rglob("MLmodel"))


def test_a_run_that_is_gone_meanwhile_keeps_no_other(models: Models) -> None:
    gone, _ = models.run(days=400)
    models.run(days=399)
    [waste] = gc.plan(models.where, NOW)
    models.client.delete_run(gone)
    models.client._tracking_client.store._hard_delete_run(gone)
    waste.delete(waste.items)
    assert models.runs() == set()


def test_runs_of_another_server_stay(models: Models) -> None:
    models.run(days=400, digest=A)
    elsewhere = models.where.model_copy(update={"tracking_uri": "http://mlflow.example:5000"})
    assert gc.plan(elsewhere, NOW) == []


def test_a_folder_that_is_not_the_runs_own_is_never_deleted(models: Models) -> None:
    run_id, _ = models.run(days=400)
    shared = models.where.artifacts / SLUG / "shared"
    shared.mkdir()
    with sqlite3.connect(models.where.mlflow_database) as database:
        changed = "update runs set artifact_uri = ? where run_uuid = ?"
        database.execute(changed, ((shared / "artifacts").as_uri(), run_id))
    database.close()
    swept(models.where)
    assert models.runs() == set() and shared.exists()
