"""`flightline gc`: what a home no longer needs goes, and never what a release or a version needs.

Each deletion may be repeated, so whatever interrupts one, the same command finishes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from ml.adapters import state
from ml.adapters.connect import connect
from ml.adapters.files import exclusive
from ml.core.errors import ConfigError, TransientError
from ml.local import gc_airflow, gc_files, gc_models
from ml.local.gc_items import Waste
from ml.local.removal_commands import agreed
from ml.local.tracking import with_server
from ml.render import console
from ml.settings import Settings, settings
from ml.use_cases import available

_WAIT_SECONDS, _LOOK_SECONDS = 60.0, 0.2


def command(partitions_before: Sequence[str], *, dry_run: bool, yes: bool) -> None:
    """Show what may go, ask, delete.

    Raises:
        ConfigError: if nobody can be asked, or a key is none of its use case.
        TransientError: if a stage is running.
    """
    where, now, out = settings(), time.time(), console()
    state.check(where)
    before = _keys(partitions_before)
    found = plan(where, now, before)
    for line in _not_looked_at(where):
        out.print(line, markup=False, soft_wrap=True)
    if not any(one.items for one in found):
        out.print("nothing to delete")
    if found:
        out.print(_table(found))
    if dry_run or not any(one.items for one in found):
        return
    if agreed("delete this", yes=yes):
        deleted = carry_out(found, where, now, before)
        out.print(f"deleted {sum(len(one.items) for one in deleted):,}, {_sizes(deleted)}")


def plan(where: Settings, now: float, before: Mapping[str, str] | None = None) -> list[Waste]:
    """What may go, in the order in which it does; nothing is changed.

    Args:
        now: seconds since 1970.
        before: by use case: partitions before this key may go, too.
    """
    # Files first: on a full disk, a database needs room to delete rows.
    of_age = (gc_files.component_logs, gc_files.task_logs, gc_files.quarantine)
    found = [find(where, now) for find in (*of_age, gc_files.upgrade_copies, gc_files.leftovers)]
    if where.airflow_database.exists():
        found.append(gc_airflow.history(where, now))
    if where.mlflow_database.exists() and not where.tracking_uri:
        runs = gc_models.runs(where, now, available())
        found += [runs, gc_models.training_sets(where, now, runs.items)]
    asked = []
    for slug, key in (before or {}).items():
        asked += gc_files.partitions(where, connect(slug, with_server(where)), key)
    return [*(one for one in found if one.items), *asked]


def carry_out(
    shown: Sequence[Waste], where: Settings, now: float, before: Mapping[str, str] | None = None
) -> list[Waste]:
    """Delete what was shown, if it still may go; returns that.

    Raises:
        TransientError: if a stage is running; then nothing is deleted.
    """
    named = {one.area: {item.name for item in one.items} for one in shown}
    with nothing_runs(where, wait_seconds=_WAIT_SECONDS):
        still = [one.only(named.get(one.area, set())) for one in plan(where, now, before)]
        for one in still:
            if one.items:
                one.delete(one.items)
    return still


@contextmanager
def nothing_runs(where: Settings, *, wait_seconds: float) -> Iterator[None]:
    """Hold the locks of all use cases, those that are gone from the repository included.

    Also on a disk that is full, where room is to be made, or read-only, where a copy may be taken.

    Raises:
        TransientError: if a stage still runs after `wait_seconds`.
    """
    locks = where.locks
    names = {*available(), *(path.stem for path in locks.glob("*.lock"))}
    wanted = [locks / f"{name}.lock" for name in sorted(names) if where.home.exists()]
    with _all_of(wanted, deadline=time.monotonic() + wait_seconds):
        yield


@contextmanager
def _all_of(locks: Sequence[Path], *, deadline: float) -> Iterator[None]:
    """Hold all or none: who waits for one must not keep the others from their work."""
    with ExitStack() as held:
        while True:
            try:
                for path in locks:
                    held.enter_context(exclusive(path, must_write=False))
                break
            except TransientError as error:
                held.close()
                if error.__cause__ or time.monotonic() >= deadline:  # it is the disk's, or late
                    raise
            time.sleep(_LOOK_SECONDS)
        yield


def _keys(asked: Sequence[str]) -> dict[str, str]:
    found = {}
    for one in asked:
        slug, separator, key = one.partition("=")
        if not separator or slug not in available():
            raise ConfigError(
                f"bad --partitions-before {one!r}",
                expected="USE_CASE=KEY, a use case of: " + ", ".join(available()),
                repair="see: flightline list",
            )
        found[slug] = key
    return found


def _not_looked_at(where: Settings) -> Iterator[str]:
    if where.tracking_uri:
        yield (
            f"runs and training sets stay: MLflow is at {where.tracking_uri}, and "
            "only its owner can tell there what is needed"
        )


def _table(found: Sequence[Waste]) -> Table:
    table = Table("what", "number", "size", "oldest", "newest", "rule", box=None)
    for column in (1, 2):
        table.columns[column].justify = "right"
    for one in found:
        times = [item.time for item in one.items]
        ends = (_day(min(times)), _day(max(times))) if times else ("", "")
        table.add_row(one.area, f"{len(one.items):,}", _sizes([one]), *ends, one.rule)
    return table


def _sizes(found: Sequence[Waste]) -> str:
    size = sum(one.size for one in found)
    return f"{size / 2**20:,.1f} MiB"


def _day(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}"
