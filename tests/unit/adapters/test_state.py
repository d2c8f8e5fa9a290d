"""State of another version: refused if newer, migrated step by step if older."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ml.adapters import state
from ml.adapters.mlflow_client import client
from ml.core.errors import ConfigError
from ml.settings import Settings

pytestmark = pytest.mark.xdist_group("state")


@pytest.fixture
def where(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def written(where: Settings, **fields: object) -> None:
    where.home.mkdir(parents=True, exist_ok=True)
    state.state_file(where).write_text(json.dumps(fields))


def test_the_first_who_works_in_a_home_signs_it(where: Settings) -> None:
    state.settle(where)
    found = state.read(where)
    assert found.layout == len(state.MIGRATIONS)
    assert found.packages.keys() == set(state.PACKAGES) and all(found.packages.values())
    before = state.state_file(where).stat().st_mtime_ns
    state.settle(where)
    assert state.state_file(where).stat().st_mtime_ns == before, "then it is only looked at"


def test_a_look_changes_nothing(where: Settings) -> None:
    assert state.check(where).layout == 0
    assert not where.home.exists()


@pytest.mark.parametrize("act", [state.check_all, state.settle])
def test_a_lost_database_of_models_is_not_replaced_by_a_new_one(
    where: Settings, act: Callable[[Settings], object]
) -> None:
    """Nobody would see that the releases are gone: days would be scored by no model."""
    state.settle(where)
    (where.artifacts / "1").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"mlflow\.db is gone, but the files of its runs are in"):
        act(where)
    assert not where.mlflow_database.exists()
    act(where.model_copy(update={"tracking_uri": "http://127.0.0.1:1"}))
    where.mlflow_database.touch()
    act(where)


@pytest.mark.parametrize("act", [state.check, state.settle])
def test_state_of_a_newer_version_is_refused(
    where: Settings, act: Callable[[Settings], object]
) -> None:
    written(where, layout=len(state.MIGRATIONS) + 1, flightline="9.0", packages={})
    before = state.state_file(where).read_text()
    with pytest.raises(ConfigError, match=r"newer version: layout \d+, written by Flightline 9\.0"):
        act(where)
    assert state.state_file(where).read_text() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"layout": "red"}'])
def test_what_nobody_wrote_is_refused(where: Settings, text: str) -> None:
    where.home.mkdir()
    state.state_file(where).write_text(text)
    with pytest.raises(ConfigError, match="cannot read"):
        state.check(where)


@pytest.mark.parametrize(("layout", "is_newer"), [(0, False), (1, True)])
def test_a_field_of_a_newer_version_hides_no_layout(
    where: Settings, layout: int, is_newer: bool
) -> None:
    written(where, layout=len(state.MIGRATIONS) + layout, flightline="9.0", colour="red")
    if is_newer:
        with pytest.raises(ConfigError, match=r"newer version: .* Flightline 9\.0"):
            state.check(where)
    else:
        assert state.check(where).flightline == "9.0"


def test_older_state_is_migrated_step_by_step_and_a_killed_step_is_repeated(
    where: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def step(number: int) -> Callable[[Settings], None]:
        def migrate(_: Settings) -> None:
            done.append(number)
            if done == [1, 2]:
                raise KeyboardInterrupt

        return migrate

    written(where, layout=1, flightline="0.1.0", packages={})
    monkeypatch.setattr(state, "MIGRATIONS", tuple(map(step, range(4))))
    with pytest.raises(KeyboardInterrupt):
        state.settle(where)
    assert state.read(where).layout == 2, "the first of them is done"
    state.settle(where)
    assert done == [1, 2, 2, 3] and state.read(where).layout == 4
    state.settle(where)
    assert done == [1, 2, 2, 3]


# MLflow's tables


def revision(where: Settings) -> str:
    with closing(sqlite3.connect(where.mlflow_database)) as opened:
        [(number,)] = opened.execute("select version_num from alembic_version")
    return str(number)


@pytest.fixture(scope="module")
def older_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run, taken back to the tables of an older MLflow by its own migrations."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config

    path = tmp_path_factory.mktemp("older") / "mlflow.db"
    uri = f"sqlite:///{path}"
    made = client(uri)
    made.create_run(made.create_experiment("toy"), tags={"mark": "kept"})
    command.downgrade(_get_alembic_config(uri), "-1")
    return path


@pytest.fixture
def older(where: Settings, older_store: Path) -> Settings:
    where.mlflow_database.parent.mkdir(parents=True)
    where.mlflow_database.write_bytes(older_store.read_bytes())
    return where


def marks(where: Settings) -> list[str]:
    found = client(f"sqlite:///{where.mlflow_database}")
    [experiment] = found.search_experiments(filter_string="name = 'toy'")
    runs = found.search_runs([experiment.experiment_id])
    return [run.data.tags["mark"] for run in runs]


def test_mlflows_older_tables_are_upgraded_with_a_copy_before(older: Settings) -> None:
    before = revision(older)
    assert before not in state._known_revisions()[1]
    state.settle(older)
    assert revision(older) in state._known_revisions()[1] and marks(older) == ["kept"]
    [copy] = older.mlflow_database.parent.glob("*.before-*")
    with closing(sqlite3.connect(copy)) as opened:
        assert opened.execute("select version_num from alembic_version").fetchall() == [(before,)]


def test_tables_of_a_newer_mlflow_are_refused_and_untouched(older: Settings) -> None:
    with closing(sqlite3.connect(older.mlflow_database)) as opened, opened:
        opened.execute("update alembic_version set version_num = 'fff000fff000'")
    with pytest.raises(ConfigError, match="newer version has written them"):
        state.settle(older)
    assert revision(older) == "fff000fff000"
    assert state.read(older).packages == {}, "not signed"


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(older: Settings) -> None:
    """Its tables are lost, as in a half-broken copy."""
    with closing(sqlite3.connect(older.mlflow_database)) as opened, opened:
        for (name,) in opened.execute(
            "select name from sqlite_master where type = 'table' and name <> 'alembic_version'"
            " and name not like 'sqlite%'"
        ).fetchall():
            opened.execute(f'drop table "{name}"')
    before = revision(older)
    with pytest.raises(ConfigError, match="cannot upgrade"):
        state.settle(older)
    assert revision(older) == before and state.read(older).packages == {}


def test_the_copy_of_an_earlier_upgrade_is_not_what_a_failed_one_puts_back(
    older: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same upgrade as months ago: a person went back to the older version in between."""
    first = older.mlflow_database.read_bytes()
    state.settle(older)
    older.mlflow_database.write_bytes(first)
    state.state_file(older).unlink()
    with closing(sqlite3.connect(older.mlflow_database)) as opened, opened:
        opened.execute("update tags set value = 'newer' where key = 'mark'")
    monkeypatch.setattr(state.sys, "executable", shutil.which("false"))
    with pytest.raises(ConfigError, match="cannot upgrade"):
        state.settle(older)
    with closing(sqlite3.connect(older.mlflow_database)) as opened:
        assert opened.execute("select value from tags where key = 'mark'").fetchall() == [
            ("newer",)
        ]


