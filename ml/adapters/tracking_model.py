"""Models in MLflow: stored without pickle, and checked before any parser sees them."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sized
from hashlib import sha256
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ml.adapters import model_files
from ml.adapters.mlflow_client import says_nothing
from ml.adapters.model_files import CONTRACT, INTERVAL, NATIVE, Contract, ModelError, Predictor
from ml.adapters.tracking_artifacts import downloaded
from ml.core.errors import DataError
from ml.core.trained_run import TrainedRun

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

MODEL_URI, MODEL, CONTRACT_TAG, RULE = "model.uri", "model.sha256", "contract.sha256", "rule.sha256"
INTERVAL_TAG = "interval.sha256"
RULE_FOLDER = "rule"
_FILES = "files"
_Answer = TypeVar("_Answer")
_REPAIR = "restore the artifacts, or train again"
_NEEDS = {"lgb": ("lightgbm",), "skops": ("scikit-learn", "skops")}  # by the ends of their names


class CheckedModel:
    """A model whose files are the recorded ones; implements `ml.core.ports.Model`."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.kind, self.columns = predictor.kind, predictor.columns
        self.contract_sha256 = predictor.contract_sha256

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        return self._asked(self._predictor.predict, features)

    def interval(self, features: pd.DataFrame) -> np.ndarray | None:
        return self._asked(self._predictor.interval, features)

    def _asked(
        self, question: Callable[[pd.DataFrame], _Answer], features: pd.DataFrame
    ) -> _Answer:
        try:
            return question(features)
        except ModelError as error:
            raise DataError(
                str(error),
                expected=f"the {len(self.columns)} columns that the model was trained on",
                repair="transform and materialize with the feature service of the model",
            ) from error


def digests(run: TrainedRun) -> dict[str, str]:
    """The tags by which the files of a run are checked when they are read."""
    native, interval = NATIVE[run.tags["model.kind"]], model_files.interval_digest(run.model)
    return {
        **({INTERVAL_TAG: interval} if interval else {}),
        MODEL: sha256(run.model[native]).hexdigest(),
        CONTRACT_TAG: model_files.contract_digest(run.model[CONTRACT]),
        RULE: _folder_digest(run.rule),
    }


def _folder_digest(files: Mapping[str, bytes]) -> str:
    listed = [f"{name}={sha256(content).hexdigest()};" for name, content in sorted(files.items())]
    return sha256("".join(listed).encode()).hexdigest()


def log_model(
    client: MlflowClient, experiment_id: str, run_id: str, run: TrainedRun
) -> LoggedModel:
    """Store the model of a run as one that MLflow can serve; the caller finalizes it."""
    # Not mlflow.pyfunc.log_model: it needs an active run, which is global, and asks twice as often.
    kind = run.tags["model.kind"]
    model = client.create_logged_model(
        experiment_id,
        name=f"{kind}-{run.name}",
        source_run_id=run_id,
        model_type=kind,
        params={name: str(value) for name, value in run.parameters.items()},
        tags={name: run.tags[name] for name in ("as_of", "feature_service") if name in run.tags},
    )
    with tempfile.TemporaryDirectory() as name:
        _save(Path(name), model, run_id, run)
        client.log_model_artifacts(model.model_id, str(Path(name) / "model"))
    return model


def _save(folder: Path, model: LoggedModel, run_id: str, run: TrainedRun) -> None:
    import mlflow

    files = folder / _FILES
    files.mkdir()
    for name, content in run.model.items():
        (files / name).write_bytes(content)
    mlflow.pyfunc.save_model(
        folder / "model",
        loader_module="model_files",
        data_path=str(files),
        code_paths=[model_files.__file__],
        mlflow_model=mlflow.models.Model(
            artifact_path=model.artifact_location,
            model_uuid=model.model_id,
            run_id=run_id,
            model_id=model.model_id,
        ),
        signature=_signature(run.example, Contract.from_bytes(run.model[CONTRACT]).classes),
        input_example=run.example,
        pip_requirements=_requirements(run.model),
    )


