from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error

from ml.core.losses import row_loss
from ml.core.problems import ProblemType

GENERATOR = np.random.default_rng(3)


def test_binary_loss_is_scikit_learns_log_loss() -> None:
    label = GENERATOR.integers(0, 2, 500).astype(float)
    score = GENERATOR.uniform(0.01, 0.99, 500)
    mine = row_loss(ProblemType.BINARY, label, score).mean()
    assert mine == pytest.approx(log_loss(label, score))


def test_multiclass_loss_is_scikit_learns_log_loss() -> None:
    label = GENERATOR.integers(0, 3, 500).astype(float)
    score = GENERATOR.dirichlet([1, 2, 3], 500)
    mine = row_loss(ProblemType.MULTICLASS, label, score).mean()
    assert mine == pytest.approx(log_loss(label, score))


def test_regression_loss_is_the_squared_error() -> None:
    label, value = GENERATOR.normal(size=500), GENERATOR.normal(size=500)
    mine = row_loss(ProblemType.REGRESSION, label, value).mean()
    assert mine == pytest.approx(mean_squared_error(label, value))


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_certain_and_wrong_row_costs_much_but_not_everything(score: float) -> None:
    loss = row_loss(ProblemType.BINARY, np.array([1 - score]), np.array([score]))
    assert 10 < loss[0] < 20


@pytest.mark.parametrize("problem", [ProblemType.BINARY, ProblemType.REGRESSION])
def test_a_score_that_is_not_a_number_stays_visible_in_its_loss(problem: ProblemType) -> None:
    loss = row_loss(problem, np.array([1.0, 0.0]), np.array([np.nan, 0.5]))
    assert np.isnan(loss[0]) and np.isfinite(loss[1])


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_a_probability_that_is_not_a_number_stays_visible_whichever_class_it_is_of(
    spoilt: float, place: int
) -> None:
    """Clipping would turn an infinite one into the surest answer of all."""
    score = np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]])
    score[0, place] = spoilt
    loss = row_loss(ProblemType.MULTICLASS, np.array([1.0, 1.0]), score)
    assert np.isnan(loss[0]) and np.isfinite(loss[1])
    assert np.isnan(row_loss(ProblemType.BINARY, np.ones(1), np.array([spoilt])))[0]


def test_each_problem_says_which_loss_it_is_judged_by() -> None:
    assert [p.loss_name for p in ProblemType] == ["log_loss", "log_loss", "squared_error"]
