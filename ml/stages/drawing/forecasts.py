"""Values in time: what was predicted, what came, and how wide the interval between had to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ml.core.losses import Floats
from ml.core.statistics import equal_bins
from ml.stages.drawing.canvas import (
    MARK,
    MODEL,
    OBSERVED,
    PALE,
    REFERENCE,
    Rows,
    canvas,
    dress,
    legend_above,
)

_POINTS = 200  # in time; more rows are averaged
_BINS, _BIN_ROWS = 8, 20  # at most so many bins, of at least so many rows
_NAIVE = {"persistence": (REFERENCE, "--"), "seasonal_naive": (MARK, ":")}


@dataclass(frozen=True)
class Forecasts:
    """What belongs to the rows of an evaluation of values.

    Attributes:
        times: of each row, shape (n,), datetime64; None where the order of the rows says nothing.
        interval: lower and upper end, shape (n, 2).
        naive: name to what a naive forecast says, shape (n,).
        nominal: share of the labels that the interval is meant to hold.
    """

    times: NDArray[np.datetime64] | None
    interval: Floats | None
    naive: Mapping[str, Floats]
    nominal: float | None = None

    def among(self, mask: NDArray[np.bool_]) -> Forecasts:
        """Of a part of the rows."""
        return Forecasts(
            None if self.times is None else np.asarray(self.times)[mask],
            None if self.interval is None else self.interval[mask],
            {name: values[mask] for name, values in self.naive.items()},
            self.nominal,
        )


def forecasts(rows: Rows, given: Forecasts) -> dict[str, Figure]:
    """By name; what there is nothing to draw from is left out."""
    drawn = {}
    if given.times is not None and len(np.unique(given.times)) > 1:
        drawn["over_time"] = _over_time(rows, given, given.times)
    if given.interval is not None and np.isfinite(given.interval).all(axis=1).any():
        drawn["coverage"] = _coverage(rows, given.interval, given.nominal)
    return drawn


def _over_time(rows: Rows, given: Forecasts, times: NDArray[np.datetime64]) -> Figure:
    """Above the values, below the errors: a level that moves would hide them."""
    order = np.argsort(times, kind="stable")
    moments, first = np.unique(times[order], return_index=True)
    starts = np.unique(
        first[np.linspace(0, len(moments) - 1, min(len(moments), _POINTS)).astype(int)]
    )
    at = times[order][starts]
    sizes = np.diff([*starts, len(order)])

    def averaged(values: Floats) -> Floats:
        means: Floats = np.add.reduceat(values[order], starts) / sizes
        return means

    most = int(sizes.max())
    where = rows.where + (f"  ·  points are means of up to {most:,} rows" if most > 1 else "")
    figure, (axis,) = canvas(
        "Over time: predicted and observed, and the errors", where, height=6.4, legend=True
    )
    axis.set_position((0.11, 0.46, 0.86, 0.39))
    below = figure.add_axes((0.11, 0.09, 0.86, 0.28), sharex=axis)
    dress(below)
    if given.interval is not None:
        lower, upper = (averaged(end) for end in given.interval.T)
        axis.fill_between(at, lower, upper, color=PALE, alpha=0.55, linewidth=0, label="interval")
    observed = averaged(rows.label)
    _line(axis, at, averaged(rows.prediction), MODEL, "-", "predicted")
    for name, values in given.naive.items():
        colour, style = _NAIVE.get(name, (MARK, "-."))
        _line(below, at, averaged(values) - observed, colour, style, name.replace("_", " "))
    axis.plot(
        at, observed, color=OBSERVED, marker=".", markersize=4, linewidth=0.8, label="observed"
    )
    _line(below, at, averaged(rows.prediction) - observed, MODEL, "-", "predicted")
    below.axhline(0, color=OBSERVED, linewidth=0.8)
    _dates(below)
    axis.tick_params(labelbottom=False)
    axis.set(ylabel="label units")
    below.set(ylabel="forecast - observed", xlabel="time of the decision (UTC)")
    legend_above(axis, columns=3)
    legend_above(below, columns=3)
    return figure


def _dates(axis: Axes) -> None:
    """Few and short, so that none lies upon another."""
    # With five ticks at least, its default, three to five years would have no fitting interval.
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]  # Matplotlib has no types for dates
    axis.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]  # as above
    axis.xaxis.set_major_formatter(formatter)


def _line(
    axis: Axes, at: NDArray[np.datetime64], values: Floats, colour: str, style: str, name: str
) -> None:
    axis.plot(at, values, color=colour, linestyle=style, linewidth=1.4, label=name)


def _coverage(rows: Rows, interval: Floats, nominal: float | None) -> Figure:
    """Whether the interval holds as many labels where answers are low as where they are high."""
    known = np.isfinite(interval).all(axis=1)
    label, prediction, (lower, upper) = rows.label[known], rows.prediction[known], interval[known].T
    inside, width = (label >= lower) & (label <= upper), upper - lower
    bins = max(1, min(_BINS, len(label) // _BIN_ROWS))
    place = equal_bins(prediction, bins)
    groups = [place == number for number in np.unique(place)]
    middle, share, mean = (
        np.array([values[group].mean() for group in groups])
        for values in (prediction, inside, width)
    )
    aim = "" if nominal is None else f", {nominal:.0%} are meant"
    figure, (axis,) = canvas(
        f"Interval: {inside.mean():.1%} of the labels are in it{aim}",
        f"{rows.where}  ·  {len(groups)} bins of equal size by the answer",
        height=5.6,
    )
    axis.set_position((0.11, 0.42, 0.86, 0.44))
    below = figure.add_axes((0.11, 0.10, 0.86, 0.25), sharex=axis)
    dress(below)
    axis.plot(middle, share, marker="o", color=MODEL, label="share of labels in the interval")
    if nominal is not None:
        axis.axhline(nominal, color=REFERENCE, linestyle="--", label=f"nominal {nominal:g}")
    axis.set(ylim=(min(0.5, float(share.min()) - 0.05), 1.02), ylabel="share of labels in it")
    axis.legend(loc="lower right", frameon=False)
    axis.tick_params(labelbottom=False)
    below.plot(middle, mean, marker="o", color=MODEL)
    below.set(
        ylim=(0, float(mean.max()) * 1.15 or 1.0),
        ylabel="mean width",
        xlabel="predicted, label units",
    )
    return figure