def _requirements(files: Iterable[str]) -> list[str]:
    needed = [_NEEDS.get(name.rpartition(".")[2], ()) for name in sorted(files)]
    names = dict.fromkeys(("mlflow", "numpy", "pandas", *itertools.chain(*needed)))
    return [f"{name}=={installed(name)}" for name in names]


def _signature(example: pd.DataFrame, classes: Sized) -> ModelSignature:
    """Text for text, double for the rest: an integer column would refuse every missing value."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    columns: list[ColSpec | TensorSpec] = [
        ColSpec("double" if example[name].dtype.kind in "fiub" else "string", name)
        for name in example.columns
    ]
    shape = (-1, len(classes)) if classes else (-1,)
    return ModelSignature(Schema(columns), Schema([TensorSpec(np.dtype("float64"), shape)]))


def read_model(
    client: MlflowClient, run_id: str, tags: Mapping[str, str], *, any_contract: bool
) -> CheckedModel:
    """The model of a run, whose tags these are.

    Raises:
        DataError: if a file is gone or is not the one that was recorded.
    """
    _require_tags(run_id, tags, MODEL_URI, MODEL, CONTRACT_TAG, "model.kind")
    files = _stored(client, run_id, tags[MODEL_URI])
    native = NATIVE.get(tags["model.kind"], "")
    _require(run_id, native, tags[MODEL], sha256(files.get(native, b"")).hexdigest())
    if not any_contract:
        _require(run_id, CONTRACT, tags[CONTRACT_TAG], _contract_digest(run_id, files))
    # A run without an interval has no tag, and then there must be no such files either.
    _require(run_id, INTERVAL, tags.get(INTERVAL_TAG, ""), model_files.interval_digest(files))
    return _parsed(run_id, files)


def read_rule(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> CheckedModel:
    """The rule that a run's model is compared with.

    Raises:
        DataError: as `read_model`.
    """
    from mlflow.exceptions import MlflowException

    _require_tags(run_id, tags, RULE)
    try:
        with downloaded(client, run_id, RULE_FOLDER) as folder:
            files = _read(folder)
    except (MlflowException, OSError) as error:
        if says_nothing(error):
            raise
        raise _unreadable(run_id, RULE_FOLDER, error) from error
    _require(run_id, RULE_FOLDER, tags[RULE], _folder_digest(files))
    return _parsed(run_id, files)


def _stored(client: MlflowClient, run_id: str, uri: str) -> dict[str, bytes]:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_logged_model(uri.removeprefix("models:/"))
        return _read(Path(download_artifacts(f"{model.artifact_location}/data/{_FILES}")))
    except (MlflowException, OSError) as error:
        if says_nothing(error):
            raise
        raise _unreadable(run_id, f"{_FILES} of {uri}", error) from error


def _read(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def _contract_digest(run_id: str, files: Mapping[str, bytes]) -> str:
    try:
        return model_files.contract_digest(files.get(CONTRACT, b""))
    except ModelError as error:
        raise _unreadable(run_id, CONTRACT, error) from error


def _parsed(run_id: str, files: Mapping[str, bytes]) -> CheckedModel:
    try:
        return CheckedModel(model_files.read_model(files))
    except ModelError as error:
        raise _unreadable(run_id, "its files", error) from error


def _require_tags(run_id: str, tags: Mapping[str, str], *names: str) -> None:
    if missing := [name for name in names if name not in tags]:
        raise DataError(
            f"run {run_id} has no tag {', '.join(missing)}",
            expected="a run that flightline train finished",
            repair="train again",
        )


def _require(run_id: str, name: str, recorded: str, found: str) -> None:
    if found != recorded:
        expected = f"SHA-256 {recorded}" if recorded else "no such file"
        raise DataError(
            f"the model file {name} of run {run_id} is not the one that was recorded",
            expected=f"{expected}, found {found or 'none'}",
            repair=_REPAIR,
        )


def _unreadable(run_id: str, what: str, error: Exception) -> DataError:
    return DataError(
        f"the model of run {run_id} cannot be read: {error}", expected=what, repair=_REPAIR
    )
