"""Models in MLflow: they answer as before, hold no pickle, and a broken one is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import platform_at
from trained_runs import KINDS, bare, files_of_classes, files_of_forecast, rows

from ml.adapters.tracking import MlflowTracking
from ml.core.errors import DataError


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> MlflowTracking:
    found = platform_at(tmp_path_factory.mktemp("tracking") / "home").tracking
    assert isinstance(found, MlflowTracking)
    return found


def model_folder(tracking: MlflowTracking, run_id: str) -> Path:
    model_id = tracking.tags(run_id)["model.uri"].removeprefix("models:/")
    location = tracking._client.get_logged_model(model_id).artifact_location
    return Path(location.removeprefix("file://"))


@pytest.mark.parametrize("kind", KINDS)
def test_models_and_rules_answer_as_before(tracking: MlflowTracking, kind: str) -> None:
    """Also for a row without a carrier, and for one that training never saw."""
    from ml.adapters.model_files import read_model

    run = bare(kind)
    run_id = tracking.log_training(run)
    assert tracking.find(run.identity) == run_id
    model, rule = tracking.load_model(run_id), tracking.load_rule(run_id)
    assert (model.kind, rule.kind) == (kind, "rule")
    assert model.contract_sha256 == tracking.tags(run_id)["contract.sha256"]
    np.testing.assert_array_equal(model.predict(rows()), read_model(run.model).predict(rows()))
    np.testing.assert_array_equal(rule.predict(rows()), read_model(run.rule).predict(rows()))


def test_a_missing_column_is_named(tracking: MlflowTracking) -> None:
    model = tracking.load_model(tracking.log_training(bare()))
    with pytest.raises(DataError, match="overdue_count"):
        model.predict(rows().drop(columns="overdue_count"))


# --- as MLflow's own tools see it ---


@pytest.mark.parametrize("kind", KINDS)
def test_pyfunc_returns_probabilities_without_pickle(
    tracking: MlflowTracking, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    run_id = tracking.log_training(bare(kind))
    uri = tracking.tags(run_id)["model.uri"]
    answer = mlflow.pyfunc.load_model(uri).predict(rows())
    np.testing.assert_array_equal(answer, tracking.load_model(run_id).predict(rows()))
    assert ((answer >= 0) & (answer <= 1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_folder_holds_no_pickle_and_pins_what_it_needs(
    tracking: MlflowTracking, kind: str
) -> None:
    folder = model_folder(tracking, tracking.log_training(bare(kind)))
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "model_files.py", "contract.json", "requirements.txt"} <= names
    assert {"input_example.json"} <= names
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert path.suffix not in {".pkl", ".pickle", ".joblib", ".pyc"}
        assert not path.read_bytes().startswith(b"\x80")  # how every pickle begins
    required = (folder / "requirements.txt").read_text().split()
    assert all(re.fullmatch(r"[\w-]+==[\d.]+\S*", line) for line in required)
    assert {line.split("==")[0] for line in required} >= {"mlflow", "numpy", "pandas"}
    assert "signature" in (folder / "MLmodel").read_text()


def test_classes_have_a_column_each_as_mlflow_sees_them(tracking: MlflowTracking) -> None:
    import mlflow

    run_id = tracking.log_training(bare(model=files_of_classes()))
    served = mlflow.pyfunc.load_model(tracking.tags(run_id)["model.uri"])
    answer = served.predict(rows())
    assert answer.shape == (200, 3) and answer.sum(axis=1) == pytest.approx(1)
    np.testing.assert_array_equal(answer, tracking.load_model(run_id).predict(rows()))
    [output] = served.metadata.signature.outputs.to_dict()
    assert output["tensor-spec"]["shape"] == (-1, 3)


def forecast(**changes: Any) -> Any:
    return bare("persistence", model=files_of_forecast(), **changes)


def test_a_forecast_is_loaded_with_its_interval(tracking: MlflowTracking) -> None:
    import mlflow

    run_id = tracking.log_training(forecast())
    model = tracking.load_model(run_id)
    answer, interval = model.predict(rows()), model.interval(rows())
    np.testing.assert_array_equal(answer, rows()["delay_mean_min"])
    assert interval is not None and interval.shape == (200, 2)
    assert (interval[:, 0] < interval[:, 1]).all()
    served = mlflow.pyfunc.load_model(tracking.tags(run_id)["model.uri"])
    np.testing.assert_array_equal(served.predict(rows()), answer)
    needed = (model_folder(tracking, run_id) / "requirements.txt").read_text()
    assert "lightgbm" in needed, "of the interval"
    with pytest.raises(DataError, match="overdue_count"):
        model.interval(rows().drop(columns="overdue_count"))
    assert tracking.load_model(tracking.log_training(bare())).interval(rows()) is None


# --- broken files ---


def _changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("kind", "part", "harm"),
    [
        ("lightgbm", "model", _changed),
        ("lightgbm", "model", _cut),
        ("lightgbm", "model", Path.unlink),
        ("lightgbm", "contract", _cut),
        ("lightgbm", "contract", Path.unlink),
        ("logistic", "model", _changed),
        ("logistic", "contract", _changed),
    ],
)
def test_a_broken_model_is_a_data_error_and_is_trained_again(
    tracking: MlflowTracking, kind: str, part: str, harm: Callable[[Path], None]
) -> None:
    """LightGBM's parser would end the process, so it must not see the file."""
    run = bare(kind)
    run_id = tracking.log_training(run)
    [path] = model_folder(tracking, run_id).glob(f"data/files/{part}.*")
    harm(path)
    with pytest.raises(DataError, match=run_id) as caught:
        tracking.load_model(run_id)
    assert "train again" in str(caught.value)
    assert tracking.find(run.identity) is None


