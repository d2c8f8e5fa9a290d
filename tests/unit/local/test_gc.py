"""What `flightline gc` takes and what it never takes, with a real MLflow store."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support import small_spec

from ml import use_cases
from ml.adapters.files import exclusive, replacing
from ml.adapters.mlflow_client import client
from ml.core.errors import ConfigError, TransientError
from ml.core.release import first_champion
from ml.core.spec import Coverage
from ml.local import gc, gc_files
from ml.local.gc_items import DAY_SECONDS
from ml.settings import Settings

NOW = time.time()
SLUG = "toy"
pytestmark = pytest.mark.xdist_group("gc")


@pytest.fixture(autouse=True)
def _one_use_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "available", lambda: (SLUG,))


def made(where: Settings, name: str, *, days: float) -> str:
    """A file of the home that was changed so many days ago."""
    path = where.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (NOW - days * DAY_SECONDS,) * 2)
    return name


def files(where: Settings) -> set[str]:
    found = (path for path in where.home.rglob("*") if path.is_file())
    return {path.relative_to(where.home).as_posix() for path in found} - {f"locks/{SLUG}.lock"}


def swept(where: Settings, **options: Any) -> set[str]:
    """Which files go."""
    before = files(where)
    gc.carry_out(gc.plan(where, NOW, **options), where, NOW, **options)
    return before - files(where)


OLD = (
    "logs/scheduler.previous.log",
    f"logs/dbt/{SLUG}/dbt.log.1",
    "airflow/logs/dag_id=toy_daily/run_id=1/task_id=ingest/attempt=1.log",
    "airflow/logs/dag_processor/2013-06-01/dags/toy_daily.py.log",
    f"lake/quarantine/{SLUG}/events/partition_key=2020-01-01/data.parquet",
    f"lake/raw/{SLUG}/events/partition_key=2020-01-01/.data.parquet.0123abcd",
    ".secrets.json.4711",
    "airflow/airflow.db.before-9.0",
)
KEPT = (
    "logs/scheduler.log",  # a process may have it open
    "logs/platform.jsonl",  # what became of the processes
    "logs/alerts.jsonl",  # what was told
    f"lake/stopped/{SLUG}/events/partition_key=2020-01-01/data.parquet",  # is nowhere else
    f"lake/raw/{SLUG}/events/partition_key=2020-01-01/data.parquet",
    f"lake/predictions/{SLUG}/log/partition_key=2020-01-01/data.parquet",
    f"lake/training_sets/{SLUG}/0123/data.parquet",  # without MLflow nobody knows who needs it
    f"warehouse/{SLUG}.duckdb",
    f"warehouse/{SLUG}.before",  # the last good state, if a build was killed
    "mlflow/artifacts/toy/run/artifacts/.notes.0123abcd",
    "secrets.json",
)


def test_what_is_old_and_unneeded_goes_and_nothing_else(scratch: Settings) -> None:
    old = {made(scratch, name, days=400) for name in OLD}
    kept = {made(scratch, name, days=400) for name in KEPT}
    assert swept(scratch) == old
    assert files(scratch) == kept
    assert swept(scratch) == set(), "a second time there is nothing left"


def test_what_is_young_stays(scratch: Settings) -> None:
    for name in OLD:
        made(scratch, name, days=0.5)
    assert swept(scratch) == set()


def test_the_days_are_settings(scratch: Settings) -> None:
    log, rows = made(scratch, OLD[0], days=20), made(scratch, OLD[4], days=20)
    assert swept(scratch) == set()
    shorter = scratch.model_copy(update={"keep_logs_days": 19, "keep_quarantine_days": 21})
    assert swept(shorter) == {log}
    assert swept(scratch.model_copy(update={"keep_quarantine_days": 19})) == {rows}


def test_the_folder_of_what_went_goes_too(scratch: Settings) -> None:
    made(scratch, OLD[2], days=400)
    swept(scratch)
    assert not list((scratch.airflow_home / "logs").rglob("run_id=*"))


class Waiting:
    """A clock that goes only while somebody waits, ten seconds at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[float], None]) -> None:
        self.now, self.act = 0.0, act
        monkeypatch.setattr(gc.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(gc.time, "sleep", self.sleep)

    def sleep(self, _: float) -> None:
        self.now += 10
        self.act(self.now)


def waited(where: Settings) -> None:
    with gc.nothing_runs(where, wait_seconds=60):
        raise AssertionError("a stage runs")


def test_who_waits_for_one_use_case_keeps_no_other_from_its_work(
    scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = scratch.home / "locks"

    def work(_: float) -> None:
        with exclusive(locks / "a.lock"):
            pass

    clock = Waiting(monkeypatch, work)
    work(0)
    with exclusive(locks / "b.lock"), pytest.raises(TransientError, match="b is busy"):
        waited(scratch)
    assert clock.now >= 60


def test_it_waits_once_and_not_for_each_use_case(
    scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks, first = scratch.home / "locks", ExitStack()
    clock = Waiting(monkeypatch, lambda now: first.close() if now == 50 else None)
    first.enter_context(exclusive(locks / "a.lock"))
    with exclusive(locks / "b.lock"), pytest.raises(TransientError, match="b is busy"):
        waited(scratch)
    assert clock.now == 60


def test_stages_that_end_in_time_are_waited_for(
    scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, first = scratch.home / "locks" / "a.lock", ExitStack()
    Waiting(monkeypatch, lambda now: first.close() if now == 50 else None)
    first.enter_context(exclusive(lock))
    with gc.nothing_runs(scratch, wait_seconds=60), pytest.raises(TransientError):
        first.enter_context(exclusive(lock))


def test_nothing_goes_while_a_stage_runs(
    scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "_WAIT_SECONDS", 0.0)
    made(scratch, OLD[0], days=400)
    with (
        exclusive(scratch.home / "locks" / f"{SLUG}.lock"),
        pytest.raises(TransientError, match=f"{SLUG} is busy"),
    ):
        swept(scratch)
    assert OLD[0] in files(scratch)


def test_what_was_not_shown_does_not_go(scratch: Settings) -> None:
    """It has grown old between the question and the answer."""
    shown = made(scratch, OLD[0], days=400)
    found = gc.plan(scratch, NOW)
    made(scratch, "logs/mlflow.previous.log", days=400)
    gc.carry_out(found, scratch, NOW)
    assert files(scratch) == {"logs/mlflow.previous.log"} and shown not in files(scratch)


def test_an_unfinished_file_has_the_name_that_replacing_gives(tmp_path: Path) -> None:
    with replacing(tmp_path / "data.parquet") as temporary:
        temporary.write_text("x")
        assert gc_files._TEMPORARY.fullmatch(temporary.name)
    assert not gc_files._TEMPORARY.fullmatch("data.parquet")


# MLflow


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


# Partitions, only when asked


@pytest.fixture
def partitioned(
    scratch: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Any, Iterable[str]], set[str]]:
    """Which partitions go, of a use case with these releases."""

    class Registry:
        def __init__(self, found: Any) -> None:
            self.found = found

        def releases(self) -> Any:
            return self.found

    @dataclasses.dataclass
    class Platform:
        spec: Any
        registry: Registry

    def swept_of(releases: Any, keys: Iterable[str], before: str) -> set[str]:
        spec = small_spec(coverage=Coverage(first="2020-01-03", last="2020-12-31"))
        platform = Platform(spec, Registry(releases))
        monkeypatch.setattr(gc, "connect", lambda *_: platform)
        monkeypatch.setattr(gc_files, "_has_registry", lambda _: True)
        for key in keys:
            for area in ("raw", "marts", "features", "predictions"):
                made(scratch, f"lake/{area}/{SLUG}/t/partition_key={key}/data.parquet", days=0)
        gone = swept(scratch, before={SLUG: before})
        return {"/".join(name.split("/")[1:5:3]).replace("partition_key=", "") for name in gone}

    return swept_of  # type: ignore[return-value]  # it takes the key, too


DAYS = ("2019-12-20", "2020-01-02", "2020-01-03", "2020-01-10")


def test_partitions_that_trainings_read_stay(partitioned: Any) -> None:
    gone = partitioned((), DAYS, "2020-01-05")
    lookback = small_spec().features.lookback
    trained = {name for name in gone if not name.startswith("predictions")}
    assert trained == {f"{area}/2019-12-20" for area in ("raw", "marts", "features")} | (
        {f"{area}/2020-01-02" for area in ("raw", "marts", "features")} if not lookback else set()
    )
    assert {f"predictions/{day}" for day in DAYS[:3]} <= gone


def test_predictions_of_the_release_in_force_stay(partitioned: Any) -> None:
    spec = small_spec()
    release = first_champion(SLUG, 1, spec.calendar.parse("2020-01-02").start)
    gone = partitioned((release,), DAYS, "2020-01-05")
    assert {name for name in gone if name.startswith("predictions")} == {"predictions/2019-12-20"}


def test_a_look_makes_no_database(scratch: Settings) -> None:
    if not (found := use_cases.available()):
        pytest.skip("it needs a use case")
    slug = found[0]
    plan = gc.plan(scratch, NOW, {slug: use_cases.load_spec(slug).coverage.last})
    assert plan and not scratch.home.exists()


def test_a_key_of_another_form_is_refused(partitioned: Any) -> None:
    with pytest.raises(ConfigError, match="bad partition key"):
        partitioned((), DAYS, "2020-W01")


@pytest.mark.parametrize("asked", ["2020-01-01", "nobody=2020-01-01"])
def test_partitions_of_no_use_case_are_refused(asked: str) -> None:
    with pytest.raises(ConfigError, match="bad --partitions-before"):
        gc.command([asked], dry_run=True, yes=False)
