"""Experiment tracking with MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ml.adapters import tracking_model as models
from ml.adapters.mlflow_client import client, mlflow_errors, says_nothing
from ml.adapters.tracking_artifacts import Artifacts, downloaded
from ml.adapters.tracking_record import IDENTITY, Recorder, close
from ml.adapters.tracking_verdict import log_verdict
from ml.adapters.tracking_views import experiment_tags
from ml.core.errors import ConfigError, DataError
from ml.core.ports import Model
from ml.core.spec import UseCase
from ml.core.trained_run import TrainedRun
from ml.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_EVIDENCE = "validation/evidence.json"


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
        with mlflow_errors(self.uri):
            return str(self._experiment().experiment_id)

    def _experiment(self) -> Experiment:
        name = self.spec.names.experiment
        if found := self._client.get_experiment_by_name(name):
            return found
        folder, tags = self.settings.artifacts / name, experiment_tags(self.spec)
        made = self._client.create_experiment(name, artifact_location=folder.as_uri(), tags=tags)
        return self._client.get_experiment(made)

    def _describe_experiment(self) -> None:
        """Description and saved views as the spec and this code have them now."""
        found = self._experiment()
        for name, value in experiment_tags(self.spec).items():
            if found.tags.get(name) != value:
                self._client.set_experiment_tag(found.experiment_id, name, value)

    def url(self, run_id: str) -> str:
        """Page of a run, or of nothing when there is no server."""
        if not self.uri.startswith("http"):
            return ""
        page = f"{self.uri}/#/experiments/{self.experiment_id}/runs/{run_id}"
        return f"{page}?workflowType=machine_learning"

    def ping(self) -> None:
        _ = self._client

    def find(self, identity: str) -> str | None:
        # A run that is open is one whose process was killed: the stage's lock lets one training of
        # a use case run in a home, and this one is it.
        with mlflow_errors(self.uri):
            runs = self._client.search_runs(
                [self.experiment_id], filter_string=f"tags.`{IDENTITY}` = '{identity}'"
            )
            for run in runs:
                if run.info.status in ("RUNNING", "SCHEDULED"):
                    close(self._client, self.experiment_id, run.info.run_id, "KILLED")
            finished = [run.info.run_id for run in runs if run.info.status == "FINISHED"]
        return next(filter(self._has_model, finished), None)

    def _has_model(self, run_id: str) -> bool:
        """Whether the run's models can be used; a lost one is trained again.

        Raises:
            TransientError: if MLflow is away, which says nothing of the models.
        """
        try:
            self.load_model(run_id)
            self.load_rule(run_id)
        except DataError:
            return False
        return True

    def log_training(self, run: TrainedRun) -> str:
        with mlflow_errors(self.uri):
            self._describe_experiment()
            loss = f"select/{self.spec.problem.loss_name}"
            return Recorder(self._client, self.experiment_id, run, loss).record()

    def tags(self, run_id: str) -> Mapping[str, str]:
        with mlflow_errors(self.uri):
            tags: Mapping[str, str] = self._client.get_run(run_id).data.tags
            return tags

    def log_validation(
        self,
        run_id: str,
        evidence: Mapping[str, Any],
        metrics: Mapping[str, float],
        *,
        tables: Mapping[str, pd.DataFrame] | None = None,
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        text = json.dumps(evidence, indent=2, sort_keys=True)
        artifacts = Artifacts(figures or {}, tables or {}, {_EVIDENCE: text})
        with mlflow_errors(self.uri):
            artifacts.log(self._client, run_id)
            log_verdict(self._client, run_id, evidence, metrics, artifacts)

    def evidence(self, run_id: str) -> Mapping[str, Any] | None:
        with mlflow_errors(self.uri):
            if not self._client.list_artifacts(run_id, _EVIDENCE.rpartition("/")[0]):
                return None
        try:
            content: Mapping[str, Any] = json.loads(self.document(run_id, _EVIDENCE))
        except ValueError:  # a validation was killed while it wrote: there is none that holds
            return None
        return content

    def document(self, run_id: str, path: str) -> str:
        from mlflow.exceptions import MlflowException

        with mlflow_errors(self.uri):
            try:
                with downloaded(self._client, run_id, path) as file:
                    return file.read_text()
            except (MlflowException, OSError) as error:
                if says_nothing(error):
                    raise
                if not self._has_run(run_id):
                    raise ConfigError(
                        f"there is no run {run_id}",
                        expected="the id of a run, as its page in MLflow shows it",
                        repair="check the spelling",
                    ) from error
                raise DataError(
                    f"run {run_id} has no artifact {path}",
                    expected="a run that flightline train or validate has written",
                    repair="restore the artifacts, or train again",
                ) from error

    def _has_run(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id))
        except MlflowException as error:
            if says_nothing(error):
                raise
            return False

    def load_model(self, run_id: str, *, any_contract: bool = False) -> Model:
        """The model of a run.

        Args:
            any_contract: whether columns and categories may differ from what training recorded;
                only the validation wants to see such a model, so that its gate can say so.

        Raises:
            DataError: if a stored file is gone or is not the one that was recorded.
        """
        tags = self.tags(run_id)
        with mlflow_errors(self.uri):
            return models.read_model(self._client, run_id, tags, any_contract=any_contract)

    def load_rule(self, run_id: str) -> Model:
        tags = self.tags(run_id)
        with mlflow_errors(self.uri):
            return models.read_rule(self._client, run_id, tags)
