"""Trainings that never happened, to be recorded: small models on made-up rows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any
from uuid import uuid4

import lightgbm
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ml.adapters import model_files, model_writing
from ml.adapters.model_files import Contract
from ml.core.trained_run import TrainedRun, Trial

COLUMNS = ("delay_mean_min", "overdue_count", "carrier")
CATEGORIES = {"carrier": ("AA", "B6", "UA")}
KINDS = ("lightgbm", "logistic", "rule")


@cache
def rows() -> pd.DataFrame:
    """200 rows; some have no carrier, and some one that no training ever saw."""
    rng = np.random.default_rng(7)
    carrier = rng.choice(np.array(["AA", "B6", "UA", "ZZ", None], dtype=object), 200)
    numbers = {name: rng.normal(size=200) for name in COLUMNS[:2]}
    return pd.DataFrame({**numbers, "carrier": carrier})


def _labels() -> np.ndarray:
    return (rows()["delay_mean_min"] + rows()["overdue_count"] > 0.5).to_numpy("float64")


@cache
def files_of(kind: str) -> dict[str, bytes]:
    """Files of a fitted model."""
    contract = Contract(kind, "binary", COLUMNS, CATEGORIES)
    if kind == "rule":
        by_carrier = Contract(kind, "binary", ("carrier",), CATEGORIES)
        return model_writing.rule_files(by_carrier, base=0.25, groups={(0,): 0.2, (2,): 0.4})
    matrix = contract.encode(rows())
    if kind == "logistic":
        return model_writing.linear_files(contract, _linear(matrix))
    data = lightgbm.Dataset(matrix, _labels(), params={"verbose": -1})
    fixed = {"objective": "binary", "num_threads": 1, "verbose": -1}
    return model_writing.lightgbm_files(contract, lightgbm.train(fixed, data, 5))


@cache
def files_of_classes() -> dict[str, bytes]:
    """Files of a model with three classes, by which of two numbers is large."""
    contract = Contract("lightgbm", "multiclass", COLUMNS, CATEGORIES, classes=("a", "b", "c"))
    found = rows()
    label = (found["delay_mean_min"] > 0).astype(int) + (found["overdue_count"] > 0).astype(int)
    data = lightgbm.Dataset(contract.encode(found), label, params={"verbose": -1})
    fixed = {"objective": "multiclass", "num_class": 3, "num_threads": 1, "verbose": -1}
    return model_writing.lightgbm_files(contract, lightgbm.train(fixed, data, 5))


@cache
def files_of_forecast() -> dict[str, bytes]:
    """Files of a naive forecast, with an interval around it that has learned from all columns."""
    contract = Contract("lightgbm", "regression", COLUMNS, CATEGORIES, offset="delay_mean_min")
    fixed = {"objective": "quantile", "num_threads": 1, "verbose": -1}
    ends = []
    for share in (0.1, 0.9):
        data = lightgbm.Dataset(contract.encode(rows()), _labels(), params={"verbose": -1})
        ends.append(lightgbm.train({**fixed, "alpha": share}, data, 5))
    naive = Contract("persistence", "regression", ("delay_mean_min",))
    interval = model_writing.interval_files(contract, *ends, coverage=0.8, widen=0.1)
    return {**model_writing.naive_files(naive), **interval}


def _linear(matrix: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    scaling = StandardScaler().fit(matrix)
    model = LogisticRegression().fit(model_files.scaled(scaling, matrix), _labels())
    return Pipeline([("scaling", scaling), ("model", model)])


def trained(kind: str = "lightgbm", **changes: Any) -> TrainedRun:
    """A training of its own identity, with one of everything."""
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    table = pd.DataFrame({"carrier": ["AA", "UA"], "log_loss": [0.5, None]})
    run = TrainedRun(
        name="train-2013-06-01",
        identity=uuid4().hex,
        seconds=60,
        description="LightGBM is the best of 3.\n\nDetails.",
        parameters={"learning_rate": 0.1, "model": kind},
        metrics={"select/log_loss": 0.43, "select/log_loss_lower": 0.42, "latency_us": 5.0},
        tags={
            "stage": "train",
            "as_of": "2013-06-01T04:00:00+00:00",
            "model.kind": kind,
            "requested_by": "a test",
            "mlflow.source.name": "a test",
            "git.commit": "4d7fb9c" + "0" * 33,
        },
        curves={"curve/select_log_loss": [0.6 - i / 4_000 for i in range(1_100)]},
        figures={"plots/roc.png": figure},
        tables={"tables/by_carrier.json": table},
        documents={"notes.md": "# Notes", "spec.json": "{}"},
        trials=[
            Trial(0, {"learning_rate": 0.1}, rounds=50, seconds=2.0, loss=0.43),
            Trial(1, {"learning_rate": 0.2}, rounds=7, seconds=0.5, loss=None),
        ],
        dataset_address="/lake/training_sets/abc.parquet",
        dataset_digest="d" * 64,
        dataset_rows={"fit": 900, "select": 100},
        dataset_columns={"carrier": "string", "is_late": "double"},
        model=files_of(kind),
        rule=files_of("rule"),
        example=rows().head(5),
    )
    return replace(run, **changes)


def bare(kind: str = "lightgbm", **changes: Any) -> TrainedRun:
    """The same with a model only, where the rest does not matter."""
    nothing = {"figures": {}, "tables": {}, "curves": {}, "trials": []}
    return trained(kind, **nothing | changes)
