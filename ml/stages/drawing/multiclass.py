"""How good predicted probabilities of several classes are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ml.core.metrics import decided_class
from ml.core.plans import CostMatrix
from ml.stages.drawing.canvas import (
    BINS,
    MODEL,
    OBSERVED,
    PALE,
    REFERENCE,
    Rows,
    canvas,
    legend_above,
    panels_of,
    rows_of_names,
)

_MOST = 10  # classes with a panel of their own; of more, the commonest are shown
_LONGEST = 12  # letters of a name where there is little room
_SHADES = LinearSegmentedColormap.from_list("shares", ["#FFFFFF", MODEL])


def multiclass(rows: Rows, classes: Sequence[str], cost: CostMatrix | None) -> dict[str, Figure]:
    """By name.

    Args:
        rows: predictions of shape (n, classes).
        classes: their names, in the order of their index.
    """
    called = decided_class(rows.prediction)
    accuracy = float((called == rows.label).mean())
    drawn = {
        "confusion": _confusion(
            rows, called, classes, f"Confusion: {accuracy:.1%} of the likeliest classes are right"
        ),
        "calibration": _calibration(rows, classes),
        "recall_precision": _recall_precision(rows, called, classes),
    }
    if cost is not None:
        decided = decided_class(rows.prediction, cost)
        paid = np.array(cost.costs)[rows.label.astype(int), decided].mean()
        title = f"Decisions of the least expected cost: {paid:.4f} units a row"
        drawn["decisions"] = _confusion(rows, decided, classes, title)
    return drawn


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _counts(rows: Rows, called: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.int64]:
    """Rows of each class, by what they are called; shape (classes, classes)."""
    size = len(classes)
    cells = rows.label.astype(int) * size + called
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def _confusion(rows: Rows, called: NDArray[np.int64], classes: Sequence[str], title: str) -> Figure:
    """Colour: the share of the row's class; in each cell, the share and the count."""
    counts, size = _counts(rows, called, classes), len(classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [f"{name} ({n:,})" for name, n in zip(classes, counts.sum(axis=1), strict=True)]
    where = f"{rows.where}  ·  a line for what was observed, a column for what it is called"
    figure, (axis,) = canvas(title, where, height=1.7 + 0.5 * size, names=names)
    axis.grid(visible=False)
    axis.imshow(shares, cmap=_SHADES, vmin=0, vmax=1, aspect="auto")
    is_small = size > 6  # no room for two lines of the usual size
    for truth, decision in np.ndindex(size, size):
        if counts[truth, decision]:
            share = shares[truth, decision]
            axis.text(
                *(decision, truth, f"{share:.0%}\n{counts[truth, decision]:,}"),
                color="white" if share > 0.6 else "black",
                ha="center",
                va="center",
                fontsize=7 if is_small else 9,
            )
    is_turned = max(map(len, classes)) > 40 / size
    axis.set_xticks(range(size), [*map(_short, classes)], fontsize=9)
    axis.set_yticks(range(size), names, fontsize=9)
    if is_turned:
        for tick in axis.get_xticklabels():
            tick.set(rotation=30, ha="right")
        figure.subplots_adjust(bottom=0.95 / figure.get_figheight())
    axis.set(xlabel="called")
    return figure


def _calibration(rows: Rows, classes: Sequence[str]) -> Figure:
    """A panel for each class, one against the rest."""
    frequency = np.bincount(rows.label.astype(int), minlength=len(classes))
    shown = np.sort(np.argsort(-frequency, kind="stable")[:_MOST])
    cut = "" if len(shown) == len(classes) else f"  ·  the commonest {_MOST} of {len(classes)}"
    where = f"{rows.where}  ·  up to {BINS} bins; beside each name, their mean distance{cut}"
    figure, axes = panels_of(
        "Calibration: predicted and observed share of each class", where, count=len(shown)
    )
    for axis, index in zip(axes, shown, strict=True):
        own = Rows((rows.label == index).astype(float), rows.prediction[:, index], "")
        _diagonal(axis, own, classes[index])
    return figure


def _diagonal(axis: Axes, rows: Rows, name: str) -> None:
    bins = rows.binned(BINS)
    predicted, observed = bins.predicted, bins.observed
    limit = float(max(predicted.max(), observed.max())) * 1.05 or 1.0
    axis.plot([0, limit], [0, limit], color=REFERENCE, linestyle="--")
    axis.plot(predicted, observed, marker="o", markersize=3, color=MODEL)
    axis.set_title(f"{_short(name)}: {bins.error:.3f}", fontsize=9, loc="left")
    axis.set(xlim=(0, limit), ylim=(0, limit))


def _recall_precision(rows: Rows, called: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    counts = _counts(rows, called, classes)
    right, actual, named = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    recall, precision = (
        np.divide(right, of, out=np.full(len(classes), np.nan), where=of > 0)
        for of in (actual, named)
    )
    names = [f"{name} ({n:,})" for name, n in zip(classes, actual, strict=True)]
    worst = classes[int(np.nanargmin(recall))]
    figure, (axis,) = canvas(
        f"Recall and precision by class: {worst} is found least, {np.nanmin(recall):.0%}",
        f"{rows.where}  ·  rows of each class in brackets",
        height=1.8 + 0.3 * len(classes),
        names=names,
        legend=True,
    )
    places = np.arange(len(classes))
    axis.hlines(places, recall, precision, color=PALE, linewidth=3)
    for values, colour, name in (
        (recall, OBSERVED, "recall: of the class"),
        (precision, MODEL, "precision: of what is called so"),
    ):
        axis.plot(values, places, marker="o", linestyle="none", color=colour, label=name)
    rows_of_names(axis, names)
    axis.set(xlim=(-0.02, 1.02), xlabel="share of rows that are right, by the likeliest class")
    legend_above(axis)
    return figure
