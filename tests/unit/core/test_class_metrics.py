"""Metrics of several classes: against scikit-learn, and where a class is absent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from ml.core.gates import Verdict, floor_gate
from ml.core.metric_names import Scope, computed_for, metric_named
from ml.core.metrics import by_class, evaluate
from ml.core.problems import ProblemType
from ml.core.spec import MINIMUM_CLUSTERS
from ml.core.statistics import Estimate, Resampling

CLASSES = ("low", "middle", "high")
SCOPE = Scope(ProblemType.MULTICLASS, CLASSES)
DAYS = np.repeat([f"{day:02}" for day in range(20)], 30)
REPLICATES = 60


def example(seed: int = 3, *, places: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Labels of 20 days, and probabilities (600, 3) with ties that know something of them."""
    generator = np.random.default_rng(seed)
    label = generator.choice(3, p=[0.6, 0.3, 0.1], size=600).astype(float)
    score = np.exp(generator.normal(size=(600, 3)) + (label[:, None] == np.arange(3)))
    score = np.round(score / score.sum(axis=1, keepdims=True), places) + 1e-3
    return label, score / score.sum(axis=1, keepdims=True)


LABEL, SCORE = example()


def found(
    label: np.ndarray = LABEL, score: np.ndarray = SCORE, days: np.ndarray = DAYS
) -> dict[str, Estimate]:
    draws = Resampling(days, replicates=REPLICATES, seed=1)
    rule = np.tile([0.6, 0.3, 0.1], (len(label), 1))
    return evaluate(SCOPE, label, score, rule=rule, resampling=draws)


