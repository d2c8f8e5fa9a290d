"""Airflow's database of an older version is upgraded, also after a kill within a step."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from support import copy_home

from ml.core.errors import FlightlineError
from ml.local import supervisor
from ml.local.environment import platform_environment
from ml.local.ports import load_ports
from ml.local.secrets import load_secrets
from ml.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("airflow_tables")]
OLDER = "3.1.0"
Child = subprocess.Popen[bytes]


@pytest.fixture
def where(migrated: Path, tmp_path: Path) -> Settings:
    """A home of an older Airflow, in which somebody has made a pool."""
    found = Settings(home=copy_home(migrated, tmp_path / "home"))
    newest = revision(found)
    start(found, "downgrade", ["airflow", "db", "downgrade", "-n", OLDER, "-y"]).wait()
    assert revision(found) != newest
    (found.airflow_home / "migrated-to").write_text(OLDER)
    with closing(sqlite3.connect(found.airflow_database)) as database, database:
        database.execute(
            "insert into slot_pool (pool, slots, include_deferred) values ('mine', 7, 0)"
        )
    return found


def start(where: Settings, _name: str, command: Sequence[str]) -> Child:
    env = platform_environment(
        where, load_secrets(where), load_ports(where), inherited=dict(os.environ)
    )
    program = str(supervisor.SCRIPTS / Path(command[0]).name)
    silent = subprocess.DEVNULL
    return subprocess.Popen([program, *command[1:]], env=env, stdout=silent, stderr=silent)


def revision(where: Settings) -> str:
    with closing(sqlite3.connect(where.airflow_database)) as database:
        return str(database.execute("select version_num from alembic_version").fetchone()[0])


def schema(where: Settings) -> tuple[str, int]:
    """The step that was taken last, and a number that each change of a table raises."""
    with closing(sqlite3.connect(where.airflow_database)) as database:
        return revision(where), database.execute("pragma schema_version").fetchone()[0]


def killed_within_a_step(where: Settings, name: str, command: Sequence[str]) -> Child:
    """Half of a step's changes are there, and the step does not count as taken."""
    child, before = start(where, name, command), schema(where)
    while child.poll() is None:
        now = schema(where)
        if now[0] == before[0] and now[1] > before[1]:
            break
        before = now
        time.sleep(0.001)
    child.kill()
    child.wait()
    return child


def killed_with_whoever_waits(where: Settings, name: str, command: Sequence[str]) -> Child:
    killed_within_a_step(where, name, command)
    raise KeyboardInterrupt


def test_an_older_database_is_upgraded_with_what_is_in_it(where: Settings, migrated: Path) -> None:
    told: list[str] = []
    supervisor._migrate(where, partial(start, where), told.append)
    assert_upgraded(where, migrated)
    assert len(told) == 1 and told[0].startswith("preparing Airflow's database (version ")
    supervisor._migrate(where, partial(start, where), told.append)
    assert len(told) == 1, "once for each version"


def test_an_upgrade_that_was_killed_begins_anew(where: Settings, migrated: Path) -> None:
    """Taken up in the middle, it ends with `table already exists` at each start, for good."""
    old = schema(where)
    with pytest.raises(KeyboardInterrupt):
        supervisor._migrate(where, partial(killed_with_whoever_waits, where), print)
    assert schema(where) != old, "or it was killed before it began"
    supervisor._migrate(where, partial(start, where), print)
    assert_upgraded(where, migrated)


def test_a_step_that_fails_is_undone_at_once(where: Settings) -> None:
    old = revision(where)
    with pytest.raises(FlightlineError, match="migrate"):
        supervisor._migrate(where, partial(killed_within_a_step, where), print)
    assert revision(where) == old
    assert not list(where.airflow_home.glob("*.begun"))


def test_the_version_before_starts_where_it_was(
    where: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody goes back to it instead of trying again: it knows nothing of the new tables."""
    old = revision(where), dump(where)
    with pytest.raises(KeyboardInterrupt):
        supervisor._migrate(where, partial(killed_with_whoever_waits, where), print)
    assert dump(where) != old[1]
    monkeypatch.setattr(supervisor.importlib.metadata, "version", lambda _: OLDER)
    supervisor._migrate(where, partial(start, where), print)
    assert (revision(where), dump(where)) == old


def dump(where: Settings) -> list[str]:
    with closing(sqlite3.connect(where.airflow_database)) as database:
        return list(database.iterdump())


def assert_upgraded(where: Settings, migrated: Path) -> None:
    assert revision(where) == revision(Settings(home=migrated))
    with closing(sqlite3.connect(where.airflow_database)) as database:
        pools = database.execute("select slots from slot_pool where pool = 'mine'").fetchall()
    assert pools == [(7,)]
    assert not list(where.airflow_home.glob("*.begun"))
