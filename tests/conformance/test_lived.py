"""What only a life shows: each use case is ingested, transformed, materialized and trained once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conformance.alone import LIMIT, score_alone
from conformance.lived import (
    Lived,
    decisions,
    differences,
    sampled_instants,
    train_elsewhere,
    without_future,
)
from conformance.slices import require
from support import Fake, Fakes

from ml.core.spec import UseCase
from ml.stages import train, validate
from ml.stages.examples import label_values, model_columns, read_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
_ENTITIES = 300


def test_no_feature_changes_when_the_future_is_removed(lived: Lived, tmp_path: Path) -> None:
    """Half of a partition and all after it is taken away; earlier decisions must see the same."""
    spec, findings = lived.spec, []
    for number, (last, instant) in enumerate(sampled_instants(lived)):
        past = without_future(lived, last, instant.to_pydatetime(), tmp_path / str(number))
        sample = past.partitions[-2:]
        before = decisions(lived, sample)
        before = before[before[spec.decided_at] <= instant]
        now = decisions(past, sample)
        missing = before.index.difference(now.index)
        if len(missing):
            findings.append(f"{spec.mart} has {missing[0]} only after its decision is due")
        common = before.index.intersection(now.index)
        changed = differences(before.loc[common], now.loc[common])
        findings += [
            f"{name} is another in {count} of {len(common)} decisions up to {instant:%F %H:%M}"
            for name, count in changed.items()
        ]
    require(
        findings,
        "its SQL reads what became known later than event_at: close its window there; or it reads "
        "further back than features.lookback; or known_at in the contract is too late",
    )


def test_labels_become_known_after_the_decision(lived: Lived) -> None:
    spec, rows = lived.spec, lived.training_set()
    early = rows[rows[spec.label.known_at] <= rows[spec.decided_at]]
    example = f", such as {early[spec.key].iloc[0]}" if len(early) else ""
    require(
        [f"{len(early)} of {len(rows)} labels are known when the decision is due{example}"]
        if len(early)
        else [],
        f"let {spec.label.known_at} be when the outcome was known; nobody predicts what is known",
    )


def test_no_feature_gives_the_label_away(lived: Lived) -> None:
    """The label in disguise: alone it is as good as knowing the outcome."""
    spec, rows = lived.spec, lived.training_set()
    offset = spec.model.difference_from
    label = label_values(lived.platform, rows) - (rows[offset].to_numpy() if offset else 0)
    is_fit = (rows["window"] == "fit").to_numpy()
    found = {}
    for name in model_columns(lived.platform):
        values = rows[name]
        tried = (
            [values]
            if not offset or name in spec.features.categorical
            else [values, values - rows[offset]]
        )
        found[name] = max(score_alone(spec.problem, one, label, is_fit) for one in tried)
    require(
        [
            f"{name} alone predicts {spec.label.column} with {score:.3f} of 1"
            for name, score in found.items()
            if score > LIMIT
        ],
        "it is made from the outcome, or from what becomes known with it: take it out",
    )


def test_the_same_seed_gives_the_same_model(lived: Lived, tmp_path: Path) -> None:
    """In another process and another home, where only the tables are the same."""
    again, trained = train_elsewhere(lived, tmp_path), lived.trained
    first = {"training set": trained.dataset_digest, "model": trained.model_digest}
    first |= {f"loss of {kind}": f"{loss:.9g}" for kind, loss in trained.losses.items()}
    require(
        [
            f"the {name} is another: {value[:16]} and {again.get(name, 'none')[:16]}"
            for name, value in first.items()
            if again.get(name) != value
        ],
        "the spec and the feature views must be the same in each process: no clock, no random "
        "number, no set whose order matters; and the parameters must leave LightGBM deterministic",
    )


def test_the_model_survives_save_and_load(lived: Lived) -> None:
    """What is served is what was trained, through the platform and through MLflow alone."""
    require(
        _unlike_loaded(lived),
        "look at ml/adapters/model_files.py; or the files of the run were changed after it",
    )


def test_a_model_that_changes_on_the_way_is_caught(lived: Lived) -> None:
    """The check before catches it; no slice can break what it looks at."""
    run_id, tracking = lived.trained.run_id, lived.platform.tracking
    model = tracking.load_model(run_id)
    other: Any = Fakes(tracking, {run_id: Fake(lambda rows: model.predict(rows) + 1e-9)})
    findings = _unlike_loaded(replace(lived, platform=replace(lived.platform, tracking=other)))
    assert len(findings) == 1 and "the platform, it answers otherwise" in findings[0]


def _unlike_loaded(lived: Lived) -> list[str]:
    """How the stored model, read again in two ways, differs from the one that was logged."""
    import mlflow

    from ml.adapters.model_files import read_model

    rows = lived.training_set().tail(_ENTITIES)
    logged = read_model(lived.files)
    expected = np.asarray(logged.predict(rows))
    loaded = lived.platform.tracking.load_model(lived.trained.run_id)
    uri = lived.platform.tracking.tags(lived.trained.run_id)["model.uri"]
    served = mlflow.pyfunc.load_model(uri).predict(rows[[*(logged.columns or rows.columns)]])
    answers = {"the platform": loaded.predict(rows), "MLflow alone": served}
    return [
        f"read by {who}, it answers otherwise in "
        f"{int((np.asarray(answer) != expected).reshape(len(rows), -1).any(axis=1).sum())} of "
        f"{len(rows)} rows"
        for who, answer in answers.items()
        if not np.array_equal(np.asarray(answer), expected)
    ]


def test_online_is_offline(lived: Lived) -> None:
    """At the newest time the online store answers what the training set would hold."""
    spec, features = lived.spec, lived.platform.features
    at = lived.partitions[-1].end
    rows = read_events(lived.platform, lived.partitions[-3:]).tail(_ENTITIES)
    asked = rows.assign(**{spec.decided_at: pd.Timestamp(at)})
    online = features.online(asked, at)
    offline = features.historical(asked, spec.decided_at)[list(features.columns)]
    changed = differences(offline, online.values.set_axis(offline.index))
    findings = [
        f"{name} is another in {count} of {len(asked)} answers" for name, count in changed.items()
    ]
    if not online.values.notna().to_numpy().any():
        findings.append(f"the online store answers none of {len(asked)} questions with a value")
    require(
        findings,
        "created_at must not be later than the time at which the row was built; keys and their "
        "types must be those of the exported table; a time to live must reach from one row to the "
        "next",
    )


def test_a_model_of_shuffled_labels_is_rejected(lived: Lived) -> None:
    """It has learned nothing: if the gates let it pass, they would let anything pass."""
    shuffled: Any = _ShuffledLabels(lived.platform.lake, lived.spec)
    trained = train.run(replace(lived.platform, lake=shuffled), as_of=lived.as_of.start)
    judged: Any = validate.run(lived.platform, version=trained.version)
    passed = [gate.name for gate in judged.gates if gate.verdict.value == "PASS"]
    require(
        [f"a model of shuffled labels is {judged.decision}; it passed: {', '.join(passed)}"]
        if judged.decision == "accepted"
        else [],
        "raise the minimum of skill, or give model.rule columns and a smoothing that make it what "
        "people would do without a model: a weak rule is easy to beat",
    )


class _ShuffledLabels:
    """The lake, where each outcome is that of another event."""

    def __init__(self, real: Any, spec: UseCase) -> None:
        self._real, self._label = real, spec.label

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def read(self, area: str, table: str, keys: Any = None) -> pa.Table:
        rows = self._real.read(area, table, keys)
        if (area, table) != ("marts", self._label.table):
            return rows
        frame = rows.to_pandas()
        values = frame[self._label.column].to_numpy(copy=True)
        known = pd.notna(values)
        values[known] = np.random.default_rng(5).permutation(values[known])
        return pa.Table.from_pandas(
            frame.assign(**{self._label.column: values}), preserve_index=False
        )
