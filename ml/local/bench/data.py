"""What the data path costs over the whole history of the demo's use case.

CPU seconds where other work on the machine would disturb the clock.
"""

from __future__ import annotations

import io
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import duckdb

from ml.adapters.connect import connect
from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.local.bench.figures import Figure, cpu_seconds, ratio
from ml.settings import Settings
from ml.stages import ingest, materialize, transform
from ml.stages.examples import read_events
from ml.stages.meter import Meter
from ml.use_cases import demo_slug

_CPU = "CPU s"
_DAILY = {"ingest": ingest, "transform": transform, "materialize": materialize}


def full_history(platform: Platform, partitions: Sequence[Partition]) -> tuple[float, float]:
    """Wall seconds and peak MiB of ingest and transform of everything, in one call each."""
    with Meter() as meter:
        ingest.run(platform, partitions=partitions)
        transform.run(platform, partitions=partitions)
    return meter.seconds, meter.peak_mib


def late_over_early(platform: Platform, partitions: Sequence[Partition]) -> Iterator[Figure]:
    """What a day costs with 10 months before it, over the same with one."""
    early, late = 40, len(partitions) - 12
    costs = []
    for begin, end in ((0, early), (early, late)):
        for stage in (ingest, transform):
            stage.run(platform, partitions=partitions[begin:end])
        costs.append(_day_costs(platform, partitions[end : end + 1]))
    for stage_name, *pair in zip(_DAILY, costs[1], costs[0], strict=True):
        yield ratio(f"{stage_name} of a day: late, early in the history", *pair, aim=1.2, unit=_CPU)


def _day_costs(platform: Platform, day: Sequence[Partition]) -> list[float]:
    return [
        cpu_seconds(lambda stage=stage: stage.run(platform, partitions=day))  # type: ignore[misc]
        for stage in _DAILY.values()
    ]


def training_set(
    platform: Platform, partitions: Sequence[Partition], exports: Path
) -> tuple[float, float, int]:
    """CPU seconds of features through Feast and by a join written by hand, and the rows."""
    events = read_events(platform, partitions)
    query = _asof_join(platform, exports)

    def by_hand() -> object:
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'; set threads = 2")
            connection.register("events", events)
            return connection.sql(query).df()

    decided_at = platform.spec.decided_at
    feast = cpu_seconds(lambda: platform.features.historical(events, decided_at))
    return feast, cpu_seconds(by_hand), len(events)


def _asof_join(platform: Platform, exports: Path) -> str:
    """One `asof join` for each feature view, as somebody without a feature store would write it."""
    from importlib import import_module

    spec = platform.spec
    definitions = vars(import_module(f"feature_repo.{spec.slug}.features"))
    service = definitions[spec.features.service]
    views = {view.name: view for view in definitions.values() if hasattr(view, "batch_source")}
    selected, joins = ["e.*"], []
    for projection in service.feature_view_projections:
        view, name = views[projection.name], projection.name
        names = platform.features.keys(view.batch_source.name)
        keys = " and ".join(f"e.{key} = {name}.{key}" for key in names)
        joins.append(
            f"asof left join read_parquet('{exports}/{view.batch_source.path}/*/*.parquet',"
            f" hive_partitioning = false) {name}"
            f" on {keys} and e.{spec.decided_at} >= {name}.event_at"
        )
        fresh = (
            f"{name}.event_at >= e.{spec.decided_at} - interval '{view.ttl.total_seconds()}' second"
        )
        selected += [
            f"case when {fresh} then {name}.{feature.name} end as {name}__{feature.name}"
            for feature in projection.features
        ]
    return f"select {', '.join(selected)} from events e {' '.join(joins)}"


def _write_month(platform: Platform, partitions: Sequence[Partition]) -> None:
    """Everything of 28 days, whether it is still of use or not: as many rows as a large store."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        store = platform.features._store  # type: ignore[attr-defined]  # the adapter's, for a size
        store.materialize(partitions[-28].start, partitions[-1].end)


def online_write(work: Callable[[], object], store: Path) -> tuple[float, float, int]:
    """CPU seconds of a materialization and of the bare SQLite write of its rows, and the rows.

    Args:
        work: materializes into `store`, which is emptied first.
    """
    with sqlite3.connect(store) as connection:
        for table in _tables(connection):
            connection.execute(f'delete from "{table}"')  # our own file
    feast = cpu_seconds(work)
    with sqlite3.connect(store) as connection:
        tables = _dump(connection)
    rows = sum(len(values) for _, _, values in tables)
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(100))
        bare = cpu_seconds(lambda: _write(Path(folder) / f"{next(numbers)}.sqlite", tables))
    return feast, bare, rows


def _tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("select name from sqlite_master where type = 'table'")
    return [row[0] for row in found]


_Dump = list[tuple[list[str], str, list[Any]]]


def _dump(connection: sqlite3.Connection) -> _Dump:
    """For each table the statements that make it, its insert, and its rows."""
    found = []
    for name in _tables(connection):
        query = "select sql from sqlite_master where tbl_name = ? and sql is not null"
        statements = [row[0] for row in connection.execute(query, (name,))]
        rows = connection.execute(f'select * from "{name}"').fetchall()  # our own file
        marks = ", ".join("?" * len(rows[0])) if rows else ""
        found.append((statements, f'insert or replace into "{name}" values ({marks})', rows))
    return found


def _write(path: Path, tables: _Dump) -> None:
    with sqlite3.connect(path) as connection:
        for statements, insert, rows in tables:
            for statement in statements:
                connection.execute(statement)
            if rows:
                connection.executemany(insert, rows)


def measure() -> Iterator[Figure]:
    slug = demo_slug()
    with tempfile.TemporaryDirectory(prefix="flightline-bench-") as folder:
        homes = [Path(folder) / name for name in ("whole", "growing")]
        whole, growing = (connect(slug, Settings(home=home)) for home in homes)
        spec = whole.spec
        partitions = spec.partitions(spec.coverage.first, spec.coverage.last)
        seconds, peak_mib = full_history(whole, partitions)
        name = f"ingest and transform of {len(partitions)} partitions"
        yield Figure(name, seconds, "s", 60)
        yield Figure(f"{name}, memory", peak_mib, "MiB", 2_048)
        feast, by_hand, events = training_set(whole, partitions, homes[0] / "lake" / "features")
        name = f"training set of {events:,} events: Feast, ASOF join"
        yield ratio(name, feast, by_hand, aim=1.2, unit=_CPU)
        newest, store = partitions[-1:], homes[0] / "feast" / f"{slug}.online.sqlite"
        materialize.run(whole, partitions=newest)
        for days, work in {
            "a day": lambda: materialize.run(whole, partitions=newest),
            "28 days": lambda: _write_month(whole, partitions),
        }.items():
            *pair, rows = online_write(work, store)
            name = f"online store, {days}, {rows:,} values: materialize, SQLite"
            yield ratio(name, *pair, aim=3, unit=_CPU)
        yield from late_over_early(growing, partitions)
