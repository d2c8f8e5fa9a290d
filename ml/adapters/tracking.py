"""Experiment tracking with MLflow."""

from __future__ import annotations

import json
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

from ml.adapters.files import file_digest
from ml.core.errors import DataError, TransientError
from ml.core.ports import Model, TrainedRun
from ml.core.spec import UseCase
from ml.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from mlflow import MlflowClient

_MODEL_FILE = "model.lgb"
_IDENTITY = "run.identity"
_VALIDATION = "validation"


@contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """Say in one line that the server is away; the client's own text is a page long."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except RequestException as error:
        raise _away(uri) from error
    except MlflowException as error:
        if "Max retries exceeded" in str(error) or error.error_code == "TEMPORARILY_UNAVAILABLE":
            raise _away(uri) from error
        raise


def _away(uri: str) -> TransientError:
    return TransientError(
        f"MLflow does not answer at {uri}",
        expected="a tracking server, or MLOPS_TRACKING_URI unset to use the local database",
        repair="start that server (flightline up starts this machine's), "
        "or unset MLOPS_TRACKING_URI",
    )


def client(uri: str) -> MlflowClient:
    """A client of the server at `uri`, which must be there.

    Raises:
        TransientError: at once, if a server does not answer.
    """
    if uri.startswith("http"):
        try:
            urlopen(f"{uri}/health", timeout=5).close()
        except (URLError, OSError) as error:
            raise _away(uri) from error
    database = uri.removeprefix("sqlite:///")
    if database != uri:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    import mlflow

    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking._model_registry.client"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It misses pip in an environment made by uv, at every model.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient()


@dataclass(frozen=True)
class LightGBMModel:
    """Implements `ml.core.ports.Model`."""

    booster: Any

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        columns = self.booster.feature_name()
        values = features[columns].to_numpy("float64")
        result: np.ndarray = self.booster.predict(values, num_threads=1)
        return result


@dataclass(frozen=True)
class MlflowTracking:
    """Implements `ml.core.ports.Tracking`."""

    spec: UseCase
    settings: Settings
    uri: str

    @cached_property
    def _client(self) -> MlflowClient:
        return client(self.uri)

    @cached_property
    def experiment_id(self) -> str:
        name = self.spec.names.experiment
        with mlflow_errors(self.uri):
            found = self._client.get_experiment_by_name(name)
            if found:
                return str(found.experiment_id)
            folder = self.settings.artifacts / name
            experiment_id = self._client.create_experiment(name, artifact_location=folder.as_uri())
            note = f"{self.spec.title}: {self.spec.description}\n\nOwner: {self.spec.owner}"
            self._client.set_experiment_tag(experiment_id, "mlflow.note.content", note)
            return str(experiment_id)

    def url(self, run_id: str) -> str:
        """Page of a run, or of nothing when there is no server."""
        if not self.uri.startswith("http"):
            return ""
        page = f"{self.uri}/#/experiments/{self.experiment_id}/runs/{run_id}"
        return f"{page}?workflowType=machine_learning"

    def ping(self) -> None:
        _ = self._client

    def find(self, identity: str) -> str | None:
        with mlflow_errors(self.uri):
            runs = self._client.search_runs(
                [self.experiment_id], filter_string=f"tags.`{_IDENTITY}` = '{identity}'"
            )
            for run in runs:
                if run.info.status in ("RUNNING", "SCHEDULED"):  # its process was killed
                    self._client.set_terminated(run.info.run_id, status="KILLED")
            finished = [run.info.run_id for run in runs if run.info.status == "FINISHED"]
        return next(filter(self._has_model, finished), None)

    def _has_model(self, run_id: str) -> bool:
        """Whether the run's model can be used; a lost one is trained again."""
        try:
            self.load_model(run_id)
        except DataError:
            return False
        return True

    def log_training(self, run: TrainedRun) -> str:
        import mlflow
        from mlflow.entities import Metric

        with mlflow_errors(self.uri):
            client = self._client
            tags = {_IDENTITY: run.identity, **run.tags}
            with mlflow.start_run(
                experiment_id=self.experiment_id,
                run_name=run.name,
                description=run.description,
                tags=tags,
            ) as active:
                run_id = active.info.run_id
                mlflow.log_params(dict(run.parameters))
                now = int(time.time() * 1000)
                points = [
                    Metric(name, value, now, step)
                    for name, curve in run.curves.items()
                    for step, value in enumerate(curve)
                ]
                scalars = [Metric(name, value, now, 0) for name, value in run.metrics.items()]
                for start in range(0, len(points + scalars), 1000):
                    client.log_batch(run_id, metrics=(points + scalars)[start : start + 1000])
                for name, figure in run.figures.items():
                    mlflow.log_figure(figure, name)
                self._log_dataset(run)
                self._log_model(run)
            return str(run_id)

    def _log_dataset(self, run: TrainedRun) -> None:
        import mlflow
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset

        with warnings.catch_warnings(action="ignore"):  # two resolvers of the same kind answer
            source = resolve_dataset_source(run.dataset_address)
        # MLflow's own digest reads the first 10,000 rows only; its limit is 36 characters.
        dataset = MetaDataset(  # type: ignore[abstract]  # concrete at run time
            source, name="training_set", digest=run.dataset_digest[:32]
        )
        mlflow.log_input(dataset, context="training")

    def _log_model(self, run: TrainedRun) -> None:
        import mlflow
        from mlflow.models import infer_signature

        prediction = LightGBMModel(run.booster).predict(run.example)
        info = mlflow.lightgbm.log_model(
            run.booster,
            name=f"{self.spec.slug}-{run.name}",
            signature=infer_signature(run.example, prediction),
            input_example=run.example,
            pip_requirements=[f"{name}=={installed(name)}" for name in ("lightgbm", "mlflow")],
        )
        stored = self._model_file(info.model_uri)
        mlflow.set_tags({"model.uri": info.model_uri, "model.sha256": file_digest(stored)})

    def _model_file(self, uri: str) -> Path:
        from mlflow.artifacts import download_artifacts

        model = self._client.get_logged_model(uri.removeprefix("models:/"))
        return Path(download_artifacts(f"{model.artifact_location}/{_MODEL_FILE}"))

    def tags(self, run_id: str) -> Mapping[str, str]:
        """All tags of a run."""
        with mlflow_errors(self.uri):
            tags: Mapping[str, str] = self._client.get_run(run_id).data.tags
            return tags

    def log_validation(
        self, run_id: str, evidence: Mapping[str, Any], metrics: Mapping[str, float]
    ) -> None:
        with mlflow_errors(self.uri), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "evidence.json"
            path.write_text(json.dumps(evidence, indent=2, sort_keys=True))
            self._client.log_artifact(run_id, str(path), artifact_path=_VALIDATION)
            for name, value in metrics.items():
                self._client.log_metric(run_id, name, value)

    def evidence(self, run_id: str) -> Mapping[str, Any] | None:
        with mlflow_errors(self.uri), tempfile.TemporaryDirectory() as folder:
            listed = self._client.list_artifacts(run_id, _VALIDATION)
            if not listed:
                return None
            path = self._client.download_artifacts(run_id, listed[0].path, folder)
            content: Mapping[str, Any] = json.loads(Path(path).read_text())
            return content

    def load_model(self, run_id: str) -> Model:
        import lightgbm
        from mlflow.exceptions import MlflowException

        tags = self.tags(run_id)
        with mlflow_errors(self.uri):
            try:
                content = self._model_file(tags["model.uri"]).read_bytes()
            except (MlflowException, OSError) as error:
                raise DataError(
                    f"the model file of run {run_id} cannot be read: {error}",
                    expected=f"{_MODEL_FILE} of {tags['model.uri']}",
                    repair="restore the artifacts, or train again",
                ) from error
        # LightGBM's parser ends the whole process on a broken file, so it never sees one.
        if sha256(content).hexdigest() != tags["model.sha256"]:
            raise DataError(
                f"the model file of run {run_id} is not the one that was recorded",
                expected=f"{_MODEL_FILE} with SHA-256 {tags['model.sha256']}",
                repair="restore the file, or train again",
            )
        return LightGBMModel(lightgbm.Booster(model_str=content.decode()))
