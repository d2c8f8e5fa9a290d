"""Train: a point-in-time training set, its competitors, a tracked run, a registered version."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from ml.core.digests import frame_digest, json_digest
from ml.core.errors import ConfigError
from ml.core.ports import Platform
from ml.stages.examples import model_columns, require_transformed
from ml.stages.stale import stale_warnings
from ml.stages.training.changes import changed_plan
from ml.stages.training.contest import compete
from ml.stages.training.material import Material
from ml.stages.training.parameters import check_plan
from ml.stages.training.record import TRAINING, Facts, Record
from ml.stages.training_set import read_training_set

# What a version repeats of its run: validation and promotion need no more than these.
_VERSION_TAGS = (
    *("as_of", "window.select", "window.holdout", "feature_service", "latency_us"),
    *("model.kind", "model.sha256", "contract.sha256", "interval.sha256"),
    *("dataset.sha256", "spec.sha256"),
    *("run.identity", "git.commit", "requested_by"),
)


@dataclass(frozen=True)
class TrainResult:
    """A candidate, or an experiment.

    Attributes:
        version: of the registered model; 0 for an experiment, which is never registered.
        is_new: False if the same data, code and spec had been trained before.
        chosen: the competitor that goes on.
        losses: on the select window, by competitor, the best first.
        trials: how many points the search tried.
        dataset_digest: SHA-256 of the training set's content.
        model_digest: SHA-256 of the model file.
        warnings: what is stale of the windows, the holdout too if it is a candidate.
    """

    version: int
    run_id: str
    is_new: bool
    chosen: str
    losses: Mapping[str, float]
    trials: int
    identity: str
    rows: int
    dataset_digest: str
    model_digest: str
    url: str
    warnings: tuple[str, ...] = ()


def run(
    platform: Platform,
    *,
    as_of: datetime,
    requested_by: str = "command line",
    settings: Sequence[str] = (),
    is_trial: bool = False,
) -> TrainResult:
    """Train competitors from what was known at `as_of`, record the best, and register it.

    The holdout is not read here: `validate` reads it, once; but a candidate must have one.
    The same data, code and spec find the finished run again.

    Args:
        requested_by: who or what asked for it, for the run's record.
        settings: `key=value`, what an experiment changes of the spec's model.
        is_trial: an experiment: recorded, never registered.

    Raises:
        ConfigError: if there is not enough closed data before `as_of`, or LightGBM does not know a
            parameter, or refuses it.
        DataError: if a partition was not transformed, or a window does not hold the classes, or
            the values, to learn and choose from.
        TransientError: if the tracking store is away; nothing is registered then.
    """
    began = time.perf_counter()
    platform = _changed(platform, settings, is_trial=is_trial)
    spec = platform.spec
    check_plan(spec.problem, spec.model, classes=len(spec.label.classes))
    windows = spec.windows(as_of)
    read = (*windows.fit, *windows.select, *(() if is_trial else windows.holdout))
    require_transformed(platform, read)
    platform.tracking.ping()
    examples = read_training_set(platform, windows)
    digest = frame_digest(examples)
    identity = _identity(platform, digest, is_trial=is_trial)
    run_id = platform.tracking.find(identity)
    is_new = run_id is None
    if run_id is None:
        address = _store(platform, examples, digest)
        facts = Facts(windows, identity, began, digest, address, is_trial, requested_by)
        run_id = _train(platform, facts, examples)
    training = json.loads(platform.tracking.document(run_id, TRAINING))
    tags = platform.tracking.tags(run_id)
    return TrainResult(
        version=0 if is_trial else _register(platform, run_id, tags, training),
        run_id=run_id,
        is_new=is_new,
        chosen=training["chosen"],
        losses=training["losses"],
        trials=training["trials"],
        identity=identity,
        rows=len(examples),
        dataset_digest=digest,
        model_digest=tags["model.sha256"],
        url=platform.tracking.url(run_id),
        warnings=stale_warnings(platform, {partition.key for partition in read}),
    )


def _changed(platform: Platform, settings: Sequence[str], *, is_trial: bool) -> Platform:
    if not settings:
        return platform
    slug = platform.spec.slug
    if not is_trial:
        raise ConfigError(
            f"--set {settings[0]} without --trial",
            expected="candidates that are trained as the spec says",
            repair="add --trial for an experiment; a change that should last goes to `model` in "
            f"ml/use_cases/{slug}/spec.py",
        )
    model = changed_plan(platform.spec.model, settings)
    return dataclasses.replace(platform, spec=platform.spec.model_copy(update={"model": model}))


def _identity(platform: Platform, digest: str, *, is_trial: bool) -> str:
    spec = platform.spec.model_dump(mode="json")
    trial = {"trial": True} if is_trial else {}
    return json_digest({"data": digest, "code": platform.code_digest, "spec": spec, **trial})


def _store(platform: Platform, examples: pd.DataFrame, digest: str) -> str:
    """Keep the training set in the lake, named by its content; returns its address."""
    name = digest[:32]
    rows = pa.Table.from_pandas(examples, preserve_index=False)
    platform.lake.write("training_sets", name, None, rows)
    return platform.lake.address("training_sets", name, None)


def _train(platform: Platform, facts: Facts, examples: pd.DataFrame) -> str:
    material = Material(platform.spec, examples, tuple(model_columns(platform)))
    record = Record(platform, facts, material, compete(material))
    return platform.tracking.log_training(record.run())


def _register(
    platform: Platform, run_id: str, tags: Mapping[str, str], training: Mapping[str, Any]
) -> int:
    chosen, losses = training["chosen"], training["losses"]
    loss = platform.spec.problem.loss_name.replace("_", " ")
    others = ", ".join(f"{kind} {value:.4f}" for kind, value in losses.items() if kind != chosen)
    rows = sum(training["rows"].values())
    description = (
        f"Not validated yet. {chosen}, trained on {rows:,} rows as of {tags['as_of'][:10]}: "
        f"{loss} {losses[chosen]:.4f} on the select window ({others})."
    )
    kept = {name: tags[name] for name in _VERSION_TAGS if name in tags}
    return platform.registry.register(run_id, kept, description=description).version