@pytest.mark.parametrize("harm", [_changed, _cut, Path.unlink])
@pytest.mark.parametrize("name", ["lower.lgb", "upper.lgb", "interval.json"])
def test_a_broken_interval_is_a_data_error_and_is_trained_again(
    tracking: MlflowTracking, name: str, harm: Callable[[Path], None]
) -> None:
    """No digest of the model's own file covers it, and a changed end would be believed."""
    run = forecast()
    run_id = tracking.log_training(run)
    assert len(tracking.tags(run_id)["interval.sha256"]) == 64
    harm(model_folder(tracking, run_id) / "data" / "files" / name)
    for any_contract in (False, True):
        with pytest.raises(DataError, match=f"interval.json of run {run_id} is not the one"):
            tracking.load_model(run_id, any_contract=any_contract)
    assert tracking.find(run.identity) is None


def test_an_interval_that_no_training_made_is_a_data_error(tracking: MlflowTracking) -> None:
    run_id = tracking.log_training(bare())
    assert "interval.sha256" not in tracking.tags(run_id)
    folder = model_folder(tracking, run_id) / "data" / "files"
    for name in ("lower.lgb", "upper.lgb", "interval.json"):
        (folder / name).write_bytes(files_of_forecast()[name])
    with pytest.raises(DataError, match="expected: no such file"):
        tracking.load_model(run_id)


def test_a_model_whose_folder_is_gone_is_a_data_error(tracking: MlflowTracking) -> None:
    run_id = tracking.log_training(bare())
    (model_folder(tracking, run_id) / "data" / "files").rename(
        model_folder(tracking, run_id) / "data" / "moved"
    )
    with pytest.raises(DataError, match="cannot be read"):
        tracking.load_model(run_id)


@pytest.mark.parametrize("name", ["rule.json", "contract.json"])
def test_a_broken_rule_is_a_data_error(tracking: MlflowTracking, name: str) -> None:
    run = bare()
    run_id = tracking.log_training(run)
    folder = Path(tracking._client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    _changed(folder / "rule" / name)
    with pytest.raises(DataError, match="rule"):
        tracking.load_rule(run_id)
    assert tracking.find(run.identity) is None


def test_another_contract_is_shown_to_the_validation_only(tracking: MlflowTracking) -> None:
    """Its gate compares the contract with the recorded one, so it must get to see it."""
    run_id = tracking.log_training(bare())
    path = model_folder(tracking, run_id) / "data" / "files" / "contract.json"
    contract = json.loads(path.read_text())
    contract["categories"]["carrier"].reverse()
    path.write_text(json.dumps(contract))
    with pytest.raises(DataError, match=r"contract\.json"):
        tracking.load_model(run_id)
    model = tracking.load_model(run_id, any_contract=True)
    assert model.contract_sha256 != tracking.tags(run_id)["contract.sha256"]
