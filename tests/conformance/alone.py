"""How well one feature alone predicts the label, on a scale on which 1 is knowing it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from ml.core.problems import ProblemType

LIMIT = 0.98
"""Far above what one honest feature reaches: at most 0.67 in `flight_delay`."""
_LEAVES = 64


def score_alone(
    problem: ProblemType, values: pd.Series, label: np.ndarray, is_fit: np.ndarray
) -> float:
    """On the rows that are not `is_fit`: the better of a small tree and the feature as it is.

    Binary: area under the ROC curve. Several classes: share of rows whose class is right, minus
    what the most frequent one reaches, as a share of what is left. Values: share of variance, or
    the square of the rank correlation.
    """
    matrix = _numbers(values).reshape(-1, 1)
    fit, rest = matrix[is_fit], matrix[~is_fit]
    truth, known = label[~is_fit], label[is_fit]
    if any(len(np.unique(one)) < 2 for one in (fit, rest, truth, known)):
        return 0.0
    is_value = problem is ProblemType.REGRESSION
    kind: Any = DecisionTreeRegressor if is_value else DecisionTreeClassifier
    tree = kind(max_leaf_nodes=_LEAVES, min_samples_leaf=5, random_state=0).fit(fit, known)
    if is_value:
        spread = ((truth - truth.mean()) ** 2).mean()
        share = 1 - ((truth - tree.predict(rest)) ** 2).mean() / spread
        rank = spearmanr(rest[:, 0], truth).statistic
        return float(max(share, np.nan_to_num(rank) ** 2))
    if problem is ProblemType.BINARY:
        as_it_is = roc_auc_score(truth, rest[:, 0])
        by_tree = roc_auc_score(truth, tree.predict_proba(rest)[:, 1])
        return float(max(as_it_is, 1 - as_it_is, by_tree))
    right = (tree.predict(rest) == truth).mean()
    guess = np.unique(truth, return_counts=True)[1].max() / len(truth)
    return float((right - guess) / (1 - guess)) if guess < 1 else 0.0


def _numbers(values: pd.Series) -> np.ndarray:
    """Text as codes; what is missing as a number that no value has."""
    if values.dtype.kind not in "fiub":
        values = pd.Series(pd.factorize(values)[0])
    numbers = values.to_numpy("float64")
    return np.where(np.isfinite(numbers), numbers, np.nanmin(numbers, initial=0.0) - 1)
