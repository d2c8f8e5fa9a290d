"""Tables of a training's record: each is a file that MLflow's pages can open."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.core import metrics
from ml.core.losses import Floats, row_loss
from ml.core.metric_names import Scope
from ml.core.problems import ProblemType
from ml.core.statistics import Estimate, Resampling
from ml.core.trained_run import Trial
from ml.stages.training.contest import Contest


def competitors(contest: Contest, loss_name: str) -> pd.DataFrame:
    """One row for each competitor, the best first."""
    rows = [
        {
            "competitor": kind,
            loss_name: one.loss,
            "against_rule": one.loss / contest.rule.loss - 1,
            "parameters": json.dumps(dict(one.parameters)),
        }
        for kind, one in contest.competitors.items()
    ]
    return pd.DataFrame(rows)


def trials(found: Sequence[Trial]) -> pd.DataFrame:
    """One row for each point of the search, the best first."""
    rows = [{"trial": t.number, "loss": t.loss, "rounds": t.rounds, **t.parameters} for t in found]
    return pd.DataFrame(rows).sort_values("loss", ignore_index=True)


def by_class(scope: Scope, label: Floats, found: Mapping[str, Estimate]) -> pd.DataFrame:
    """One row for each class: how many rows there are, and every figure of it with its bounds."""
    counts = np.bincount(label.astype(int), minlength=len(scope.classes)).tolist()
    rows = [
        {"class": one["class"], "rows": count, **{n: v for n, v in one.items() if n != "class"}}
        for one, count in zip(metrics.by_class(scope, found), counts, strict=True)
    ]
    return pd.DataFrame(rows)


def by_group(
    problem: ProblemType,
    label: Floats,
    prediction: Floats,
    rule: Floats,
    values: NDArray[np.str_],
    draws: Resampling,
) -> pd.DataFrame:
    """How a model does in each group of rows, and against the rule.

    Args:
        prediction, rule: what both say, shape (n,) or (n, classes).
        values: group of each row, shape (n,).
    """
    loss = row_loss(problem, label, prediction)
    difference = loss - row_loss(problem, label, rule)
    rows: list[Mapping[str, Any]] = []
    for value in np.unique(values):
        mask = values == value
        against = draws.among(mask).mean(difference[mask])
        rows.append(
            {
                "value": str(value),
                "rows": int(mask.sum()),
                **_means(problem, label[mask], prediction[mask]),
                problem.loss_name: float(loss[mask].mean()),
                "against_rule": against.value,
                "against_rule_lower": against.lower,
                "against_rule_upper": against.upper,
            }
        )
    return pd.DataFrame(rows)


def _means(problem: ProblemType, label: Floats, prediction: Floats) -> dict[str, float]:
    """A mean of class indices would say nothing."""
    if problem is ProblemType.MULTICLASS:
        return {"accuracy": float((metrics.decided_class(prediction) == label).mean())}
    return {"observed": float(label.mean()), "predicted": float(prediction.mean())}
