"""The three competitors: each learns from the fit window only, and each the same every time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from toy_training import (
    PLACES,
    class_material,
    class_rows,
    toy_material,
    toy_plan,
    toy_rows,
    trend_material,
    trend_plan,
    trend_rows,
)

from ml.adapters.model_files import ModelError
from ml.core.errors import DataError
from ml.core.plans import Rule
from ml.core.ports import Model
from ml.stages.training import contest
from ml.stages.training.boosting import fit_boosted
from ml.stages.training.contest import compete, cpu_time_us
from ml.stages.training.interval import widening
from ml.stages.training.linear import fit_linear
from ml.stages.training.material import Competitor, Material
from ml.stages.training.rule import fit_rule

FITS = {"rule": fit_rule, "logistic": fit_linear, "lightgbm": fit_boosted}
Fit = Callable[[Material], Competitor]
each = pytest.mark.parametrize("fit", FITS.values(), ids=FITS)


@each
def test_the_same_rows_give_the_same_files(fit: Fit) -> None:
    assert fit(toy_material()).files == fit(toy_material()).files


@each
def test_labels_of_the_select_window_do_not_change_what_a_trial_learns(fit: Fit) -> None:
    """They choose among trials and rounds; with one trial and all rounds there is no choice."""
    plan = toy_plan(search=None, max_rounds=5, early_stopping_rounds=5)
    rows = toy_rows()
    poisoned = rows.assign(y=rows["y"].where(rows["window"] == "fit", 1 - rows["y"]))
    first, second = fit(toy_material(plan, rows)), fit(toy_material(plan, poisoned))
    if first.kind == "lightgbm":
        assert [*first.model.predict(rows)] != [*second.model.predict(rows)], "rounds are chosen"
        trees = [one.files["model.lgb"].split(b"\nend of trees")[0] for one in (first, second)]
        shorter, longer = sorted(tree.split(b"\nTree=0\n")[1] for tree in trees)
        assert shorter.split(b"\nTree=1\n")[0] == longer.split(b"\nTree=1\n")[0]
    else:
        assert first.files == second.files


@each
def test_what_is_judged_is_what_the_files_give(fit: Fit) -> None:
    material = toy_material()
    found = fit(material)
    assert (found.prediction == found.model.predict(material.select)).all()
    label = material.labels(material.select)
    chosen = np.where(label == 1, found.prediction, 1 - found.prediction)
    assert found.loss == pytest.approx(-np.log(chosen).mean())


@each
def test_nothing_is_warned_about(fit: Fit) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(toy_material())


@each
def test_a_column_without_any_value_is_fine(fit: Fit) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit(toy_material(rows=toy_rows().assign(weight=np.nan, place=None)))
    assert np.isfinite(found.prediction).all()


@each
def test_a_category_that_only_the_select_window_has_is_unknown(fit: Fit) -> None:
    rows = toy_rows()
    is_new = (rows["window"] == "select") & (rows["place"] == "LGA")
    rows.loc[rows["place"] == "LGA", "place"] = "EWR"
    rows.loc[is_new, "place"] = "Mars"
    found = fit(toy_material(rows=rows))
    assert found.model.contract.categories["place"] == ("EWR", "JFK")
    assert np.isfinite(found.prediction).all()


# --- the rule ---


def test_the_rule_is_the_groups_mean_drawn_towards_the_base_rate() -> None:
    material = toy_material(toy_plan(rule=Rule(by=("place",), smoothing=10.0)))
    fit = material.fit
    base, here = fit["y"].mean(), fit.loc[fit["place"] == "JFK", "y"]
    rows = pd.DataFrame({"place": ["JFK", "Mars", None]})
    expected = (here.sum() + 10 * base) / (len(here) + 10)
    assert fit_rule(material).model.predict(rows) == pytest.approx([expected, base, base])


def test_a_rule_without_columns_is_the_base_rate() -> None:
    material = toy_material(toy_plan(rule=Rule()))
    found = fit_rule(material)
    assert set(found.prediction) == {material.fit["y"].mean()}
    assert found.parameters["by"] == "nothing: the base rate"


def test_without_smoothing_a_group_is_its_own_mean() -> None:
    material = toy_material(toy_plan(rule=Rule(by=("place",), smoothing=0.0)))
    means = material.fit.groupby("place")["y"].mean()
    rows = pd.DataFrame({"place": PLACES})
    assert fit_rule(material).model.predict(rows) == pytest.approx(means[list(PLACES)].to_list())


# --- LightGBM ---


def test_one_thread_or_two_give_the_same_model() -> None:
    parameters = toy_plan().parameters
    files = [
        fit_boosted(toy_material(toy_plan(parameters={**parameters, "num_threads": n}))).files
        for n in (1, 2)
    ]
    assert files[0] == files[1]


def test_the_curves_have_a_point_for_each_round_and_the_best_is_kept() -> None:
    found = fit_boosted(toy_material(toy_plan(search=None)))
    rounds = int(found.parameters["rounds"])
    fit, select = found.curves["fit"], found.curves["select"]
    assert len(fit) == len(select) >= rounds == int(np.argmin(select)) + 1
    assert select[rounds - 1] == pytest.approx(found.loss) and fit[-1] < fit[0]


def test_text_is_split_on_as_categories() -> None:
    text = fit_boosted(toy_material()).files["model.lgb"].decode()
    counts = [int(line.split("=")[1]) for line in text.splitlines() if line.startswith("num_cat=")]
    assert sum(counts) > 0


def test_the_searched_parameters_by_hand_give_the_same_model() -> None:
    """What the record says is what was done."""
    found = fit_boosted(toy_material())
    chosen = {name: found.parameters[name] for name in ("learning_rate", "num_leaves")}
    plan = toy_plan(parameters={**toy_plan().parameters, **chosen}, search=None)
    assert fit_boosted(toy_material(plan)).files == found.files


# --- several classes ---


@each
def test_each_class_gets_a_probability(fit: Fit) -> None:
    material = class_material()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit(material)
    assert found.prediction.shape == (len(material.select), 3)
    assert found.prediction.sum(axis=1) == pytest.approx(1)
    label = material.labels(material.select).astype(int)
    chosen = found.prediction[np.arange(len(label)), label]
    assert found.loss == pytest.approx(-np.log(chosen).mean())


def test_the_rule_of_classes_is_the_share_of_each_in_the_group() -> None:
    material = class_material(toy_plan(rule=Rule(by=("place",), smoothing=10.0)))
    fit = material.fit
    shares = [(fit["y"] == index).mean() for index in range(3)]
    here = fit.loc[fit["place"] == "JFK", "y"]
    expected = [
        ((here == index).sum() + 10 * share) / (len(here) + 10)
        for index, share in enumerate(shares)
    ]
    found = fit_rule(material).model.predict(pd.DataFrame({"place": ["JFK", "Mars"]}))
    assert found[0] == pytest.approx(expected) and found[1] == pytest.approx(shares)
    alone = fit_rule(class_material(toy_plan(rule=Rule())))
    assert alone.prediction[0] == pytest.approx(shares)


def test_the_curve_of_classes_is_their_log_loss() -> None:
    """The curve of the fit window is computed here, that of the select window by LightGBM."""
    found = fit_boosted(class_material(toy_plan(search=None)))
    rounds = int(found.parameters["rounds"])
    assert found.curves["select"][rounds - 1] == pytest.approx(found.loss)
    rows = class_rows()
    same = rows.assign(window="fit"), rows.assign(window="select")
    twice = fit_boosted(class_material(toy_plan(search=None), pd.concat(same)))
    assert twice.curves["fit"] == pytest.approx(twice.curves["select"], rel=1e-6)
    assert found.parameters["num_class"] == 3


def test_classes_are_told_apart_better_than_by_the_rule() -> None:
    found = compete(class_material())
    assert set(found.competitors) == {"rule", "logistic", "lightgbm"}
    assert found.chosen.kind == "lightgbm" and found.chosen.loss < 0.8 * found.rule.loss
    assert len(found.trials) == 6 and found.latency_us > 0


def test_a_class_without_rows_in_the_fit_window_is_never_passed_over_in_silence() -> None:
    """Training sets are refused before; a file whose columns are other classes is refused here."""
    rows = class_rows()
    material = class_material(rows=rows[rows["y"] < 2])
    with pytest.raises(ModelError, match="classes"):
        fit_linear(material)


# --- a value with a trend ---

EVERY_KIND = {"rule", "linear", "lightgbm", "persistence", "seasonal_naive"}


@each
def test_the_answer_is_a_value_and_not_a_difference(fit: Fit) -> None:
    material = trend_material()
    found = fit(material)
    label = material.labels(material.select)
    assert found.loss == pytest.approx(np.mean((found.prediction - label) ** 2))
    assert np.abs(found.prediction - label).mean() < 5, "the level itself is beyond 140"


def test_trees_follow_a_trend_only_by_its_differences() -> None:
    """All levels of the select window are above those that the trees have seen."""
    differences = compete(trend_material())
    levels = compete(trend_material(trend_plan(difference_from="")))
    assert set(differences.losses) == set(levels.losses) == EVERY_KIND
    assert differences.losses["lightgbm"] < 0.1 * differences.losses["persistence"]
    assert levels.losses["lightgbm"] > 2 * levels.losses["persistence"]
    assert differences.chosen.kind == "lightgbm" and levels.chosen.kind != "lightgbm"


def test_the_rule_of_a_difference_is_its_mean() -> None:
    material = trend_material(trend_plan(rule=Rule()))
    mean = (material.fit["y"] - material.fit["last"]).mean()
    found = fit_rule(material)
    assert found.prediction == pytest.approx(material.select["last"].to_numpy() + mean)
    assert found.model.columns == ("last",)


def test_naive_forecasts_are_their_columns_and_cost_nothing() -> None:
    found, select = compete(trend_material()), trend_material().select
    for kind, column in trend_plan().naive.items():
        naive = found.competitors[kind]
        assert (naive.prediction == select[column]).all() and naive.model.columns == (column,)
    assert set(compete(trend_material(trend_plan(naive={}))).losses) == EVERY_KIND - set(
        trend_plan().naive
    )


def test_a_naive_forecast_that_is_best_goes_on_with_the_interval() -> None:
    rows = trend_rows()
    noise = np.random.default_rng(1).normal(size=len(rows))
    found = compete(trend_material(rows=rows.assign(y=rows["last"] + 0.01 * noise)))
    assert found.chosen.kind == "persistence"
    assert found.chosen.model.interval(rows) is not None
    assert set(found.chosen.model.columns) == {"last", "before", "push", "place"}
    assert set(found.competitors["persistence"].files) == {"contract.json", "rule.json"}


def test_rows_without_the_column_that_the_label_differs_from_say_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = trend_rows()
    gone = rows.index % 5 == 0
    with caplog.at_level("WARNING", "flightline"):
        some = trend_material(rows=rows.assign(last=rows["last"].mask(gone)))
        found = compete(some)
    assert "280 of 1400 rows of the fit window left out: no last" in caplog.text
    assert some.left_out == {"fit": 280, "select": 120} and len(some.select) == 480
    without = compete(trend_material(rows=rows[~gone]))
    assert found.chosen.files == without.chosen.files


def test_most_rows_without_that_column_are_bad_data() -> None:
    rows = trend_rows()
    broken = rows.assign(last=rows["last"].mask(rows.index % 3 != 0))
    with pytest.raises(DataError, match="last is missing in 933 of 1,400 rows of the fit window"):
        compete(trend_material(rows=broken))


def test_a_naive_forecast_with_a_gap_never_goes_on() -> None:
    rows = trend_rows()
    last = rows.index == len(rows) - 1
    found = compete(trend_material(rows=rows.assign(before=rows["before"].mask(last))))
    assert np.isnan(found.losses["seasonal_naive"])
    assert list(found.losses)[-1] == "seasonal_naive" and found.chosen.kind == "lightgbm"


@pytest.mark.parametrize("make", [toy_material, class_material, trend_material])
def test_everything_that_goes_on_is_the_same_every_time(make: Callable[[], Material]) -> None:
    first, second = compete(make()), compete(make())
    assert first.chosen.files == second.chosen.files
    assert first.losses == second.losses


# --- the interval ---


def covered(interval: np.ndarray | None, label: np.ndarray) -> float:
    assert interval is not None
    return float(((label >= interval[:, 0]) & (label <= interval[:, 1])).mean())


@pytest.mark.parametrize("nominal", [0.6, 0.8, 0.95])
def test_the_interval_holds_what_it_promises_of_rows_that_it_never_saw(nominal: float) -> None:
    material = trend_material(trend_plan(interval=nominal))
    model = compete(material).chosen.model
    label = material.labels(material.select)
    assert covered(model.interval(material.select), label) == pytest.approx(nominal, abs=0.005)
    fresh = trend_rows(rows=100, seed=99)
    fresh = fresh[fresh["window"] == "select"]
    found = covered(model.interval(fresh), fresh["y"].to_numpy())
    assert found == pytest.approx(nominal, abs=0.04)


def test_the_interval_is_wider_where_more_can_happen() -> None:
    """That is what two quantile models add to a constant width."""
    material = trend_material()
    found = compete(material).chosen.model.interval(material.select)
    assert found is not None
    width, push = found[:, 1] - found[:, 0], material.select["push"].to_numpy()
    assert width[push > 0.7].mean() > 1.2 * width[push < 0].mean()


def test_without_a_plan_for_it_there_is_no_interval() -> None:
    found = compete(trend_material(trend_plan(interval=None)))
    assert found.interval == {} and found.chosen.model.interval(trend_rows()) is None


def test_the_interval_has_the_models_own_parameters() -> None:
    found = compete(trend_material())
    text = found.chosen.files["lower.lgb"].decode()
    assert "[objective: quantile]" in text and "[alpha: 0.1]" in text
    assert "[num_leaves: 15]" in text and "[min_data_in_leaf: 20]" in text


def test_widening_is_what_the_labels_need() -> None:
    label, ends = np.arange(1.0, 10.0), np.tile([4.0, 6.0], (9, 1))
    assert widening(label, ends, 0.3) == 0.0  # 3 of 9
    assert widening(label, ends, 0.5) == 1.0  # 5 of 9
    assert widening(label, ends, 0.99) == 3.0  # all there are
    assert widening(label, np.tile([0.0, 10.0], (9, 1)), 0.5) == -3.0


# --- who goes on ---


def test_the_best_on_the_select_window_goes_on() -> None:
    found = compete(toy_material())
    losses = list(found.losses.values())
    assert losses == sorted(losses) and len(losses) == 3
    assert found.chosen.loss == losses[0] and found.latency_us > 0
    assert len(found.trials) == 6


def test_a_linear_truth_is_best_told_by_the_linear_model() -> None:
    """The competitors are honest: LightGBM does not win by rank."""
    random, rows = np.random.default_rng(5), toy_rows()
    score = 0.7 * rows["speed"] + 0.7 * rows["weight"].fillna(0)
    rows["y"] = (random.random(len(rows)) < 1 / (1 + np.exp(-score))).astype("float64")
    assert compete(toy_material(rows=rows)).chosen.kind == "logistic"


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_competitor_without_numbers_never_goes_on(
    monkeypatch: pytest.MonkeyPatch, loss: float
) -> None:
    import dataclasses

    def broken(material: Material) -> Competitor:
        return dataclasses.replace(fit_rule(material), loss=loss)

    monkeypatch.setattr(contest, "fit_boosted", broken)
    monkeypatch.setattr(contest, "fit_linear", fit_linear)
    assert compete(toy_material()).chosen.kind == "logistic"
    for name in ("fit_rule", "fit_linear"):
        monkeypatch.setattr(contest, name, broken)
    with pytest.raises(DataError, match="no competitor predicts numbers"):
        compete(toy_material())


def test_cpu_time_is_measured_on_few_rows_too() -> None:
    material = toy_material()
    assert cpu_time_us(fit_rule(material).model, material.select.head(3)) > 0


def test_cpu_time_counts_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a naive forecast, which costs nothing by itself."""
    clock, asked = [0.0], []

    def take(seconds: float, rows: pd.DataFrame) -> None:
        clock[0] += seconds
        asked.append(len(rows))

    model = SimpleNamespace(
        predict=lambda rows: take(0.001, rows), interval=lambda rows: take(0.004, rows)
    )
    monkeypatch.setattr(contest.time, "process_time", lambda: clock[0])
    assert cpu_time_us(model, trend_rows()) == pytest.approx(5.0)  # type: ignore[arg-type]
    assert set(asked) == {1_000}


def test_what_is_timed_is_the_chosen_one_with_its_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed: list[Model] = []

    def watch(model: Model, _: pd.DataFrame) -> float:
        timed.append(model)
        return 7.0

    monkeypatch.setattr(contest, "cpu_time_us", watch)
    found, [model] = compete(trend_material()), timed
    assert found.latency_us == 7.0
    assert model.contract_sha256 == found.chosen.model.contract_sha256
    assert model.interval(trend_rows()) is not None
