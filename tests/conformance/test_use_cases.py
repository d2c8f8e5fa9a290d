"""What every use case must be able to do, before it has tests of its own."""

from __future__ import annotations

import importlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT

from ml.adapters.warehouse import DuckDBWarehouse
from ml.core.names import Names
from ml.core.spec import UseCase
from ml.core.story import story
from ml.settings import Settings
from ml.stages.training.parameters import check_plan
from ml.use_cases import available, load_module, load_spec

pytestmark = pytest.mark.xdist_group("conformance")
SLUGS = available()
TYPES = {"DOUBLE", "BIGINT", "INTEGER", "VARCHAR", "BOOLEAN"}


@pytest.fixture(scope="session", params=SLUGS)
def spec(request: pytest.FixtureRequest) -> UseCase:
    return load_spec(request.param)


@pytest.fixture(scope="session")
def definitions(spec: UseCase) -> Mapping[str, Any]:
    return vars(importlib.import_module(f"feature_repo.{spec.slug}.features"))


def models(spec: UseCase) -> Path:
    return ROOT / "dbt_project" / "models" / spec.slug


def described(spec: UseCase) -> dict[str, set[str]]:
    """Columns that the yml files describe, by model."""
    found: dict[str, set[str]] = {}
    for path in models(spec).rglob("*.yml"):
        for model in (yaml.safe_load(path.read_text()) or {}).get("models", []):
            found[model["name"]] = {column["name"] for column in model.get("columns", [])}
    return found


def test_there_is_at_least_one_use_case() -> None:
    assert SLUGS


def test_the_spec_is_of_its_own_folder(spec: UseCase) -> None:
    folder = Path(load_module(spec.slug, "spec").__file__ or "").parent
    assert folder.name == spec.slug and Names(spec.slug) == spec.names


def test_the_spec_is_the_same_after_json(spec: UseCase) -> None:
    """The identity of a run is a hash of it."""
    assert UseCase.model_validate_json(spec.model_dump_json()) == spec


def test_people_know_whom_to_ask(spec: UseCase) -> None:
    assert spec.owner not in ("", "airflow") and spec.title and spec.description
    assert re.match(r"(https?://|mailto:)", spec.contact), "Airflow links to it"


def test_gates_can_fail(spec: UseCase) -> None:
    """A model that knows nothing must miss a bound, and one that knows everything another."""
    criteria = {criterion.gate: criterion for criterion in spec.gates.criteria}
    assert any(c.metric == "skill" and (c.minimum or -1) >= 0 for c in criteria.values())
    assert any(c.too_good is not None for c in criteria.values())


def test_the_search_is_long_enough_to_find_something(spec: UseCase) -> None:
    assert spec.model.search is None or spec.model.search.trials >= 20


def test_parameters_are_lightgbms_own(spec: UseCase) -> None:
    check_plan(spec.problem, spec.model)


def test_there_is_data_for_the_windows(spec: UseCase) -> None:
    last = spec.partition(spec.coverage.last)
    windows = spec.windows(last.end + spec.label.maturity)
    assert windows.holdout[-1] == last


def test_the_demo_fits_into_the_coverage(spec: UseCase) -> None:
    if spec.demo is None:
        pytest.skip("no demo: a use case may do without")
    for step in story(spec):
        for key in filter(None, (step.first, step.last, step.as_of)):
            assert spec.partition(key).key == key
    spec.windows(spec.as_of(spec.demo.first_as_of))


def test_the_source_gives_each_table(spec: UseCase) -> None:
    read = load_module(spec.slug, "source").read
    partition = spec.partition(spec.coverage.first)
    for table in spec.tables:
        rows = read(table.name, [partition])
        assert len(rows), table.name
        if table.is_snapshot:
            assert "partition_key" not in rows.columns, table.name
        else:
            assert set(rows["partition_key"]) == {partition.key}, table.name


def test_the_source_gives_the_last_partition_too(spec: UseCase) -> None:
    """Of its first table, the events; another may end earlier (the reference's weather does)."""
    read = load_module(spec.slug, "source").read
    events = next(table.name for table in spec.tables if not table.is_snapshot)
    assert len(read(events, [spec.partition(spec.coverage.last)]))


def test_contracts_are_for_tables_of_the_spec(spec: UseCase) -> None:
    contracts = load_module(spec.slug, "contract").CONTRACTS
    tables = {table.name: table for table in spec.tables}
    assert set(contracts) == set(tables), "every table has one"
    for name, contract in contracts.items():
        assert contract.key, f"{name}: a correction could not be told from a new row"
        assert "partition_key" not in contract.columns, "the platform adds it"


def test_real_data_keeps_the_contract(spec: UseCase) -> None:
    source, contract = (load_module(spec.slug, part) for part in ("source", "contract"))
    for name, found in contract.CONTRACTS.items():
        rows = source.read(name, [spec.partition(spec.coverage.first)])
        good, _ = found.rows.filter(rows, cast=True)
        assert len(good) >= (1 - spec.max_quarantine_share) * len(rows)


