"""What `flightline gc` takes and what it never takes, with a real MLflow store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from old_homes import NOW, SLUG, files, made, swept
from support import small_spec

from ml import use_cases
from ml.adapters.files import exclusive, replacing
from ml.core.errors import ConfigError, TransientError
from ml.core.release import first_champion
from ml.core.spec import Coverage
from ml.local import gc, gc_files
from ml.settings import Settings

pytestmark = pytest.mark.xdist_group("gc")


@pytest.fixture(autouse=True)
def _one_use_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "available", lambda: (SLUG,))


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


def test_a_database_of_airflow_without_tables_hinders_nothing(scratch: Settings) -> None:
    """A first start was cut off before it had any."""
    scratch.airflow_home.mkdir(parents=True)
    scratch.airflow_database.touch()
    log = made(scratch, OLD[0], days=400)
    assert swept(scratch) == {log}


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
            for area in ("raw", "mended", "marts", "features", "predictions"):
                made(scratch, f"lake/{area}/{SLUG}/t/partition_key={key}/data.parquet", days=0)
        gone = swept(scratch, before={SLUG: before})
        return {"/".join(name.split("/")[1:5:3]).replace("partition_key=", "") for name in gone}

    return swept_of  # type: ignore[return-value]  # it takes the key, too


DAYS = ("2019-12-20", "2020-01-02", "2020-01-03", "2020-01-10")


def test_partitions_that_trainings_read_stay(partitioned: Any) -> None:
    gone = partitioned((), DAYS, "2020-01-05")
    lookback = small_spec().features.lookback
    trained = {name for name in gone if not name.startswith("predictions")}
    assert trained == {f"{area}/2019-12-20" for area in ("raw", "mended", "marts", "features")} | (
        {f"{area}/2020-01-02" for area in ("raw", "mended", "marts", "features")}
        if not lookback
        else set()
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