def scikit(
    label: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, float]:
    """The same metrics as scikit-learn has them."""
    called, options = score.argmax(axis=1), {"sample_weight": weight, "zero_division": 0}
    each: dict[str, object] = {**options, "average": None, "labels": [0, 1, 2]}
    by_name = {
        "recall": recall_score(label, called, **each),
        "precision": precision_score(label, called, **each),
        "auc_of": [roc_auc_score(label == k, score[:, k], sample_weight=weight) for k in range(3)],
    }
    return {
        "accuracy": accuracy_score(label, called, sample_weight=weight),
        "log_loss": log_loss(label, score, sample_weight=weight, labels=[0, 1, 2]),
        "macro_recall": float(np.mean(by_name["recall"])),
        "macro_f1": f1_score(label, called, average="macro", **options),
        "macro_auc": float(np.mean(by_name["auc_of"])),
        **{
            f"{metric}_{CLASSES[place]}": float(value)
            for metric, values in by_name.items()
            for place, value in enumerate(values)
        },
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_figures_are_scikit_learns(seed: int, places: int) -> None:
    label, score = example(seed, places=places)
    metrics = found(label, score)
    for name, expected in scikit(label, score).items():
        assert metrics[name].value == pytest.approx(expected), name
    whole = roc_auc_score(label, score, multi_class="ovr", average="macro")
    assert metrics["macro_auc"].value == pytest.approx(whole)


def test_bounds_are_those_of_scikit_learns_figures_over_the_draws() -> None:
    shares = np.full(20, 1 / 20)
    drawn = np.random.default_rng(1).multinomial(20, shares, size=REPLICATES)
    each = [scikit(LABEL, SCORE, np.repeat(weight, 30).astype(float)) for weight in drawn]
    metrics = found()
    for name in each[0]:
        bounds = np.quantile([one[name] for one in each], [0.05, 0.95])
        assert (metrics[name].lower, metrics[name].upper) == pytest.approx(tuple(bounds)), name


def test_the_calibration_error_is_the_mean_of_each_class_against_the_rest() -> None:
    draws = Resampling(DAYS, replicates=REPLICATES, seed=1)
    own = [
        draws.calibration_error((place == LABEL).astype(float), SCORE[:, place]).value
        for place in range(3)
    ]
    metrics = found()
    assert [metrics[f"calibration_error_of_{name}"].value for name in CLASSES] == own
    assert metrics["calibration_error"].value == pytest.approx(np.mean(own))


WORSE = np.where(np.arange(600)[:, None] % 3 == 0, SCORE[:, [1, 2, 0]], SCORE)


@pytest.mark.parametrize("name", sorted(computed_for(SCOPE)))
def test_a_better_model_has_the_better_metric(name: str) -> None:
    """In the direction that the catalogue states, so that a threshold cannot look the wrong way."""
    metric = metric_named(name)
    assert metric is not None
    sign = 1 if metric.higher_is_better else -1
    assert sign * (found()[name].value - found(score=WORSE)[name].value) > 0


MEANS = {"macro_recall", "macro_f1", "macro_auc", "calibration_error"}


def test_an_absent_class_leaves_no_mean_over_the_classes_finite() -> None:
    """Each would look as good as over the classes that occur, or better."""
    there = LABEL != 2
    metrics = found(LABEL[there], SCORE[there], DAYS[there])
    missing = {name for name, one in metrics.items() if not one.is_finite}
    own = {name for name in computed_for(SCOPE) if name.endswith("_high")}
    assert missing == own | MEANS
    for name in missing:  # rows of everything else, and none of it
        assert (metrics[name].rows, metrics[name].clusters) == (there.sum(), 0)
        assert np.isnan(metrics[name].value)
        assert floor_gate(name, metrics[name], minimum=-9).verdict is Verdict.INSUFFICIENT


def test_answers_that_are_no_numbers_are_invalid_also_where_a_class_is_absent() -> None:
    there = LABEL != 2
    score = SCORE[there].copy()
    score[5] = np.nan
    for name, one in found(LABEL[there], score, DAYS[there]).items():
        assert floor_gate(name, one, minimum=-9).verdict is Verdict.INVALID, name


def test_where_all_rows_are_of_one_class_its_auc_is_of_nothing() -> None:
    metrics = found(np.zeros(600))
    assert metrics["auc_of_low"].clusters == 0 and metrics["recall_low"].clusters == 20
    assert floor_gate("x", metrics["auc_of_low"], minimum=0).verdict is Verdict.INSUFFICIENT


def test_a_class_on_two_days_rests_on_two_clusters() -> None:
    """So that the gates say that there is not enough data, however many days there are."""
    label = np.where((LABEL == 2) & (DAYS > "01"), 0.0, LABEL)
    metrics = found(label)
    few = {name for name, one in metrics.items() if one.clusters == 2}
    assert few == {name for name in computed_for(SCOPE) if name.endswith("_high")} | MEANS
    assert metrics["accuracy"].clusters == metrics["recall_low"].clusters == 20


def sure(called: np.ndarray) -> np.ndarray:
    """Probabilities, shape (n, 3), of a model that calls these classes."""
    return np.eye(3)[called.astype(int)] * 0.9 + 0.1 / 3


@pytest.mark.parametrize("days", [1, MINIMUM_CLUSTERS - 1, MINIMUM_CLUSTERS])
def test_precision_rests_on_the_days_on_which_the_class_is_called(days: int) -> None:
    """Called on one day only, it is 1 from 1 to 1, whatever the model says of other days."""
    is_high = (LABEL == 2) & (DAYS.astype(int) < days)
    one = found(score=sure(np.where(is_high, 2, 0)))["precision_high"]
    assert (one.value, one.lower, one.upper, one.clusters) == (1, 1, 1, days)
    enough = days >= MINIMUM_CLUSTERS
    verdict = Verdict.PASS if enough else Verdict.INSUFFICIENT
    assert floor_gate("x", one, minimum=0.5).verdict is verdict


def test_precision_of_a_class_on_few_days_rests_on_these() -> None:
    label = np.where((LABEL == 2) & (DAYS > "01"), 0.0, LABEL)
    assert found(label, sure(np.full(600, 2)))["precision_high"].clusters == 2


@pytest.mark.parametrize("days", [1, MINIMUM_CLUSTERS - 1, MINIMUM_CLUSTERS])
def test_the_auc_of_a_class_rests_on_the_days_that_have_others(days: int) -> None:
    label = np.where(DAYS.astype(int) < days, LABEL, 0.0)
    one = found(label)["auc_of_low"]
    assert one.clusters == days
    is_unsure = floor_gate("x", one, minimum=-9).verdict is Verdict.INSUFFICIENT
    assert is_unsure == (days < MINIMUM_CLUSTERS)


def test_a_class_that_is_never_called_has_a_precision_of_zero() -> None:
    """That is the model's fault, not the data's: it must fail, and not be called invalid."""
    score = SCORE * [1, 1, 1e-9]
    metrics = found(score=score / score.sum(axis=1, keepdims=True))
    assert metrics["precision_high"] == Estimate(0, 0, 0, 600, 20)
    assert metrics["recall_high"].value == 0 and metrics["macro_f1"].is_finite


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_one_probability_that_is_no_number_leaves_no_metric_finite(
    place: int, spoilt: float
) -> None:
    """Also that of a class that the row is not of."""
    for row in (5, int(np.flatnonzero(place != LABEL)[0])):
        score = SCORE.copy()
        score[row, place] = spoilt
        spared = {
            f"{metric}_{name}"
            for metric in ("auc_of", "calibration_error_of")
            for name in CLASSES
            if name != CLASSES[place]
        }
        finite = {name for name, one in found(score=score).items() if one.is_finite}
        assert finite == spared, "what does not look at that class"


def test_classes_are_told_in_rows() -> None:
    metrics = found()
    low, *_ = rows = by_class(SCOPE, metrics)
    assert [row["class"] for row in rows] == list(CLASSES)
    assert low["precision_lower"] == metrics["precision_low"].lower
    assert len(low) == 1 + 3 * 4
