"""The predictions that can be judged: those of partitions whose labels have closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from ml.core.errors import DataError
from ml.core.losses import Floats
from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages.predictions import read_predictions, scored

RULE_SCORE = "rule_score"


@dataclass(frozen=True)
class Coverage:
    """What a report rests on.

    Attributes:
        first, last: partition keys, scored and with closed labels.
        partitions: how many of them.
        still_open: keys of partitions that were scored and whose labels have not closed yet.
        predictions: of the closed partitions.
        expected: how many of these should have a label.
        known: how many have one.
    """

    first: str
    last: str
    partitions: int
    still_open: tuple[str, ...]
    predictions: int
    expected: int
    known: int


@dataclass(frozen=True)
class Judged:
    """Predictions with a known label, as `read_predictions` gives them, and the rule's.

    Attributes:
        rows: with the rule's prediction in the column `rule_score`.
    """

    spec: UseCase
    data_time: datetime
    coverage: Coverage
    rows: pd.DataFrame

    @property
    def label(self) -> Floats:
        return self.numbers(self.spec.label.column)

    def numbers(self, column: str) -> Floats:
        """A column as float64, shape (n,)."""
        values: Floats = self.rows[column].to_numpy("float64", na_value=np.nan)
        return values

    def among(self, mask: np.ndarray) -> Judged:
        """A part of the rows."""
        rows = self.rows[mask].reset_index(drop=True)
        return Judged(self.spec, self.data_time, self.coverage, rows)


def read_judged(platform: Platform, first: str, last: str) -> Judged:
    """The labelled predictions of these partitions; by default of all that were scored.

    Raises:
        DataError: if there are no predictions, or no labels of them yet.
    """
    keys, time = list(scored(platform)), platform.data_time()
    first = first or (keys[0] if keys else "")
    frame = read_predictions(platform, first, last or (keys[-1] if keys else ""))
    partitions = [platform.spec.calendar.parse(key) for key in frame["partition_key"].unique()]
    closed, still_open = _split(platform.spec, partitions, time)
    rows = frame[frame["partition_key"].isin(closed)]
    known = rows[platform.spec.label.column].notna()
    if not known.any():
        raise _no_labels(platform.spec, partitions, closed, time)
    coverage = Coverage(
        first=closed[0],
        last=closed[-1],
        partitions=len(closed),
        still_open=tuple(still_open),
        predictions=len(rows),
        expected=int((_expected(platform.spec, rows) | known).sum()),
        known=int(known.sum()),
    )
    return Judged(platform.spec, time, coverage, _with_rule(platform, rows[known]))


def _split(
    spec: UseCase, partitions: Sequence[Partition], time: datetime
) -> tuple[list[str], list[str]]:
    """Keys of those whose labels have closed at `time`, and of the others."""
    closed = [p.key for p in partitions if p.end + spec.label.maturity <= time]
    return closed, [p.key for p in partitions if p.key not in set(closed)]


def _no_labels(
    spec: UseCase, partitions: Sequence[Partition], closed: Sequence[str], time: datetime
) -> DataError:
    stretch = partitions[0].key
    stretch += f" to {partitions[-1].key}" if len(partitions) > 1 else ""
    if closed:
        return DataError(
            f"no label of {stretch} is known, though they have closed",
            expected=f"labels in {spec.label.table}",
            repair=f"run: flightline transform {spec.slug} {closed[0]} {closed[-1]}",
        )
    after = partitions[0].end + spec.label.maturity
    return DataError(
        f"the labels of {stretch} have not closed yet: data reach to {time:%Y-%m-%d %H:%M} UTC",
        expected=f"data up to {after:%Y-%m-%d %H:%M} UTC, when those of {partitions[0].key} close",
        repair="ingest and transform the partitions that follow, then run this again",
    )


def _expected(spec: UseCase, rows: pd.DataFrame) -> pd.Series:
    """Which rows should have a label; one that the label's table does not know, too."""
    if not spec.label.expected:
        return pd.Series(True, index=rows.index)
    return rows[spec.label.expected].fillna(True).astype(bool)


def _with_rule(platform: Platform, rows: pd.DataFrame) -> pd.DataFrame:
    """With what the rule of each row's champion says of it."""
    rows = rows.reset_index(drop=True)
    score = np.full(len(rows), np.nan)
    for version in rows["champion_version"].unique():
        rule = platform.tracking.load_rule(platform.registry.version(int(version)).run_id)
        chosen = (rows["champion_version"] == version).to_numpy()
        score[chosen] = rule.predict(rows[chosen])
    return rows.assign(**{RULE_SCORE: score})
