from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from ml.core.statistics import (
    MISSING,
    Estimate,
    Resampling,
    equal_bins,
)

OPTIONS = {"replicates": 800, "seed": 5}


def draws(cluster: NDArray, **options: int) -> Resampling:
    return Resampling(cluster, **OPTIONS | options)


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
    by_day = draws(days).mean(values)
    by_row = draws(rows).mean(values)
    assert by_day.value == pytest.approx(by_row.value) == pytest.approx(values.mean())
    assert by_day.upper - by_day.lower > 3 * (by_row.upper - by_row.lower)


def test_the_bounds_are_those_of_the_day_means() -> None:
    """With days of one size, the analytic 90 % interval over day means is known."""
    values, days = days_with_a_shared_shock(days=60)
    means = values.reshape(60, -1).mean(axis=1)
    half = 1.645 * means.std(ddof=1) / np.sqrt(60)
    found = draws(days, replicates=4000, seed=2).mean(values)
    assert found.lower == pytest.approx(means.mean() - half, abs=0.15 * half)
    assert found.upper == pytest.approx(means.mean() + half, abs=0.15 * half)


def test_the_interval_covers_the_truth_nine_times_in_ten() -> None:
    generator = np.random.default_rng(11)
    cluster = np.repeat([f"{day:02}" for day in range(40)], 10)
    hits = 0
    for _ in range(300):
        values = np.repeat(generator.normal(size=40), 10) + generator.normal(size=400)
        found = draws(cluster, replicates=300, seed=4).mean(values)
        hits += found.lower <= 0 <= found.upper
    assert 0.82 <= hits / 300 <= 0.95


def test_a_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values, days = days_with_a_shared_shock()
    first, again = (draws(days, seed=7).mean(values) for _ in range(2))
    assert first == again
    assert first != draws(days, seed=8).mean(values)


def test_the_order_of_rows_does_not_matter() -> None:
    values, days = days_with_a_shared_shock()
    order = np.random.default_rng(0).permutation(len(values))
    one = draws(days).mean(values)
    other = draws(days[order]).mean(values[order])
    assert (one.value, one.lower, one.upper) == pytest.approx(
        (other.value, other.lower, other.upper)
    )


def drawn(clusters: int, *, replicates: int, seed: int) -> NDArray:
    """How often each cluster is drawn in each replicate: the multinomial that the source states."""
    shares = np.full(clusters, 1 / clusters)
    return np.random.default_rng(seed).multinomial(clusters, shares, size=replicates)


def test_bounds_are_quantiles_over_draws_of_whole_clusters() -> None:
    values, days = days_with_a_shared_shock(days=12)
    weights = drawn(12, replicates=50, seed=1)
    assert weights.shape == (50, 12) and (weights.sum(axis=1) == 12).all()
    means = weights @ values.reshape(12, -1).mean(axis=1) / 12
    found = draws(days, replicates=50, seed=1).mean(values)
    assert (found.lower, found.upper) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])))


def test_rows_and_clusters_are_counted() -> None:
    values, days = days_with_a_shared_shock(days=9, rows=11)
    found = draws(days).mean(values)
    assert (found.rows, found.clusters) == (99, 9)


def test_a_ratio_is_of_sums_not_of_rows() -> None:
    cluster = np.array(["a", "b"])
    found = draws(cluster).ratio(np.array([1.0, 9.0]), np.array([10.0, 10.0]))
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
    found = draws(day.astype(str), replicates=5).auc(label, score)
    assert found.value == pytest.approx(roc_auc_score(label, score))


def test_the_auc_of_each_replicate_is_scikit_learns_weighted_one() -> None:
    generator = np.random.default_rng(9)
    label = generator.integers(0, 2, 300).astype(float)
    score = np.round(label * 0.3 + generator.uniform(size=300), 1)
    day = np.repeat([f"{d}" for d in range(10)], 30)
    found = draws(day, replicates=200, seed=3).auc(label, score)
    weights = drawn(10, replicates=200, seed=3)
    expected = [roc_auc_score(label, score, sample_weight=np.repeat(w, 30)) for w in weights]
    assert (found.lower, found.upper) == pytest.approx(tuple(np.quantile(expected, [0.05, 0.95])))


@pytest.mark.parametrize("where", [0, 57, -1])
def test_one_value_that_is_not_a_number_spoils_mean_and_ratio(where: int) -> None:
    values, days = days_with_a_shared_shock(days=10)
    values[where] = np.nan
    assert not draws(days).mean(values).is_finite
    assert not draws(days).ratio(np.ones_like(values), values).is_finite


