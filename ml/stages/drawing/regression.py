"""How good predicted values are."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ml.stages.drawing.canvas import BINS, MODEL, OBSERVED, PALE, REFERENCE, Rows, canvas


def regression(rows: Rows) -> dict[str, Figure]:
    """By name."""
    return {"predicted_observed": _predicted_observed(rows), "residuals": _residuals(rows)}


def _predicted_observed(rows: Rows) -> Figure:
    bins = rows.binned(BINS)
    predicted, observed = bins.predicted, bins.observed
    total = float(np.sum((rows.label - rows.label.mean()) ** 2))
    explained = 1 - float(np.sum((rows.label - rows.prediction) ** 2)) / total if total else np.nan
    figure, (axis,) = canvas(f"Predicted and observed: R² {explained:.4f}", rows.where)
    both = np.r_[predicted, observed]
    limits = [float(both.min()), float(both.max())]
    sample = np.random.default_rng(0).permutation(len(rows.label))[:1_000]
    axis.plot(
        *(rows.prediction[sample], rows.label[sample]),
        marker=".",
        linestyle="none",
        markersize=3,
        color=PALE,
        label=f"{len(sample):,} rows",
        zorder=1,
    )
    axis.plot(limits, limits, color=REFERENCE, linestyle="--", label="perfect")
    name = f"means of {len(predicted)} bins of equal size"
    axis.plot(predicted, observed, marker="o", color=MODEL, label=name)
    axis.set(xlabel="predicted, label units", ylabel="observed, label units")
    axis.legend(loc="upper left", frameon=False)
    return figure


def _residuals(rows: Rows) -> Figure:
    residuals = rows.label - rows.prediction
    bias = float(residuals.mean())
    figure, (axis,) = canvas(f"Residuals: mean {bias:+.4g}, label units", rows.where)
    low, high = np.quantile(residuals, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, 61)
    axis.stairs(np.histogram(residuals, edges)[0], edges, fill=True, color=PALE)
    axis.axvline(0, color=REFERENCE, linestyle="--", label="no error")
    axis.axvline(bias, color=OBSERVED, label="mean")
    axis.set(xlabel="observed - predicted, label units (middle 99 %)", ylabel="rows")
    axis.legend(loc="upper right", frameon=False)
    return figure
