"""Competitors that cost nothing: a column of the model's input, taken as the answer."""

from __future__ import annotations

from ml.adapters.model_files import Contract
from ml.adapters.model_writing import naive_files
from ml.core.plans import Naive
from ml.stages.training.material import Competitor, Material, competitor


def fit_naive(material: Material, kind: Naive) -> Competitor:
    """The spec's column for this naive forecast; nothing is learned.

    Args:
        kind: `persistence`, the newest value that is known, or `seasonal_naive`, that of one
            season before. Source: Hyndman & Athanasopoulos (2021), "Forecasting: principles and
            practice", section 5.2.
    """
    column = material.spec.model.naive[kind]
    contract = Contract(kind, material.spec.problem.value, (column,))
    return competitor(material, naive_files(contract), parameters={"column": column})
