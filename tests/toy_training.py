"""Small training sets on paper, one for each problem type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from support import small_spec

from ml.core.plans import FloatRange, IntRange, ModelPlan, Rule, SearchPlan
from ml.core.problems import ProblemType
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


# --- several classes ---

CLASSES = ("clear", "haze", "fog")


def class_spec(model: ModelPlan | None = None, **changes: Any) -> UseCase:
    label = toy_spec().label.model_copy(update={"classes": CLASSES})
    return toy_spec(model, problem=ProblemType.MULTICLASS, label=label, **changes)


def class_rows(days: int = 30, rows: int = 80) -> pd.DataFrame:
    """The same numbers and places; a class by two scores of them."""
    random, frame = np.random.default_rng(4), toy_rows(days, rows)
    here = (frame["place"] == "JFK").to_numpy("float64")
    weight = np.abs(frame["weight"].fillna(0)).to_numpy()
    scores = np.column_stack([np.ones(len(frame)), frame["speed"] + here, 2 * weight - 1])
    noise = random.gumbel(size=scores.shape)
    return frame.assign(y=np.argmax(1.5 * scores + noise, axis=1).astype("float64"))


def class_material(model: ModelPlan | None = None, rows: pd.DataFrame | None = None) -> Material:
    columns = ("speed", "weight", "place")
    return Material(class_spec(model), class_rows() if rows is None else rows, columns)


# --- a value with a trend ---

TREND_COLUMNS = ("last", "before", "push", "place")


def trend_plan(**changes: Any) -> ModelPlan:
    fields: dict[str, Any] = {
        "parameters": {"min_data_in_leaf": 20, "learning_rate": 0.1, "num_leaves": 15},
        "rule": Rule(by=("place",), smoothing=10.0),
        "max_rounds": 150,
        "early_stopping_rounds": 15,
        "difference_from": "last",
        "naive": {"persistence": "last", "seasonal_naive": "before"},
        "interval": 0.8,
    }
    return ModelPlan(**fields | changes)


def trend_spec(model: ModelPlan | None = None, **changes: Any) -> UseCase:
    features = Features(
        service="toy_v1",
        tables=("feat_thing_topic",),
        on_request=("last", "before", "push"),
        categorical=("place",),
    )
    return small_spec(
        model=model or trend_plan(),
        problem=ProblemType.REGRESSION,
        features=features,
        segments=("place",),
        **changes,
    )


def trend_rows(days: int = 100, rows: int = 20, seed: int = 3) -> pd.DataFrame:
    """A level that rises by 2 units a day, and is `last` now; the label is its value in a week.

    The last thirty days are the select window, all of them above everything in the fit window. The
    noise is larger where `push` is.
    """
    random, count = np.random.default_rng(seed), days * rows
    day = np.repeat(np.arange(days), rows)
    keys = pd.date_range("2020-01-01", periods=days).strftime("%Y-%m-%d").to_numpy()
    push = random.uniform(-1, 1, count)
    level = 2.0 * day + random.normal(size=count)
    frame = pd.DataFrame(
        {
            "event_id": [f"e{i:05d}" for i in range(count)],
            "partition_key": keys[day],
            "decided_at": pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(day, unit="D"),
            "last": level,
            "before": level - 14.0 + random.normal(size=count),
            "push": push,
            "place": random.choice(PLACES, count),
        }
    )
    noise = random.normal(size=count) * (1 + np.maximum(push, 0))
    frame["y"] = level + 14 + 6 * np.sign(push) * push**2 + noise
    frame.insert(0, "window", np.where(day >= days - 30, "select", "fit"))
    return frame


def trend_material(model: ModelPlan | None = None, rows: pd.DataFrame | None = None) -> Material:
    return Material(trend_spec(model), trend_rows() if rows is None else rows, TREND_COLUMNS)
