"""An interval around the answer: two quantile models, and a constant that makes them honest."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np

from ml.adapters.model_files import LIGHTGBM, read_interval
from ml.adapters.model_writing import interval_files
from ml.core.losses import Floats
from ml.core.plans import Value
from ml.stages.training.boosting import Boosting
from ml.stages.training.material import Material

_LOG = logging.getLogger("flightline")


def fit_interval(
    material: Material, parameters: Mapping[str, Value], coverage: float
) -> dict[str, bytes]:
    """Learn both ends from the fit window; the select window says by how much they are widened.

    Conformalized quantile regression: Romano, Patterson & Candes (2019), "Conformalized quantile
    regression", section 4 (split conformal). What it promises holds for rows that could be
    exchanged with those of the select window, which later rows are only as long as nothing drifts;
    and as the select window also says when to stop learning, it is a little optimistic.

    Args:
        parameters: LightGBM's, as of the model; objective and quantile are set here.
        coverage: share of the labels that the interval is meant to hold.

    Returns:
        The files that go into the folder of the model, whatever kind that is.
    """
    boosting, contract = Boosting(material), material.contract(LIGHTGBM)
    shares = ((1 - coverage) / 2, (1 + coverage) / 2)
    lower, upper = (
        boosting.train({**parameters, "objective": "quantile", "alpha": share}).booster
        for share in shares
    )
    files = interval_files(contract, lower, upper, coverage=coverage, widen=0.0)
    raw = read_interval(files)
    assert raw is not None
    widen = widening(material.labels(material.select), raw.of(material.select), coverage)
    _LOG.info("interval: widened by %.5g on each side", widen)
    return interval_files(contract, lower, upper, coverage=coverage, widen=widen)


def widening(label: Floats, ends: Floats, coverage: float) -> float:
    """By how much both ends move outwards so that this share of the labels is between them.

    Negative where they hold more than that already. It is the smallest distance that holds
    `ceil((n + 1) * coverage)` of the n labels; all of them if that is more than there are.

    Args:
        ends: shape (n, 2).

    >>> label = np.array([1.0, 2.0, 3.0, 4.0])
    >>> widening(label, np.tile([2.0, 3.0], (4, 1)), 0.5)
    1.0
    """
    distance = np.maximum(ends[:, 0] - label, label - ends[:, 1])
    place = min(math.ceil((len(distance) + 1) * coverage), len(distance))
    return float(np.sort(distance)[place - 1])
