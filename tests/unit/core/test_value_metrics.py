"""Metrics of a regression: skill over naive forecasts, bias, intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error

from ml.core.metric_names import METRICS, Scope
from ml.core.metrics import evaluate
from ml.core.plans import UnitCost
from ml.core.problems import ProblemType
from ml.core.statistics import Estimate, Resampling

SCOPE = Scope(
    ProblemType.REGRESSION,
    naive=("persistence", "seasonal_naive"),
    has_cost=True,
    has_interval=True,
)
WEEKS = np.repeat([f"{week:02}" for week in range(20)], 30)
GENERATOR = np.random.default_rng(3)
LABEL = GENERATOR.normal(400, 10, 600)
ANSWER = LABEL + GENERATOR.normal(0.5, 1, 600)
RULE = np.full(600, 400.0)
NAIVE = {"persistence": LABEL + 3, "seasonal_naive": LABEL - GENERATOR.normal(4, 1, 600)}
BAND = np.stack([ANSWER - 1.5, ANSWER + 1], axis=1)


def found(answer: np.ndarray = ANSWER, **changes: Any) -> dict[str, Estimate]:
    given_: dict[str, Any] = {
        "rule": RULE,
        "resampling": Resampling(WEEKS, replicates=200, seed=1),
        "cost": UnitCost(over=1, under=2),
        "naive": NAIVE,
        "interval": BAND,
    }
    return evaluate(SCOPE, LABEL, answer, **given_ | changes)


def test_errors_are_scikit_learns() -> None:
    metrics = found()
    assert metrics["squared_error"].value == pytest.approx(mean_squared_error(LABEL, ANSWER))
    assert metrics["absolute_error"].value == pytest.approx(mean_absolute_error(LABEL, ANSWER))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("skill", RULE),
        ("skill_persistence", NAIVE["persistence"]),
        ("skill_seasonal_naive", NAIVE["seasonal_naive"]),
    ],
)
def test_skill_is_the_share_of_the_others_squared_error_that_is_saved(
    name: str, other: np.ndarray
) -> None:
    expected = 1 - mean_squared_error(LABEL, ANSWER) / mean_squared_error(LABEL, other)
    assert found()[name].value == pytest.approx(expected)
    assert found(other)[name] == Estimate(0, 0, 0, 600, 20)


def test_too_high_and_too_low_are_the_same_bias() -> None:
    high, low = found(LABEL + 2)["bias"], found(LABEL - 2)["bias"]
    assert high.value == pytest.approx(2) and low.value == pytest.approx(2)
    assert found()["bias"].value == pytest.approx(abs((ANSWER - LABEL).mean()))


def test_the_bounds_of_a_bias_are_those_of_its_distance_in_each_draw() -> None:
    """A bias of one sign in half of the draws is no bias of about zero."""
    error = np.where(WEEKS < "10", 1.0, -1.0)
    bias = found(LABEL + error)["bias"]
    drawn = np.random.default_rng(1).multinomial(20, np.full(20, 1 / 20), size=200)
    means = drawn @ np.r_[np.ones(10), -np.ones(10)] / 20
    assert bias.value == pytest.approx(0, abs=1e-12)
    expected = tuple(np.quantile(np.abs(means), [0.05, 0.95]))
    assert (bias.lower, bias.upper) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=1, max_size=30))
def test_the_coverage_is_the_share_of_labels_inside(rows: list[tuple[int, int, int]]) -> None:
    """Ends belong to it; where they have crossed, nothing is inside, and it has no width."""
    label, *ends = np.array(rows, dtype=float).T
    draws = Resampling(np.arange(len(label)).astype(str), replicates=9, seed=1)
    band = np.stack(ends, axis=1)
    metrics = evaluate(SCOPE, label, label, rule=label, resampling=draws, interval=band)
    inside = [low <= y <= high for y, low, high in rows]
    widths = [max(high - low, 0) for _, low, high in rows]
    assert metrics["interval_coverage"].value == pytest.approx(np.mean(inside))
    assert metrics["interval_width"].value == pytest.approx(np.mean(widths))


@pytest.mark.parametrize("name", sorted(found()))
def test_a_better_model_has_the_better_metric(name: str) -> None:
    """In the direction that the catalogue states, so that a threshold cannot look the wrong way."""
    middle = BAND.mean(axis=1, keepdims=True)
    band = middle + (BAND - middle) * (0.5 if name == "interval_coverage" else 2)
    worse = found(ANSWER + 1, interval=band)[name].value
    sign = 1 if METRICS[name].higher_is_better else -1
    assert sign * (found()[name].value - worse) > 0


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_leaves_nothing_that_rests_on_it_finite(spoilt: float) -> None:
    """An end at infinity would cover every label."""

    def not_finite(**changes: Any) -> set[str]:
        return {name for name, one in found(**changes).items() if not one.is_finite}

    def broken(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[7] = spoilt
        return values

    about_interval = {"interval_coverage", "interval_width"}
    assert not_finite(answer=broken(ANSWER)) == set(found()) - about_interval
    naive = NAIVE | {"persistence": broken(NAIVE["persistence"])}
    assert not_finite(naive=naive) == {"skill_persistence"}
    assert not_finite(rule=broken(RULE)) == {"skill"}
    for end in (0, 1):
        band = BAND.copy()
        band[7, end] = spoilt
        assert not_finite(interval=band) == about_interval
