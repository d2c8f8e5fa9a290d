from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss

from ml.core.metric_names import Scope
from ml.core.metrics import baseline_costs, constant_cost, cost_metric, decided_class, row_cost
from ml.core.plans import CostMatrix, CostModel, UnitCost
from ml.core.problems import ProblemType

BINARY, MULTICLASS, REGRESSION = ProblemType
COST = CostModel(missed=4)
MATRIX = CostMatrix(costs=((0, 1, 2), (3, 0, 1), (50, 2, 0)))
numbers = st.floats(-100, 100)
positive = st.floats(0.01, 100)


def test_acting_pays_above_the_threshold_only() -> None:
    """At 1/4 it costs the same either way; what a row without prediction costs is unknown."""
    cost = row_cost(np.ones(5), np.array([0.25, 0.26, np.nan, 0.0, np.inf]), COST)
    np.testing.assert_array_equal(cost, [4, 1, np.nan, 4, np.nan])


@pytest.mark.parametrize(("share", "expected"), [(0.1, 0.4), (0.25, 1.0), (0.6, 1.0)])
def test_the_better_constant_depends_on_the_base_rate(share: float, expected: float) -> None:
    label = (np.arange(100) < share * 100).astype(float)
    assert constant_cost(label, COST, rule=label).mean() == pytest.approx(expected)


def test_the_likeliest_class_is_decided_for_unless_another_is_cheaper() -> None:
    """One in ten that a miss of `third` costs 50: it is the safe decision."""
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.9, 0.0], [np.nan, 0.9, 0.1]])
    assert decided_class(probabilities).tolist() == [0, 1, -1]
    assert decided_class(probabilities, MATRIX).tolist() == [1, 1, -1]
    cost = row_cost(np.array([2.0, 0.0, 1.0]), probabilities, MATRIX)
    np.testing.assert_array_equal(cost, [2, 1, np.nan])


@given(st.data())
def test_no_other_decision_has_a_lower_expected_cost(data: st.DataObject) -> None:
    count = data.draw(st.integers(3, 5))
    each = st.lists(st.floats(0, 50), min_size=count, max_size=count)
    costs = data.draw(st.lists(each, min_size=count, max_size=count))
    weight = np.array(data.draw(each)) + 0.01
    share = weight / weight.sum()
    matrix = CostMatrix(costs=tuple(map(tuple, costs)))
    expected = [
        sum(share[truth] * costs[truth][own] for truth in range(count)) for own in range(count)
    ]
    decided = int(decided_class(share[None, :], matrix)[0])
    assert expected[decided] == pytest.approx(min(expected))


@given(st.lists(st.tuples(numbers, numbers), min_size=1), positive, positive)
def test_the_cost_of_a_value_is_the_pinball_loss(
    rows: list[tuple[float, float]], over: float, under: float
) -> None:
    label, answer = np.array(rows).T
    found = row_cost(label, answer, UnitCost(over=over, under=under)).mean()
    share = under / (over + under)
    expected = mean_pinball_loss(label, answer, alpha=share) * (over + under)
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_value_that_is_no_number_has_no_cost() -> None:
    found = row_cost(np.zeros(3), np.array([1.0, np.nan, -1.0]), UnitCost(over=1, under=2))
    np.testing.assert_array_equal(found, [1, np.nan, 2])


def test_an_exact_value_costs_nothing_without_a_sign() -> None:
    found = row_cost(
        np.array([5.0, -5.0, 0.0]), np.array([5.0, -5.0, 0.0]), UnitCost(over=1, under=2)
    )
    assert found.tolist() == [0, 0, 0] and not np.signbit(found).any()


def test_without_a_model_the_best_class_is_decided_for_on_all_rows() -> None:
    label = np.array([0.0, 0.0, 0.0, 1.0, 2.0])
    found = constant_cost(label, MATRIX, rule=np.full((5, 3), 1 / 3))
    assert found.tolist() == [1, 1, 1, 0, 2], "always the middle one, as missing the last is dear"


def test_without_a_model_people_act_upon_the_rule() -> None:
    label, rule = np.array([1.0, 2.0]), np.array([2.0, 0.0])
    found = constant_cost(label, UnitCost(over=1, under=3), rule=rule)
    assert found.tolist() == [1, 6]


CASES: list[tuple[ProblemType, Any, dict[str, float]]] = [
    (BINARY, COST, {"never acting": 2.0, "always acting": 1.0}),
    (MULTICLASS, MATRIX, {"always b": 0.5}),
    (REGRESSION, UnitCost(over=1, under=8), {"the rule": 2.25}),
    (REGRESSION, None, {}),
]


@pytest.mark.parametrize(("problem", "cost", "expected"), CASES)
def test_what_deciding_without_a_model_costs_is_told_in_words(
    problem: ProblemType, cost: Any, expected: dict[str, float]
) -> None:
    scope = Scope(problem, ("a", "b", "c") if problem is MULTICLASS else ())
    rule = np.array([0.5, 0.5])
    found = baseline_costs(scope, np.array([0.0, 1.0]), cost, rule=rule)
    assert found == expected
    names = {"never_cost", "always_cost", "always_b_cost", "rule_cost"}
    assert {cost_metric(how) for how in found} <= names
