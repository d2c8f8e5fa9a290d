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

from ml.adapters import model_files
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
        return model_files.rule_files(by_carrier, base=0.25, groups={(0,): 0.2, (2,): 0.4})
    matrix = contract.encode(rows())
    if kind == "logistic":
        return model_files.linear_files(contract, _linear(matrix))
    data = lightgbm.Dataset(matrix, _labels(), params={"verbose": -1})
    fixed = {"objective": "binary", "num_threads": 1, "verbose": -1}
    return model_files.lightgbm_files(contract, lightgbm.train(fixed, data, 5))


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
