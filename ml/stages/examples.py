"""Rows for a model: one path for training, validation and scoring, so that they cannot differ."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.adapters.features import FEATURES_KNOWN_AT
from ml.adapters.model_files import as_text
from ml.core.errors import ConfigError, DataError
from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.core.problems import ProblemType
from ml.core.spec import Label, UseCase


def number_columns(platform: Platform) -> list[str]:
    """What the model sees as numbers, in its order."""
    return [*platform.features.columns, *platform.spec.features.on_request]


def model_columns(platform: Platform) -> list[str]:
    """What the model sees, in its order: numbers, then text."""
    return [*number_columns(platform), *platform.spec.features.categorical]


def require_inputs(platform: Platform) -> None:
    """Raise `ConfigError` for a column that the model needs and that is no number it sees.

    It is the one that the label is learned as a difference from, or a naive forecast.
    """
    plan, numbers = platform.spec.model, number_columns(platform)
    named = {"model.difference_from": plan.difference_from}
    named |= {f"model.naive[{name!r}]": column for name, column in plan.naive.items()}
    for field, column in named.items():
        if column and column not in numbers:
            raise ConfigError(
                f"{field} is {column!r}, which is no number that the model sees",
                expected=f"one of: {', '.join(numbers)}",
                repair=f"name one of these, or add the column to the service "
                f"{platform.spec.features.service} or to features.on_request",
            )


def _and_more(keys: Sequence[str]) -> str:
    return f" and {len(keys) - 1} more, up to {keys[-1]}" if len(keys) > 1 else ""


def require_transformed(platform: Platform, partitions: Sequence[Partition]) -> None:
    """Raise `DataError` naming the first of these partitions that has no exports."""
    spec = platform.spec
    present = set(platform.lake.keys("marts", spec.mart))
    if absent := [p.key for p in partitions if p.key not in present]:
        keys = f"{spec.slug} {absent[0]}" + (f" {absent[-1]}" if len(absent) > 1 else "")
        raise DataError(
            f"not transformed yet: {absent[0]}" + _and_more(absent),
            repair=f"run: flightline ingest {keys} && flightline transform {keys}",
        )


def read_events(platform: Platform, partitions: Sequence[Partition]) -> pd.DataFrame:
    """The mart's rows of these partitions as last exported, ordered by decision time and key.

    Raises:
        ConfigError: if the key is no text: the router hashes it.
        DataError: if a partition was not transformed.
    """
    spec = platform.spec
    require_transformed(platform, partitions)
    keys = [partition.key for partition in partitions]
    rows = platform.lake.read("marts", spec.mart, keys)
    _require_columns(rows.column_names, [spec.key, spec.decided_at], spec.mart)
    if not pa.types.is_string(kind := rows.schema.field(spec.key).type):
        raise ConfigError(
            f"{spec.key} of {spec.mart} is {kind}",
            expected="text, which identifies the row everywhere",
            repair=f"cast it to varchar in the dbt models {spec.mart} and {spec.label.table}",
        )
    events: pd.DataFrame = rows.to_pandas()
    return events.sort_values([spec.decided_at, spec.key], ignore_index=True)


def read_examples(platform: Platform, partitions: Sequence[Partition]) -> pd.DataFrame:
    """The events of these partitions with their features as of their own decision times.

    Returns:
        One row for each event, in the order of `read_events`: key, partition_key, decision time,
        the label, when it was known and whether one is expected, `features_known_at` (when the
        newest of the row's features became known), the columns by which quality is looked at, and
        the model's. Numbers are float64, NaN where unknown or infinite (what a division by zero
        gives); categories and groups are text, None where unknown.

    Raises:
        ConfigError: if the spec names a column that the mart or the labels do not have, or that is
            to be an input of the model and is none.
        DataError: if a partition was not transformed, or a label cannot be one of the problem.
    """
    spec, numbers = platform.spec, number_columns(platform)
    require_inputs(platform)
    events = read_events(platform, partitions)
    text = [name for name in (*spec.context, *spec.features.categorical) if name not in numbers]
    _require_columns(events.columns, [*spec.features.on_request, *text], spec.mart)
    # Labels come last: what looks features up never gets to see them.
    frame = platform.features.historical(events, spec.decided_at)
    labels = _read_labels(platform, partitions)
    frame = frame.merge(labels, on=spec.key, how="left", validate="one_to_one")
    frame[FEATURES_KNOWN_AT] = frame[FEATURES_KNOWN_AT].astype("datetime64[us, UTC]")
    if spec.label.expected:  # of a row that the labels do not know, one is
        frame[spec.label.expected] = frame[spec.label.expected].ne(False)
    frame = frame.assign(**{name: as_text(frame[name]) for name in text})
    kept = [
        spec.key,
        "partition_key",
        spec.decided_at,
        *_label_columns(spec.label),
        FEATURES_KNOWN_AT,
    ]
    columns = dict.fromkeys([*kept, *spec.context, *model_columns(platform)])
    found = frame[list(columns)].astype(dict.fromkeys(numbers, "float64"))
    found[numbers] = found[numbers].where(np.isfinite(found[numbers]))
    return found


def _label_columns(label: Label) -> list[str]:
    return [label.column, label.known_at, *([label.expected] if label.expected else [])]


def _require_columns(there: Collection[str], wanted: Sequence[str], table: str) -> None:
    if absent := [name for name in dict.fromkeys(wanted) if name not in there]:
        raise ConfigError(
            f"the table {table} has no column {', '.join(absent)}",
            expected="every column that the spec names: "
            "key, decided_at, segments, model.rule.by, features.on_request, features.categorical, "
            "label",
            repair=f"add it to the dbt model {table} and transform again, or mend the spec",
        )


def _read_labels(platform: Platform, partitions: Sequence[Partition]) -> pd.DataFrame:
    label, keys = platform.spec.label, [partition.key for partition in partitions]
    labels: pd.DataFrame = platform.lake.read("marts", label.table, keys).to_pandas()
    _require_columns(labels.columns, _label_columns(label), label.table)
    require_labels(platform.spec, labels[label.column].to_numpy("float64", na_value=np.nan))
    return labels[[platform.spec.key, *_label_columns(label)]]


def require_labels(spec: UseCase, label: np.ndarray) -> None:
    """Raise `DataError` for a label that cannot be one; a missing one may come yet.

    Args:
        label: shape (n,), float64, NaN where unknown.
    """
    classes, repair = spec.label.classes, f"mend the SQL of {spec.label.table}"
    known = label[~np.isnan(label)]
    if spec.problem is ProblemType.REGRESSION:
        wrong, expected = known[np.isinf(known)], "a finite number"
    elif spec.problem is ProblemType.BINARY:
        wrong, expected = known[~np.isin(known, (0, 1))], "0 or 1: 1 is what the score is for"
    else:
        wrong = known[~np.isin(known, np.arange(len(classes)))]
        meant = ", ".join(f"{index} {name}" for index, name in enumerate(classes))
        expected = f"the index of a class of the spec: {meant}"
        repair += ", or name the class in label.classes and train again"
    if len(wrong):
        raise DataError(
            f"{spec.label.column} of {spec.label.table} is {wrong[0]:g} in {len(wrong):,} of "
            f"{len(known):,} rows"
            + ("" if (wrong == wrong[0]).all() else ", or another such value"),
            expected=expected,
            repair=repair,
        )


def group_values(examples: pd.DataFrame, column: str) -> np.ndarray:
    """A column by which quality is looked at, as text; shape (n,), `unknown` where missing."""
    return np.array([text or "unknown" for text in as_text(examples[column])], dtype=np.str_)


def with_label(platform: Platform, examples: pd.DataFrame, *, known_by: datetime) -> pd.DataFrame:
    """The rows whose label was known at `known_by`."""
    label = platform.spec.label
    known = examples[label.column].notna() & (examples[label.known_at] <= known_by)
    return examples[known].reset_index(drop=True)


def label_values(platform: Platform, examples: pd.DataFrame) -> np.ndarray:
    """Labels as float64, shape (n,)."""
    return examples[platform.spec.label.column].to_numpy("float64")


def naive_values(spec: UseCase, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """The forecasts that stand in the rows, each of shape (n,), by their names."""
    columns = spec.model.naive.items()
    return {name: rows[column].to_numpy("float64") for name, column in columns}