KILLED_UPGRADE = """
import os, signal, sqlite3, sys
opened = sqlite3.connect(sys.argv[1])
opened.execute("pragma cache_size = 1")
opened.execute("create table half (t text)")
opened.executemany("insert into half values (?)", [("x" * 4000,)] * 100)
os.kill(os.getpid(), signal.SIGKILL)
"""


def broken_off(database: Path, to: str, error: type[BaseException]) -> None:
    """Half of its steps are taken."""

    def upgrade() -> None:
        with state.copied(database, to):
            with closing(sqlite3.connect(database)) as opened, opened:
                opened.execute("alter table tags rename to labels")
            raise error

    with pytest.raises(error):
        upgrade()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_upgrade_that_broke_off_is_undone(older: Settings, error: type[BaseException]) -> None:
    """At once where it failed, else before anybody reads: also by the version that it left."""
    before = revision(older)
    state._write(older, state._this(older))
    broken_off(older.mlflow_database, "9.0", error)
    state.settle(older)
    assert revision(older) == before and marks(older) == ["kept"]
    with closing(sqlite3.connect(older.mlflow_database)) as opened, opened:
        opened.execute("update tags set value = 'weeks later' where key = 'mark'")
    state.settle(older)
    state.upgrade_mlflow(older, "")
    assert marks(older) == ["weeks later"], "no copy counts any more"


def test_a_start_waits_with_its_verdict_until_an_upgrade_is_undone(older: Settings) -> None:
    """Half of the tables of a version that is newer than this one."""
    state._write(older, state.State(1, "0.0", {"mlflow": "2.0.0"}))
    with pytest.raises(KeyboardInterrupt), state.copied(older.mlflow_database, "99.0"):
        step_of_a_newer_version(older.mlflow_database)
    state.check_all(older)
    state.settle(older)
    assert marks(older) == ["kept"]


def step_of_a_newer_version(database: Path) -> None:
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("update alembic_version set version_num = 'fff000fff000'")
    raise KeyboardInterrupt


def test_a_copy_that_is_gone_leaves_the_database_as_it_is(older: Settings) -> None:
    broken_off(older.mlflow_database, "9.0", KeyboardInterrupt)
    [copy] = older.mlflow_database.parent.glob("*.before-*")
    copy.replace(older.mlflow_database)  # by hand, or by an `undo` that was killed there
    state.settle(older)
    assert marks(older) == ["kept"] and not list(older.mlflow_database.parent.glob("*.begun"))


def test_what_a_killed_upgrade_left_beside_goes_before_the_copy_is_put_back(
    older: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes a journal for that of the file beside it, whichever that is."""
    database, real = older.mlflow_database, subprocess.run
    journal = database.with_name("mlflow.db-journal")

    def killed(*_: object, **options: Any) -> Any:
        done = real([sys.executable, "-c", KILLED_UPGRADE, str(database)], **options)
        assert done.returncode == -signal.SIGKILL and journal.stat().st_size
        return done

    monkeypatch.setattr(state.subprocess, "run", killed)
    with pytest.raises(ConfigError, match="cannot upgrade"):
        state.settle(older)
    assert not journal.exists()
    with closing(sqlite3.connect(database)) as opened:
        assert opened.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert opened.execute("select value from tags where key = 'mark'").fetchall() == [("kept",)]


def test_an_upgrade_that_was_killed_goes_on(older: Settings) -> None:
    command = [sys.executable, "-c", KILLED_UPGRADE, str(older.mlflow_database)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    state.settle(older)
    assert revision(older) in state._known_revisions()[1] and marks(older) == ["kept"]


def test_a_database_behind_a_server_is_left_to_it(older: Settings) -> None:
    before = revision(older)
    behind = older.model_copy(update={"tracking_uri": "http://127.0.0.1:1"})
    state.settle(behind)
    assert revision(older) == before and state.read(older).packages == {}
    state.settle(older)
    assert revision(older) != before, "whoever starts the server does it"
