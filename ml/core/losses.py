"""Per-row losses that candidates are judged by, and the constant that each must beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml.core.problems import ProblemType

Floats = NDArray[np.float64]
_CLIP = 1e-6  # a probability of exactly 0 or 1 would make one row decide a whole comparison


def row_loss(problem: ProblemType, label: Floats, prediction: Floats) -> Floats:
    """Loss of each row, in nats (classification) or squared label units (regression).

    Args:
        label: shape (n,): 0 or 1, the class index, or the value.
        prediction: shape (n,): probability of class 1, or the value; (n, classes) for multiclass.

    Returns:
        Shape (n,); not finite where the prediction, of any class, is not.

    >>> row_loss(ProblemType.BINARY, np.array([1.0, 0.0]), np.array([0.5, 0.5])).round(3)
    array([0.693, 0.693])
    """
    if problem is ProblemType.REGRESSION:
        return (label - prediction) ** 2
    if problem is ProblemType.MULTICLASS:
        chosen = prediction[np.arange(len(label)), label.astype(int)]
        known = np.isfinite(prediction).all(axis=1)
    else:
        known = np.isfinite(prediction)
        chosen = np.where(label == 1, prediction, 1 - prediction)
    # An answer that is not a number stays visible, and clipping would hide an infinite one.
    loss: Floats = np.where(known, -np.log(np.clip(chosen, _CLIP, 1 - _CLIP)), np.nan)
    return loss
