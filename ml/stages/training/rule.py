"""The competitor without a model: the mean label of rows that are alike."""

from __future__ import annotations

import numpy as np

from ml.adapters.model_files import RULE, Contract, rule_files
from ml.stages.training.material import Competitor, Material, competitor


def fit_rule(material: Material) -> Competitor:
    """Learn the spec's rule: group means of the fit window, drawn towards the overall mean.

    A group's value is `(sum of labels + k * overall mean) / (rows + k)` with the smoothing `k`; a
    group that the fit window does not have gets the overall mean.
    """
    plan, spec = material.spec.model.rule, material.spec
    contract = Contract(RULE, spec.problem.value, plan.by, material.categories(plan.by))
    label = material.labels(material.fit)
    base = float(label.mean())
    groups: dict[tuple[int, ...], float] = {}
    if plan.by:
        codes = contract.encode(material.fit)
        known = ~np.isnan(codes).any(axis=1)
        distinct, index = np.unique(codes[known].astype(int), axis=0, return_inverse=True)
        index = index.reshape(-1)
        total = np.bincount(index, weights=label[known], minlength=len(distinct))
        means = (total + plan.smoothing * base) / (np.bincount(index) + plan.smoothing)
        groups = {tuple(row): float(m) for row, m in zip(distinct.tolist(), means, strict=True)}
    files = rule_files(contract, base=base, groups=groups)
    by = ", ".join(plan.by) or "nothing: the base rate"
    return competitor(material, files, parameters={"by": by, "smoothing": plan.smoothing})
