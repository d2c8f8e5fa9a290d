"""The rows that a model is trained on: for `train`, for a file, for a notebook."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from ml.adapters.files import replacing
from ml.core.digests import frame_digest
from ml.core.errors import ConfigError, DataError
from ml.core.ports import Platform
from ml.core.problems import ProblemType
from ml.core.spec import Label, UseCase
from ml.core.windows import Windows
from ml.stages.examples import model_columns, read_examples, with_label
from ml.stages.stale import stale_warnings


@dataclass(frozen=True)
class FeaturesResult:
    """A training set in a file.

    Attributes:
        rows: by window.
        digest: SHA-256 of its content, the same that a training as of that time records.
        warnings: what is stale in it.
    """

    path: str
    rows: dict[str, int]
    columns: tuple[str, ...]
    digest: str
    warnings: tuple[str, ...] = ()


def run(platform: Platform, *, as_of: datetime, output: Path) -> FeaturesResult:
    """Write the training set as of a time to a Parquet file.

    Raises:
        ConfigError: if it cannot be written there.
    """
    _require_writable(output)
    windows = platform.spec.windows(as_of)
    keys = {partition.key for partition in (*windows.fit, *windows.select)}
    found = read_training_set(platform, windows)
    with replacing(output) as temporary:
        found.to_parquet(temporary, index=False)
    return FeaturesResult(
        path=str(output),
        rows={str(name): len(rows) for name, rows in found.groupby("window")},
        columns=tuple(model_columns(platform)),
        digest=frame_digest(found),
        warnings=stale_warnings(platform, keys),
    )


def _require_writable(path: Path) -> None:
    folder = path.resolve().parent
    if path.suffix != ".parquet" or path.is_dir() or not folder.is_dir():
        raise ConfigError(
            f"cannot write {path}", expected="a .parquet file in a folder that exists"
        )
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"cannot write {path}", expected="a folder that you may write to")


def read_training_set(platform: Platform, windows: Windows) -> pd.DataFrame:
    """The labelled events of the fit and select windows, with their features.

    Returns:
        What `read_examples` gives, with a first column `window`: fit or select. The holdout is
        not among them: `validate` reads it, once.

    Raises:
        DataError: if a partition was not transformed; or a window has fewer than two classes or
            values, the fit window not each of the spec's classes, or a label is none of them.
    """
    partitions = [*windows.fit, *windows.select]
    examples = with_label(platform, read_examples(platform, partitions), known_by=windows.as_of)
    is_select = examples["partition_key"] >= windows.select[0].key
    examples.insert(0, "window", np.where(is_select, "select", "fit"))
    for window in ("fit", "select"):
        _require_contrast(platform.spec, window, examples[examples["window"] == window])
    return examples


def _require_contrast(spec: UseCase, window: str, rows: pd.DataFrame) -> None:
    """Without two values of the label there is nothing to learn, and nothing to choose by."""
    column, labels = spec.label.column, rows[spec.label.column]
    if spec.label.classes:
        _require_classes(spec.label, window, labels)
    if (found := labels.nunique()) < 2:
        what = "value(s)" if spec.problem is ProblemType.REGRESSION else "class(es)"
        raise DataError(
            f"the {window} window holds {found} {what} of {column} in {len(rows)} rows",
            expected="at least two",
            repair="train as of a later time, or lengthen the window in the spec",
        )


def _require_classes(label: Label, window: str, labels: pd.Series) -> None:
    """Of a class without rows nothing can be learned."""
    known = range(len(label.classes))
    missing = [label.classes[index] for index in known if index not in set(labels.unique())]
    if missing and window == "fit":
        raise DataError(
            f"the fit window has no row of {', '.join(missing)} in {len(labels)} rows",
            expected="at least one of each of label.classes",
            repair="train as of a later time, or put what is too rare into another class",
        )
