"""What a validation adds to the run of its candidate: its figures, and the data that it saw."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml.adapters.tracking_artifacts import TABLES_TAG, Artifacts
from ml.adapters.tracking_model import MODEL_URI
from ml.adapters.tracking_record import belongs_to, dataset_input, is_headline, shown_value

if TYPE_CHECKING:
    from mlflow import MlflowClient

_HOLDOUT = "holdout"
_DECISION = "release.decision"


def log_verdict(
    client: MlflowClient,
    run_id: str,
    evidence: Mapping[str, Any],
    metrics: Mapping[str, float],
    artifacts: Artifacts,
) -> None:
    """Metrics, data set and tags; doing it again with the same evidence changes nothing."""
    from mlflow.entities import Metric, RunTag

    data, holdout = client.get_run(run_id).data, evidence.get("holdout", {})
    shown = {}
    if digest := holdout.get("sha256", ""):
        client.log_inputs(run_id, datasets=[_dataset(holdout, digest)])
        shown = belongs_to(data.tags[MODEL_URI].removeprefix("models:/"), _HOLDOUT, digest)
    now = int(time.time() * 1000)
    rounded = {name: shown_value(value) for name, value in metrics.items()}
    tags = artifacts.tags(data.tags.get(TABLES_TAG, "[]"))
    if "decision" in evidence:
        tags |= {_DECISION: str(evidence["decision"])}
    client.log_batch(
        run_id,
        metrics=[
            Metric(name, value, now, 0, **(shown if is_headline(name, _HOLDOUT) else {}))
            for name, value in rounded.items()
            if data.metrics.get(name) != value  # else it stands in the metric's history twice
        ],
        tags=[RunTag(*tag) for tag in tags.items()],
    )


def _dataset(holdout: Mapping[str, Any], digest: str) -> Any:
    return dataset_input(
        _HOLDOUT,
        digest,
        context="validation",
        source_type="code",  # it is read anew at each validation, and not kept
        source={"tags": {"mlflow.source.name": "flightline validate"}},
        columns={},
        profile={"num_rows": holdout["rows"], "first": holdout["first"], "last": holdout["last"]},
    )
