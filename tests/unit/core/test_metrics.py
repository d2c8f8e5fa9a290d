from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from ml.core.metric_names import METRICS, Scope, computed_for
from ml.core.metrics import evaluate
from ml.core.plans import Cost, CostMatrix, CostModel, UnitCost
from ml.core.problems import ProblemType
from ml.core.statistics import MISSING, Estimate, Resampling

BINARY, MULTICLASS, REGRESSION = ProblemType
COST = CostModel(missed=4)
DAYS = np.repeat([f"{day:02}" for day in range(20)], 50)
GENERATOR = np.random.default_rng(3)
GOOD = np.clip(GENERATOR.beta(0.5, 0.5, 1000), 0.01, 0.99)
LABEL = (GENERATOR.uniform(size=1000) < GOOD).astype(float)  # so it is calibrated
RULE = np.full(1000, 0.5)
MATRIX = CostMatrix(costs=((0, 1, 2), (3, 0, 1), (5, 2, 0)))
CLASSES = ("low", "middle", "high")


def draws(replicates: int = 200) -> Resampling:
    return Resampling(DAYS, replicates=replicates, seed=1)


def found(prediction: np.ndarray = GOOD) -> dict[str, Estimate]:
    scope = Scope(BINARY, has_cost=True)
    return evaluate(scope, LABEL, prediction, rule=RULE, resampling=draws(), cost=COST)


EVERYTHING: dict[str, tuple[Scope, Cost | None]] = {
    "binary": (Scope(BINARY), None),
    "binary with cost": (Scope(BINARY, has_cost=True), COST),
    "classes": (Scope(MULTICLASS, CLASSES), None),
    "classes with cost": (Scope(MULTICLASS, CLASSES, has_cost=True), MATRIX),
    "value": (Scope(REGRESSION), None),
    "value with all": (
        Scope(
            REGRESSION, naive=("persistence", "seasonal_naive"), has_cost=True, has_interval=True
        ),
        UnitCost(over=1, under=2),
    ),
}


@pytest.mark.parametrize("case", EVERYTHING)
@pytest.mark.parametrize("rows", [1000, 0])
def test_every_metric_in_the_catalogue_is_computed(case: str, rows: int) -> None:
    """A name that nobody computes could be given a threshold that never trips."""
    scope, cost = EVERYTHING[case]
    label, prediction, rule = LABEL, GOOD, RULE
    if scope.classes:
        label = LABEL + (np.arange(1000) % 10 == 0)
        prediction, rule = GENERATOR.dirichlet([1, 1, 1], 1000), np.full((1000, 3), 1 / 3)
    metrics = evaluate(
        *(scope, label[:rows], prediction[:rows]),
        rule=rule[:rows],
        resampling=Resampling(DAYS[:rows], replicates=200, seed=1),
        cost=cost,
        naive=dict.fromkeys(scope.naive, GOOD[:rows] + 0.1),
        interval=np.stack([GOOD - 0.2, GOOD + 0.3], axis=1)[:rows] if scope.has_interval else None,
    )
    assert list(metrics) == list(computed_for(scope))
    assert {one.is_finite for one in metrics.values()} == {rows > 0}


def test_what_is_not_given_is_missing_and_not_left_out() -> None:
    """A gate on it must be able to say that it is invalid."""
    scope, _ = EVERYTHING["value with all"]
    metrics = evaluate(scope, LABEL, GOOD, rule=RULE, resampling=draws())
    missing = {name for name, one in metrics.items() if not one.is_finite}
    naive = {"skill_persistence", "skill_seasonal_naive"}
    assert missing == {"cost", "interval_coverage", "interval_width"} | naive


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


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_no_number_leaves_no_metric_finite(spoilt: float) -> None:
    broken = GOOD.copy()
    broken[5] = spoilt
    assert not any(one.is_finite for one in found(broken).values())


def test_what_a_cost_model_is_needed_for_is_missing_without_one() -> None:
    """No gate passes on it."""
    scope = Scope(BINARY, has_cost=True)
    rows = evaluate(scope, LABEL, GOOD, rule=RULE, resampling=draws(), cost=None)
    assert rows["cost"] is rows["value"] is MISSING and rows["auc"].is_finite


def test_there_is_no_value_where_a_constant_is_perfect() -> None:
    """Nothing is left to save, which is no fault of the evidence: it rests on no day."""
    scope, label = Scope(BINARY, has_cost=True), np.zeros_like(LABEL)
    rows = evaluate(scope, label, GOOD, rule=RULE, resampling=draws(), cost=COST)
    assert not rows["value"].is_finite and (rows["value"].rows, rows["value"].clusters) == (1000, 0)
    assert rows["cost"].is_finite
