"""A small use case with feature definitions and exports of its own, to change and to break."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import small_spec

import feature_repo
from ml.adapters.features import FeastFeatures
from ml.settings import Settings

T0 = datetime(2020, 3, 10, tzinfo=UTC)  # where DAY ends
DAY, DAY_BEFORE, OLD_DAY = "2020-03-09", "2020-03-08", "2020-03-01"
DEFINITIONS = """
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.types import Float64, Int64, String

from feature_repo.sources import exported


def view(name, entities, hours, **features):
    return FeatureView(
        name=name,
        entities=entities,
        ttl=timedelta(hours=hours),
        schema=[Field(name=feature, dtype=kind) for feature, kind in features.items()],
        source=exported("toy", f"feat_{name}"),
    )


origin = Entity(name="airport", join_keys=["origin"], value_type=ValueType.STRING)
destination = Entity(name="target", join_keys=["destination"], value_type=ValueType.STRING)
carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
number = Entity(name="number", join_keys=["number"], value_type=ValueType.INT64)

ticks = view("ticks", [origin], 2, count=Int64, delay=Float64)
routes = view("routes", [origin, destination], 72, share=Float64)
numbers = view("numbers", [carrier, number], 72, count=Int64)

toy_v1 = FeatureService(name="toy_v1", features=[ticks, routes, numbers])
"""
KEYS = {"ticks": ["origin"], "routes": ["origin", "destination"], "numbers": ["carrier", "number"]}
FEATURES = {"ticks": ["count", "delay"], "routes": ["share"], "numbers": ["count"]}
_TYPES = {
    "number": pa.int64(),
    "count": pa.int64(),
    "delay": pa.float64(),
    "share": pa.float64(),
    "event_at": pa.timestamp("us", "UTC"),
    "created_at": pa.timestamp("us", "UTC"),
}


def hours(number: float) -> datetime:
    """A time, in hours after the newest partition's end."""
    return T0 + timedelta(hours=number)


class Toy:
    """Definitions and exports in a folder; `features()` opens the store as a new process would."""

    def __init__(self, folder: Path) -> None:
        self.repository, self.home = folder / "repository", folder / "home"
        (self.repository / "toy").mkdir(parents=True, exist_ok=True)
        (self.repository / "toy" / "__init__.py").touch()

    @property
    def file(self) -> Path:
        return self.repository / "toy" / "features.py"

    def define(self, text: str = DEFINITIONS) -> None:
        self.file.write_text(text)

    def change(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert old in text
        self.define(text.replace(old, new))

    def path(self, view: str, key: str) -> Path:
        folder = self.home / "lake" / "features" / "toy" / f"feat_{view}"
        return folder / f"partition_key={key}" / "data.parquet"

    def export(
        self, view: str, key: str, rows: Iterable[tuple[Any, ...]], *more: str, **types: Any
    ) -> None:
        """Rows of keys, features (those in `more` last), event time and, if it is later, created.

        Args:
            types: of columns that are stored in another type than they should.
        """
        names = [*KEYS.get(view, ["origin"]), *FEATURES.get(view, []), *more]
        complete = [row if len(row) == len(names) + 2 else (*row, row[-1]) for row in rows]
        columns = zip(*complete, strict=True) if complete else [[]] * (len(names) + 2)
        arrays = {
            name: pa.array(values, types.get(name, _TYPES.get(name, pa.string())))
            for name, values in zip([*names, "event_at", "created_at"], columns, strict=True)
        }
        path = self.path(view, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(arrays), path)

    def features(self) -> FeastFeatures:
        for name in [name for name in sys.modules if name.startswith("feature_repo.toy")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        if str(self.repository) not in feature_repo.__path__:
            feature_repo.__path__.append(str(self.repository))
        return FeastFeatures(small_spec(), Settings(home=self.home))

    def partitions(self, first: str, last: str | None = None) -> Any:
        return small_spec().partitions(first, last or first)

    def materialize(self, first: str, last: str | None = None) -> FeastFeatures:
        features = self.features()
        features.apply()
        features.materialize(self.partitions(first, last))
        return features


def two_days(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Two days of exports, not materialized."""
    monkeypatch.setattr(feature_repo, "__path__", list(feature_repo.__path__))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # definitions change within a second
    toy = Toy(folder)
    toy.define()
    toy.export("ticks", DAY_BEFORE, [("JFK", 1, 1.5, hours(-26)), ("OLD", 9, 9.5, hours(-25))])
    toy.export(
        "ticks",
        DAY,
        [
            ("JFK", 2, 2.5, hours(-1)),
            ("JFK", 3, 3.5, hours(-0.5)),
            ("LGA", 4, None, hours(-2)),
            ("EWR", None, None, hours(-0.5)),
        ],
    )
    toy.export("routes", DAY_BEFORE, [("JFK", "BOS", 0.25, hours(-39))])
    toy.export("routes", DAY, [("LGA", "BOS", 0.5, hours(-15)), ("JFK", "LAX", None, hours(-15))])
    toy.export("numbers", DAY_BEFORE, [("AA", 1, 10, hours(-39)), ("AA", 11, 11, hours(-39))])
    toy.export("numbers", DAY, [("AA", 1, 12, hours(-15)), ("", 0, 13, hours(-15))])
    return toy


def entities(*rows: tuple[Any, ...]) -> pd.DataFrame:
    """Rows of origin, destination, carrier, number; those that are left out are None."""
    names = ["origin", "destination", "carrier", "number"]
    padded = [(*row, *[None] * (4 - len(row))) for row in rows]
    return pd.DataFrame(padded, columns=names, dtype=object)


ALL = entities(
    ("JFK", "BOS", "AA", 1),
    ("LGA", "BOS", "AA", 11),
    ("EWR", "BOS", "AA", 2),
    ("JFK", "LAX", "BB", 1),
    ("OLD", "BOS", "", 0),
    ("QQQ", "ZZZ", "AA", -1),
)


def one(features: FeastFeatures, row: tuple[Any, ...], at: datetime = T0) -> dict[str, Any]:
    """Values and statuses of one question; None for a value that is not there."""
    found = features.online(entities(row), at)
    values = found.values.iloc[0].astype(object).where(found.values.iloc[0].notna(), None)
    return {**values.to_dict(), **found.status.iloc[0].to_dict()}
