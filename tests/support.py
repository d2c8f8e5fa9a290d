"""What tests of several folders share: small specs, platforms in own homes, copies of homes."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ml.core.partitions import Cadence
from ml.core.plans import (
    Criterion,
    FloatRange,
    GatePlan,
    ModelPlan,
    ReleasePlan,
    SearchPlan,
    SegmentPlan,
)
from ml.core.ports import Platform
from ml.core.problems import ProblemType
from ml.core.spec import Coverage, Features, Label, Table, UseCase
from ml.settings import Settings
from ml.use_cases import available, load_spec

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = "flight_delay"


def reference() -> str:
    """The slug of the reference use case.

    A fork may be without it: then the test that asks is skipped, or the whole module at its import.
    """
    if REFERENCE not in available():
        pytest.skip(
            f"it needs the use case {REFERENCE}, which is not here", allow_module_level=True
        )
    return REFERENCE


def __getattr__(name: str) -> str:
    """`from support import SLUG`: the reference use case, where it is there."""
    if name == "SLUG":
        return reference()
    raise AttributeError(name)


def small_spec(**changes: Any) -> UseCase:
    """A use case that exists on paper only, with one field or another changed."""
    fields: dict[str, Any] = {
        "slug": "toy",
        "title": "Toy",
        "description": "A problem on paper",
        "owner": "team",
        "contact": "https://example.com/team",
        "impact_tier": 4,
        "problem": ProblemType.BINARY,
        "cadence": Cadence.DAY,
        "zone": "UTC",
        "coverage": Coverage(first="2020-01-01", last="2020-12-31"),
        "tables": (Table(name="events"),),
        "max_quarantine_share": 0.1,
        "mart": "fct_events",
        "key": "event_id",
        "decided_at": "decided_at",
        "decision_lead": timedelta(hours=1),
        "label": Label(
            table="fct_labels", column="y", known_at="known_at", maturity=timedelta(hours=8)
        ),
        "features": Features(service="toy_v1", tables=("feat_thing_topic",)),
        "select_partitions": 3,
        "holdout_partitions": 7,
        "model": ModelPlan(parameters={}, max_rounds=5, early_stopping_rounds=2),
        "gates": GatePlan(
            criteria=(Criterion(metric="skill", minimum=0.0),), margin=0.01, minimum_gain=0.001
        ),
        "release": ReleasePlan(canary_weight_bp=1000),
    }
    return UseCase(**fields | changes)


def short_spec() -> UseCase:
    """The reference use case with shorter windows and a smaller search: two trainings in 80 days.

    The gates are wider, too: 14 days of holdout give wider intervals than 28.
    """
    spec = load_spec(reference())
    fixed = {**spec.model.parameters, "min_data_in_leaf": 300, "bagging_fraction": 0.7}
    model = ModelPlan(
        parameters={**fixed, "num_leaves": 31, "feature_fraction": 0.5, "lambda_l2": 10.0},
        rule=spec.model.rule,
        search=SearchPlan(space={"learning_rate": FloatRange(low=0.08, high=0.12)}, trials=2),
        max_rounds=80,
        early_stopping_rounds=15,
    )
    gates = GatePlan(
        criteria=(
            Criterion(metric="auc", minimum=0.65),
            Criterion(metric="skill", minimum=0.02),
            Criterion(metric="auc", name="leak", too_good=0.85),
            Criterion(metric="calibration_error", name="calibration", maximum=0.15),
        ),
        margin=spec.gates.margin,
        minimum_gain=spec.gates.minimum_gain,
        segments=SegmentPlan(minimum_rows=400, minimum_positives=30, maximum_loss_increase=0.1),
        maximum_cost_increase=0.05,
        maximum_latency_ratio=20.0,
        minimum_label_coverage=0.98,
        replicates=500,
    )
    changes = {"select_partitions": 7, "holdout_partitions": 14, "model": model, "gates": gates}
    return spec.model_copy(update=changes)


def forget_artifacts() -> None:
    """MLflow keeps each run's folder by its id for the process; a copied home has the same ids."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


def platform_at(home: Path, spec: UseCase | None = None, **fields: Any) -> Platform:
    """A platform in `home`; several can live in one process."""
    from ml.adapters import connect

    spec = spec or short_spec()
    forget_artifacts()
    with patch.object(connect, "load_spec", lambda _: spec):
        return connect.connect(spec.slug, Settings(home=home, **fields))


class _ChangedLake:
    def __init__(self, real: Any, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        self._real, self._change = real, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def read(self, area: str, table: str, keys: Any = None) -> pa.Table:
        rows = self._real.read(area, table, keys)
        if (area, table) != ("marts", "fct_labels"):
            return rows
        return pa.Table.from_pandas(self._change(rows.to_pandas()), preserve_index=False)


def with_labels(platform: Platform, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Platform:
    """The same platform, whose labels read as `change` makes them."""
    return dataclasses.replace(platform, lake=_ChangedLake(platform.lake, change))


def copy_home(source: Path, target: Path) -> Path:
    """A copy to break: MLflow's database holds absolute paths, so they are rewritten."""
    shutil.copytree(source, target)
    shutil.rmtree(target / "feast", ignore_errors=True)
    columns = [
        ("runs", "artifact_uri"),
        ("tags", "value"),
        ("logged_models", "artifact_location"),
        ("experiments", "artifact_location"),
        ("model_versions", "storage_location"),
    ]
    database = target / "mlflow" / "mlflow.db"
    if database.exists():
        with sqlite3.connect(database) as connection:
            for table, column in columns:
                connection.execute(
                    f"update {table} set {column} = replace({column}, ?, ?)",
                    (str(source), str(target)),
                )
        connection.close()
    return target


DAYS = ("2013-03-20", "2013-03-21")  # that the integration chain has scored


class Fake:
    """A model that answers what a function says."""

    def __init__(self, answer: Callable[[pd.DataFrame], np.ndarray]) -> None:
        self.answer = answer

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        return self.answer(features)


class Fakes:
    """The real tracking, but for the models of some runs."""

    def __init__(self, real: Any, models: dict[str, Fake]) -> None:
        self._real, self._models = real, models

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def load_model(self, run_id: str, **options: Any) -> Any:
        return self._models.get(run_id) or self._real.load_model(run_id, **options)


def with_model(platform: Platform, version: int, answer: Callable[..., Any]) -> Platform:
    """The same platform, where a version answers otherwise."""
    run_id = platform.registry.version(version).run_id
    return dataclasses.replace(platform, tracking=Fakes(platform.tracking, {run_id: Fake(answer)}))


def verdicts(found: Any) -> dict[str, str]:
    return {gate.name: gate.verdict.value for gate in found.gates}


def log_of(platform: Platform, revision: int, *keys: str) -> pd.DataFrame:
    return platform.lake.read("predictions", f"revision={revision}", keys or DAYS).to_pandas()


def training_set(platform: Platform, digest: str) -> pd.DataFrame:
    rows = platform.lake.read("training_sets", digest[:32], [None])
    frame: pd.DataFrame = rows.to_pandas()
    return frame