def test_the_feature_service_has_the_views_of_the_spec(
    spec: UseCase, definitions: Mapping[str, Any]
) -> None:
    from feast import FeatureService

    services = [d for d in definitions.values() if isinstance(d, FeatureService)]
    service = next(s for s in services if s.name == spec.features.service)
    assert re.fullmatch(rf"{spec.slug}_v\d+", service.name)
    views = {f"feat_{projection.name}" for projection in service.feature_view_projections}
    assert views == set(spec.features.tables)


def test_feature_views_are_fit_for_serving(spec: UseCase, definitions: Mapping[str, Any]) -> None:
    from feast import FeatureView

    for view in (d for d in definitions.values() if isinstance(d, FeatureView)):
        assert view.ttl, f"{view.name}: a feature without an age is served for ever"
        assert view.batch_source and view.batch_source.created_timestamp_column
        for name in [view.name, *(field.name for field in view.features)]:
            assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name), name


def test_the_mart_has_what_the_platform_reads(spec: UseCase) -> None:
    label = spec.label
    wanted = {
        spec.mart: {
            *(spec.key, "partition_key", spec.decided_at, *spec.context),
            *(*spec.features.on_request, *spec.features.categorical),
        },
        label.table: {
            *(spec.key, "partition_key", label.column, label.known_at),
            *filter(None, [label.expected]),
        },
    }
    for model, columns in wanted.items():
        assert columns <= described(spec).get(model, set()), model


def test_the_mart_knows_nothing_of_the_outcome(spec: UseCase) -> None:
    """It is read for decisions: what is known only later stands in the table of labels."""
    label = spec.label
    assert not {label.column, label.known_at} & described(spec)[spec.mart]


def test_the_promises_that_the_platform_rests_on_are_tested(spec: UseCase) -> None:
    """The key is unique and the decision time is there: dbt must stop if not."""
    tests: dict[str, list[Any]] = {}
    for path in models(spec).rglob("*.yml"):
        for model in (yaml.safe_load(path.read_text()) or {}).get("models", []):
            if model["name"] == spec.mart:
                tests = {c["name"]: c.get("data_tests", []) for c in model["columns"]}
    assert {"unique", "not_null"} <= set(tests[spec.key])
    assert "not_null" in tests[spec.decided_at]


def test_every_model_is_described(spec: UseCase) -> None:
    names = {path.stem for path in models(spec).rglob("*.sql")}
    assert names == set(described(spec))
    assert {spec.mart, *spec.features.tables} <= names


def test_names_of_models_say_what_they_are(spec: UseCase) -> None:
    pattern = r"(stg_[a-z0-9]+__[a-z0-9_]+|int_[a-z0-9_]+|(feat|fct|dim)_[a-z0-9_]+)"
    for path in models(spec).rglob("*.sql"):
        assert re.fullmatch(pattern, path.stem), path.stem


def test_dag_files_exist_and_are_the_right_ones(spec: UseCase) -> None:
    for job in ("daily", "history", "retrain"):
        text = (ROOT / "dags" / f"{spec.names.dag(job)}.py").read_text()
        assert f'("{spec.slug}"' in text, f"{spec.names.dag(job)} is of another use case"


@pytest.fixture
def parse(spec: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Parses a copy of the dbt project for this use case alone; returns the names of its nodes."""
    from dbt.cli.main import dbtRunner

    project = tmp_path / "dbt_project"
    shutil.copytree(ROOT / "dbt_project", project)
    where = Settings(home=tmp_path / "home")
    for name, value in DuckDBWarehouse(spec, where).environment().items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)

    def run() -> set[str]:
        folders = ["--project-dir", str(project), "--profiles-dir", str(project)]
        result = dbtRunner().invoke(["--quiet", "parse", "--no-partial-parse", *folders])
        if result.exception:
            raise result.exception
        manifest: Any = result.result
        return {node.name for node in manifest.nodes.values()}

    run.project = project  # type: ignore[attr-defined]  # what a test breaks
    yield run
    os.environ.clear()
    os.environ.update(before)


def test_the_dbt_project_parses_for_this_use_case_alone(parse: Any, spec: UseCase) -> None:
    assert {spec.mart, *spec.features.tables} <= parse()
    others = {
        path.stem
        for slug in SLUGS
        if slug != spec.slug
        for path in (ROOT / "dbt_project" / "models" / slug).rglob("*.sql")
    }
    assert not parse() & others


def test_a_broken_file_of_another_use_case_does_not_stop_this_one(
    parse: Any, spec: UseCase
) -> None:
    other = parse.project / "models" / "another_case" / "staging"
    other.mkdir(parents=True)
    (other / "broken.yml").write_text("version: 2\nmodels:\n  - name: [unclosed")
    (other / "broken.sql").write_text("select {{ ref('nowhere') }} {% if %}")
    assert spec.mart in parse()


def test_a_broken_file_of_its_own_stops_it(parse: Any, spec: UseCase) -> None:
    """So that the test before cannot pass because nothing is read at all."""
    (parse.project / "models" / spec.slug / "broken.yml").write_text("version: 2\nmodels: [x: [")
    with pytest.raises(Exception, match=r"broken\.yml"):
        parse()
