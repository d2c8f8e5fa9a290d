"""Files that a home no longer needs: logs, quarantined rows, leftovers, partitions before a key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ml.local import supervisor
from ml.local.gc_items import DAY_SECONDS, Waste, files_below, of_files, older
from ml.local.journal import journal_path

if TYPE_CHECKING:
    from ml.core.ports import Platform
    from ml.settings import Settings

# How `replacing` and `write_private` call a file until it is whole.
_TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8}|\d+)")
_LEFTOVER_DAYS = 1
_OF_TRAININGS, _TRAININGS = ("raw", "mended", "marts", "features"), "trainings read"


def component_logs(where: Settings, now: float) -> Waste:
    """Of the platform's processes and of dbt; a log that a process may have open stays."""
    days = where.keep_logs_days
    in_use = {supervisor.log_path(where, name) for name in supervisor.COMPONENTS}
    in_use |= {journal_path(where), where.alerts}  # what happened is told from them
    found = (path for path in files_below(where.logs) if path not in in_use)
    old = older(found, now - days * DAY_SECONDS)
    return of_files("component and dbt logs", f"older than {days} days", where.logs, old)


def task_logs(where: Settings, now: float) -> Waste:
    """Of Airflow: they go when its history does."""
    days, root = where.keep_airflow_days, where.airflow_home / "logs"
    old = older(files_below(root), now - days * DAY_SECONDS)
    return of_files("Airflow task logs", f"older than {days} days", root, old)


def quarantine(where: Settings, now: float) -> Waste:
    """Rows that were kept out; a whole delivery that was stopped stays: it is nowhere else."""
    days, root = where.keep_quarantine_days, where.lake
    old = older(files_below(root / "quarantine"), now - days * DAY_SECONDS)
    return of_files("quarantined rows", f"older than {days} days, not replayed", root, old)


def upgrade_copies(where: Settings, now: float) -> Waste:
    """Databases as they were before a newer version of their program changed their tables."""
    days = where.keep_runs_days
    copies = where.home.glob("*/*.db.before-*")
    old = older(copies, now - days * DAY_SECONDS)
    return of_files("copies from before upgrades", f"older than {days} days", where.home, old)


def leftovers(where: Settings, now: float) -> Waste:
    """Unfinished files of processes that were killed."""
    return of_files(
        "unfinished files",
        f"of killed processes, older than {_LEFTOVER_DAYS} day",
        where.home,
        older(_temporary(where), now - _LEFTOVER_DAYS * DAY_SECONDS),
    )


def _temporary(where: Settings) -> Iterator[Path]:
    """All but what MLflow's runs keep: their files have the names that people gave them."""
    for path in files_below(where.home):
        if _TEMPORARY.fullmatch(path.name) and where.artifacts not in path.parents:
            yield path


def partitions(where: Settings, platform: Platform, before: str) -> list[Waste]:
    """Partitions before a key; only when a person asks, and never what is still read.

    A training reads all that the spec covers, and features reach back further; what the release
    in force has answered is the evidence about it.

    Raises:
        ConfigError: if the key is none of this use case.
    """
    spec, calendar = platform.spec, platform.spec.calendar
    asked = calendar.parse(before).key
    first = calendar.parse(spec.coverage.first)
    read = calendar.containing(first.start - spec.features.lookback).key
    releases = platform.registry.releases() if _has_registry(where) else []
    since = calendar.containing(releases[-1].in_force_from).key if releases else asked
    return [
        *(_partitions(where, spec.slug, area, asked, read, _TRAININGS) for area in _OF_TRAININGS),
        _partitions(where, spec.slug, "predictions", asked, since, "the release in force made"),
    ]


def _has_registry(where: Settings) -> bool:
    """A look at one would make a database where there is none."""
    return bool(where.tracking_uri) or where.mlflow_database.exists()


def _partitions(where: Settings, slug: str, area: str, asked: str, needed: str, by: str) -> Waste:
    before, root, start = min(asked, needed), where.lake, "partition_key="
    kept = f"; {by} those from {needed} on" if needed < asked else ""
    old = (
        path
        for path in files_below(root / area / slug)
        if path.parent.name.startswith(start) and path.parent.name.removeprefix(start) < before
    )
    return of_files(f"{area} of {slug}", f"before {before}{kept}", root, old)