@pytest.mark.parametrize("where", [0, 57, -1])
def test_one_score_that_is_not_a_number_spoils_the_auc(where: int) -> None:
    values, days = days_with_a_shared_shock(days=10)
    label = (values > 0).astype(float)
    values[where] = np.nan
    assert not draws(days).auc(label, values).is_finite
    assert draws(days).auc(np.zeros_like(label), values) is MISSING, "whatever is absent"


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_auc_of_one_class_is_not_a_number(value: float) -> None:
    label, days = np.full(20, value), np.repeat(["a", "b"], 10)
    found = draws(days).auc(label, np.linspace(0, 1, 20))
    assert not found.is_finite and (found.rows, found.clusters) == (20, 0)


def test_a_denominator_of_zero_is_not_a_number() -> None:
    found = draws(np.array(list("aabb"))).ratio(np.ones(4), np.zeros(4))
    assert not found.is_finite


FIGURES = {
    "mean": lambda d, y, p: d.mean(p),
    "distance": lambda d, y, p: d.distance(p),
    "ratio": lambda d, y, p: d.ratio(y, p),
    "auc": lambda d, y, p: d.auc(y, p),
    "average_precision": lambda d, y, p: d.average_precision(y, p),
    "calibration_error": lambda d, y, p: d.calibration_error(y, p),
}
every_figure = pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES.keys())


def predictions(rows: int = 400, days: int = 10) -> tuple[NDArray, NDArray, NDArray]:
    """Labels, rounded probabilities that know something of them, and days."""
    generator = np.random.default_rng(9)
    label = generator.integers(0, 2, rows).astype(float)
    score = np.round(label * 0.3 + generator.uniform(0, 0.7, rows), 2)
    return label, score, np.repeat([f"{day}" for day in range(days)], rows // days)


@every_figure
def test_no_rows_at_all_give_an_estimate_that_is_missing(figure: Callable[..., Estimate]) -> None:
    """Not an error of arithmetic: the gates must be able to say INVALID."""
    empty = np.array([], dtype=float)
    found = figure(draws(empty.astype(str)), empty, empty)
    assert not found.is_finite and found.rows == 0


@every_figure
def test_nan_among_the_predictions_spoils_every_figure(figure: Callable[..., Estimate]) -> None:
    label, score, day = predictions()
    assert figure(draws(day), label, score).is_finite
    score[7] = np.nan
    assert not figure(draws(day), label, score).is_finite


def test_the_average_precision_is_scikit_learns_also_in_each_replicate() -> None:
    label, score, day = predictions()
    found = draws(day, replicates=130, seed=3).average_precision(label, score)
    assert found.value == pytest.approx(average_precision_score(label, score))
    expected = [
        average_precision_score(label, score, sample_weight=np.repeat(weight, 40))
        for weight in drawn(10, replicates=130, seed=3)
    ]
    assert (found.lower, found.upper) == pytest.approx(tuple(np.quantile(expected, [0.05, 0.95])))


def test_the_calibration_error_is_the_gap_of_the_bins() -> None:
    label, score, day = predictions(rows=300, days=10)
    found = draws(day).calibration_error(label, score, bins=3)
    place = (rankdata(score) - 1) * 3 // 300  # ties by their mean rank
    gaps = [abs((score - label)[place == number].sum()) for number in range(3)]
    assert found.value == pytest.approx(sum(gaps) / 300)
    shifted = draws(day).calibration_error(label, score + 1, bins=3)
    assert shifted.value == pytest.approx(1 + (score - label).mean())


def test_the_order_of_tied_rows_does_not_move_the_calibration_error() -> None:
    label, score, day = predictions(rows=360, days=10)
    score = np.round(score, 1)
    found = draws(day).calibration_error(label, score)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(360)
        other = draws(day[order]).calibration_error(label[order], score[order])
        assert dataclasses.astuple(other) == pytest.approx(dataclasses.astuple(found))


def test_without_ties_bins_are_of_one_size() -> None:
    values = np.random.default_rng(0).permutation(363) / 7
    assert set(np.bincount(equal_bins(values, 15))) == {24, 25}
    assert len(equal_bins(np.array([]), 15)) == 0


def test_bounds_hold_the_value_that_noise_moves_up() -> None:
    """Each bin of the sample is calibrated; of a replicate none is."""
    label = np.tile([0.0, 1.0], 180)
    score = 0.5 + np.arange(360) / 1e6
    day = np.random.default_rng(2).integers(0, 36, 360).astype(str)
    resampling = draws(day)
    found = resampling.calibration_error(label, score)
    replicates = resampling.calibration_errors(label, score)[1:]
    assert np.quantile(replicates, 0.05) > found.value, "otherwise this would show nothing"
    assert found.lower == found.value < found.upper


def test_a_part_of_the_rows_keeps_the_draws() -> None:
    """So that segments are compared on the same replicates as the whole."""
    values, days = days_with_a_shared_shock(days=10, rows=10)
    first = np.arange(len(values)) % 10 == 0
    part = draws(days).among(first)
    assert part.mean(values[first]) == draws(days[first]).mean(values[first])
    lone = draws(days).among(days == "03")
    assert (lone.rows, lone.clusters) == (10, 1)


def test_missing_is_not_finite() -> None:
    assert not MISSING.is_finite and MISSING.rows == 0
    assert Estimate(0.0, -1.0, 1.0, 1, 1).is_finite
    assert not Estimate(0.0, -np.inf, 1.0, 1, 1).is_finite


# --- what changes nothing, and what changes as it should ---

# Labels, predictions with ties, and days; whole numbers, so that sums are exact.
table = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-8, 8), st.sampled_from("abcdefghij")),
    min_size=1,
    max_size=60,
).map(lambda rows: [np.array(column) for column in zip(*rows, strict=True)])


