"""A toy use case of each problem, from the mart to the report: models and features on paper."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from support import small_spec

from ml.adapters.features import FEATURES_KNOWN_AT
from ml.adapters.lake import open_lake
from ml.core.partitions import Cadence, Partition, Partitions
from ml.core.plans import (
    CostMatrix,
    CostModel,
    Criterion,
    GatePlan,
    ModelPlan,
    SegmentPlan,
    UnitCost,
)
from ml.core.ports import Platform
from ml.core.prediction_source import Source
from ml.core.problems import ProblemType
from ml.core.release import Release, first_champion, start_canary
from ml.core.spec import Coverage, Features, Label, UseCase
from ml.stages import score

CLASSES = ("low", "middle", "high")
BINARY, MULTICLASS, REGRESSION = ProblemType
Answer = Callable[[pd.DataFrame], np.ndarray]

# How many rows a partition has, how many partitions there are, and what they are.
_SHAPES = {
    BINARY: (40, 12, Cadence.DAY, "2020-01-01"),
    MULTICLASS: (12, 48, Cadence.HOUR, "2020-01-01T00Z"),
    REGRESSION: (2, 60, Cadence.WEEK, "2020-01-06"),
}
_COSTS: dict[ProblemType, Any] = {
    BINARY: CostModel(missed=4),
    MULTICLASS: CostMatrix(costs=((0, 1, 2), (1, 0, 1), (6, 2, 0))),
    REGRESSION: UnitCost(over=1, under=3),
}


class ToyModel:
    """A model that answers what functions say.

    Args:
        interval: lower and upper end; None: it has learned none.
    """

    kind = "lightgbm"
    columns: tuple[str, ...] = ()
    contract_sha256 = ""

    def __init__(self, predict: Answer, interval: Answer | None = None) -> None:
        self.predict, self._interval = predict, interval

    def interval(self, rows: pd.DataFrame) -> np.ndarray | None:
        return None if self._interval is None else self._interval(rows)


def toy_spec(problem: ProblemType, **changes: Any) -> UseCase:
    """A use case with costs, a segment and, where the problem has them, all its extras."""
    _, count, cadence, first = _SHAPES[problem]
    calendar = Partitions(cadence, "UTC")
    begin = calendar.parse(first)
    last = calendar.containing(begin.start + count * (begin.end - begin.start)).key
    model: dict[str, Any] = {}
    if problem is REGRESSION:
        naive = {"persistence": "things__last", "seasonal_naive": "year_ago"}
        model = {"difference_from": "things__last", "naive": naive, "interval": 0.9}
    return small_spec(
        **{
            "problem": problem,
            "cadence": cadence,
            "coverage": Coverage(first=first, last=last),
            "cost": _COSTS[problem],
            "segments": ("shop",),
            "label": Label(
                table="fct_labels",
                column="y",
                known_at="known_at",
                maturity=timedelta(0),
                classes=CLASSES if problem is MULTICLASS else (),
            ),
            "features": Features(
                service="toy_v1",
                tables=("things",),
                on_request=("year_ago",),
                categorical=("shop",),
            ),
            "holdout_partitions": 48,
            "model": ModelPlan(parameters={}, max_rounds=5, early_stopping_rounds=2, **model),
            "gates": GatePlan(
                criteria=(Criterion(metric="skill", minimum=0.0),),
                margin=0.01,
                minimum_gain=0.001,
                segments=SegmentPlan(minimum_rows=50, maximum_loss_increase=0.1),
                cluster_partitions=6 if problem is MULTICLASS else None,
                replicates=200,
            ),
            **changes,
        }
    )


class Toy:
    """A platform whose lake is real and whose everything else is on paper.

    Attributes:
        models: by version, 1 the champion and 2 the canary; replace them to have others.
        rule: what every version has to beat.
        releases: in force from the beginning.

    Args:
        count: how many partitions have rows; default: as many as a report needs for bounds.
    """

    def __init__(
        self, home: Path, spec: UseCase, *, canary: bool = True, count: int | None = None
    ) -> None:
        self.spec = spec
        self.lake = open_lake(str(home / "lake"), spec.slug)
        self.rows = _rows(spec, count)
        self.models = {1: _model(spec, 0.06), 2: _model(spec, 0.03)}
        self.rule: Any = _rule(spec, self.rows)
        self.releases = _releases(spec, canary=canary)
        self._write()

    @property
    def platform(self) -> Platform:
        registry = SimpleNamespace(
            releases=lambda: self.releases,
            version=lambda number: SimpleNamespace(run_id=str(number)),
        )
        tracking = SimpleNamespace(
            load_model=lambda run_id: self.models[int(run_id)],
            load_rule=lambda _: self.rule,
        )
        features = SimpleNamespace(
            columns=("things__last", "things__hint"), historical=self._historical
        )
        fakes: dict[str, Any] = {"registry": registry, "tracking": tracking, "features": features}
        return Platform(
            spec=self.spec, lake=self.lake, warehouse=None, code_digest="", code_tags={}, **fakes
        )  # type: ignore[arg-type]  # nothing here asks the warehouse

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """Those that have rows; the raw data reach one further."""
        return tuple(map(self.spec.calendar.parse, self.rows["partition_key"].unique()))

    def score(self, count: int | None = None) -> score.ScoreResult:
        """Answer the first so many partitions."""
        chosen = self.partitions[:count]
        return score.run(self.platform, partitions=chosen, source=Source.REPLAY)

    def _historical(self, events: pd.DataFrame, _decided_at: str) -> pd.DataFrame:
        columns = ["event_id", "things__last", "things__hint"]
        found = events.merge(self.rows[columns], on="event_id", validate="one_to_one")
        return found.assign(**{FEATURES_KNOWN_AT: events["decided_at"]})

    def _write(self) -> None:
        raw = pa.table({"n": [1]})
        for key, rows in self.rows.groupby("partition_key"):
            events = rows[["event_id", "decided_at", "shop", "year_ago"]]
            labels = rows[["event_id", "y", "known_at"]]
            for table, content in (("fct_events", events), ("fct_labels", labels)):
                found = pa.Table.from_pandas(content, preserve_index=False)
                self.lake.write("marts", table, str(key), found)
            self.lake.write("raw", "events", str(key), raw)
        self.lake.write("raw", "events", self.spec.coverage.last, raw)


def _rows(spec: UseCase, count: int | None) -> pd.DataFrame:
    """The events with everything that a model could know, and the truth behind the label."""
    each, most, _, _ = _SHAPES[spec.problem]
    count = count or most
    random, rows = np.random.default_rng(3), each * count
    days = spec.calendar.between(spec.coverage.first, spec.coverage.last)[:count]
    starts = pd.Series([day.start for day in days for _ in range(each)])
    time = np.repeat(np.arange(count), each)
    value = 330 + 0.05 * time + 3 * np.sin(time / 8) + random.normal(0, 0.2, rows)
    hint = random.uniform(0.05, 0.95, rows)
    label = {
        BINARY: (random.uniform(size=rows) < hint).astype(float),
        MULTICLASS: np.clip((3 * hint + random.normal(0, 0.3, rows)).astype(int), 0, 2),
        REGRESSION: value,
    }[spec.problem]
    return pd.DataFrame(
        {
            "event_id": [f"e{i:05d}" for i in range(rows)],
            "partition_key": [day.key for day in days for _ in range(each)],
            "decided_at": starts + pd.to_timedelta(np.tile(np.arange(each), count), "min"),
            "known_at": starts + pd.Timedelta("30min"),
            "shop": np.where(np.arange(rows) % 4 == 0, "small [b]", "large"),
            "year_ago": value - 2 + random.normal(0, 0.5, rows),
            "things__last": value + random.normal(0, 1.0, rows),
            "things__hint": value if spec.problem is REGRESSION else hint,
            "y": label.astype(float),
        }
    )


def _model(spec: UseCase, noise: float) -> ToyModel:
    """It knows the hint, but for a noise that is the same each time."""

    def hint(rows: pd.DataFrame) -> np.ndarray:
        seeds = rows["event_id"].str[1:].astype(int).to_numpy()
        return rows["things__hint"].to_numpy() + noise * np.sin(seeds * 12.9898) * 2

    def chance(rows: pd.DataFrame) -> np.ndarray:
        return np.clip(hint(rows), 0.01, 0.99)

    def classes(rows: pd.DataFrame) -> np.ndarray:
        distance = -8 * np.abs(3 * hint(rows)[:, None] - np.array([0.5, 1.5, 2.5]))
        return np.exp(distance / 2) / np.exp(distance / 2).sum(axis=1, keepdims=True)

    def value(rows: pd.DataFrame) -> np.ndarray:
        last = rows["things__last"].to_numpy()
        return last + (hint(rows) - last)

    def interval(rows: pd.DataFrame) -> np.ndarray:
        return value(rows)[:, None] + np.array([-0.1, 0.1])

    answer = {BINARY: chance, MULTICLASS: classes, REGRESSION: value}[spec.problem]
    return ToyModel(answer, interval if spec.problem is REGRESSION else None)


def _rule(spec: UseCase, rows: pd.DataFrame) -> ToyModel:
    """Mean label; share of each class; or no difference from the last value, on average."""
    if spec.label.classes:
        shares = np.bincount(rows["y"].astype(int)) / len(rows)
        return ToyModel(lambda part: np.tile(shares, (len(part), 1)))
    if spec.model.difference_from:
        return ToyModel(lambda part: part[spec.model.difference_from].to_numpy() + 0.05)
    return ToyModel(lambda part: np.full(len(part), rows["y"].mean()))


def _releases(spec: UseCase, *, canary: bool) -> tuple[Release, ...]:
    beginning = datetime(1970, 1, 1, tzinfo=UTC)
    first = first_champion(spec.slug, 1, beginning)
    if not canary:
        return (first,)
    return (first, start_canary(first, 2, beginning, weight_bp=3_000))
