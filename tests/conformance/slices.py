"""What can be read of a slice without running it: its dbt models, their descriptions, its views."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT

from ml.core.spec import UseCase
from ml.use_cases import load_spec

_SHOWN = 12  # findings of one check


def require(findings: Iterable[str], repair: str = "") -> None:
    """Fail with what was found and what to do, and without a traceback."""
    if found := list(dict.fromkeys(findings)):
        more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        text = "\n".join([*found[:_SHOWN], *more])
        pytest.fail(f"{text}\n  repair: {repair}" if repair else text, pytrace=False)


def fault_of(call: Callable[[], object]) -> str:
    """What an author's code raises when it runs; empty if nothing."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the finding
        return str(error) or type(error).__name__
    return ""


@dataclass(frozen=True)
class DataTest:
    """A test of a dbt model: its name, its arguments, and whether it stops a build."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    stops: bool = True

    @classmethod
    def of(cls, plain: Any) -> DataTest:
        if isinstance(plain, str):
            return cls(plain)
        ((name, options),) = plain.items()
        options = options or {}
        severity = (options.get("config") or {}).get("severity", "error")
        return cls(name, options.get("arguments") or options, severity == "error")


@dataclass(frozen=True)
class Column:
    name: str
    description: str
    tests: tuple[DataTest, ...]
    is_required: bool

    def has(self, test: str) -> bool:
        return any(one.name == test and one.stops for one in self.tests)


@dataclass(frozen=True)
class Model:
    """A dbt model as its yml file describes it."""

    name: str
    description: str = ""
    columns: Mapping[str, Column] = field(default_factory=dict)
    tests: tuple[DataTest, ...] = ()

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Model:
        columns = [_column(one) for one in plain.get("columns") or ()]
        return cls(
            plain["name"],
            str(plain.get("description") or "").strip(),
            {column.name: column for column in columns},
            tuple(_tests(plain)),
        )

    def is_unique_by(self, keys: set[str]) -> bool:
        """Whether a test that stops the build says that these columns identify a row."""
        single = any(self.columns[key].has("unique") for key in keys & set(self.columns))
        combined = (one for one in self.tests if one.stops and one.name == "unique_combination")
        return single or any(set(one.arguments["columns"]) <= keys for one in combined)


def _tests(plain: Mapping[str, Any]) -> Iterator[DataTest]:
    for one in (*(plain.get("data_tests") or ()), *(plain.get("tests") or ())):
        yield DataTest.of(one)


def _column(plain: Mapping[str, Any]) -> Column:
    constraints = {one["type"] for one in plain.get("constraints") or ()}
    tests = tuple(_tests(plain))
    is_required = "not_null" in constraints or any(t.name == "not_null" and t.stops for t in tests)
    return Column(plain["name"], str(plain.get("description") or ""), tests, is_required)


@dataclass(frozen=True)
class Slice:
    """A use case by its files."""

    slug: str

    @cached_property
    def spec(self) -> UseCase:
        return load_spec(self.slug)

    @property
    def dbt(self) -> Path:
        return ROOT / "dbt_project" / "models" / self.slug

    @cached_property
    def sql(self) -> dict[str, str]:
        """Code of the dbt models, by name."""
        return {path.stem: path.read_text() for path in sorted(self.dbt.rglob("*.sql"))}

    @cached_property
    def models(self) -> dict[str, Model]:
        """What the yml files say of the dbt models."""
        found = [
            Model.of(plain)
            for path in sorted(self.dbt.rglob("*.yml"))
            for plain in (yaml.safe_load(path.read_text()) or {}).get("models") or ()
        ]
        return {model.name: model for model in found}

    def model(self, name: str) -> Model:
        return self.models.get(name, Model(name))

    @cached_property
    def definitions(self) -> Any:
        from ml.adapters.feature_definitions import Definitions

        return Definitions.load(self.slug)

    @property
    def tables(self) -> tuple[str, ...]:
        """What is exported: the mart, the labels, the feature tables."""
        return (self.spec.mart, self.spec.label.table, *self.spec.features.tables)

    def keys(self, table: str) -> set[str]:
        """The columns that identify a row of an exported table."""
        if table not in self.spec.features.tables:
            return {self.spec.key}
        for view in self.definitions.views:
            if view.batch_source is not None and view.batch_source.name == table:
                return {*self.definitions.key_types(view), "event_at"}
        return {"event_at"}

    def upstream(self, table: str) -> tuple[set[str], set[str]]:
        """Models that a model is made from, itself included, and the raw tables behind them."""
        models, raw, left = set[str](), set[str](), [table]
        while left:
            name = left.pop()
            if name not in models:
                models.add(name)
                code = self.sql.get(name, "")
                left += re.findall(r"ref\(\s*['\"](\w+)['\"]\s*\)", code)
                raw |= set(re.findall(r"source\(\s*['\"]\w+['\"]\s*,\s*['\"](\w+)['\"]", code))
        return models, raw
