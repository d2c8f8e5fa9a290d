"""The rows that a model is trained on: for `train`, for a file, for a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from ml.adapters.files import replacing
from ml.core.digests import frame_digest
from ml.core.errors import DataError
from ml.core.ports import Platform
from ml.core.problems import ProblemType
from ml.core.windows import Windows
from ml.stages.examples import model_columns, read_examples, with_label


@dataclass(frozen=True)
class FeaturesResult:
    """A training set in a file.

    Attributes:
        rows: by window.
        digest: SHA-256 of its content, the same that a training as of that time records.
    """

    path: str
    rows: dict[str, int]
    columns: tuple[str, ...]
    digest: str


def run(platform: Platform, *, as_of: datetime, output: Path) -> FeaturesResult:
    """Write the training set as of a time to a Parquet file."""
    found = read_training_set(platform, platform.spec.windows(as_of))
    with replacing(output) as temporary:
        found.to_parquet(temporary, index=False)
    return FeaturesResult(
        path=str(output),
        rows={str(name): len(rows) for name, rows in found.groupby("window")},
        columns=tuple(model_columns(platform)),
        digest=frame_digest(found),
    )


def read_training_set(platform: Platform, windows: Windows) -> pd.DataFrame:
    """The labelled events of the fit and select windows, with their features.

    Returns:
        What `read_examples` gives, with a first column `window`: fit or select. The holdout is
        not among them: `validate` reads it, once.

    Raises:
        DataError: if a partition was not transformed, or a window has fewer than two classes.
    """
    partitions = [*windows.fit, *windows.select]
    examples = with_label(platform, read_examples(platform, partitions), known_by=windows.as_of)
    is_select = examples["partition_key"] >= windows.select[0].key
    examples.insert(0, "window", np.where(is_select, "select", "fit"))
    if platform.spec.problem is not ProblemType.REGRESSION:
        _require_two_classes(examples, platform.spec.label.column)
    return examples


def _require_two_classes(examples: pd.DataFrame, column: str) -> None:
    for window, rows in examples.groupby("window"):
        if (classes := rows[column].nunique()) < 2:
            raise DataError(
                f"the {window} window holds {classes} class(es) of {column}",
                expected="at least two",
                repair="train as of a later time, or lengthen the window in the spec",
            )
