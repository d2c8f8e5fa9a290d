"""What the chosen model looks at: gain of its splits, and what shuffling a column costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.inspection import permutation_importance

from ml.core.losses import Floats, row_loss
from ml.core.problems import ProblemType
from ml.stages.training.material import Competitor, Material

_ROWS, _COLUMNS, _REPEATS = 2_000, 20, 3  # so that it takes about a second


class _OfColumns:
    """The model as a function of some of its columns; the others stay as they are."""

    def __init__(self, model: Any, matrix: Floats, columns: list[int]) -> None:
        self._model, self._matrix, self._columns = model, matrix, columns

    def fit(self) -> None:
        """Scikit-learn asks whether there is such a method, and does not call it."""

    def predict(self, values: Floats) -> Floats:
        matrix = self._matrix.copy()
        matrix[:, self._columns] = values
        predicted: Floats = self._model.of_matrix(matrix)
        return predicted


def permutation(material: Material, chosen: Competitor) -> dict[str, tuple[float, float]]:
    """Rise of the mean loss when a column is shuffled, and its spread over the repeats.

    On evenly spaced rows of the select window; of the columns with the most gain where it is known.
    Source: Breiman (2001), "Random forests", section 10.
    """
    names = chosen.model.contract.inputs
    ranked = sorted(names, key=lambda name: -chosen.gain.get(name, 0.0))
    first = [name for name in ranked if chosen.gain.get(name, 1.0) > 0]
    columns = [names.index(name) for name in (first[:_COLUMNS] if chosen.gain else first)]
    if not columns:
        return {}
    rows = material.select.iloc[:: -(-len(material.select) // _ROWS)]
    matrix = chosen.model.contract.encode(rows)
    found = permutation_importance(
        _OfColumns(chosen.model, matrix, columns),
        matrix[:, columns],
        material.labels(rows),
        scoring=_scorer(material.spec.problem),
        n_repeats=_REPEATS,
        random_state=material.spec.model.seed,
    )
    figures = zip(found.importances_mean.tolist(), found.importances_std.tolist(), strict=True)
    return dict(zip((names[i] for i in columns), figures, strict=True))


def _scorer(problem: ProblemType) -> Any:
    def score(model: _OfColumns, values: Floats, label: Floats) -> float:
        return -float(row_loss(problem, label, model.predict(values)).mean())

    return score


def table(
    columns: tuple[str, ...], chosen: Competitor, shuffled: dict[str, tuple[float, float]]
) -> pd.DataFrame:
    """One row for each column, the most important first."""
    total = sum(chosen.gain.values()) or np.nan
    rows = [
        {
            "column": name,
            "gain_share": chosen.gain.get(name, np.nan) / total,
            "loss_rise_when_shuffled": shuffled.get(name, (np.nan, np.nan))[0],
            "spread": shuffled.get(name, (np.nan, np.nan))[1],
        }
        for name in columns
    ]
    order = ["gain_share", "loss_rise_when_shuffled"]
    found = pd.DataFrame(rows, columns=["column", *order, "spread"])
    return found.sort_values(order, ascending=False, ignore_index=True)
