"""Pictures for people who would rather look than read; each answers one question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ml.core.losses import Floats
from ml.core.plans import Cost, CostMatrix, CostModel
from ml.core.problems import ProblemType
from ml.stages.drawing.binary import binary
from ml.stages.drawing.canvas import (
    FAR,
    MARK,
    MODEL,
    OBSERVED,
    PALE,
    REFERENCE,
    Rows,
    bars,
    canvas,
    legend_above,
    rows_of_names,
    thin,
)
from ml.stages.drawing.forecasts import Forecasts, forecasts
from ml.stages.drawing.groups import by_group
from ml.stages.drawing.multiclass import multiclass
from ml.stages.drawing.regression import regression

_MOST_FEATURES = 20


def evaluation(
    problem: ProblemType,
    label: Floats,
    prediction: Floats,
    *,
    title: str,
    folder: str = "plots",
    groups: Mapping[str, NDArray[np.str_]] | None = None,
    cost: Cost | None = None,
    classes: Sequence[str] = (),
    interval: Floats | None = None,
    nominal: float | None = None,
    times: NDArray[np.datetime64] | None = None,
    naive: Mapping[str, Floats] | None = None,
) -> dict[str, Figure]:
    """How good predictions are, by path of the artifact.

    Rows whose prediction is not a number are left out, and counted below the title. A picture that
    needs two classes is left out where there is one; without any row there are no pictures.

    Args:
        label: shape (n,).
        prediction: shape (n,); (n, classes) for multiclass.
        title: which rows these are, such as `select window, as of 2013-06-01`.
        folder: where the pictures go.
        groups: column to its value in each row, shape (n,).
        cost: of the problem's kind; a regression has no picture of it.
        classes: their names, in the order of their index; multiclass only.
        interval: lower and upper end for each row, shape (n, 2); regression only.
        nominal: share of the labels that the interval is meant to hold.
        times: of each row, shape (n,), UTC; regression only, for the picture over time.
        naive: name to what a naive forecast says, shape (n,); regression only.
    """
    answered = np.isfinite(prediction.reshape(len(label), -1)).all(axis=1)
    finite = answered & np.isfinite(label)
    if not finite.any():
        return {}
    counted = f"{finite.sum():,} rows"
    if not finite.all():
        counted = f"{finite.sum():,} of {len(label):,} rows, the others have no prediction"
    rows = Rows(label[finite], prediction[finite], f"{title}  ·  {counted}")
    if problem is ProblemType.BINARY:
        drawn = binary(rows, cost if isinstance(cost, CostModel) else None)
    elif problem is ProblemType.MULTICLASS:
        drawn = multiclass(rows, classes, cost if isinstance(cost, CostMatrix) else None)
    else:
        given = Forecasts(times, interval, naive or {}, nominal).among(finite)
        drawn = regression(rows) | forecasts(rows, given)
    for name, values in (groups or {}).items():
        drawn[f"by_{name}"] = by_group(problem, rows, name, np.asarray(values)[finite])
    return {f"{folder}/{name}.png": figure for name, figure in drawn.items()}


def learning_curve(curves: Mapping[str, Sequence[float]], *, best: int, loss_name: str) -> Figure:
    """Loss by boosting round.

    Args:
        curves: name of the window to the loss after each round.
        best: how many rounds the model keeps, from 1.
    """
    figure, (axis,) = canvas(
        f"Learning curve: {best} rounds are kept",
        "the model stops where the select window is best",
        legend=True,
    )
    for (name, curve), colour in zip(curves.items(), (MODEL, OBSERVED, PALE), strict=False):
        values = np.asarray(curve, dtype="float64")
        axis.plot(*thin(np.arange(1.0, len(values) + 1), values), color=colour, label=name)
    axis.axvline(best, color=MARK, linestyle=":", label=f"round {best}")
    axis.set(xlabel="boosting round", ylabel=f"mean {loss_name.replace('_', ' ')}")
    legend_above(axis, columns=len(curves) + 1)
    return figure


def importance(gain: Mapping[str, float], permutation: Mapping[str, tuple[float, float]]) -> Figure:
    """What the model looks at, and what it would miss: the most important features by gain.

    Args:
        gain: of each feature, in any unit; drawn as a share of the whole.
        permutation: of each feature that was shuffled: mean rise of the loss, and the standard
            deviation over the repeats.
    """
    total = sum(gain.values()) or 1.0
    names = sorted(gain, key=lambda name: -gain[name])[:_MOST_FEATURES]
    figure, (left, right) = canvas(
        "Importance: what the trees split on, and what shuffling a feature costs",
        f"the first {len(names)} of {len(gain)} features by gain",
        panels=2,
        height=1.5 + 0.23 * len(names),
        names=names,
    )
    bars(left, [gain[name] / total for name in names], colours=[MODEL] * len(names))
    shuffled = [permutation.get(name, (0.0, 0.0)) for name in names]
    bars(right, [mean for mean, _ in shuffled], colours=[OBSERVED] * len(names))
    places = np.arange(len(names))
    right.errorbar(
        *([mean for mean, _ in shuffled], places),
        xerr=[spread for _, spread in shuffled],
        fmt="none",
        ecolor=REFERENCE,
    )
    rows_of_names(left, names)
    rows_of_names(right, names, labelled=False)
    left.set(xlabel="share of the gain")
    right.set(xlabel="rise of the loss when shuffled")
    return figure


def competitors(losses: Mapping[str, float], *, loss_name: str) -> Figure:
    """Loss of each competitor on the same rows, the best first.

    Args:
        losses: name to mean loss.
    """
    names = sorted(losses, key=lambda name: (np.isnan(losses[name]), losses[name]))
    finite = [name for name in names if np.isfinite(losses[name])]
    best, worst = losses[finite[0]], losses[finite[-1]]
    figure, (axis,) = canvas(
        f"Competitors: {names[0]} is best, {1 - best / worst:.1%} under {finite[-1]}",
        "the same rows for all; lower is better",
        height=1.7 + 0.42 * len(names),
        names=names,
    )
    colours = [MODEL if name == names[0] else PALE for name in names]
    bars(axis, [losses[name] for name in names], colours=colours)
    rows_of_names(axis, names)
    is_far = worst > FAR * best > 0
    start = best / 2 if is_far else 0.0
    for place, name in enumerate(names):
        axis.annotate(
            f"{losses[name]:.4f}" if name in finite else "not for every row",
            (losses[name] if name in finite else start, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    measure = f"mean {loss_name.replace('_', ' ')} on the select window"
    if is_far:
        axis.set(xlabel=f"{measure} (logarithmic)", xscale="log", xlim=(start, worst * 2))
    else:
        axis.set(xlabel=measure, xlim=(0, worst * 1.12))
    return figure
