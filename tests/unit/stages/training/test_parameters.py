"""Parameters are checked by LightGBM itself before any work; experiments change the spec's."""

from __future__ import annotations

import pytest
from toy_training import SPACE, toy_plan, trend_plan

from ml.core.errors import ConfigError
from ml.core.plans import Choice, FloatRange, IntRange, ModelPlan, SearchPlan
from ml.core.problems import ProblemType
from ml.stages.training import parameters
from ml.stages.training.changes import changed_plan
from ml.stages.training.parameters import all_parameters, canonical, check_plan
from ml.use_cases import available, load_spec


def check(plan: ModelPlan) -> None:
    check_plan(ProblemType.BINARY, plan)


def test_control_the_specs_of_the_repository_are_fine() -> None:
    for slug in available():
        spec = load_spec(slug)
        check_plan(spec.problem, spec.model, classes=len(spec.label.classes))


@pytest.mark.parametrize(
    ("name", "nearest"), [("num_leafs", "num_leaf"), ("lerning_rate", "learning_rate")]
)
def test_a_typing_error_names_the_nearest_parameter(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"no parameter '{name}'\n  expected: '{nearest}"):
        check(toy_plan(search=SearchPlan(space={name: IntRange(low=2, high=9)})))
    with pytest.raises(ConfigError, match=f"no parameter '{name}'"):
        check(toy_plan(parameters={name: 3}))


def test_a_name_like_no_other_is_said_too() -> None:
    with pytest.raises(ConfigError, match="no parameter 'xyzzy'"):
        canonical("xyzzy")


@pytest.mark.parametrize(
    ("name", "dimension"),
    [
        ("num_leaves", IntRange(low=1, high=31)),
        ("num_leaves", FloatRange(low=2.5, high=31)),
        ("feature_fraction", FloatRange(low=0.5, high=1.5)),
        ("lambda_l2", FloatRange(low=-1, high=1)),
        ("boosting", Choice(options=("gbdt", "gbtd"))),
    ],
)
def test_a_value_that_lightgbm_refuses_is_an_error_to_read(
    name: str, dimension: IntRange | FloatRange | Choice
) -> None:
    with pytest.raises(ConfigError, match=f"LightGBM refuses {name} = "):
        check(toy_plan(search=SearchPlan(space={name: dimension})))


def test_a_fixed_value_that_lightgbm_refuses_is_named() -> None:
    with pytest.raises(ConfigError, match=r"refuses num_leaves = 1: .*num_leaves.* > .*1") as found:
        check(toy_plan(parameters={"min_data_in_leaf": 20, "num_leaves": 1}, search=None))
    assert ".cpp" not in found.value.seen


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("n_estimators", "model.max_rounds"),
        ("random_state", "model.seed"),
        ("loss", "the spec's `problem`"),
        ("application", "the spec's `problem`"),
        ("force_row_wise", "the platform"),
        ("early_stopping_rounds", "model.early_stopping_rounds"),
    ],
)
def test_what_is_set_elsewhere_says_where(name: str, where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        check(toy_plan(parameters={name: 1}))


def test_two_names_of_one_parameter_are_an_error_to_read() -> None:
    with pytest.raises(ConfigError, match="'eta' and 'learning_rate' are the same"):
        check(toy_plan(parameters={"eta": 0.1}))


@pytest.mark.parametrize("problem", ProblemType)
def test_every_problem_can_be_learned(problem: ProblemType) -> None:
    check_plan(problem, toy_plan())
    broken = toy_plan(search=SearchPlan(space={"num_leaves": IntRange(low=1, high=31)}))
    with pytest.raises(ConfigError, match="LightGBM refuses num_leaves = "):
        check_plan(problem, broken)


def test_the_number_of_classes_is_the_specs() -> None:
    given = all_parameters(ProblemType.MULTICLASS, toy_plan(), classes=7)
    assert (given["objective"], given["num_class"]) == ("multiclass", 7)
    assert "num_class" not in all_parameters(ProblemType.BINARY, toy_plan())
    with pytest.raises(ConfigError, match="the spec's `problem`"):
        check_plan(ProblemType.MULTICLASS, toy_plan(parameters={"num_class": 4}))


def test_parameters_are_tried_out_for_the_interval_too() -> None:
    plan = trend_plan(interval=0.9)
    check_plan(ProblemType.REGRESSION, plan)
    tried = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parameters, "_try_out", lambda given, *_: tried.append(given["objective"]))
        check_plan(ProblemType.REGRESSION, plan)
        check_plan(ProblemType.REGRESSION, trend_plan(interval=None))
    assert tried.count("quantile") == 1


def test_the_specs_own_value_wins_over_ours() -> None:
    assert all_parameters(ProblemType.BINARY, toy_plan())["num_threads"] == 1
    plan = toy_plan(parameters={"nthread": 2})
    assert all_parameters(ProblemType.BINARY, plan)["num_threads"] == 2


# --- experiments ---


def test_a_parameter_that_is_set_is_not_searched() -> None:
    found = changed_plan(toy_plan(), ["eta=0.2", "min_data_in_leaf=5"])
    assert found.parameters == {"min_data_in_leaf": 5, "learning_rate": 0.2}
    assert found.search is not None and set(found.search.space) == {"num_leaves"}
    check(found)


def test_with_everything_set_there_is_no_search() -> None:
    assert changed_plan(toy_plan(), ["learning_rate=0.2", "num_leaves=8"]).search is None


@pytest.mark.parametrize("settings", [["learning_rate=0.1", "eta=0.2"], ["trials=true"]])
def test_settings_that_contradict_each_other_are_refused(settings: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"more than once|trials=True"):
        changed_plan(toy_plan(), settings)


def test_without_trials_what_is_not_set_is_in_the_middle() -> None:
    found = changed_plan(toy_plan(), ["trials=0", "num_leaves=8"])
    assert found.search is None
    assert found.parameters == {"min_data_in_leaf": 20, "num_leaves": 8, "learning_rate": 0.1414}


def test_fields_of_the_plan_can_be_set() -> None:
    found = changed_plan(
        toy_plan(), ["trials=30", "seed=9", "max_rounds=77", "early_stopping_rounds=3"]
    )
    assert (found.seed, found.max_rounds, found.early_stopping_rounds) == (9, 77, 3)
    assert found.search == SearchPlan(space=SPACE, trials=30)
    assert found.rule == toy_plan().rule


def test_values_are_numbers_words_and_switches() -> None:
    given = ["data_sample_strategy=goss", "extra_trees=true", "lambda_l1=1e-3", "max_depth=7"]
    found = changed_plan(toy_plan(), given).parameters
    assert found["data_sample_strategy"] == "goss" and found["extra_trees"] is True
    assert found["lambda_l1"] == 0.001 and found["max_depth"] == 7


@pytest.mark.parametrize("setting", ["num_leaves", "=3", "num_leaves=", "", "  = "])
def test_what_is_no_key_and_value_is_said(setting: str) -> None:
    with pytest.raises(ConfigError, match="key=value"):
        changed_plan(toy_plan(), [setting])


@pytest.mark.parametrize(
    "setting", ["trials=-1", "max_rounds=0", "seed=seven", "trials=many", "max_rounds=1.5"]
)
def test_a_field_with_a_bad_value_is_said(setting: str) -> None:
    with pytest.raises(ConfigError, match=setting.split("=", maxsplit=1)[0]):
        changed_plan(toy_plan(), [setting])


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'num_leaves'"):
        changed_plan(toy_plan(), ["num_leavs=3"])
