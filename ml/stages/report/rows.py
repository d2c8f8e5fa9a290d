"""The predictions that can be judged: those of partitions whose labels have closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from ml.core.errors import DataError
from ml.core.losses import Floats
from ml.core.names import CANARY, CHAMPION
from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages.predictions import class_columns, read_predictions, scored

RULE, SERVED = "rule", "served"
_SCORES = {SERVED: "score", **{name: f"{name}_score" for name in (CHAMPION, CANARY, RULE)}}


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
        rows: with what the rule says, in the columns of `columns_of(spec, "rule")`, and the naive
            forecasts.
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

    def prediction(self, name: str) -> Floats:
        """What a competitor says: shape (n,), of several classes (n, classes); NaN where nothing.

        Args:
            name: served (what people got), champion, canary, rule or a naive forecast.
        """
        columns = columns_of(self.spec, name)
        values: Floats = self.rows[columns].to_numpy("float64", na_value=np.nan)
        return values if self.spec.label.classes else values[:, 0]

    @property
    def naive(self) -> dict[str, Floats]:
        """The naive forecasts by name, each of shape (n,)."""
        return {name: self.prediction(name) for name in self.spec.model.naive}

    @property
    def interval(self) -> Floats | None:
        """Of what was served, shape (n, 2); NaN where it came without one, None if all did."""
        if not {"lower", "upper"} <= set(self.rows.columns):
            return None
        return np.column_stack([self.numbers("lower"), self.numbers("upper")])

    def among(self, mask: np.ndarray) -> Judged:
        """A part of the rows."""
        rows = self.rows[mask].reset_index(drop=True)
        return Judged(self.spec, self.data_time, self.coverage, rows)


def columns_of(spec: UseCase, name: str) -> list[str]:
    """Columns that hold what a competitor says: one, or one for each class."""
    if column := spec.model.naive.get(name):  # type: ignore[call-overload]  # any other name: none
        return [column]
    if spec.label.classes:
        return class_columns(spec, "" if name == SERVED else f"{name}_")
    return [_SCORES[name]]


def read_judged(platform: Platform, first: str, last: str) -> Judged:
    """The labelled predictions of these partitions; by default of all that were scored.

    Raises:
        DataError: if there are no predictions, or no labels of them yet.
    """
    keys, time = list(scored(platform)), platform.data_time()
    # Of one end alone that lies beyond what was scored it is said that nothing is there.
    first = first or min(filter(None, (*keys[:1], last)), default="")
    last = last or max((*keys[-1:], first))
    frame = read_predictions(platform, first, last, inputs=_inputs(platform.spec))
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


def _inputs(spec: UseCase) -> tuple[str, ...]:
    """Columns that the models saw and that answers are compared with or made from."""
    needed = [spec.model.difference_from, *spec.model.naive.values()]
    return tuple(dict.fromkeys(filter(None, needed)))


def _with_rule(platform: Platform, rows: pd.DataFrame) -> pd.DataFrame:
    """With what the rule of each row's champion says of it."""
    columns = columns_of(platform.spec, RULE)
    rows = rows.reset_index(drop=True)
    said = np.full((len(rows), len(columns)), np.nan)
    for version in rows["champion_version"].unique():
        rule = platform.tracking.load_rule(platform.registry.version(int(version)).run_id)
        chosen = (rows["champion_version"] == version).to_numpy()
        said[chosen] = np.asarray(rule.predict(rows[chosen])).reshape(chosen.sum(), -1)
    return rows.assign(**dict(zip(columns, said.T, strict=True)))
