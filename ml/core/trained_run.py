"""What is recorded of a training: stages fill it in, tracking writes it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Trial:
    """One point of the search.

    Attributes:
        loss: on the select window; None if it was given up early.
    """

    number: int
    parameters: Mapping[str, Any]
    rounds: int
    seconds: float
    loss: float | None


@dataclass(frozen=True)
class TrainedRun:
    """What is recorded of a training.

    Attributes:
        identity: hash of data digest, code, spec and seed; the same identity is the same run.
        seconds: how long it took until it was recorded.
        description: Markdown for people.
        parameters, metrics, tags: as they appear in the tracking UI.
        curves: metric name to its value at each boosting round.
        figures: path of the artifact to Matplotlib figure.
        tables: path of the artifact to data frame.
        documents: path of the artifact to text, such as the spec as JSON.
        trials: of the search, recorded as nested runs.
        dataset_rows: of the training set, by window.
        dataset_columns: of the training set, name to type in words.
        model: files of the model's folder, as `ml.adapters.model_files` writes them.
        rule: the same for the rule, against which skill is measured.
        example: a few rows of features, to infer the signature from.
    """

    name: str
    identity: str
    seconds: float
    description: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    curves: Mapping[str, Sequence[float]]
    figures: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    documents: Mapping[str, str]
    trials: Sequence[Trial]
    dataset_address: str
    dataset_digest: str
    dataset_rows: Mapping[str, int]
    dataset_columns: Mapping[str, str]
    model: Mapping[str, bytes]
    rule: Mapping[str, bytes]
    example: pd.DataFrame
