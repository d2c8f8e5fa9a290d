"""What is drawn, read back from the figures."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ml.core.plans import CostModel
from ml.core.problems import ProblemType
from ml.stages import plots

ROWS = 3_000
COST = CostModel(missed=4)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Labels that happen exactly as often as predicted."""
    rng = np.random.default_rng(7)
    prediction = rng.beta(1.5, 4, ROWS)
    return (rng.random(ROWS) < prediction).astype(float), prediction


@pytest.fixture(scope="module")
def figures(data: tuple[np.ndarray, np.ndarray]) -> dict[str, Figure]:
    carrier = np.where(np.arange(ROWS) % 3 == 0, "AA", "UA")
    return drawn(*data, groups={"carrier": carrier}, cost=COST)


def drawn(label: np.ndarray, prediction: np.ndarray, **more: Any) -> dict[str, Figure]:
    return plots.evaluation(ProblemType.BINARY, label, prediction, title="select window", **more)


def line(axis: Axes, name: str) -> np.ndarray:
    """Points of the line with this beginning in the legend, shape (n, 2)."""
    found = [line for line in axis.lines if str(line.get_label()).startswith(name)]
    return np.asarray(found[0].get_xydata())


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def test_there_is_a_picture_for_each_question(figures: dict[str, Figure]) -> None:
    names = ["roc", "precision_recall", "gain", "calibration", "scores", "cost", "by_carrier"]
    assert sorted(figures) == sorted(f"plots/{name}.png" for name in names)
    for figure in figures.values():
        axis = figure.axes[0]
        assert figure.texts[0].get_text()
        assert axis.get_xlabel() or figure.axes[-1].get_xlabel()
        assert f"select window  ·  {ROWS:,} rows" in words(figure)


def test_the_curves_end_where_they_must(figures: dict[str, Figure]) -> None:
    for name, first, last in (
        ("roc", [0, 0], [1, 1]),
        ("gain", [0, 0], [1, 1]),
    ):
        points = line(figures[f"plots/{name}.png"].axes[0], "model" if name == "roc" else "by the")
        assert points[0].tolist() == first and points[-1].tolist() == last
        assert (np.diff(points, axis=0) >= 0).all()
        assert len(points) <= 300


def test_the_auc_in_the_title_is_that_of_the_pairs(
    figures: dict[str, Figure], data: tuple[np.ndarray, np.ndarray]
) -> None:
    label, prediction = data
    positive, negative = prediction[label == 1], prediction[label == 0]
    auc = (positive[:, None] > negative[None, :]).mean()
    assert f"AUC {auc:.4f}" in words(figures["plots/roc.png"])
    points = line(figures["plots/roc.png"].axes[0], "model")
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(auc, abs=0.005)


def test_precision_starts_from_the_base_rate(
    figures: dict[str, Figure], data: tuple[np.ndarray, np.ndarray]
) -> None:
    axis = figures["plots/precision_recall.png"].axes[0]
    base = data[0].mean()
    assert line(axis, "base rate")[:, 1] == pytest.approx(base)
    points = line(axis, "model")
    assert points[0].tolist() == pytest.approx([1, base])  # everything is found


def test_calibrated_predictions_lie_on_the_diagonal(figures: dict[str, Figure]) -> None:
    above, below = figures["plots/calibration.png"].axes
    points = line(above, "15 bins of 200 rows")
    assert len(points) == 15
    assert points[:, 1] == pytest.approx(points[:, 0], abs=0.1)
    assert sum(bar.get_height() for bar in below.patches) == ROWS


def test_a_biased_model_lies_beside_the_diagonal(data: tuple[np.ndarray, np.ndarray]) -> None:
    label, prediction = data
    points = line(drawn(label, prediction / 2)["plots/calibration.png"].axes[0], "15 bins")
    assert points[-1, 1] == pytest.approx(2 * points[-1, 0], rel=0.15)


def test_the_gain_of_a_perfect_order_is_the_perfect_line() -> None:
    label = np.repeat([1.0, 0.0], [250, 750])
    figure = drawn(label, np.linspace(1, 0, 1_000))["plots/gain.png"]
    assert "top 20 % of rows hold 80%" in words(figure)


def test_the_cost_at_each_threshold_is_that_of_the_decisions(
    figures: dict[str, Figure], data: tuple[np.ndarray, np.ndarray]
) -> None:
    label, prediction = data
    axis = figures["plots/cost.png"].axes[0]
    points = line(axis, "model")
    for threshold, cost in points[::40]:
        decided = np.where(prediction > threshold, 1.0, COST.missed * label)
        assert cost == pytest.approx(decided.mean())
    assert line(axis, "never acting")[0, 1] == pytest.approx(COST.missed * label.mean())
    assert line(axis, "always acting")[0, 1] == 1
    at_spec = np.where(prediction > 0.25, 1.0, COST.missed * label).mean()
    assert line(axis, "spec's threshold 0.25")[0].tolist() == pytest.approx([0.25, at_spec])


