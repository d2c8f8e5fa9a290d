"""What the dbt models of every use case must promise, and say of themselves."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance.slices import Slice, fault_of, require
from support import ROOT

from ml.adapters.warehouse import DuckDBWarehouse
from ml.core.partitions import Cadence
from ml.core.spec import UseCase
from ml.settings import Settings

_DAYS = {Cadence.DAY: 1, Cadence.WEEK: 7, Cadence.MONTH: 31}


def test_names_of_models_say_what_they_are(found: Slice) -> None:
    pattern = r"(stg_[a-z0-9]+__[a-z0-9_]+|int_[a-z0-9_]+|(feat|fct|dim)_[a-z0-9_]+)"
    require(
        [f"dbt model {name}" for name in found.sql if not re.fullmatch(pattern, name)],
        "call it stg_{source}__{entities}, int_{entities}_{verbed}, feat_{entity}_{topic}, "
        "fct_{events} or dim_{entities}",
    )


def test_every_model_is_described(found: Slice) -> None:
    """What a row is, and what the columns mean that the whole platform reads."""
    spec = found.spec
    findings = [f"model {name} is in no yml file" for name in found.sql if name not in found.models]
    findings += [
        f"{name} is described, but there is no {name}.sql"
        for name in found.models
        if name not in found.sql
    ]
    findings += [
        f"{name} of the spec is no model" for name in found.tables if name not in found.sql
    ]
    findings += [
        f"model {name} has no description: what is one row?"
        for name, model in found.models.items()
        if len(model.description) < 15
    ]
    meant = {
        spec.mart: (spec.key, spec.decided_at),
        spec.label.table: (spec.label.column, spec.label.known_at),
    }
    for table, columns in meant.items():
        described = {c.name for c in found.model(table).columns.values() if c.description}
        findings += [
            f"{table}.{name} has no description"
            for name in columns
            if name in found.model(table).columns and name not in described
        ]
    require(findings, f"describe it in dbt_project/models/{found.slug}/…/*.yml")


def test_the_mart_has_what_the_platform_reads(found: Slice) -> None:
    spec, label = found.spec, found.spec.label
    wanted = {
        spec.mart: (
            *(spec.key, "partition_key", spec.decided_at, *spec.context),
            *(*spec.features.on_request, *spec.features.categorical),
        ),
        label.table: (
            *(spec.key, "partition_key", label.column, label.known_at),
            *filter(None, [label.expected]),
        ),
    }
    require(
        [
            f"{table} has no column {name}"
            for table, names in wanted.items()
            for name in names
            if name not in found.model(table).columns
        ],
        "add it to the model and its yml, or mend the name in the spec",
    )


def test_every_table_has_a_tested_key(found: Slice, definitions: Any) -> None:
    """What is read by its key must have one row for each: dbt stops if not."""
    findings = []
    for table in found.tables:
        keys, model = found.keys(table), found.model(table)
        if not model.is_unique_by(keys):
            findings.append(f"no test says that {', '.join(sorted(keys))} is unique in {table}")
        findings += [
            f"{table}.{key} may be null"
            for key in sorted(keys & set(model.columns))
            if not model.columns[key].is_required
        ]
    mart = found.model(found.spec.mart)
    if found.spec.decided_at not in {c.name for c in mart.columns.values() if c.is_required}:
        findings.append(f"{mart.name}.{found.spec.decided_at} may be null")
    require(
        findings,
        "data_tests: [unique, not_null] on the key, or unique_combination over the join keys and "
        "event_at with constraints: [{type: not_null}]; with severity error",
    )


def test_every_table_has_a_freshness_rule(found: Slice) -> None:
    """Features of an old state look like those of a new one; a calendar cannot stand still."""
    ruled = {table.name for table in found.spec.tables if table.freshness}
    findings = []
    for table in found.tables:
        models, raw = found.upstream(table)
        tests = {test.name for name in models for test in found.model(name).tests}
        if raw and not (raw & ruled or "newest_within" in tests):
            findings.append(f"nobody would notice that {table} stands still")
    require(
        findings,
        "give its raw table `freshness` in the spec, or a model that it reads the test "
        "newest_within",
    )


@pytest.fixture
def parse(spec: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Parses a copy of the dbt project for this use case alone; returns the `meta` of its nodes."""
    from dbt.cli.main import dbtRunner

    project = tmp_path / "dbt_project"
    shutil.copytree(ROOT / "dbt_project", project)
    where = Settings(home=tmp_path / "home")
    for name, value in DuckDBWarehouse(spec, where).environment().items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)

    def run() -> dict[str, dict[str, Any]]:
        folders = ["--project-dir", str(project), "--profiles-dir", str(project)]
        result = dbtRunner().invoke(["--quiet", "parse", "--no-partial-parse", *folders])
        if result.exception:
            raise result.exception
        manifest: Any = result.result
        return {node.name: dict(node.config.meta) for node in manifest.nodes.values()}

    run.project = project  # type: ignore[attr-defined]  # what a test breaks
    yield run
    os.environ.clear()
    os.environ.update(before)


def test_dbt_parses_this_use_case_alone(parse: Any, spec: UseCase) -> None:
    """Beside a broken file of another one."""
    other = parse.project / "models" / "another_case" / "staging"
    other.mkdir(parents=True)
    (other / "broken.yml").write_text("version: 2\nmodels:\n  - name: [unclosed")
    (other / "broken.sql").write_text("select {{ ref('nowhere') }} {% if %}")
    nodes = set[str]()
    if fault := fault_of(lambda: nodes.update(parse())):
        require([f"dbt cannot parse it: {fault}"], f"mend dbt_project/models/{spec.slug}")
    wanted = {spec.mart, spec.label.table, *spec.features.tables}
    require([f"dbt does not see {name}" for name in sorted(wanted - nodes)])


def test_the_parsed_labels_reach_as_far_back_as_the_spec(parse: Any, spec: UseCase) -> None:
    """Otherwise a label that closes with a later partition is built by a backfill only."""
    try:
        meta = parse().get(spec.label.table, {})
    except Exception:  # noqa: BLE001  # one check reports it
        pytest.skip("dbt cannot parse it")
    count, cadence = spec.label.lookback_partitions, spec.cadence
    days = -(-count // 24) if cadence is Cadence.HOUR else count * _DAYS[cadence]
    found = meta.get("slice_lookback_days") or 0
    if found < days or (days and "slice_zone" not in meta):
        require(
            [
                f"{spec.label.table} is built with slice_lookback_days {found}"
                + ("" if "slice_zone" in meta else " and without slice_zone")
                + f", and label.lookback_partitions {count} by the {cadence} needs {days}: "
                "a label that closes later would stay empty"
            ],
            f'config(meta={{"slice_zone": "{spec.calendar.key_zone}", "slice_lookback_days": '
            f'{days}, "slice_format": "{cadence.key_format}"}}) in {spec.label.table}.sql, and let '
            "it read what it needs for them; or mend label.lookback_partitions of the spec",
        )


def test_a_broken_file_of_its_own_stops_the_parse(parse: Any, spec: UseCase) -> None:
    """So that the test before cannot pass because nothing is read at all."""
    (parse.project / "models" / spec.slug / "broken.yml").write_text("version: 2\nmodels: [x: [")
    with pytest.raises(Exception, match=r"broken\.yml"):
        parse()
