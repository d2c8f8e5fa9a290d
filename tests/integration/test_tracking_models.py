"""Models in MLflow: they answer as before, hold no pickle, and a broken one is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import platform_at
from trained_runs import KINDS, bare, rows

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
