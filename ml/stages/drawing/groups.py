"""Which groups of rows a model is good or bad for."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ml.core.losses import Floats, row_loss
from ml.core.problems import ProblemType
from ml.stages.drawing.canvas import (
    MODEL,
    OBSERVED,
    PALE,
    REFERENCE,
    Rows,
    canvas,
    legend_above,
    rows_of_names,
)

_MOST = 31  # the days of a month; of a column with more values the largest are shown


def by_group(problem: ProblemType, rows: Rows, column: str, values: NDArray[np.str_]) -> Figure:
    """Observed and predicted mean, and mean loss, for each value of a column."""
    names, index, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    shown = np.sort(np.argsort(-counts, kind="stable")[:_MOST])
    loss = row_loss(problem, rows.label, rows.prediction)
    observed, predicted, lost = (
        np.bincount(index, weights=column_)[shown] / counts[shown]
        for column_ in (rows.label, rows.prediction, loss)
    )
    ticks = [f"{names[i]} ({counts[i]:,})" for i in shown]
    cut = "" if len(shown) == len(names) else f"  ·  the largest {len(shown)} of {len(names)}"
    title = f"By {column.replace('_', ' ')}: observed, predicted, and the loss"
    figure, (left, right) = canvas(
        title,
        f"{rows.where} (in brackets){cut}",
        panels=2,
        height=1.8 + 0.23 * len(ticks),
        names=ticks,
        legend=True,
    )
    _pairs(left, ticks, observed, predicted)
    _losses(right, lost, float(loss.mean()), problem.loss_name.replace("_", " "))
    unit = "share of label 1" if problem is ProblemType.BINARY else "mean, label units"
    left.set(xlabel=unit)
    return figure


def _pairs(axis: Axes, names: list[str], observed: Floats, predicted: Floats) -> None:
    places = np.arange(len(names))
    axis.hlines(places, observed, predicted, color=PALE, linewidth=3)
    for values, colour, name in ((observed, OBSERVED, "observed"), (predicted, MODEL, "predicted")):
        axis.plot(values, places, marker="o", linestyle="none", color=colour, label=name)
    rows_of_names(axis, names)
    legend_above(axis)


def _losses(axis: Axes, losses: Floats, overall: float, loss_name: str) -> None:
    places = np.arange(len(losses))
    axis.hlines(places, overall, losses, color=PALE, linewidth=3)
    axis.plot(losses, places, marker="o", linestyle="none", color=MODEL)
    axis.axvline(overall, color=REFERENCE, linestyle="--", label=f"all rows {overall:.4f}")
    rows_of_names(axis, [""] * len(losses), labelled=False)
    axis.set(xlabel=f"mean {loss_name} (right is worse)")
    legend_above(axis)
