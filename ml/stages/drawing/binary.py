"""How good predicted probabilities of a binary label are."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ml.core.losses import Floats
from ml.core.plans import CostModel
from ml.stages.drawing.canvas import (
    BINS,
    MARK,
    MODEL,
    OBSERVED,
    PALE,
    REFERENCE,
    Rows,
    canvas,
    dress,
    thin,
)


def binary(rows: Rows, cost: CostModel | None) -> dict[str, Figure]:
    """By name; what needs two classes is left out where there is one."""
    drawn = {}
    if 0 < rows.label.mean() < 1:
        drawn = {
            "roc": _roc(rows),
            "precision_recall": _precision_recall(rows),
            "gain": _gain(rows),
        }
    drawn |= {"calibration": _calibration(rows), "scores": _scores(rows)}
    return drawn | ({"cost": _cost(rows, cost)} if cost else {})


def _roc(rows: Rows) -> Figure:
    from sklearn.metrics import auc, roc_curve

    false, true, _ = roc_curve(rows.label, rows.prediction)
    figure, (axis,) = canvas(f"ROC curve: AUC {auc(false, true):.4f}", rows.where)
    axis.plot(*thin(false, true), color=MODEL, label="model")
    axis.plot([0, 1], [0, 1], color=REFERENCE, linestyle="--", label="chance (AUC 0.5)")
    axis.set(
        xlabel="false positive rate (share of label 0 above the threshold)",
        ylabel="true positive rate (share of label 1)",
    )
    axis.legend(loc="lower right", frameon=False)
    return figure


def _precision_recall(rows: Rows) -> Figure:
    from sklearn.metrics import average_precision_score, precision_recall_curve

    precision, recall, _ = precision_recall_curve(rows.label, rows.prediction)
    found = average_precision_score(rows.label, rows.prediction)
    base = float(rows.label.mean())
    figure, (axis,) = canvas(f"Precision and recall: average precision {found:.4f}", rows.where)
    axis.plot(*thin(recall, precision), color=MODEL, label="model")
    axis.axhline(base, color=REFERENCE, linestyle="--", label=f"base rate {base:.3f}")
    axis.set(
        xlabel="recall (share of label 1 that is found)",
        ylabel="precision (share of label 1 among the found)",
        ylim=(0, 1.02),
    )
    axis.legend(loc="upper right", frameon=False)
    return figure


def _gain(rows: Rows) -> Figure:
    order = np.argsort(-rows.prediction, kind="stable")
    found = np.r_[0.0, np.cumsum(rows.label[order]) / rows.label.sum()]
    share = np.linspace(0, 1, len(found))
    fifth = float(np.interp(0.2, share, found))
    base = float(rows.label.mean())
    figure, (axis,) = canvas(f"Gain: the top 20 % of rows hold {fifth:.0%} of label 1", rows.where)
    axis.plot(*thin(share, found), color=MODEL, label="by the model's prediction")
    axis.plot([0, base, 1], [0, 1, 1], color=MARK, linestyle=":", label="perfect order")
    axis.plot([0, 1], [0, 1], color=REFERENCE, linestyle="--", label="chance")
    axis.plot([0.2], [fifth], marker="o", color=MODEL)
    axis.set(xlabel="share of rows, highest prediction first", ylabel="share of label 1 among them")
    axis.legend(loc="lower right", frameon=False)
    return figure


def _calibration(rows: Rows) -> Figure:
    bins = rows.binned(BINS)
    predicted, observed = bins.predicted, bins.observed
    figure, (axis,) = canvas(
        f"Calibration: predicted and observed are {bins.error:.4f} apart on average",
        rows.where,
        height=5.6,
    )
    axis.set_position((0.11, 0.36, 0.86, 0.50))
    below = figure.add_axes((0.11, 0.10, 0.86, 0.20), sharex=axis)
    dress(below)
    limit = float(max(predicted.max(), observed.max())) * 1.05 or 1.0
    axis.plot([0, limit], [0, limit], color=REFERENCE, linestyle="--", label="perfect")
    axis.plot(predicted, observed, marker="o", color=MODEL, label=bins.sizes)
    axis.set(ylabel="observed share of label 1")
    axis.legend(loc="upper left", frameon=False)
    below.hist(rows.prediction, bins=50, color=PALE)
    below.set(xlabel="predicted probability of label 1", ylabel="rows")
    return figure


def _scores(rows: Rows) -> Figure:
    edges = np.linspace(0, max(float(rows.prediction.max()), 1e-9), 51)
    figure, (axis,) = canvas("Predictions by what happened", rows.where)
    for value, colour in ((0, MODEL), (1, OBSERVED)):
        chosen = rows.prediction[rows.label == value]
        if not len(chosen):
            continue
        heights = np.histogram(chosen, edges)[0] / len(chosen)
        axis.stairs(heights, edges, fill=True, alpha=0.35, color=colour)
        name = f"label {value}: {len(chosen):,} rows, mean {chosen.mean():.3f}"
        axis.stairs(heights, edges, color=colour, label=name)
    axis.set(xlabel="predicted probability of label 1", ylabel="share of the label's rows")
    axis.legend(loc="upper right", frameon=False)
    return figure


def _cost(rows: Rows, cost: CostModel) -> Figure:
    thresholds = np.linspace(0, 1, 201)
    curve = _cost_by_threshold(rows, cost, thresholds)
    at_spec = float(_cost_by_threshold(rows, cost, np.array([cost.threshold]))[0])
    never = cost.missed * float(rows.label.mean())
    figure, (axis,) = canvas(
        f"Cost: {at_spec:.4f} units a row at the spec's threshold",
        f"{rows.where}  ·  an action costs 1, a missed label 1 costs {cost.missed:g}",
    )
    axis.plot(thresholds, curve, color=MODEL, label="model")
    axis.axhline(never, color=OBSERVED, linestyle="--", label=f"never acting {never:.3f}")
    axis.axhline(1.0, color=REFERENCE, linestyle="--", label="always acting 1")
    axis.axvline(cost.threshold, color=MARK, linestyle=":")
    axis.plot(
        *([cost.threshold], [at_spec]),
        marker="o",
        linestyle="none",
        color=MARK,
        label=f"spec's threshold {cost.threshold:g}",
    )
    axis.set(
        xlabel="act where the predicted probability is above",
        ylabel="cost units a row",
        ylim=(0, None),
    )
    axis.legend(loc="lower right", frameon=False)
    return figure


def _cost_by_threshold(rows: Rows, cost: CostModel, thresholds: Floats) -> Floats:
    """Mean cost of acting above each of the thresholds."""
    order = np.argsort(rows.prediction, kind="stable")
    missed = np.r_[0.0, np.cumsum(rows.label[order])]
    below = np.searchsorted(rows.prediction[order], thresholds, side="right")
    costs: Floats = (len(order) - below + cost.missed * missed[below]) / len(order)
    return costs
