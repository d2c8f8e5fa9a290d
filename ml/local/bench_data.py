"""What the data path costs: each figure beside the plain way to the same result, in one run.

Over the whole history of the demo's use case; run it with `make bench`. CPU seconds where other
work on the machine would disturb the clock.
"""

from __future__ import annotations

import io
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
from rich.table import Table

from ml.adapters.connect import connect
from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.render import console
from ml.settings import Settings
from ml.stages import ingest, materialize, transform
from ml.stages.examples import read_events
from ml.stages.meter import Meter
from ml.use_cases import demo_slug

_REPEATS = 3


def _cpu(work: Callable[[], object]) -> float:
    """Median CPU seconds of a few calls, after one that loads what is loaded once."""
    work()
    return median(_cpu_once(work) for _ in range(_REPEATS))


def _cpu_once(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def full_history(platform: Platform, partitions: Sequence[Partition]) -> tuple[float, float]:
    """Wall seconds and peak MiB of ingest and transform of everything, in one call each."""
    with Meter() as meter:
        ingest.run(platform, partitions=partitions)
        transform.run(platform, partitions=partitions)
    return meter.seconds, meter.peak_mib


def late_over_early(platform: Platform, partitions: Sequence[Partition]) -> tuple[float, float]:
    """CPU seconds of transforming one day, with 10 months before it and with one."""
    early, late = 40, len(partitions) - 12
    seconds = []
    for begin, end in ((0, early), (early, late)):
        for stage in (ingest, transform):
            stage.run(platform, partitions=partitions[begin:end])
        day = [partitions[end]]
        ingest.run(platform, partitions=day)
        seconds.append(_cpu(lambda day=day: transform.run(platform, partitions=day)))  # type: ignore[misc]
    return seconds[1], seconds[0]


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
    feast = _cpu(lambda: platform.features.historical(events, decided_at))
    return feast, _cpu(by_hand), len(events)


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
    feast = _cpu(work)
    with sqlite3.connect(store) as connection:
        tables = _dump(connection)
    rows = sum(len(values) for _, _, values in tables)
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(100))
        bare = _cpu(lambda: _write(Path(folder) / f"{next(numbers)}.sqlite", tables))
    return feast, bare, rows


def _tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("select name from sqlite_master where type = 'table'")
    return [row[0] for row in found]


_Dump = list[tuple[list[str], str, list[Any]]]


def _dump(connection: sqlite3.Connection) -> _Dump:
    """For each table the statements that make it, its insert, and its rows."""
    found = []
    names = [
        row[0] for row in connection.execute("select name from sqlite_master where type='table'")
    ]
    for name in names:
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


def main() -> None:
    """Measure and print; never fails because of a figure."""
    slug = demo_slug()
    table = Table("measure", "ours", "plain", "ratio", "aim", box=None)

    def told(name: str, ours: float, plain: float, aim: float) -> None:
        table.add_row(name, f"{ours:.2f} s", f"{plain:.2f} s", f"{ours / plain:.2f}", f"{aim}")

    with tempfile.TemporaryDirectory(prefix="flightline-bench-") as folder:
        homes = [Path(folder) / name for name in ("whole", "growing")]
        whole, growing = (connect(slug, Settings(home=home)) for home in homes)
        spec = whole.spec
        partitions = spec.partitions(spec.coverage.first, spec.coverage.last)
        seconds, peak_mib = full_history(whole, partitions)
        exports, store = (
            homes[0] / "lake" / "features",
            homes[0] / "feast" / f"{slug}.online.sqlite",
        )
        feast, by_hand, events = training_set(whole, partitions, exports)
        told(f"training set of {events:,} events: Feast, ASOF join (CPU)", feast, by_hand, 1.2)
        newest = partitions[-1:]
        materialize.run(whole, partitions=newest)
        day = online_write(lambda: materialize.run(whole, partitions=newest), store)
        told(f"online store, a day, {day[2]:,} values: materialize, SQLite (CPU)", *day[:2], 3)
        month = online_write(lambda: _write_month(whole, partitions), store)
        told(f"online store, 28 days, {month[2]:,} values: the same", *month[:2], 3)
        late, early = late_over_early(growing, partitions)
        told("transform of a day: late, early in the history (CPU)", late, early, 1.2)
    out = console()
    out.print(table)
    out.print(
        f"ingest and transform of {len(partitions)} partitions: [bold]{seconds:.1f} s[/] (aim 60), "
        f"peak {peak_mib:,.0f} MiB (aim 2,048)"
    )


if __name__ == "__main__":
    main()