def test_groups_show_their_means_and_counts(
    figures: dict[str, Figure], data: tuple[np.ndarray, np.ndarray]
) -> None:
    left, right = figures["plots/by_carrier.png"].axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["AA (1,000)", "UA (2,000)"]
    label, prediction = data
    is_first = np.arange(ROWS) % 3 == 0
    assert line(left, "observed")[0, 0] == pytest.approx(label[is_first].mean())
    assert line(left, "predicted")[1, 0] == pytest.approx(prediction[~is_first].mean())
    loss = -np.log(np.where(label == 1, prediction, 1 - prediction))
    assert np.asarray(right.lines[0].get_xydata())[0, 0] == pytest.approx(loss[is_first].mean())


def test_of_many_groups_the_largest_are_shown(data: tuple[np.ndarray, np.ndarray]) -> None:
    sizes = np.minimum(np.arange(ROWS) // 10, 199)  # 199 groups of 10 rows, and a large one
    figure = drawn(*data, groups={"route": sizes.astype(str)})["plots/by_route.png"]
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert len(ticks) == 31 and "199 (1,010)" in ticks
    assert "the largest 31 of 200" in words(figure)


def test_scores_are_shares_of_each_label(figures: dict[str, Figure]) -> None:
    steps = figures["plots/scores.png"].axes[0].patches
    assert len(steps) == 4  # an area and its outline for each label
    for step in steps:
        assert step.get_data().values.sum() == pytest.approx(1)


def test_rows_without_a_prediction_are_left_out_and_counted(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    label, prediction = data
    some = np.where(np.arange(ROWS) < 100, np.nan, prediction)
    groups = {"half": np.where(np.arange(ROWS) < 100, "lost", "kept")}
    figures = drawn(label, some, groups=groups)
    assert "2,900 of 3,000 rows" in words(figures["plots/roc.png"])
    ticks = figures["plots/by_half.png"].axes[0].get_yticklabels()
    assert [tick.get_text() for tick in ticks] == ["kept (2,900)"]
    assert drawn(label, np.full(ROWS, np.nan)) == {}


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_class_gives_the_pictures_that_need_no_other(value: float) -> None:
    figures = drawn(np.full(50, value), np.linspace(0, 1, 50), cost=COST)
    assert sorted(figures) == ["plots/calibration.png", "plots/cost.png", "plots/scores.png"]
    for figure in figures.values():
        figure.savefig(io.BytesIO())


def test_one_row_and_a_constant_prediction_are_drawn() -> None:
    for figure in drawn(np.ones(1), np.zeros(1), cost=COST).values():
        figure.savefig(io.BytesIO())


def test_a_regression_shows_predicted_against_observed_and_residuals() -> None:
    rng = np.random.default_rng(1)
    prediction = rng.normal(20, 5, ROWS)
    label = prediction + rng.normal(2, 1, ROWS)
    group = np.where(np.arange(ROWS) % 2 == 0, "even", "odd")
    figures = plots.evaluation(
        ProblemType.REGRESSION, label, prediction, title="holdout", folder="x", groups={"g": group}
    )
    assert sorted(figures) == ["x/by_g.png", "x/predicted_observed.png", "x/residuals.png"]
    means = line(figures["x/predicted_observed.png"].axes[0], "means of 15")
    assert means[:, 1] == pytest.approx(means[:, 0] + 2, abs=0.3)
    assert line(figures["x/residuals.png"].axes[0], "mean")[0, 0] == pytest.approx(2, abs=0.1)
    assert figures["x/by_g.png"].axes[1].get_xlabel().startswith("mean squared error")


def test_the_learning_curve_marks_the_round_that_is_kept() -> None:
    curves = {"fit": [0.6, 0.5, 0.4, 0.3], "select": [0.6, 0.55, 0.52, 0.53]}
    axis = plots.learning_curve(curves, best=3, loss_name="log_loss").axes[0]
    assert line(axis, "select").tolist() == [[1, 0.6], [2, 0.55], [3, 0.52], [4, 0.53]]
    assert line(axis, "round 3")[:, 0].tolist() == [3, 3]
    assert axis.get_ylabel() == "mean log loss"


def test_importance_is_in_the_order_of_the_gain() -> None:
    figure = plots.importance({"a": 1.0, "b": 3.0}, {"b": (0.01, 0.002)})
    left, right = figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["b", "a"]
    assert [bar.get_width() for bar in left.patches] == [0.75, 0.25]
    assert [bar.get_width() for bar in right.patches] == [0.01, 0]


def test_competitors_begin_with_the_best() -> None:
    figure = plots.competitors({"rule": 0.5, "lightgbm": 0.4}, loss_name="log_loss")
    axis = figure.axes[0]
    assert "lightgbm is best, 20.0% under rule" in words(figure)
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["lightgbm", "rule"]
    assert [text.get_text() for text in axis.texts] == ["0.4000", "0.5000"]


def test_all_figures_of_a_run_are_drawn_in_little_time(figures: dict[str, Figure]) -> None:
    """CPU seconds: the wall clock of a shared machine says little."""
    started = time.process_time()
    sizes = []
    for figure in figures.values():
        file = io.BytesIO()
        figure.savefig(file)
        sizes.append(file.tell())
    assert (time.process_time() - started) / len(figures) < 0.4
    assert max(sizes) < 100_000
