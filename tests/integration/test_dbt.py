"""The dbt project on its own: slices, contracts, and each of its tests where it must fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from support import ROOT, SLUG, copy_home, platform_at

from ml.core.errors import DataError
from ml.core.ports import BuildResult, Platform
from ml.core.spec import UseCase
from ml.stages import ingest

pytestmark = pytest.mark.xdist_group("dbt")
# The nights on which New York's clocks change, and a flight of November 3rd that lands late.
STRETCHES = (("2013-03-08", "2013-03-11"), ("2013-11-01", "2013-11-04"))
CLEAN_DAY = "2013-03-10"


@dataclass(frozen=True)
class Homes:
    """The same days, built at once and one by one."""

    whole: Path
    single: Path
    builds: dict[str, BuildResult]
    pending: dict[str, list[str]]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory, spec: UseCase) -> Homes:
    root = tmp_path_factory.mktemp("dbt")
    whole = platform_at(root / "whole", spec)
    for stretch in STRETCHES:
        ingest.run(whole, partitions=spec.partitions(*stretch))
    single = platform_at(copy_home(root / "whole", root / "single"), spec)
    builds, pending = {}, {}
    for stretch in STRETCHES:
        days = spec.partitions(*stretch)
        whole.warehouse.build(days)
        single.warehouse.build(days[:2])
        for day in days[2:]:
            builds[day.key] = single.warehouse.build([day])
            pending[day.key] = column(
                single, "select flight_id from fct_labels where flight_status = 'pending'"
            )
    return Homes(root / "whole", root / "single", builds, pending)


@pytest.fixture
def data(homes: Homes, tmp_path: Path, spec: UseCase) -> Platform:
    """A copy of the home with the eight days, to change."""
    return platform_at(copy_home(homes.whole, tmp_path / "home"), spec)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the dbt project, to change; the platform builds it instead of the real one."""
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "dbt_project", repository / "dbt_project")
    monkeypatch.setattr("ml.settings.REPOSITORY", repository)
    return repository / "dbt_project"


def connect(platform: Platform) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(platform.warehouse.path))  # type: ignore[attr-defined]  # the adapter's
    connection.execute("set TimeZone = 'UTC'")
    return connection


def column(platform: Platform, query: str) -> list[Any]:
    with connect(platform) as connection:
        return [row[0] for row in connection.execute(query).fetchall()]


def dbt(platform: Platform, *arguments: str) -> Any:
    warehouse: Any = platform.warehouse  # the adapter's
    return warehouse.invoke(["--quiet", "--no-use-colors", *arguments])


def statuses(result: Any) -> dict[str, str]:
    return {r.node.name: str(r.status) for r in result.result}


def manifest(platform: Platform) -> Any:
    path = platform.warehouse.path.parents[1] / "dbt" / SLUG / "manifest.json"  # type: ignore[attr-defined]  # the adapter's
    return json.loads(path.read_text())


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path.name} no longer says {old!r}"
    path.write_text(text.replace(old, new))


# --- slices ---


def test_single_days_make_the_same_tables_as_all_at_once(homes: Homes, spec: UseCase) -> None:
    """Cell by cell, over both changes of the clock, and with labels that close late."""
    whole, single = (platform_at(home, spec) for home in (homes.whole, homes.single))
    tables = [spec.mart, spec.label.table, *spec.features.tables, "int_flights_timed"]
    with connect(whole) as connection:
        connection.execute(f"attach '{single.warehouse.path}' as single (read_only)")  # type: ignore[attr-defined]  # the adapter's
        for table in tables:
            assert connection.execute(f"select count(*) from {table}").fetchall()[0][0] > 0
            for one, other in ((table, f"single.{table}"), (f"single.{table}", table)):
                query = (
                    f"select * from (select * from {one} except all select * from {other}) limit 3"
                )
                assert connection.execute(query).fetchall() == [], table


def test_a_label_closes_with_the_day_after(homes: Homes, spec: UseCase) -> None:
    """One flight of November 3rd landed after noon UTC of the 4th."""
    assert [len(homes.pending[key]) for key in ("2013-11-03", "2013-11-04")] == [1, 0]
    (late,) = homes.pending["2013-11-03"]
    query = f"""select date_diff('minute', timestamptz '2013-11-04 13:00:00+00', label_known_at)
                from fct_labels where flight_id = '{late}' and is_late = 1"""
    assert column(platform_at(homes.single, spec), query)[0] > 0


