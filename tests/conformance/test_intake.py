"""What the source and the contract of every use case must do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from conformance.slices import fault_of, require
from support import platform_at

from ml.core.errors import DataError
from ml.core.ports import Platform
from ml.core.spec import Table, UseCase
from ml.stages import ingest
from ml.stages.intake import deliveries
from ml.stages.intake.deliveries import Delivery
from ml.stages.intake.judge import KEY, REJECTED, ROW, STOPPED, conform, judge
from ml.stages.intake.revisions import Terms
from ml.use_cases import load_module
from ml.use_cases.contracts import Contract

_SAMPLE = 300  # rows into which faults are planted


def read(spec: UseCase, table: Table, key: str) -> pl.DataFrame:
    """Rows of a table as an ingest of one partition gets them."""
    platform: Any = SimpleNamespace(spec=spec)
    return deliveries.read(platform, table, [spec.partition(key)]).rows


def contracts(spec: UseCase) -> dict[str, Contract]:
    found: dict[str, Contract] = dict(load_module(spec.slug, "contract").CONTRACTS)
    return found


def time_column(table: Table) -> str:
    """The column by which a row has a time, if the spec says one."""
    by_freshness = table.freshness.column if table.freshness else ""
    return (table.files.time if table.files else "") or by_freshness


@pytest.fixture(scope="session")
def first_rows(spec: UseCase) -> dict[str, pl.DataFrame]:
    """What the source gives of the first partition, by table."""
    try:
        return {table.name: read(spec, table, spec.coverage.first) for table in spec.tables}
    except Exception as error:  # noqa: BLE001  # one check reports it, the others have no rows
        pytest.skip(f"the source cannot be read: {type(error).__name__}")


def test_the_source_gives_each_table(spec: UseCase) -> None:
    for table in spec.tables:
        if fault := fault_of(lambda one=table: read(spec, one, spec.coverage.first)):
            require([f"{table.name} cannot be read: {fault}"])
        rows = read(spec, table, spec.coverage.first)
        if not len(rows):
            require(
                [f"the source gives no rows of {table.name} for {spec.coverage.first}"],
                "let coverage.first be the first partition that it has",
            )
        keys = set(rows[KEY]) if KEY in rows.columns else {None}
        wanted = {None} if table.is_snapshot else {spec.coverage.first}
        if keys != wanted:
            require([f"{table.name} has rows of partitions {keys}, expected {wanted}"])


def test_the_source_gives_the_last_partition_too(spec: UseCase) -> None:
    """Of its first table, the events; another may end earlier (the reference's weather does)."""
    events = next(table for table in spec.tables if not table.is_snapshot)
    try:
        found = len(read(spec, events, spec.coverage.last))
    except Exception:  # noqa: BLE001  # reported by the check before
        pytest.skip("the source cannot be read")
    require(
        [] if found else [f"the source gives no rows of {events.name} for {spec.coverage.last}"],
        "let coverage.last be the last partition that it has",
    )


def test_contracts_are_for_tables_of_the_spec(spec: UseCase) -> None:
    own, tables = contracts(spec), {table.name: table for table in spec.tables}
    findings = [f"table {name} has no contract" for name in tables if name not in own]
    findings += [f"a contract for {name}, which is no table" for name in own if name not in tables]
    for name, contract in own.items():
        if not contract.key:
            findings.append(
                f"the contract of {name} has no primary_key: a correction could not be told from "
                "a new row"
            )
        if KEY in contract.columns:
            findings.append(f"the contract of {name} has {KEY}, which the platform adds")
        time = time_column(tables[name]) if name in tables else ""
        if time and not contract.columns.get(time, pl.Null()).is_temporal():
            findings.append(f"the contract of {name} does not say that {time} is a time")
    require(findings, f"mend CONTRACTS in ml/use_cases/{spec.slug}/contract.py")


def test_real_data_keeps_the_contract(spec: UseCase, first_rows: dict[str, pl.DataFrame]) -> None:
    findings = []
    for table in spec.tables:
        contract = contracts(spec)[table.name]
        rows, differences = conform(first_rows[table.name], contract, is_snapshot=table.is_snapshot)
        findings += [f"{table.name}: {difference}" for difference in differences]
        if not differences:
            good, verdicts = judge(rows.with_row_index(ROW), contract)
            if len(good) < (1 - spec.max_quarantine_share) * len(rows):
                why = verdicts["reasons"].explode().value_counts(sort=True).head(3).rows()
                findings.append(f"{table.name}: only {len(good)} of {len(rows)} rows: {why}")
    require(findings, "the contract says what is right in this source, not what would be nice")


@pytest.fixture(scope="session")
def good_rows(spec: UseCase, first_rows: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Rows of the first partition that their contract accepts, by table."""
    found = {}
    for table in spec.tables:
        contract = contracts(spec)[table.name]
        rows, differences = conform(first_rows[table.name], contract, is_snapshot=table.is_snapshot)
        if differences or not contract.key:
            pytest.skip("another check says what is wrong with this contract")
        good, _ = judge(rows.with_row_index(ROW), contract)
        if not len(good):
            pytest.skip("another check says that there are no good rows")
        found[table.name] = good.drop("flags").head(_SAMPLE)
    return found


def test_the_contract_rejects_planted_rows(
    spec: UseCase, good_rows: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    """A null or a copy of a key, a value beyond a bound, a text where there are numbers.

    A row without its key is ingested: it is kept aside with its reasons, never in the lake.
    """
    findings = [
        f"{table.name}: {fault} is accepted"
        for table in spec.tables
        for fault in _accepted(contracts(spec)[table.name], good_rows[table.name], table)
    ]
    findings += _after_ingest(spec, good_rows, platform_at(tmp_path / "home", spec))
    require(findings, f"mend CONTRACTS in ml/use_cases/{spec.slug}/contract.py")


def _accepted(contract: Contract, good: pl.DataFrame, table: Table) -> Iterator[str]:
    """Planted faults that nobody notices."""
    faults: dict[str, tuple[str, Any]] = {
        f"a null in the key column {name}": (name, None) for name in contract.key
    }
    beyond = list(_beyond_bounds(contract))
    faults |= {f"{value} in {name}, beyond its bound": (name, value) for name, value in beyond}
    good = good.with_columns(pl.lit("").alias(KEY))
    planted = [good.head(1), good.head(1)]  # the same key twice
    for number, (name, value) in enumerate(faults.values()):
        one = good.head(1).with_columns(pl.lit(str(number)).alias(KEY))  # or keys would be equal
        planted.append(_with_cell(one, name, value))
    _, verdicts = judge(pl.concat(planted).with_row_index(ROW), contract)
    noticed = set(verdicts[ROW])
    if not {0, 1} & noticed:
        yield "the same key twice"
    yield from (fault for number, fault in enumerate(faults, start=2) if number not in noticed)
    numbers = [n for n, t in contract.columns.items() if t.is_numeric() and n not in contract.key]
    if numbers and not beyond:
        yield "any number in any column (give min and max to those that people would call absurd)"
    for name, dtype in contract.columns.items():
        if dtype.is_numeric() or dtype.is_temporal():
            text = good.with_columns(pl.lit("?").alias(name))
            if not conform(text, contract, is_snapshot=table.is_snapshot)[1]:
                yield f"text in {name}"


def _beyond_bounds(contract: Contract) -> Iterator[tuple[str, float]]:
    """Columns with values that their bounds exclude."""
    for name, column in contract.rows.columns().items():
        for bound, step in ((getattr(column, "min", None), -1), (getattr(column, "max", None), 1)):
            if isinstance(bound, int | float):
                yield name, bound + step


def _with_cell(rows: pl.DataFrame, column: str, value: Any) -> pl.DataFrame:
    """The rows, where the first has another value in a column."""
    is_first = pl.int_range(pl.len()) == 0
    cell = pl.lit(value, dtype=rows.schema[column])
    return rows.with_columns(pl.when(is_first).then(cell).otherwise(column).alias(column))


def _after_ingest(
    spec: UseCase, good_rows: dict[str, pl.DataFrame], platform: Platform
) -> Iterator[str]:
    """Where a row without its key is after the real ingest, if not in the quarantine."""
    table = next(table for table in spec.tables if not table.is_snapshot)
    partition = spec.partition(spec.coverage.first)
    column, good = contracts(spec)[table.name].key[0], good_rows[table.name]
    rows = pl.concat([_with_cell(good.head(1), column, None), good])
    try:
        ingest.take(platform, [Delivery(table, (partition,), rows)], Terms(accept_anomalies=True))
        area, kept = "quarantine", platform.lake.count("raw", table.name, partition.key)
    except DataError:  # one bad row among few stops the partition
        area, kept = STOPPED, len(good)
    aside = platform.lake.read(area, table.name, [partition.key]).to_pylist()
    if not any(row["outcome"] == REJECTED and row[column] is None for row in aside):
        yield f"a row of {table.name} without {column} is not in the {area}"
    if kept != len(good):
        yield f"{kept} of {len(good)} good rows of {table.name} went on beside a bad one"
