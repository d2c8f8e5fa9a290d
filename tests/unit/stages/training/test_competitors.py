"""The three competitors: each learns from the fit window only, and each the same every time."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from toy_training import PLACES, toy_material, toy_plan, toy_rows

from ml.core.errors import DataError
from ml.core.plans import Rule
from ml.core.problems import ProblemType
from ml.stages.training import contest
from ml.stages.training.boosting import fit_boosted
from ml.stages.training.contest import compete, cpu_time_us
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


def test_a_value_is_trained_on_as_well_as_a_class() -> None:
    rows = toy_rows()
    material = toy_material(rows=rows.assign(y=3 * rows["speed"] + rows["y"]))
    spec = material.spec.model_copy(update={"problem": ProblemType.REGRESSION})
    found = compete(Material(spec, material.examples, material.columns))
    assert set(found.competitors) == {"rule", "linear", "lightgbm"}
    assert found.chosen.loss < 0.5 * found.rule.loss


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


def test_a_competitor_without_numbers_never_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    def broken(material: Material) -> Competitor:
        return dataclasses.replace(fit_rule(material), loss=float("nan"))

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
