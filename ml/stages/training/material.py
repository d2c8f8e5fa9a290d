"""What the competitors learn from and are compared on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ml.adapters.model_files import LIGHTGBM, Contract, Predictor, read_model, text_of
from ml.core.errors import DataError
from ml.core.losses import Floats, row_loss
from ml.core.plans import Value
from ml.core.spec import UseCase
from ml.core.trained_run import Trial

_LOG = logging.getLogger("flightline")


@dataclass(frozen=True)
class Material:
    """The training set, and the columns that a model may see.

    Where the label is learned as a difference, a row without the column that it differs from says
    nothing: it is in neither window.

    Attributes:
        examples: what `ml.stages.training_set.read_training_set` gives.
        columns: that the model sees, in its order.
    """

    spec: UseCase
    examples: pd.DataFrame
    columns: tuple[str, ...]

    @cached_property
    def fit(self) -> pd.DataFrame:
        return self._window("fit")

    @cached_property
    def select(self) -> pd.DataFrame:
        return self._window("select")

    def _window(self, name: str) -> pd.DataFrame:
        rows = self.examples[self.examples["window"] == name].reset_index(drop=True)
        if not (column := self.spec.model.difference_from):
            return rows
        known = np.isfinite(rows[column].to_numpy("float64"))
        missing = int((~known).sum())
        if missing > len(rows) / 2:
            raise DataError(
                f"{column} is missing in {missing:,} of {len(rows):,} rows of the {name} window",
                expected="it in most rows: the label is learned as a difference from it",
                repair="look at why the feature is missing, or take another model.difference_from",
            )
        if missing:
            _LOG.warning(
                "%d of %d rows of the %s window left out: no %s", missing, len(rows), name, column
            )
        kept: pd.DataFrame = rows[known].reset_index(drop=True)
        return kept

    @cached_property
    def left_out(self) -> dict[str, int]:
        """Rows that are in neither window, because nothing can be learned from them; by window."""
        whole = self.examples["window"].value_counts()
        return {
            name: int(whole.get(name, 0)) - len(rows)
            for name, rows in (("fit", self.fit), ("select", self.select))
        }

    @property
    def categorical(self) -> list[int]:
        """Positions of the columns that hold text."""
        return [self.columns.index(name) for name in self.spec.features.categorical]

    def contract(self, kind: str) -> Contract:
        """The contract of a model that sees all columns."""
        return self.contract_of(kind, self.columns, self.spec.features.categorical)

    def contract_of(self, kind: str, columns: Sequence[str], text: Sequence[str]) -> Contract:
        """The contract of a model that sees these columns, of which some hold text."""
        spec = self.spec
        return Contract(
            kind,
            spec.problem.value,
            tuple(columns),
            self.categories(text),
            offset=spec.model.difference_from,
            classes=spec.label.classes,
        )

    def categories(self, columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The values of these columns in the fit window: what a model can know."""
        texts = {name: map(text_of, self.fit[name].unique()) for name in columns}
        return {name: tuple(sorted({*filter(None, found)})) for name, found in texts.items()}

    @cached_property
    def matrix(self) -> tuple[Floats, Floats]:
        """Of the fit and of the select window, shape (n, columns)."""
        contract = self.contract(LIGHTGBM)  # they differ in the kind only
        return contract.encode(self.fit), contract.encode(self.select)

    def labels(self, window: pd.DataFrame) -> Floats:
        """Shape (n,): 0 or 1, the class index, or the value."""
        return window[self.spec.label.column].to_numpy("float64")

    def target(self, window: pd.DataFrame) -> Floats:
        """What is learned, shape (n,): the label, or its difference from a column."""
        label, column = self.labels(window), self.spec.model.difference_from
        return label - window[column].to_numpy("float64") if column else label


@dataclass(frozen=True)
class Competitor:
    """A model that learned from the fit window, and how it does on the select window.

    Attributes:
        files: its folder, as `ml.adapters.model_files` writes it.
        model: what these files give when they are read again.
        prediction: for the rows of the select window, shape (n,) or (n, classes).
        loss: mean over these rows.
        parameters: as they appear in the tracking UI.
        curves: window to loss after each boosting round.
        gain: of each column, in trees.
        trials: of the search.
    """

    files: Mapping[str, bytes]
    model: Predictor
    prediction: Floats
    loss: float
    parameters: Mapping[str, Value]
    curves: Mapping[str, Sequence[float]]
    gain: Mapping[str, float]
    trials: tuple[Trial, ...]

    @property
    def kind(self) -> str:
        return self.model.kind


def competitor(
    material: Material,
    files: Mapping[str, bytes],
    *,
    parameters: Mapping[str, Value],
    curves: Mapping[str, Sequence[float]] | None = None,
    gain: Mapping[str, float] | None = None,
    trials: Sequence[Trial] = (),
) -> Competitor:
    """A competitor from its files: what is judged is what will be loaded, not what is in memory."""
    model = read_model(files)
    prediction = np.asarray(model.predict(material.select), dtype=np.float64)
    label = material.labels(material.select)
    loss = float(row_loss(material.spec.problem, label, prediction).mean())
    more = (parameters, curves or {}, gain or {}, tuple(trials))
    return Competitor(files, model, prediction, loss, *more)