def bounds(found: Estimate) -> list[float]:
    return [found.value, found.lower, found.upper]


@every_figure
@given(table, st.randoms(use_true_random=False))
def test_no_figure_depends_on_the_order_of_rows(
    figure: Callable[..., Estimate], rows: list[NDArray], random: Any
) -> None:
    label, score, day = rows
    order = random.sample(range(len(day)), len(day))
    one = figure(draws(day, replicates=20), label * 1.0, score * 1.0)
    other = figure(draws(day[order], replicates=20), label[order] * 1.0, score[order] * 1.0)
    assert bounds(one) == pytest.approx(bounds(other), nan_ok=True)
    assert (one.rows, one.clusters) == (other.rows, other.clusters)


@every_figure
@given(table)
def test_bounds_hold_their_figure(figure: Callable[..., Estimate], rows: list[NDArray]) -> None:
    label, score, day = rows
    found = figure(draws(day, replicates=20), label * 1.0, score * 1.0)
    assert not found.is_finite or found.lower <= found.value <= found.upper


@given(table, st.integers(-4, 4), st.integers(-4, 4))
def test_a_mean_moves_with_its_unit(rows: list[NDArray], factor: int, offset: int) -> None:
    _, values, day = rows
    days = draws(day, replicates=20)
    here, there = days.mean(values * 1.0), days.mean(factor * values + offset * 1.0)
    lower, upper = sorted(factor * bound + offset for bound in (here.lower, here.upper))
    assert bounds(there) == pytest.approx([factor * here.value + offset, lower, upper])


@given(table)
def test_an_auc_knows_only_the_order_of_scores(rows: list[NDArray]) -> None:
    label, score, day = (*(column * 1.0 for column in rows[:2]), rows[2])
    days = draws(day, replicates=20)
    found = bounds(days.auc(label, score))
    assert bounds(days.auc(label, score**3 + 5)) == pytest.approx(found, nan_ok=True)
    value, lower, upper = bounds(days.auc(label, -score))
    assert [1 - value, 1 - upper, 1 - lower] == pytest.approx(found, nan_ok=True)
    assert bounds(days.auc(1 - label, -score)) == pytest.approx(found, nan_ok=True)


@given(st.lists(st.integers(-20, 20), max_size=60), st.integers(1, 15))
def test_bins_follow_the_values_and_hold_about_as_many_rows(values: list[int], bins: int) -> None:
    found = equal_bins(np.array(values, dtype=float), bins)
    of_value = dict(zip(values, found, strict=True))
    assert [of_value[value] for value in values] == list(found), "ties are together"
    assert sorted(of_value.values()) == [of_value[value] for value in sorted(of_value)]
    assert all(0 <= number < bins for number in found)
    if len(of_value) == len(values):
        sizes = np.bincount(found, minlength=bins)
        assert sizes.max() - sizes.min() <= 1
