"""Pictures for people who would rather look than read."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ml.core.losses import Floats


def calibration(label: Floats, prediction: Floats, *, title: str, bins: int = 15) -> Figure:
    """Mean label against mean prediction in bins of equal size, over the predictions' histogram.

    Args:
        label, prediction: shape (n,).
    """
    order = np.argsort(prediction, kind="stable")
    groups = np.array_split(order, bins)
    predicted = np.array([prediction[group].mean() for group in groups])
    observed = np.array([label[group].mean() for group in groups])
    figure = Figure(figsize=(6, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    limits = [0.0, float(max(predicted.max(), observed.max())) * 1.05]
    upper.plot(limits, limits, color="grey", linestyle="--", label="perfect")
    upper.plot(predicted, observed, marker="o", label=f"{bins} bins of {len(groups[0]):,} rows")
    upper.set(ylabel="observed", title=title)
    upper.legend()
    lower.hist(prediction, bins=50)
    lower.set(xlabel="predicted", ylabel="rows")
    return figure
