"""The competitor that is simple: a regularised linear model on scaled numbers and indicators."""

from __future__ import annotations

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from ml.adapters.model_files import LINEAR, LOGISTIC, scaled
from ml.adapters.model_writing import linear_files
from ml.core.losses import Floats
from ml.core.problems import ProblemType
from ml.stages.training.material import Competitor, Material, competitor

_MOST_CATEGORIES = 64  # of a column; the rarer ones share an indicator


def fit_linear(material: Material) -> Competitor:
    """Learn logistic regression (with several classes multinomial), or ridge regression of values.

    A missing number counts as the mean, a missing or unknown category as none. One thread: how a
    sum is split among threads changes its last digits, and so the file.
    """
    is_value = material.spec.problem is ProblemType.REGRESSION
    matrix, target = material.matrix[0], material.target(material.fit)
    # It needs a handful of iterations where the default solver needs hundreds.
    model = Ridge() if is_value else LogisticRegression(solver="newton-cholesky")
    with threadpool_limits(1):
        scaling = _scaling(matrix, material.categorical).fit(matrix)
        model.fit(scaled(scaling, matrix), target)
    files = linear_files(
        material.contract(LINEAR if is_value else LOGISTIC),
        Pipeline([("scaling", scaling), ("model", model)]),
    )
    told = {"solver": model.solver, "alpha" if is_value else "C": 1.0}
    return competitor(material, files, parameters=told)


def _scaling(matrix: Floats, categorical: list[int]) -> ColumnTransformer:
    """Columns without any value in the fit window are left out: they have no mean."""
    known = np.any(~np.isnan(matrix), axis=0)
    numbers = [i for i in range(matrix.shape[1]) if known[i] and i not in categorical]
    indicators = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=_MOST_CATEGORIES, sparse_output=False
    )
    return ColumnTransformer(
        [("numbers", StandardScaler(), numbers), ("codes", indicators, categorical)],
        sparse_threshold=0,
    )
