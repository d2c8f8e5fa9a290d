from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from ml.core.metric_names import METRICS, computed_for
from ml.core.metrics import constant_cost, evaluate, row_cost
from ml.core.plans import CostModel
from ml.core.problems import ProblemType
from ml.core.statistics import Estimate, Resampling

COST = CostModel(missed=4)
DAYS = np.repeat([f"{day:02}" for day in range(20)], 50)
GENERATOR = np.random.default_rng(3)
GOOD = np.clip(GENERATOR.beta(0.5, 0.5, 1000), 0.01, 0.99)
LABEL = (GENERATOR.uniform(size=1000) < GOOD).astype(float)  # so it is calibrated
RULE = np.full(1000, 0.5)


def found(prediction: np.ndarray = GOOD, **options: object) -> dict[str, Estimate]:
    draws = Resampling(DAYS, replicates=200, seed=1)
    given = {"rule": RULE, "resampling": draws, "cost": COST, **options}
    return evaluate(ProblemType.BINARY, LABEL, prediction, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("problem", "cost"),
    [(ProblemType.BINARY, None), (ProblemType.BINARY, COST), (ProblemType.REGRESSION, None)],
)
def test_every_metric_in_the_catalogue_is_computed(
    problem: ProblemType, cost: CostModel | None
) -> None:
    """A name that nobody computes could be given a threshold that never trips."""
    draws = Resampling(DAYS, replicates=200, seed=1)
    metrics = evaluate(problem, LABEL, GOOD, rule=RULE, resampling=draws, cost=cost)
    names = {metric.name for metric in computed_for(problem, has_cost=cost is not None)}
    assert set(metrics) == names and all(one.is_finite for one in metrics.values())


def test_metrics_are_scikit_learns() -> None:
    metrics = found()
    assert metrics["log_loss"].value == pytest.approx(log_loss(LABEL, GOOD))
    assert metrics["brier"].value == pytest.approx(brier_score_loss(LABEL, GOOD))


@pytest.mark.parametrize("name", sorted(found()))
def test_a_better_model_has_the_better_metric(name: str) -> None:
    """In the direction that the catalogue states, so that a threshold cannot look the wrong way."""
    worse = found(np.where(np.arange(1000) % 3 == 0, 1 - GOOD, GOOD))[name].value
    sign = 1 if METRICS[name].higher_is_better else -1
    assert sign * (found()[name].value - worse) > 0


def test_the_rule_itself_has_no_skill() -> None:
    assert found(RULE)["skill"] == Estimate(0, 0, 0, 1000, 20)


def test_perfect_foresight_has_all_the_value_and_a_constant_none() -> None:
    assert found(LABEL)["value"].value == 1
    assert found(np.ones(1000))["value"].value == 0


def test_acting_pays_above_the_threshold_only() -> None:
    """At 1/4 it costs the same either way; what a row without prediction costs is unknown."""
    cost = row_cost(np.ones(4), np.array([0.25, 0.26, np.nan, 0.0]), COST)
    np.testing.assert_array_equal(cost, [4, 1, np.nan, 4])


@pytest.mark.parametrize(("share", "expected"), [(0.1, 0.4), (0.25, 1.0), (0.6, 1.0)])
def test_the_better_constant_depends_on_the_base_rate(share: float, expected: float) -> None:
    label = (np.arange(100) < share * 100).astype(float)
    assert constant_cost(label, COST).mean() == pytest.approx(expected)


def test_nan_among_the_predictions_leaves_no_metric_finite() -> None:
    broken = GOOD.copy()
    broken[5] = np.nan
    assert not any(one.is_finite for one in found(broken).values())
