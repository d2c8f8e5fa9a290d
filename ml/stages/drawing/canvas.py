"""One look for all figures: what stands where, in which colours, how large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ml.core.losses import Floats
from ml.core.statistics import equal_bins

# Told apart by the colour-blind and on a grey print (Okabe & Ito, 2008, "Color universal design").
MODEL, OBSERVED, MARK, REFERENCE = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"
PALE = "#9ECAE1"
_DPI = 90
_POINTS = 300  # more of them cannot be seen, and cost time and bytes
_WIDTH = 7.2  # inches
_LETTER = 0.078  # inches, of a name beside an axis
FAR = 20
"""Times the best loss: beyond it, the best one can only be seen on a logarithmic axis."""
BINS = 15
"""Of equal size, for calibration; as many as `calibration_error` has."""


@dataclass(frozen=True)
class Binned:
    """Bins of rows by their prediction, those that have any, each array of shape (bins,).

    Attributes:
        predicted, observed: mean prediction and mean label.
        rows: how many a bin has; ties are not parted, so not all have as many.
    """

    predicted: Floats
    observed: Floats
    rows: NDArray[np.int64]

    @property
    def error(self) -> float:
        """How far the two are apart on average over the rows, as `calibration_error` has it."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.rows))

    @property
    def sizes(self) -> str:
        """How many bins there are, and of how many rows.

        >>> Binned(np.zeros(2), np.zeros(2), np.array([1_999, 2_000])).sizes
        '2 bins of 1,999 to 2,000 rows'
        """
        sizes = dict.fromkeys(f"{size:,}" for size in (self.rows.min(), self.rows.max()))
        return f"{len(self.rows)} bins of {' to '.join(sizes)} rows"


@dataclass(frozen=True)
class Rows:
    """Rows with a label and a prediction, each of shape (n,) with n > 0, all finite.

    With several classes, the prediction is of shape (n, classes) and the label a class index.

    Attributes:
        where: what rows these are, in words.
    """

    label: Floats
    prediction: Floats
    where: str

    def binned(self, bins: int) -> Binned:
        """Means over bins of equal size, those of `calibration_error`."""
        _, place, rows = np.unique(
            equal_bins(self.prediction, bins), return_inverse=True, return_counts=True
        )
        predicted, observed = (
            np.bincount(place, weights=values) / rows for values in (self.prediction, self.label)
        )
        return Binned(predicted, observed, rows)


def canvas(
    title: str,
    subtitle: str,
    *,
    panels: int = 1,
    height: float = 4.6,
    names: Sequence[str] = (),
    legend: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure with `panels` side by side; the title says what is found, the line below on what.

    Args:
        height: inches.
        names: that stand left of the first panel; the figure grows by what they need.
        legend: whether there is to be room for one above the panels.
    """
    # Margins in inches, fixed: `layout="constrained"` doubles the time that a figure takes.
    left = max(0.8, 0.3 + _LETTER * max(map(len, names), default=0))
    width = _WIDTH + max(0.0, left - 1.6)
    figure = Figure(figsize=(width, height), dpi=_DPI)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    figure.subplots_adjust(
        left=left / width,
        right=0.97,
        top=1 - (0.92 if legend else 0.72) / height,
        bottom=0.58 / height,
        wspace=0.08,
    )
    figure.text(0.02, 1 - 0.12 / height, title, fontsize=12, weight="bold", va="top")
    figure.text(0.02, 1 - 0.40 / height, subtitle, fontsize=9, color=REFERENCE, va="top")
    for axis in axes:
        dress(axis, ticks=5 if panels == 1 else 4)
    return figure, list(axes)


def panels_of(title: str, subtitle: str, *, count: int) -> tuple[Figure, list[Axes]]:
    """A figure with many small panels, at most five in a row; as `canvas`."""
    columns = min(count, 5) if count != 6 else 3
    lines = -(-count // columns)
    height = 0.72 + 1.75 * lines + 0.45
    figure = Figure(figsize=(_WIDTH + 1.3, height), dpi=_DPI)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    figure.subplots_adjust(
        left=0.085,
        right=0.98,
        top=1 - 0.95 / height,
        bottom=0.55 / height,
        wspace=0.32,
        hspace=0.45,
    )
    figure.text(0.02, 1 - 0.12 / height, title, fontsize=12, weight="bold", va="top")
    figure.text(0.02, 1 - 0.40 / height, subtitle, fontsize=9, color=REFERENCE, va="top")
    figure.supxlabel("predicted share", fontsize=9, y=0.1 / height)
    figure.supylabel("observed share", fontsize=9, x=0.01)
    for spare in axes[count:]:
        spare.set_axis_off()
    for axis in axes[:count]:
        dress(axis, ticks=3)
        axis.tick_params(labelsize=8)
    return figure, list(axes[:count])


def dress(axis: Axes, *, ticks: int = 5) -> None:
    """A light grid, no box, and few ticks: they take most of the time of drawing."""
    axis.locator_params(nbins=ticks)
    axis.grid(color="#E5E5E5", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def thin(*curves: Floats) -> list[Floats]:
    """The same few hundred points of each of these curves; the ends are kept."""
    length = len(curves[0])
    kept = np.unique(np.linspace(0, length - 1, min(length, _POINTS)).astype(int))
    return [np.asarray(curve)[kept] for curve in curves]


def bars(axis: Axes, values: Sequence[float], *, colours: Sequence[str]) -> None:
    """Horizontal bars from top to bottom in the given order."""
    axis.barh(np.arange(len(values)), list(values), color=list(colours), height=0.72)


def rows_of_names(axis: Axes, names: Sequence[str], *, labelled: bool = True) -> None:
    """One line for each name, the first on top; a dollar in it is no formula."""
    if labelled:
        plain = [name.replace("$", r"\$") for name in names]
        axis.set_yticks(np.arange(len(names)), plain, fontsize=9)
    else:
        axis.set_yticks([])
    axis.set_ylim(len(names) - 0.4, -0.6)


def legend_above(axis: Axes, *, columns: int = 2) -> None:
    """A legend above the panel, where nothing can be under it."""
    axis.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=8,
        handletextpad=0.4,
    )
