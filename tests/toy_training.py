"""A small training set on paper: two numbers, a place and an hour, thirty days."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from support import small_spec

from ml.core.plans import FloatRange, IntRange, ModelPlan, Rule, SearchPlan
from ml.core.spec import Features, UseCase
from ml.stages.training.material import Material

PLACES = ("EWR", "JFK", "LGA")
SPACE = {
    "learning_rate": FloatRange(low=0.05, high=0.4, log=True),
    "num_leaves": IntRange(low=4, high=16),
}


def toy_plan(**changes: Any) -> ModelPlan:
    fields: dict[str, Any] = {
        "parameters": {"min_data_in_leaf": 20},
        "rule": Rule(by=("place", "hour"), smoothing=10.0),
        "search": SearchPlan(space=SPACE, trials=6),
        "max_rounds": 40,
        "early_stopping_rounds": 8,
    }
    return ModelPlan(**fields | changes)


def toy_spec(model: ModelPlan | None = None, **changes: Any) -> UseCase:
    features = Features(
        service="toy_v1",
        tables=("feat_thing_topic",),
        on_request=("speed", "weight"),
        categorical=("place",),
    )
    return small_spec(model=model or toy_plan(), features=features, segments=("place",), **changes)


def toy_rows(days: int = 30, rows: int = 80) -> pd.DataFrame:
    """The last seven days are the select window."""
    random, count = np.random.default_rng(3), days * rows
    frame = pd.DataFrame(
        {
            "event_id": [f"e{i:05d}" for i in range(count)],
            "partition_key": np.repeat([f"2020-01-{day + 1:02d}" for day in range(days)], rows),
            "decided_at": pd.date_range("2020-01-01", periods=count, freq="18min", tz="UTC"),
            "speed": random.normal(size=count),
            "weight": np.where(random.random(count) < 0.2, np.nan, random.normal(size=count)),
            "place": random.choice([*PLACES, None], count, p=[0.4, 0.3, 0.2, 0.1]),
            "hour": [str(hour) for hour in random.integers(0, 3, count)],
        }
    )
    score = frame["speed"] + (frame["place"] == "JFK") - 0.5 + np.abs(frame["weight"].fillna(0))
    frame["y"] = (random.random(count) < 1 / (1 + np.exp(-score))).astype("float64")
    window = np.where(frame["partition_key"] > f"2020-01-{days - 7:02d}", "select", "fit")
    frame.insert(0, "window", window)
    return frame


def toy_material(model: ModelPlan | None = None, rows: pd.DataFrame | None = None) -> Material:
    columns = ("speed", "weight", "place")
    return Material(toy_spec(model), toy_rows() if rows is None else rows, columns)