def test_the_mart_holds_nothing_of_the_outcome(homes: Homes, spec: UseCase) -> None:
    query = "select column_name from duckdb_columns() where table_name = '{}'"
    platform = platform_at(homes.whole, spec)
    mart, labels = (set(column(platform, query.format(t))) for t in (spec.mart, spec.label.table))
    assert mart & labels == {"flight_id", "partition_key"}
    assert not {c for c in mart if "arriv" in c or "delay" in c or "departed" in c}


def test_a_day_reads_the_files_of_its_partition_only(data: Platform, spec: UseCase) -> None:
    day = spec.partition(CLEAN_DAY)
    bounds = ("start", day.start), ("end", day.end)
    window = [f"--event-time-{name}={time:%Y-%m-%dT%H:%M:%S}" for name, time in bounds]
    built = dbt(data, "build", "--select", "int_flights_timed", *window)
    assert built.success
    (sql,) = [r.node.compiled_code for r in built.result if r.node.name == "int_flights_timed"]
    with connect(data) as connection:
        ((_, plan),) = connection.execute(f"explain analyze {sql}").fetchall()
    assert "Scanning Files: 1/8" in plan


def test_without_a_slice_it_is_all_that_the_source_covers(data: Platform, spec: UseCase) -> None:
    compiled = dbt(data, "compile", "--select", "fct_flights")
    (sql,) = [r.node.compiled_code for r in compiled.result if r.node.name == "fct_flights"]
    first, last = (spec.partition(key) for key in (spec.coverage.first, spec.coverage.last))
    for bound in (first.start, last.end):
        assert f"timestamptz '{bound:%Y-%m-%dT%H:%M:%S}+00:00'" in sql


# --- contracts and docs ---


def test_a_model_that_breaks_its_contract_is_not_built(
    data: Platform, spec: UseCase, project: Path
) -> None:
    marts = project / "models" / SLUG / "marts"
    change(marts / "fct_labels.sql", "::integer end as is_late", "::bigint end as is_late")
    change(project / "macros" / "histories.sql", "delay_min / events as", "null::double as")
    with pytest.raises(DataError) as error:
        data.warehouse.build([spec.partition(CLEAN_DAY)])
    assert "fct_labels: Compilation Error" in str(error.value)
    assert "enforced contract" in str(error.value)
    assert "NOT NULL constraint failed: " in str(error.value)


def test_docs_describe_every_model(data: Platform) -> None:
    assert dbt(data, "docs", "generate").success
    path = data.warehouse.path.parents[1] / "dbt" / SLUG / "catalog.json"  # type: ignore[attr-defined]  # the adapter's
    found = {node["metadata"]["name"] for node in json.loads(path.read_text())["nodes"].values()}
    nodes = [n for n in manifest(data)["nodes"].values() if n["resource_type"] == "model"]
    assert {node["name"] for node in nodes} <= found
    assert [
        n["name"]
        for n in nodes
        if "one row per" not in n["description"].lower() and not n["name"].startswith("stg_")
    ] == []
    marts = [n for n in nodes if n["name"].startswith(("fct_", "feat_"))]
    assert len(marts) == 11 and all(n["config"]["contract"]["enforced"] for n in marts)


# --- unit tests ---


