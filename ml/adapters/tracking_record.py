"""Writes a training to MLflow: as few requests as can be, and nothing that looks finished early."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ml.adapters import tracking_model as models
from ml.adapters.mlflow_client import is_away
from ml.adapters.tracking_artifacts import Artifacts
from ml.adapters.tracking_views import SEARCH_OF
from ml.core.trained_run import TrainedRun, Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric

IDENTITY = "run.identity"
PARENT = "mlflow.parentRunId"
_TRAINING_SET = "training_set"
_BATCH = 900  # MLflow takes 1,000 entries at once, of which 100 are parameters


@dataclass(frozen=True)
class Recorder:
    """One training that is written.

    Attributes:
        loss: name of the metric that the search looked at.
    """

    client: MlflowClient
    experiment_id: str
    run: TrainedRun
    loss: str

    @cached_property
    def _started_at(self) -> float:
        return time.time() - self.run.seconds

    def record(self) -> str:
        """Write everything; the id of the finished run.

        A run that breaks off is closed as failed, or if the server is away or this process is
        killed, stays open until the next look for its identity closes it.
        """
        run_id = self._open(self.run.name, self._started_at, self._tags())
        try:
            self._fill(run_id)
        except BaseException as error:
            self._give_up(run_id, error)
            raise
        self.client.set_terminated(run_id)
        return run_id

    def _fill(self, run_id: str) -> None:
        from mlflow.entities import LoggedModelOutput, RunTag

        artifacts = self._artifacts()
        self.client.log_inputs(run_id, datasets=[self._dataset()])
        model = models.log_model(self.client, self.experiment_id, run_id, self.run)
        self._log(run_id, self.run.parameters, self._points(str(model.model_id)))
        self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        self._log_trials(run_id)
        artifacts.log(self.client, run_id)
        self.client.finalize_logged_model(model.model_id, "READY")
        tags = {**models.digests(self.run), models.MODEL_URI: model.model_uri}
        self.client.log_batch(run_id, tags=[RunTag(*tag) for tag in tags.items()])

    def _give_up(self, run_id: str, error: BaseException) -> None:
        """Close the run, if the store can still be reached: a second wait for it helps nobody."""
        if not is_away(error):
            close(self.client, self.experiment_id, run_id, "FAILED")

    def _open(self, name: str, started_at: float, tags: dict[str, str]) -> str:
        started = int(started_at * 1000)
        run = self.client.create_run(
            self.experiment_id, start_time=started, tags=tags, run_name=name
        )
        return str(run.info.run_id)

    def _tags(self) -> dict[str, str]:
        commit = self.run.tags.get("git.commit", "unknown")
        known = {} if commit == "unknown" else {"mlflow.source.git.commit": commit}
        return {
            "mlflow.note.content": self.run.description,
            "mlflow.user": _user(),
            "mlflow.source.type": "LOCAL",
            **known,
            **self._artifacts().tags(),
            **self.run.tags,
            IDENTITY: self.run.identity,
        }

    def _artifacts(self) -> Artifacts:
        rule = {f"{models.RULE_FOLDER}/{name}": file for name, file in self.run.rule.items()}
        return Artifacts(self.run.figures, self.run.tables, self.run.documents, rule)

    def _dataset(self) -> DatasetInput:
        address, rows = self.run.dataset_address, self.run.dataset_rows
        return dataset_input(
            _TRAINING_SET,
            self.run.dataset_digest,
            context="training",
            source_type=urlsplit(address).scheme or "local",
            source={"uri": address},
            columns=self.run.dataset_columns,
            profile={"num_rows": sum(rows.values()), **{f"{n}_rows": k for n, k in rows.items()}},
        )

    def _points(self, model_id: str) -> Iterator[Metric]:
        """All figures; those of the select window are shown with model and data set, too."""
        shown = belongs_to(model_id, _TRAINING_SET, self.run.dataset_digest)
        for name, value in self.run.metrics.items():
            yield self._metric(name, value, 0, **(shown if is_headline(name, "select") else {}))
        for name, curve in self.run.curves.items():
            for step, value in enumerate(curve):
                yield self._metric(name, value, step)

    def _metric(self, name: str, value: float, step: int, **shown: str) -> Metric:
        from mlflow.entities import Metric

        return Metric(name, shown_value(value), int(self._started_at * 1000), step, **shown)

    def _log(self, run_id: str, parameters: Any, points: Iterator[Metric]) -> None:
        from mlflow.entities import Param

        params: Sequence[Param] = [Param(name, str(value)) for name, value in parameters.items()]
        while (batch := list(islice(points, _BATCH))) or params:
            self.client.log_batch(run_id, metrics=batch, params=params)
            params = ()

    def _log_trials(self, parent: str) -> None:
        # The search runs them one after another; when each began is not kept, how long it took is.
        started_at = self._started_at
        for trial in self.run.trials:
            self._log_trial(parent, trial, started_at)
            started_at += trial.seconds

    def _log_trial(self, parent: str, trial: Trial, started_at: float) -> None:
        shared = ("as_of", "requested_by", "mlflow.source.name")
        tags = {name: self.run.tags[name] for name in shared if name in self.run.tags}
        state = "given up" if trial.loss is None else "complete"
        tags |= {PARENT: parent, "stage": "search", "trial.state": state, "mlflow.user": _user()}
        tags |= {"mlflow.source.type": "LOCAL", SEARCH_OF: self.run.name}
        run_id = self._open(f"trial-{trial.number:02d}", started_at, tags)
        losses = [] if trial.loss is None else [self._metric(self.loss, trial.loss, 0)]
        self._log(run_id, {**trial.parameters, "rounds": trial.rounds}, iter(losses))
        self.client.set_terminated(run_id, end_time=int((started_at + trial.seconds) * 1000))


def dataset_input(
    name: str,
    digest: str,
    *,
    context: str,
    source_type: str,
    source: Mapping[str, Any],
    columns: Mapping[str, str],
    profile: Mapping[str, Any],
) -> DatasetInput:
    """A data set as the pages of a run show it: where it is, its rows and columns."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    spec = [{"name": name, "type": kind, "required": False} for name, kind in columns.items()]
    # Not mlflow.data: its own digest reads the first 10,000 rows only.
    dataset = Dataset(
        name,
        _short(digest),
        source_type,
        json.dumps(source),
        schema=json.dumps({"mlflow_colspec": spec}) if spec else None,
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


def belongs_to(model_id: str, dataset: str, digest: str) -> dict[str, str]:
    """What a metric needs to be shown with its model and data set."""
    return {"model_id": model_id, "dataset_name": dataset, "dataset_digest": _short(digest)}


def is_headline(metric: str, window: str) -> bool:
    """Whether it is a figure of this window, not a bound of one."""
    return metric.startswith(f"{window}/") and not metric.endswith(("_lower", "_upper"))


def shown_value(value: float) -> float:
    """Eight digits, as many as a column of MLflow's table shows."""
    return float(f"{value:.8g}")


def _short(digest: str) -> str:
    return digest[:32]  # MLflow takes at most 36 characters


def close(client: MlflowClient, experiment_id: str, run_id: str, status: str) -> None:
    """End a run that broke off, with its trials and its model; those that were done are no use."""
    trials = client.search_runs([experiment_id], f"tags.`{PARENT}` = '{run_id}'")
    for trial in trials:
        client.set_terminated(trial.info.run_id, status=status, end_time=trial.info.end_time)
    for model in client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'"):
        client.finalize_logged_model(model.model_id, "FAILED")
    client.set_terminated(run_id, status=status)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        return "unknown"
