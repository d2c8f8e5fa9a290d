"""Runs in MLflow: found again whole, or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from support import ROOT, platform_at
from trained_runs import bare, trained

from ml.adapters import tracking_artifacts, tracking_model, tracking_record, tracking_views
from ml.adapters.tracking import MlflowTracking
from ml.core.errors import DataError
from ml.core.metric_names import computed_for
from ml.core.ports import Platform


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return platform_at(tmp_path_factory.mktemp("tracking") / "home")


@pytest.fixture(scope="module")
def tracking(platform: Platform) -> MlflowTracking:
    assert isinstance(platform.tracking, MlflowTracking)
    return platform.tracking


def artifacts_of(tracking: MlflowTracking, run_id: str, folder: str = "") -> set[str]:
    found = tracking._client.list_artifacts(run_id, folder or None)
    files = {entry.path for entry in found if not entry.is_dir}
    return files.union(*(artifacts_of(tracking, run_id, e.path) for e in found if e.is_dir))


def status_of(tracking: MlflowTracking, identity: str) -> set[str]:
    """Of the runs of an identity and their trials."""
    query = f"tags.`run.identity` = '{identity}'"
    parents = tracking._client.search_runs([tracking.experiment_id], query)
    trials = [run for p in parents for run in children(tracking, p.info.run_id)]
    return {run.info.status for run in (*parents, *trials)}


def children(tracking: MlflowTracking, run_id: str) -> list[Any]:
    query = f"tags.`mlflow.parentRunId` = '{run_id}'"
    return list(tracking._client.search_runs([tracking.experiment_id], query))


# --- everything is found again ---


@pytest.fixture(scope="module")
def logged(tracking: MlflowTracking) -> tuple[Any, str]:
    run = trained()
    return run, tracking.log_training(run)


def test_a_run_says_everything(tracking: MlflowTracking, logged: tuple[Any, str]) -> None:
    run, run_id = logged
    found = tracking._client.get_run(run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", run.name)
    assert found.info.end_time - found.info.start_time >= 1000 * run.seconds
    assert found.data.params == {"learning_rate": "0.1", "model": "lightgbm"}
    assert run.metrics.items() <= found.data.metrics.items()
    assert run.tags.items() <= found.data.tags.items()
    assert found.data.tags["mlflow.note.content"] == run.description
    assert found.data.tags["mlflow.source.git.commit"] == run.tags["git.commit"]
    history = tracking._client.get_metric_history(run_id, "curve/select_log_loss")
    assert [point.value for point in sorted(history, key=lambda point: point.step)] == (
        pytest.approx(run.curves["curve/select_log_loss"])
    )
    written = {*run.figures, *run.tables, *run.documents, "rule/rule.json", "rule/contract.json"}
    assert artifacts_of(tracking, run_id) == written
    assert tracking.document(run_id, "notes.md") == "# Notes"


def test_tables_are_what_the_pages_can_open(
    tracking: MlflowTracking, logged: tuple[Any, str]
) -> None:
    _, run_id = logged
    table = json.loads(tracking.document(run_id, "tables/by_carrier.json"))
    assert table == {"columns": ["carrier", "log_loss"], "data": [["AA", 0.5], ["UA", None]]}
    listed = json.loads(tracking.tags(run_id)["mlflow.loggedArtifacts"])
    assert listed == [{"path": "tables/by_carrier.json", "type": "table"}]


def test_the_data_set_has_address_digest_rows_and_columns(
    tracking: MlflowTracking, logged: tuple[Any, str]
) -> None:
    run, run_id = logged
    [used] = tracking._client.get_run(run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("training_set", "d" * 32)
    assert json.loads(used.dataset.source) == {"uri": run.dataset_address}
    assert json.loads(used.dataset.profile) == {
        "num_rows": 1000,
        "fit_rows": 900,
        "select_rows": 100,
    }
    columns = json.loads(used.dataset.schema)["mlflow_colspec"]
    assert [column["name"] for column in columns] == ["carrier", "is_late"]


def test_trials_are_nested_runs(tracking: MlflowTracking, logged: tuple[Any, str]) -> None:
    run, run_id = logged
    trials = sorted(children(tracking, run_id), key=lambda trial: trial.info.run_name)
    assert [trial.info.run_name for trial in trials] == ["trial-00", "trial-01"]
    assert {trial.info.status for trial in trials} == {"FINISHED"}
    first, given_up = (trial.data for trial in trials)
    assert first.params == {"learning_rate": "0.1", "rounds": "50"}
    assert (first.metrics, given_up.metrics) == ({"select/log_loss": 0.43}, {})
    assert (first.tags["stage"], first.tags["search.of"]) == ("search", run.name)
    assert given_up.tags["trial.state"] == "given up"
    assert trials[0].info.end_time - trials[0].info.start_time == 2_000


def test_metrics_belong_to_model_and_data_set(
    tracking: MlflowTracking, logged: tuple[Any, str]
) -> None:
    run, run_id = logged
    model_id = tracking.tags(run_id)["model.uri"].removeprefix("models:/")
    model = tracking._client.get_logged_model(model_id)
    assert (str(model.status), model.source_run_id) == ("READY", run_id)
    assert model.name == f"lightgbm-{run.name}"
    [metric] = model.metrics or []
    assert (metric.key, metric.value, metric.dataset_name) == (
        *("select/log_loss", 0.43),
        "training_set",
    )


# --- a run that breaks off ---


def test_a_run_that_somebody_made_by_hand_has_no_model(tracking: MlflowTracking) -> None:
    run_id = tracking._client.create_run(tracking.experiment_id).info.run_id
    with pytest.raises(DataError, match=r"no tag model\.uri"):
        tracking.load_model(run_id)
    with pytest.raises(DataError, match="no artifact"):
        tracking.document(run_id, "spec.json")
    assert tracking.evidence(run_id) is None


def _fail(error: BaseException) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        (tracking_record.Recorder, "_dataset", OSError("disk")),
        (tracking_model, "_save", OSError("disk")),
        (tracking_record.Recorder, "_log", ValueError("not a number")),
        (tracking_record.Recorder, "_log_trials", KeyboardInterrupt()),
        (tracking_artifacts.Artifacts, "_write", OSError("disk")),
        (tracking_model, "digests", KeyboardInterrupt()),
        (tracking_model, "_save", MlflowException("Invalid value", INVALID_PARAMETER_VALUE)),
    ],
)
def test_a_half_logged_run_is_closed_and_never_found(
    tracking: MlflowTracking,
    owner: Any,
    name: str,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = trained(figures={}, curves={})
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, _fail(error))
        with pytest.raises(type(error)):
            tracking.log_training(run)
    assert "FAILED" in status_of(tracking, run.identity) <= {"FAILED", "FINISHED"}
    assert tracking.find(run.identity) is None
    assert tracking.find(run.identity) != tracking.log_training(run)
    assert tracking.find(run.identity)


_KILLED = """
import os
from support import platform_at
from trained_runs import trained
from pathlib import Path
from ml.adapters import tracking_artifacts
tracking_artifacts.Artifacts._write = lambda *_: os._exit(9)
platform_at(Path(os.environ["HOME_OF_TEST"])).tracking.log_training(trained(identity="killed"))
"""


def test_a_killed_run_is_closed_by_the_next_look(
    platform: Platform, tracking: MlflowTracking
) -> None:
    home = platform.tracking.settings.home  # type: ignore[attr-defined]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = {**os.environ, "HOME_OF_TEST": str(home), "PYTHONPATH": paths}
    assert subprocess.run([sys.executable, "-c", _KILLED], env=env, check=False).returncode == 9
    assert "RUNNING" in status_of(tracking, "killed")
    assert tracking.find("killed") is None
    assert status_of(tracking, "killed") == {"KILLED"}, "trials that were done are no use"
    models = tracking._client.search_logged_models([tracking.experiment_id])
    assert {str(model.status) for model in models} <= {"READY", "FAILED"}


# --- validation ---

EVIDENCE = {
    "decision": "rejected",
    "holdout": {"first": "2013-05-03", "last": "2013-05-30", "rows": 900, "sha256": "a" * 64},
}


def _log_validation(tracking: MlflowTracking, run_id: str, auc: float = 0.7) -> None:
    metrics = {"holdout/auc": auc, "holdout/auc_lower": auc - 0.01}
    table = pd.DataFrame({"name": ["auc"], "verdict": ["PASS"]})
    tracking.log_validation(
        run_id, EVIDENCE, metrics, tables={"validation/gates.json": table}, figures={}
    )


def test_a_validation_twice_is_one_validation(tracking: MlflowTracking) -> None:
    run = trained()
    run_id = tracking.log_training(run)
    for _ in range(2):
        _log_validation(tracking, run_id)
    assert tracking.evidence(run_id) == EVIDENCE
    table = json.loads(tracking.document(run_id, "validation/gates.json"))
    assert table["data"] == [["auc", "PASS"]]
    assert len(tracking._client.get_metric_history(run_id, "holdout/auc")) == 1
    found = tracking._client.get_run(run_id)
    assert found.data.tags["release.decision"] == "rejected"
    names = [used.dataset.name for used in found.inputs.dataset_inputs]
    assert sorted(names) == ["holdout", "training_set"]
    listed = json.loads(found.data.tags["mlflow.loggedArtifacts"])
    paths = {entry["path"] for entry in listed}
    assert paths == {*run.tables, "validation/gates.json"}


def test_another_verdict_replaces_the_first(tracking: MlflowTracking) -> None:
    run_id = tracking.log_training(bare())
    for auc in (0.7, 0.6):
        _log_validation(tracking, run_id, auc)
    assert tracking._client.get_run(run_id).data.metrics["holdout/auc"] == 0.6


# --- what the pages show of experiment and model ---


def _view(tracking: MlflowTracking, key: str) -> dict[str, Any]:
    tags = tracking._client.get_experiment(tracking.experiment_id).tags
    envelope = json.loads(tags[f"mlflow.sharedViewState.{key}"])
    assert isinstance(envelope["name"], str) and isinstance(envelope["createdAt"], int)
    state: dict[str, Any] = json.loads(envelope["state"])
    return state


def test_saved_views_show_what_is_logged(tracking: MlflowTracking, platform: Platform) -> None:
    state = _view(tracking, tracking_views.CANDIDATES)
    names = list(computed_for(platform.spec.scope))
    assert {f"metrics.`holdout/{name}`" for name in names} <= set(state["selectedColumns"])
    assert state["columnOrder"][2:] == state["selectedColumns"]
    search = _view(tracking, tracking_views.SEARCH)
    assert "params.`learning_rate`" in search["selectedColumns"]
    for view in (state, search):
        sections = {section["uuid"] for section in view["compareRunSections"]}
        assert {c["metricSectionId"] for c in view["compareRunCharts"] if not c["deleted"]} <= (
            sections
        )


def test_views_fit_into_a_tag(tracking: MlflowTracking) -> None:
    """MLflow cuts longer ones without a word."""
    tags = tracking_views.experiment_tags(tracking.spec)
    assert max(map(len, tags.values())) < 16_000
    found = tracking._client.get_experiment(tracking.experiment_id).tags
    assert {name: found[name] for name in tags} == tags


def test_the_description_follows_the_spec(tracking: MlflowTracking) -> None:
    changed = tracking.spec.model_copy(update={"description": "Another question."})
    other = MlflowTracking(changed, tracking.settings, tracking.uri)
    for which in (other, tracking):
        which.log_training(bare())
        note = tracking._client.get_experiment(tracking.experiment_id).tags["mlflow.note.content"]
        assert note.startswith(which.spec.description)


def test_versions_and_model_describe_themselves(
    platform: Platform, tracking: MlflowTracking
) -> None:
    run_id = tracking.log_training(bare())
    version = platform.registry.register(run_id, {"as_of": "now"}, description="A candidate.")
    client, name = tracking._client, platform.spec.names.registered_model
    assert client.get_model_version(name, str(version.version)).description == "A candidate."
    platform.registry.describe(version.version, "Accepted: all 9 gates pass.")
    found = client.get_model_version(name, str(version.version))
    assert found.description == "Accepted: all 9 gates pass."
    model = client.get_registered_model(name)
    assert f"models:/{name}@champion" in model.description
    client.update_registered_model(name, description="old")
    platform.registry.register(run_id, {})
    assert client.get_registered_model(name).description == model.description
