"""Train: a point-in-time training set, a model, a tracked run, a registered version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa

from ml.core.digests import frame_digest, json_digest
from ml.core.errors import ConfigError
from ml.core.losses import base_rate_prediction, row_loss
from ml.core.ports import Platform, TrainedRun
from ml.core.problems import ProblemType
from ml.core.statistics import clustered_auc, clustered_ratio
from ml.core.windows import Windows
from ml.stages import plots
from ml.stages.examples import label_values, model_columns
from ml.stages.training_set import read_training_set

_OBJECTIVE = {ProblemType.BINARY: "binary", ProblemType.REGRESSION: "regression"}
# One thread, column-wise, fixed seed and row order: the same data gives the same bytes.
_REPRODUCIBLE = {"deterministic": True, "force_col_wise": True, "num_threads": 1, "verbose": -1}
# What a version repeats of its run: validation and promotion need no more than these.
_VERSION_TAGS = (
    *("as_of", "window.select", "window.holdout", "base_rate"),
    *("dataset.sha256", "run.identity", "model.sha256", "git.commit"),
)


@dataclass(frozen=True)
class TrainResult:
    """A candidate.

    Attributes:
        is_new: False if the same data, code, spec and seed had been trained before.
        dataset_digest: SHA-256 of the training set's content.
        model_digest: SHA-256 of the model file.
    """

    version: int
    run_id: str
    is_new: bool
    identity: str
    rows: int
    dataset_digest: str
    model_digest: str
    url: str


def run(platform: Platform, *, as_of: datetime, requested_by: str = "command line") -> TrainResult:
    """Train a candidate from what was known at `as_of`, and register it.

    The holdout is not read here: `validate` reads it, once.
    The same data, code, spec and seed find the finished run again.

    Args:
        requested_by: who or what asked for it, for the run's record.

    Raises:
        ConfigError: if there is not enough closed data before `as_of`.
        DataError: if a window has fewer than two classes.
    """
    platform.tracking.ping()
    windows = platform.spec.windows(as_of)
    examples = read_training_set(platform, windows)
    digest = frame_digest(examples)
    identity = json_digest(
        {
            "data": digest,
            "code": platform.code_digest,
            "spec": platform.spec.model_dump(mode="json"),
        }
    )
    run_id = platform.tracking.find(identity)
    is_new = run_id is None
    if run_id is None:
        address = _store(platform, examples, digest)
        trained = _train(platform, windows, examples, identity, digest, address, requested_by)
        run_id = platform.tracking.log_training(trained)
    tags = platform.tracking.tags(run_id)
    version = platform.registry.register(run_id, {name: tags[name] for name in _VERSION_TAGS})
    return TrainResult(
        version=version.version,
        run_id=run_id,
        is_new=is_new,
        identity=identity,
        rows=len(examples),
        dataset_digest=digest,
        model_digest=tags["model.sha256"],
        url=platform.tracking.url(run_id),
    )


def _store(platform: Platform, examples: pd.DataFrame, digest: str) -> str:
    """Keep the training set in the lake, named by its content; returns its address."""
    name = digest[:32]
    rows = pa.Table.from_pandas(examples, preserve_index=False)
    platform.lake.write("training_sets", name, None, rows)
    return platform.lake.address("training_sets", name, None)


def _train(
    platform: Platform,
    windows: Windows,
    examples: pd.DataFrame,
    identity: str,
    digest: str,
    address: str,
    requested_by: str,
) -> TrainedRun:
    spec = platform.spec
    fit, select = (examples[examples["window"] == name] for name in ("fit", "select"))
    if spec.problem not in _OBJECTIVE:
        raise ConfigError(
            f"{spec.slug} is a {spec.problem} problem",
            expected="one that can be trained: " + ", ".join(_OBJECTIVE),
            repair="state another problem in the spec",
        )
    parameters = {
        "objective": _OBJECTIVE[spec.problem],
        "seed": spec.model.seed,
        **_REPRODUCIBLE,
        **spec.model.parameters,
    }
    booster, curve = _boost(platform, parameters, fit, select)
    columns = model_columns(platform)
    base_rate = base_rate_prediction(spec.problem, label_values(platform, fit))
    prediction = np.asarray(booster.predict(select[columns].to_numpy(), num_threads=1))
    as_of_key = spec.calendar.containing(windows.as_of).key
    labels = label_values(platform, select)
    return TrainedRun(
        name=spec.names.run("train", as_of_key),
        identity=identity,
        description=f"{spec.title}: LightGBM of {booster.best_iteration} trees on {len(fit):,} "
        f"rows, as of {as_of_key}; the holdout is read by the validation only.",
        parameters={**parameters, "rounds": booster.best_iteration, "features": len(columns)},
        metrics=_select_metrics(platform, select, prediction, base_rate),
        tags={
            "stage": "train",
            "as_of": windows.as_of.isoformat(),
            "base_rate": repr(float(base_rate[0])),
            "dataset.sha256": digest,
            "dataset.path": address,
            "feature_service": spec.features.service,
            "window.fit": f"{windows.fit[0].key}..{windows.fit[-1].key}",
            "window.select": f"{windows.select[0].key}..{windows.select[-1].key}",
            "window.holdout": f"{windows.holdout[0].key}..{windows.holdout[-1].key}",
            "code.sha256": platform.code_digest,
            "requested_by": requested_by,
            "mlflow.source.name": requested_by,
            **platform.code_tags,
        },
        curves={f"curve/select_{spec.problem.loss_name}": curve},
        figures={
            "calibration.png": plots.calibration(
                labels, prediction, title=f"Calibration on the select window, as of {as_of_key}"
            )
        },
        dataset_address=address,
        dataset_digest=digest,
        booster=booster,
        example=select[columns].head(5),
    )


def _boost(
    platform: Platform, parameters: Mapping[str, Any], fit: pd.DataFrame, select: pd.DataFrame
) -> tuple[lightgbm.Booster, list[float]]:
    columns = model_columns(platform)
    plan = platform.spec.model
    train = lightgbm.Dataset(
        fit[columns].to_numpy(), label_values(platform, fit), feature_name=columns
    )
    history: dict[str, dict[str, list[float]]] = {}
    booster = lightgbm.train(
        dict(parameters),
        train,
        plan.max_rounds,
        valid_sets=[train.create_valid(select[columns].to_numpy(), label_values(platform, select))],
        valid_names=["select"],
        callbacks=[
            lightgbm.early_stopping(plan.early_stopping_rounds, verbose=False),
            lightgbm.record_evaluation(history),
        ],
    )
    return booster, next(iter(history["select"].values()))


def _select_metrics(
    platform: Platform, select: pd.DataFrame, prediction: np.ndarray, base_rate: np.ndarray
) -> dict[str, float]:
    problem, plan = platform.spec.problem, platform.spec.gates
    label, cluster = label_values(platform, select), select["partition_key"].to_numpy("str")
    loss = row_loss(problem, label, prediction)
    base_loss = row_loss(problem, label, np.broadcast_to(base_rate, label.shape))
    options = {"replicates": plan.replicates, "seed": plan.seed}
    skill = clustered_ratio(base_loss - loss, base_loss, cluster, **options)
    metrics = {
        f"select/{problem.loss_name}": float(loss.mean()),
        f"select/base_rate_{problem.loss_name}": float(base_loss.mean()),
        "select/skill": skill.value,
        "select/skill_lower": skill.lower,
        "select/skill_upper": skill.upper,
    }
    if problem is ProblemType.BINARY:
        metrics["select/auc"] = clustered_auc(label, prediction, cluster, **options).value
    return metrics
