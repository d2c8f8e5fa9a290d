"""What is drawn, read back from the figures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ml.core.plans import CostMatrix, CostModel, UnitCost
from ml.core.problems import ProblemType
from ml.core.statistics import Resampling
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


# --- values in time ---

TIMES = np.datetime64("2001-01-06T00:00", "ns") + 7 * np.arange(ROWS) * np.timedelta64(1, "D")


def forecasts(rows: int = ROWS, **more: Any) -> dict[str, Figure]:
    """A level that rises by 1 in 100 rows; the answer is 1 too high, the interval 2 each way."""
    label = 300 + 0.01 * np.arange(rows)
    given: dict[str, Any] = {
        "times": TIMES[:rows],
        "interval": np.column_stack([label - 1, label + 3]),
        "naive": {"persistence": label - 4, "seasonal_naive": label - 50},
        "nominal": 0.9,
    }
    return plots.evaluation(
        ProblemType.REGRESSION, label, label + 1, title="holdout", **given | more
    )


def test_a_forecast_is_shown_over_time_with_its_errors() -> None:
    figures = forecasts()
    assert {"plots/over_time.png", "plots/coverage.png"} <= set(figures)
    above, below = figures["plots/over_time.png"].axes
    assert line(above, "predicted")[:, 1] == pytest.approx(line(above, "observed")[:, 1] + 1)
    assert len(line(above, "observed")) <= 200 and "means of up to" in words(
        figures["plots/over_time.png"]
    )
    for name, error in (("predicted", 1), ("persistence", -4), ("seasonal naive", -50)):
        assert line(below, name)[:, 1] == pytest.approx(error)
    [band] = [one for one in above.collections if one.get_label() == "interval"]
    ends = band.get_paths()[0].vertices
    assert ends[:, 1].max() - ends[:, 1].min() == pytest.approx(4 + 0.01 * ROWS, rel=0.05)


def test_points_stand_at_their_time_whatever_the_order_of_the_rows() -> None:
    label, order = 300 + 0.01 * np.arange(100), np.random.default_rng(0).permutation(100)
    figure = plots.evaluation(
        *(ProblemType.REGRESSION, label[order], label[order]), title="x", times=TIMES[:100][order]
    )["plots/over_time.png"]
    assert line(figure.axes[0], "observed")[:, 1] == pytest.approx(label)
    assert "means of" not in words(figure)


def test_the_coverage_is_that_of_the_labels_in_each_bin() -> None:
    figure = forecasts()["plots/coverage.png"]
    assert "100.0% of the labels are in it, 90% are meant" in words(figure)
    label = 300 + 0.01 * np.arange(ROWS)
    half = np.column_stack([label - 1, label + np.where(np.arange(ROWS) < ROWS / 2, 1, -0.5)])
    figure = forecasts(interval=half)["plots/coverage.png"]
    share, width = figure.axes[0], figure.axes[1]
    assert line(share, "share")[:, 1].tolist() == [1.0] * 4 + [0.0] * 4
    assert np.asarray(width.lines[0].get_xydata())[:, 1] == pytest.approx([2.0] * 4 + [0.5] * 4)
    assert "50.0% of the labels" in words(figure)


def test_without_times_or_interval_there_is_nothing_to_draw_of_them() -> None:
    plain = {"predicted_observed", "residuals"}
    names = {path.split("/")[1][:-4] for path in forecasts(times=None, interval=None)}
    assert names == plain
    assert {p.split("/")[1][:-4] for p in forecasts(interval=None)} == plain | {"over_time"}


@pytest.mark.parametrize("rows", [1, 2, 25])
def test_few_rows_and_gaps_are_drawn(rows: int) -> None:
    naive = {"persistence": np.full(rows, np.nan)}
    for figure in forecasts(rows, naive=naive, cost=UnitCost(over=1, under=2)).values():
        figure.savefig(io.BytesIO())


def test_a_forecast_without_numbers_leaves_its_row_out() -> None:
    label = 300 + 0.01 * np.arange(100)
    answer = np.where(np.arange(100) < 10, np.nan, label)
    figures = plots.evaluation(
        *(ProblemType.REGRESSION, label, answer),
        title="x",
        times=TIMES[:100],
        interval=np.column_stack([label, label]),
        naive={"persistence": label},
    )
    assert "90 of 100 rows" in words(figures["plots/over_time.png"])
    assert len(line(figures["plots/over_time.png"].axes[0], "observed")) == 90


# --- several classes ---

CLASSES = ("clear", "haze", "fog")


@pytest.fixture(scope="module")
def classes() -> tuple[np.ndarray, np.ndarray]:
    """Classes that happen exactly as often as predicted."""
    rng = np.random.default_rng(3)
    prediction = rng.dirichlet([3, 1, 1], ROWS)
    label = (rng.random(ROWS)[:, None] > np.cumsum(prediction, axis=1)).sum(axis=1)
    return label.astype(float), prediction


def of_classes(
    label: np.ndarray, prediction: np.ndarray, names: tuple[str, ...] = CLASSES, **more: Any
) -> dict[str, Figure]:
    return plots.evaluation(
        ProblemType.MULTICLASS, label, prediction, title="holdout", classes=names, **more
    )


def test_the_confusion_counts_what_each_class_is_called(
    classes: tuple[np.ndarray, np.ndarray],
) -> None:
    label, prediction = classes
    figure = of_classes(label, prediction)["plots/confusion.png"]
    [axis] = figure.axes
    called = prediction.argmax(axis=1)
    shares = np.asarray(axis.images[0].get_array())
    for truth, decision in np.ndindex(3, 3):
        count = ((label == truth) & (called == decision)).sum()
        assert shares[truth, decision] == pytest.approx(count / (label == truth).sum())
        if count:
            assert any(text.get_text().endswith(f"\n{count:,}") for text in axis.texts)
    assert [tick.get_text() for tick in axis.get_xticklabels()] == list(CLASSES)
    assert axis.get_yticklabels()[2].get_text() == f"fog ({(label == 2).sum():,})"
    assert f"{(called == label).mean():.1%} of the likeliest" in words(figure)


def test_decisions_are_those_of_the_least_expected_cost(
    classes: tuple[np.ndarray, np.ndarray],
) -> None:
    label, prediction = classes
    cost = CostMatrix(costs=((0, 1, 1), (1, 0, 1), (50, 50, 0)))
    figures = of_classes(label, prediction, cost=cost)
    decided = (prediction @ np.array(cost.costs)).argmin(axis=1)
    paid = np.array(cost.costs)[label.astype(int), decided].mean()
    assert f"{paid:.4f} units a row" in words(figures["plots/decisions.png"])
    assert "plots/decisions.png" not in of_classes(label, prediction)


def test_calibrated_classes_lie_on_their_diagonals(
    classes: tuple[np.ndarray, np.ndarray],
) -> None:
    figure = of_classes(*classes)["plots/calibration.png"]
    assert [axis.get_title(loc="left").split(":")[0] for axis in figure.axes] == list(CLASSES)
    for axis in figure.axes:
        points = np.asarray(axis.lines[1].get_xydata())
        assert len(points) == 15 and points[:, 1] == pytest.approx(points[:, 0], abs=0.12)


def test_a_picture_of_the_calibration_has_the_metrics_figure(
    classes: tuple[np.ndarray, np.ndarray],
) -> None:
    """With ties, and whatever the order of the rows."""
    label, prediction = (part[:363] for part in classes)
    prediction = np.round(prediction, 1)
    draws = Resampling(np.arange(363).astype(str), replicates=2, seed=1)
    errors = [draws.calibration_error(label == k, prediction[:, k]).value for k in range(3)]
    order = np.random.default_rng(1).permutation(363)
    for rows in (np.arange(363), order):
        figures = of_classes(label[rows], prediction[rows])
        titles = [axis.get_title(loc="left") for axis in figures["plots/calibration.png"].axes]
        assert titles == [
            f"{name}: {error:.3f}" for name, error in zip(CLASSES, errors, strict=True)
        ]
        figure = drawn((label[rows] == 2).astype(float), prediction[rows, 2])
        assert f"{errors[2]:.4f} apart" in words(figure["plots/calibration.png"])


def test_recall_and_precision_are_those_of_the_likeliest_class(
    classes: tuple[np.ndarray, np.ndarray],
) -> None:
    label, prediction = classes
    [axis] = of_classes(label, prediction)["plots/recall_precision.png"].axes
    called = prediction.argmax(axis=1)
    for index in range(3):
        right = ((called == index) & (label == index)).sum()
        assert line(axis, "recall")[index, 0] == pytest.approx(right / (label == index).sum())
        assert line(axis, "precision")[index, 0] == pytest.approx(right / (called == index).sum())


def test_groups_of_classes_show_how_many_rows_are_right(
    classes: tuple[np.ndarray, np.ndarray],
) -> None:
    label, prediction = classes
    group = np.where(np.arange(ROWS) % 3 == 0, "JFK", "EWR")
    left, right = of_classes(label, prediction, groups={"origin": group})[
        "plots/by_origin.png"
    ].axes
    is_right = prediction.argmax(axis=1) == label
    shown = np.asarray(left.lines[0].get_xydata())[:, 0]
    assert shown == pytest.approx([is_right[group == name].mean() for name in ("EWR", "JFK")])
    loss = -np.log(prediction[np.arange(ROWS), label.astype(int)])
    assert np.asarray(right.lines[0].get_xydata())[1, 0] == pytest.approx(
        loss[group == "JFK"].mean()
    )


def test_of_many_classes_the_commonest_have_a_panel_and_all_are_counted() -> None:
    rng, names = np.random.default_rng(0), tuple(f"class_{i:02d}" for i in range(12))
    prediction = rng.dirichlet(np.linspace(0.5, 3, 12), ROWS)
    label = (rng.random(ROWS)[:, None] > np.cumsum(prediction, axis=1)).sum(axis=1)
    figures = of_classes(label.astype(float), prediction, names)
    titles = [axis.get_title(loc="left") for axis in figures["plots/calibration.png"].axes]
    assert len(titles) == 10 and not titles[0].startswith("class_00")
    assert "the commonest 10 of 12" in words(figures["plots/calibration.png"])
    assert len(figures["plots/confusion.png"].axes[0].get_yticklabels()) == 12


def test_classes_without_rows_and_answers_without_numbers_are_drawn() -> None:
    prediction = np.tile([0.2, 0.5, 0.3], (20, 1))
    prediction[:5] = np.nan
    for figure in of_classes(np.ones(20), prediction).values():
        figure.savefig(io.BytesIO())
        assert "15 of 20 rows" in words(figure)
    assert of_classes(np.ones(20), np.full((20, 3), np.nan)) == {}


def test_losses_that_are_far_apart_and_one_that_is_missing_are_readable() -> None:
    found = {"lightgbm": 0.5, "rule": 40.0, "seasonal_naive": np.nan}
    figure = plots.competitors(found, loss_name="squared_error")
    axis = figure.axes[0]
    assert axis.get_xscale() == "log" and "lightgbm is best, 98.8% under rule" in words(figure)
    assert [text.get_text() for text in axis.texts] == ["0.5000", "40.0000", "not for every row"]
    figure.savefig(io.BytesIO())


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


def test_a_picture_is_no_large_file(figures: dict[str, Figure]) -> None:
    """A run keeps a dozen of them, for ever."""
    sizes = []
    for figure in figures.values():
        file = io.BytesIO()
        figure.savefig(file)
        sizes.append(file.tell())
    assert max(sizes) < 100_000
