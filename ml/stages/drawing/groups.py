"""Which groups of rows a model is good or bad for."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ml.core.losses import Floats, row_loss
from ml.core.metrics import decided_class
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

_UNITS = {
    ProblemType.BINARY: "share of label 1",
    ProblemType.MULTICLASS: "share whose likeliest class is right",
    ProblemType.REGRESSION: "mean, label units",
}
_MOST = 31  # the days of a month; of a column with more values the largest are shown


def by_group(problem: ProblemType, rows: Rows, column: str, values: NDArray[np.str_]) -> Figure:
    """Observed and predicted mean, and mean loss, for each value of a column.

    With several classes there are no such means: the share of rows whose likeliest class is right.
    """
    names, index, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    shown = np.sort(np.argsort(-counts, kind="stable")[:_MOST])
    loss = row_loss(problem, rows.label, rows.prediction)
    is_right = problem is ProblemType.MULTICLASS
    pair = _right(rows) if is_right else (rows.label, rows.prediction)
    *means, lost = (np.bincount(index, weights=one)[shown] / counts[shown] for one in (*pair, loss))
    ticks = [f"{names[i]} ({counts[i]:,})" for i in shown]
    cut = "" if len(shown) == len(names) else f"  ·  the largest {len(shown)} of {len(names)}"
    what = "share of rows called right" if is_right else "observed, predicted"
    title = f"By {column.replace('_', ' ')}: {what}, and the loss"
    figure, (left, right) = canvas(
        title,
        f"{rows.where} (in brackets){cut}",
        panels=2,
        height=1.8 + 0.23 * len(ticks),
        names=ticks,
        legend=True,
    )
    if is_right:
        _shares(left, ticks, means[0], float(pair[0].mean()))
    else:
        _pairs(left, ticks, *means)
    _losses(right, lost, float(loss.mean()), problem.loss_name.replace("_", " "))
    left.set(xlabel=_UNITS[problem])
    return figure


def _right(rows: Rows) -> tuple[Floats]:
    """Whether each row's likeliest class is right, shape (n,)."""
    return ((decided_class(rows.prediction) == rows.label).astype(np.float64),)


def _shares(axis: Axes, names: list[str], values: Floats, overall: float) -> None:
    places = np.arange(len(names))
    axis.hlines(places, overall, values, color=PALE, linewidth=3)
    axis.plot(values, places, marker="o", linestyle="none", color=MODEL)
    axis.axvline(overall, color=REFERENCE, linestyle="--", label=f"all rows {overall:.3f}")
    rows_of_names(axis, names)
    legend_above(axis)


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
