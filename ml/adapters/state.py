"""What wrote the state of a home: the version of its layout and of the packages with tables in it.

State of an older layout is migrated step by step, each kept before the next begins; state of a
newer one is refused, because nothing here knows what it means.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from ml.adapters import sqlite
from ml.adapters.files import exclusive, replacing
from ml.core.errors import ConfigError

if TYPE_CHECKING:
    from ml.settings import Settings

PACKAGES = ("apache-airflow", "dbt-core", "duckdb", "feast", "mlflow")
_WAIT_SECONDS = 300.0


@dataclass(frozen=True)
class State:
    """What `state.json` says.

    Attributes:
        layout: 0 where there is no such file: a new home, or one of before there were layouts.
        flightline, packages: versions that wrote to the home last.
    """

    layout: int = 0
    flightline: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)


def _adopt(_: Settings) -> None:
    """0 → 1: from now on the layout has a number; nothing moves."""


MIGRATIONS: tuple[Callable[[Settings], None], ...] = (_adopt,)
"""By position: from that layout to the next. Each may be repeated: a kill may come before its
end is written down."""


def state_file(where: Settings) -> Path:
    """Where it is kept."""
    return where.home / "state.json"


def read(where: Settings) -> State:
    """What a home says of itself.

    Raises:
        ConfigError: if it cannot be understood.
    """
    path = state_file(where)
    try:
        found = json.loads(path.read_text())
        # Fields that nobody knows here are of a newer version; whether that matters, layout says.
        return State(int(found["layout"]), found.get("flightline", ""), found.get("packages", {}))
    except FileNotFoundError:
        return State()
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"cannot read {path}: {error}",
            expected="the JSON that Flightline wrote",
            repair="restore the home from a backup",
        ) from error


def check(where: Settings) -> State:
    """What a home says of itself, if this version can work with it; nothing is changed.

    Raises:
        ConfigError: if a newer version has written it.
    """
    found = read(where)
    if found.layout > len(MIGRATIONS):
        raise ConfigError(
            f"the state in {where.home} is of a newer version: layout {found.layout}, written by "
            f"Flightline {found.flightline}",
            expected=f"layout {len(MIGRATIONS)} or older",
            repair="update this checkout, restore a backup of before the update, or set MLOPS_HOME",
        )
    return found


def check_all(where: Settings) -> State:
    """The same, with the tables of Airflow and of MLflow: migrations only go forward.

    Raises:
        ConfigError: if a newer version of any of the three has written there.
    """
    found = check(where)
    ours, marker = version("apache-airflow"), where.airflow_home / "migrated-to"
    theirs = (marker.read_text().strip() if marker.exists() else "") or ours
    if Version(theirs) > Version(ours):
        raise ConfigError(
            f"the database in {where.airflow_home} is of Airflow {theirs}; this is {ours}",
            expected="a database of that version, or of an older one",
            repair="update this checkout (git pull; make setup), or set MLOPS_HOME",
        )
    require_models(where)
    is_undone = not _mark(where.mlflow_database).exists()  # else `settle` does it before it asks
    if not where.tracking_uri and is_undone and found.packages.get("mlflow") != version("mlflow"):
        _is_older(where.mlflow_database, found.packages.get("mlflow", ""))
    return found


def require_models(where: Settings) -> None:
    """Raise `ConfigError` if MLflow's database is gone and its files are there.

    A new database beside them would begin a second history of releases, without a word.
    """
    if where.tracking_uri or where.mlflow_database.exists():
        return
    if where.artifacts.is_dir() and any(where.artifacts.iterdir()):
        raise ConfigError(
            f"MLflow's database {where.mlflow_database} is gone, but the files of its runs are in "
            f"{where.artifacts}",
            expected="both, or neither: it holds all runs, versions and releases",
            repair="flightline down; then restore a backup: flightline restore FILE --replace; to "
            f"begin anew without models, move {where.artifacts} away",
        )


def settle(where: Settings) -> None:
    """Bring the state of a home to this version, and write down which that is.

    A look at one small file if there is nothing to do. MLflow's database is left to whoever runs
    its server, if there is one.

    Raises:
        ConfigError: if a newer version has written the state, or a database cannot be upgraded.
        TransientError: if another process has been at it for five minutes.
    """
    require_models(where)
    is_undone = where.tracking_uri or not _mark(where.mlflow_database).exists()
    if check(where) == _this(where) and is_undone:
        return
    with exclusive(where.locks / "state.lock", wait_seconds=_WAIT_SECONDS):
        found = check(where)  # another process may have done it meanwhile
        for number in range(found.layout, len(MIGRATIONS)):
            MIGRATIONS[number](where)
            found = replace(found, layout=number + 1)
            _write(where, found)
        if not where.tracking_uri:
            undo(where.mlflow_database)  # first, whichever version began that upgrade
            if found.packages.get("mlflow") != version("mlflow"):
                upgrade_mlflow(where, found.packages.get("mlflow", ""))
            _write(where, _this(where))


def _this(where: Settings) -> State:
    """What the file says where all is as it should be."""
    if where.tracking_uri:  # its versions were written down by the process that runs the server
        return replace(read(where), layout=len(MIGRATIONS))
    return State(len(MIGRATIONS), version("flightline"), {name: version(name) for name in PACKAGES})


def _write(where: Settings, state: State) -> None:
    with replacing(state_file(where)) as temporary:
        temporary.write_text(json.dumps(asdict(state), indent=2) + "\n")


@contextmanager
def copied(database: Path, name: str) -> Iterator[None]:
    """A copy of an SQLite database beside it, as it was before the upgrade that the block is.

    A mark with the copy's name stands until the block has ended. If it fails, the copy is put
    back; after a kill `undo` does that.
    """
    if not database.exists():
        yield
        return
    copy, mark = database.with_name(f"{database.name}.before-{name}"), _mark(database)
    with replacing(copy) as temporary:
        sqlite.copy(database, temporary)
    with replacing(mark) as temporary:
        temporary.write_text(copy.name)
    try:
        yield
    except Exception:  # not Ctrl-C: what upgrades may still be at it
        undo(database)
        raise
    mark.unlink()


def undo(database: Path) -> None:
    """Put the copy back if an upgrade has begun and not ended, to whichever version it was.

    Some of its steps cannot be taken twice, and an older version knows none of them. What lies
    beside the database is of the broken one: SQLite would write it into the other.
    """
    mark = _mark(database)
    if not mark.exists():
        return
    copy = database.with_name(mark.read_text())
    if copy.exists():
        for part in ("-journal", "-wal", "-shm"):
            database.with_name(database.name + part).unlink(missing_ok=True)
        copy.replace(database)
    mark.unlink()


def _mark(database: Path) -> Path:
    return database.with_name(f"{database.name}.begun")


def upgrade_mlflow(where: Settings, before: str) -> None:
    """Bring MLflow's tables to the installed version, with a copy of the database before.

    Args:
        before: the version that wrote them; empty if nobody has written that down.

    Raises:
        ConfigError: if a newer version has written them, or the upgrade fails; the database stays
            as it was.
    """
    database = where.mlflow_database
    if not _is_older(database, before):
        return
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{database}"]
    with copied(database, version("mlflow")):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
            raise ConfigError(
                f"MLflow {version('mlflow')} cannot upgrade {database}: {''.join(last)}",
                expected="a whole database of an older version",
                repair=f"it is as it was; try by hand: mlflow db upgrade sqlite:///{database}",
            )


def _is_older(database: Path, before: str) -> bool:
    """Whether MLflow's tables are those of an older version.

    Raises:
        ConfigError: if they are those of a newer one.
    """
    old = _revision(database)
    known, newest = _known_revisions() if old else ((), ())
    if old is None or old in newest:
        return False
    if old in known:
        return True
    raise ConfigError(
        f"MLflow {version('mlflow')} does not know the tables of {database} ({old}): a newer "
        "version has written them" + f", at least {before}" * bool(before),
        expected="the version that wrote them, or a newer one",
        repair="check out the commit of then, and make setup; or restore a backup of before",
    )


def _known_revisions() -> tuple[set[str], set[str]]:
    """All revisions of MLflow's tables that the installed version knows, and the newest."""
    from alembic.script import ScriptDirectory

    found = find_spec("mlflow")  # its import would take seconds
    assert found is not None
    assert found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0], "store", "db_migrations")
    scripts = ScriptDirectory(str(folder))
    return {one.revision for one in scripts.walk_revisions()}, set(scripts.get_heads())


def _revision(database: Path) -> str | None:
    """Which tables it has; None if it has none yet: MLflow makes them as they should be."""
    if not database.exists():
        return None
    with sqlite.opened(database) as connection:
        tables = "select name from sqlite_master where name = 'alembic_version'"
        if not connection.execute(tables).fetchall():
            return None
        rows = connection.execute("select version_num from alembic_version").fetchall()
    return str(rows[0][0]) if rows else None
