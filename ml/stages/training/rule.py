"""The competitor without a model: the mean label of rows that are alike."""

from __future__ import annotations

import numpy as np

from ml.adapters.model_files import RULE
from ml.adapters.model_writing import rule_files
from ml.core.losses import Floats
from ml.core.problems import ProblemType
from ml.stages.training.material import Competitor, Material, competitor


def fit_rule(material: Material) -> Competitor:
    """Learn the spec's rule: group means of the fit window, drawn towards the overall mean.

    A group's value is `(sum of labels + k * overall mean) / (rows + k)` with the smoothing `k`; a
    group that the fit window does not have gets the overall mean. With classes, the means are
    those of each class: shares. With `difference_from`, they are mean differences.
    """
    plan = material.spec.model.rule
    contract = material.contract_of(RULE, plan.by, plan.by)
    values = _values(material)
    base = values.mean(axis=0)
    groups: dict[tuple[int, ...], list[float]] = {}
    if plan.by:
        codes = contract.encode(material.fit)[:, : len(plan.by)]
        known = ~np.isnan(codes).any(axis=1)
        distinct, index = np.unique(codes[known].astype(int), axis=0, return_inverse=True)
        index = index.reshape(-1)
        means = _means(index, values[known], base, plan.smoothing, len(distinct))
        groups = {tuple(row): m for row, m in zip(distinct.tolist(), means.tolist(), strict=True)}
    alone = values.shape[1] == 1
    files = rule_files(contract, base=float(base[0]) if alone else base.tolist(), groups=groups)
    by = ", ".join(plan.by) or "nothing: the base rate"
    return competitor(material, files, parameters={"by": by, "smoothing": plan.smoothing})


def _values(material: Material) -> Floats:
    """What is averaged, shape (n, 1); an indicator of each class, shape (n, classes)."""
    target = material.target(material.fit)
    if material.spec.problem is not ProblemType.MULTICLASS:
        return target[:, None]
    classes = np.arange(len(material.spec.label.classes))
    found: Floats = (target[:, None] == classes).astype(np.float64)
    return found


def _means(index: np.ndarray, values: Floats, base: Floats, smoothing: float, count: int) -> Floats:
    """Smoothed mean of each group, shape (count, columns of `values`)."""
    totals = [np.bincount(index, weights=column, minlength=count) for column in values.T]
    rows = np.bincount(index, minlength=count)[:, None]
    means: Floats = (np.column_stack(totals) + smoothing * base) / (rows + smoothing)
    return means
