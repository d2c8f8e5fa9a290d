from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ml.core.statistics import (
    MISSING,
    Estimate,
    cluster_weights,
    clustered_auc,
    clustered_mean,
    clustered_ratio,
)

OPTIONS = {"replicates": 800, "seed": 5}


def days_with_a_shared_shock(days: int = 40, rows: int = 50) -> tuple[NDArray, NDArray]:
    """Values whose rows move together within a day, as delays do in a storm."""
    generator = np.random.default_rng(1)
    shock = np.repeat(generator.normal(size=days), rows)
    cluster = np.repeat([f"{day:02}" for day in range(days)], rows)
    return shock + generator.normal(size=days * rows), cluster


def test_the_interval_is_wider_than_that_of_single_rows() -> None:
    """With a shock per day, rows pretend to know four times more than days do."""
    values, days = days_with_a_shared_shock()
    rows = np.array([str(n) for n in range(len(values))])
    by_day = clustered_mean(values, days, **OPTIONS)
    by_row = clustered_mean(values, rows, **OPTIONS)
    assert by_day.value == pytest.approx(by_row.value) == pytest.approx(values.mean())
    assert by_day.upper - by_day.lower > 3 * (by_row.upper - by_row.lower)


def test_the_bounds_are_those_of_the_day_means() -> None:
    """With days of one size, the analytic 90 % interval over day means is known."""
    values, days = days_with_a_shared_shock(days=60)
    means = values.reshape(60, -1).mean(axis=1)
    half = 1.645 * means.std(ddof=1) / np.sqrt(60)
    found = clustered_mean(values, days, replicates=4000, seed=2)
    assert found.lower == pytest.approx(means.mean() - half, abs=0.15 * half)
    assert found.upper == pytest.approx(means.mean() + half, abs=0.15 * half)


def test_the_interval_covers_the_truth_nine_times_in_ten() -> None:
    generator = np.random.default_rng(11)
    cluster = np.repeat([f"{day:02}" for day in range(40)], 10)
    hits = 0
    for _ in range(300):
        values = np.repeat(generator.normal(size=40), 10) + generator.normal(size=400)
        found = clustered_mean(values, cluster, replicates=300, seed=4)
        hits += found.lower <= 0 <= found.upper
    assert 0.82 <= hits / 300 <= 0.95


def test_a_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values, days = days_with_a_shared_shock()
    first, again = (clustered_mean(values, days, replicates=300, seed=7) for _ in range(2))
    assert first == again
    assert first != clustered_mean(values, days, replicates=300, seed=8)


def test_the_order_of_rows_does_not_matter() -> None:
    values, days = days_with_a_shared_shock()
    order = np.random.default_rng(0).permutation(len(values))
    one = clustered_mean(values, days, **OPTIONS)
    other = clustered_mean(values[order], days[order], **OPTIONS)
    assert (one.value, one.lower, one.upper) == pytest.approx(
        (other.value, other.lower, other.upper)
    )


def test_each_replicate_draws_as_many_clusters_as_there_are() -> None:
    weights = cluster_weights(12, replicates=50, seed=1)
    assert weights.shape == (50, 12) and (weights.sum(axis=1) == 12).all()


def test_rows_and_clusters_are_counted() -> None:
    values, days = days_with_a_shared_shock(days=9, rows=11)
    found = clustered_mean(values, days, **OPTIONS)
    assert (found.rows, found.clusters) == (99, 9)


def test_a_ratio_is_of_sums_not_of_rows() -> None:
    cluster = np.array(["a", "b"])
    found = clustered_ratio(np.array([1.0, 9.0]), np.array([10.0, 10.0]), cluster, **OPTIONS)
    assert found.value == 0.5 and (found.lower, found.upper) == (0.1, 0.9)


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=4, max_size=80
    ).filter(lambda rows: len({label for label, _, _ in rows}) == 2)
)
def test_the_auc_is_scikit_learns_with_ties_and_without(
    rows: list[tuple[bool, int, int]],
) -> None:
    label, score, day = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = clustered_auc(label, score, day.astype(str), replicates=5, seed=1)
    assert found.value == pytest.approx(roc_auc_score(label, score))


def test_the_auc_of_each_replicate_is_scikit_learns_weighted_one() -> None:
    generator = np.random.default_rng(9)
    label = generator.integers(0, 2, 300).astype(float)
    score = np.round(label * 0.3 + generator.uniform(size=300), 1)
    day = np.repeat([f"{d}" for d in range(10)], 30)
    found = clustered_auc(label, score, day, replicates=200, seed=3)
    weights = cluster_weights(10, replicates=200, seed=3)
    expected = [roc_auc_score(label, score, sample_weight=np.repeat(w, 30)) for w in weights]
    assert (found.lower, found.upper) == pytest.approx(tuple(np.quantile(expected, [0.05, 0.95])))


@pytest.mark.parametrize("where", [0, 57, -1])
def test_one_value_that_is_not_a_number_spoils_mean_and_ratio(where: int) -> None:
    values, days = days_with_a_shared_shock(days=10)
    values[where] = np.nan
    assert not clustered_mean(values, days, **OPTIONS).is_finite
    assert not clustered_ratio(np.ones_like(values), values, days, **OPTIONS).is_finite


@pytest.mark.parametrize("where", [0, 57, -1])
def test_one_score_that_is_not_a_number_spoils_the_auc(where: int) -> None:
    values, days = days_with_a_shared_shock(days=10)
    label = (values > 0).astype(float)
    values[where] = np.nan
    assert not clustered_auc(label, values, days, **OPTIONS).is_finite


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_auc_of_one_class_is_not_a_number(value: float) -> None:
    label, days = np.full(20, value), np.repeat(["a", "b"], 10)
    score = np.linspace(0, 1, 20)
    assert not clustered_auc(label, score, days, **OPTIONS).is_finite


def test_a_denominator_of_zero_is_not_a_number() -> None:
    with np.errstate(all="ignore"):
        found = clustered_ratio(np.ones(4), np.zeros(4), np.array(list("aabb")), **OPTIONS)
    assert not found.is_finite


@pytest.mark.parametrize("estimate", [clustered_mean, clustered_auc, clustered_ratio])
def test_no_rows_at_all_give_an_estimate_that_is_missing(estimate: object) -> None:
    """Not an error of arithmetic: the gates must be able to say INVALID."""
    empty = np.array([], dtype=float)
    columns = [empty] if estimate is clustered_mean else [empty, empty]
    found = estimate(*columns, empty.astype(str), **OPTIONS)  # type: ignore[operator]  # three signatures
    assert not found.is_finite and found.rows == 0


def test_missing_is_not_finite() -> None:
    assert not MISSING.is_finite and MISSING.rows == 0
    assert Estimate(0.0, -1.0, 1.0, 1, 1).is_finite
    assert not Estimate(0.0, -np.inf, 1.0, 1, 1).is_finite