def test_the_unit_tests_of_the_models_pass(data: Platform) -> None:
    result = dbt(data, "test", "--select", "test_type:unit")
    assert result.success, statuses(result)
    tested = {one["model"] for one in manifest(data)["unit_tests"].values()}
    columns_only = {"fct_flights"}
    assert tested | columns_only >= {
        node["name"]
        for node in manifest(data)["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "incremental"
    }


FAULTS = [
    ("macros/windows.sql", " - interval 1 microsecond)\n", ")\n"),
    ("marts/fct_labels.sql", "interval 8 hour", "interval 9 hour"),
    ("marts/fct_labels.sql", "lookback_days = 2", "lookback_days = 1"),
    ("marts/feat_flight_number_arrivals.sql", "prior=10", "prior=11"),
    ("marts/feat_carrier_hour_arrivals.sql", "prior=50", "prior=51"),
    ("marts/feat_origin_weather.sql", "+ interval 1 hour as event_at", "as event_at"),
    ("marts/feat_origin_weather.sql", "* cos(", "* sin("),
    ("marts/feat_flight_schedule.sql", "interval 1 minute preceding", "current row"),
    ("marts/feat_destination_arrivals.sql", "windows = [3, 12]", "windows = [2, 12]"),
    ("intermediate/int_flights_timed.sql", "+ interval 1 day)", "+ interval 23 hour)"),
]  # fmt: skip


def test_a_changed_rule_fails_its_unit_test(data: Platform, project: Path) -> None:
    for file, old, new in FAULTS:
        root = project if file.startswith("macros") else project / "models" / SLUG
        change(root / file, old, new)
    result = dbt(data, "test", "--select", "test_type:unit")
    assert {name for name, status in statuses(result).items() if status == "pass"} == set()


# --- data tests ---


def test_a_clean_day_warns_of_nothing(homes: Homes) -> None:
    """A warning on every day would be read by nobody."""
    assert [one.test for one in homes.builds[CLEAN_DAY].warnings] == []
    assert homes.builds[CLEAN_DAY].count("pass") > 40


def test_weather_that_ends_early_is_a_warning(data: Platform, spec: UseCase) -> None:
    rows = data.lake.read("raw", "weather", [CLEAN_DAY]).drop_columns(["partition_key"])
    kept = duckdb.from_arrow(rows).filter("hour < 20").to_arrow_table()
    data.lake.write("raw", "weather", CLEAN_DAY, kept.cast(rows.schema))
    found = {
        one.test: one.rows for one in data.warehouse.build([spec.partition(CLEAN_DAY)]).warnings
    }
    assert found == {
        "stg_nycflights13__weather_covers_hours": 1,
        "stg_nycflights13__weather_is_fresh": 1,
    }


def test_data_tests_look_at_the_slice_only(data: Platform, spec: UseCase) -> None:
    """Or a day would cost more the later in the year it is; by hand they look at everything."""
    with connect(data) as connection:
        connection.execute(
            "update fct_flights set origin = 'BOS' where partition_key = '2013-03-08'"
        )
    assert data.warehouse.build([spec.partition(CLEAN_DAY)]).count("fail") == 0
    by_hand = dbt(data, "test", "--select", "fct_flights")
    failed = {name for name, status in statuses(by_hand).items() if status == "fail"}
    assert failed == {"accepted_values_fct_flights_origin__EWR__JFK__LGA"}


def test_a_fault_in_the_slice_stops_the_build(data: Platform, spec: UseCase) -> None:
    spoil_flights(data, "carrier", "QQ")
    with pytest.raises(DataError, match="relationships_fct_flights_carrier"):
        data.warehouse.build([spec.partition(CLEAN_DAY)])


def spoil_flights(platform: Platform, name: str, value: str) -> None:
    """Changes a column of a raw partition behind the contract's back."""
    rows = platform.lake.read("raw", "flights", [CLEAN_DAY]).drop_columns(["partition_key"])
    values = pa.array([value] * len(rows), rows[name].type)
    changed = rows.set_column(rows.schema.get_field_index(name), name, values)
    platform.lake.write("raw", "flights", CLEAN_DAY, changed)


# Values that no test may let pass, by table; each goes to a row of its own.
WRONG_VALUES = {
    "int_flights_timed": ["decided_at = decided_at - interval 1 day", "departed_at = arrived_at",
                          "arrived_at = arrived_at - interval 2 day",
                          "air_time_min = -200"],
    "fct_flights": ["flight_id = null", "decided_at = null", "origin = 'BOS'", "carrier = 'QQ'",
                    "destination = 'QQQ'", "distance_miles = 0"],
    "fct_labels": ["flight_id = null", "flight_status = 'lost'", "is_late = 2",
                   "label_known_at = null"],
    "feat_origin_departures": ["departure_late_share_6h = 1.01",
                               "departure_count_1h = departure_count_6h + 1"],
    "feat_origin_overdue": ["overdue_count_6h = due_count_6h + 1"],
    "feat_carrier_departures": ["departure_delay_mean_24h_min = 2881",
                                "departure_count_2h = departure_count_6h + 1"],
    "feat_destination_arrivals": ["arrival_late_share_3h = -0.01",
                                  "arrival_count_3h = arrival_count_12h + 1"],
    "feat_route_arrivals": ["arrival_count_28d = 0"],
    "feat_flight_number_arrivals": ["arrival_delay_mean_28d_min = -181"],
    "feat_carrier_hour_arrivals": ["arrival_late_share_28d = 1.01"],
    "feat_origin_weather": ["visibility_min_6h_mi = 11"],
    "feat_flight_schedule": ["scheduled_block_min = 9", "scheduled_count_day = 0"],
}  # fmt: skip
WRONG_WEATHER = ("1048.0 as wind_speed", "time_hour + interval 2 day as time_hour")
KEYS = {"airlines": "carrier", "airports": "faa", "planes": "tailnum"}


def spoil_tables(platform: Platform) -> None:
    with connect(platform) as connection:
        for table, settings in WRONG_VALUES.items():
            where = "where rowid = (select min(rowid) + {} from {})"
            for number, setting in enumerate(settings):
                connection.execute(f"update {table} set {setting} {where.format(number, table)}")
            connection.execute(f"insert into {table} from {table} limit 1 offset 20")
        connection.execute("update int_flights_timed set tail_number = 'N1'")


def spoil_files(platform: Platform) -> None:
    def add(table: str, key: str | None, *replacements: str) -> None:
        rows = platform.lake.read("raw", table, [key])
        rows = rows.drop_columns(["partition_key"] if key else [])
        row = duckdb.from_arrow(rows).limit(1)
        spoilt = [rows, *(row.project(f"* replace ({r})").to_arrow_table() for r in replacements)]
        spoilt = [part.cast(rows.schema) for part in spoilt]
        platform.lake.write("raw", table, key, pa.concat_tables(spoilt))

    add("weather", CLEAN_DAY, "origin as origin", *WRONG_WEATHER)
    for table, name in KEYS.items():
        add(table, None, f"{name} as {name}", f"null::varchar as {name}")


def test_every_data_test_fails_when_it_should(data: Platform) -> None:
    """All faults at once, then all tests by hand: for them the source ends in December."""
    spoil_tables(data)
    spoil_files(data)
    assert dbt(data, "run", "--select", "config.materialized:view").success, "of this home's files"
    found = statuses(dbt(data, "test", "--select", "test_type:data"))
    assert len(found) > 40
    assert {name: status for name, status in found.items() if status not in ("fail", "warn")} == {}
    assert {name for name, status in found.items() if status == "warn"} == {
        "int_flights_timed_one_flight_at_a_time",
        "int_flights_timed_rolls_less_than_three_hours",
        "stg_nycflights13__flights_are_fresh",
        "stg_nycflights13__weather_covers_hours",
        "stg_nycflights13__weather_is_fresh",
    }


PARSE_AFTER_WARMING = """
import sys
import airflow_local_settings as warm
warm.make_dbt_schemas()
from dbt_common.dataclass_schema import dbtClassMixin
from ml.adapters.warehouse import DuckDBWarehouse
from ml.settings import settings
from ml.use_cases import load_spec
made = dbtClassMixin.json_schema.__func__.cache_info().misses
assert DuckDBWarehouse(load_spec(sys.argv[1]), settings()).invoke(["--quiet", "parse"]).success
found = dbtClassMixin.json_schema.__func__.cache_info()
print("made", made, "of", found.misses, "used", found.hits > 0)
"""


def test_the_schemas_that_dbt_needs_are_made_before_the_fork(tmp_path: Path) -> None:
    """Another version of dbt may need others: then each task would make them anew."""
    path, home = str(ROOT / "infra" / "airflow"), str(tmp_path / "home")
    for _ in range(2):  # the first parses everything, which needs more of them
        done = subprocess.run(
            [sys.executable, "-c", PARSE_AFTER_WARMING, SLUG],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "MLOPS_HOME": home},
            capture_output=True,
            text=True,
            check=False,
        )
    assert "made 7 of 7 used True" in done.stdout, done.stdout + done.stderr
