"""The search: seeded, from the middle of the space, and never on other rows than it should."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from toy_training import SPACE, toy_material, toy_plan, toy_rows

from ml.core.plans import Choice, FloatRange, IntRange, SearchPlan, Value
from ml.stages.training.boosting import fit_boosted
from ml.stages.training.search import Attempted, Watch, middle, search


def bowl(chosen: Mapping[str, Value], watch: Watch) -> Attempted:
    """Best at learning_rate 0.1; slowly falling curves."""
    loss = abs(float(chosen["learning_rate"]) - 0.1)
    for number in range(1, 101):
        watch(number, loss + 1 / number)
    return Attempted(loss, 100)


def searched(trials: int = 20, seed: int = 7) -> list[tuple[Mapping[str, Value], float | None]]:
    found = search(SearchPlan(space=SPACE, trials=trials), bowl, seed=seed)
    return [(trial.parameters, trial.loss) for trial in found]


def test_the_same_seed_takes_the_same_path() -> None:
    assert searched() == searched() != searched(seed=8)


def test_a_longer_search_begins_as_the_shorter_one() -> None:
    assert searched(20)[:8] == searched(8)


def test_it_begins_in_the_middle() -> None:
    plan = SearchPlan(
        space={
            "learning_rate": FloatRange(low=0.01, high=1.0, log=True),
            "lambda_l2": FloatRange(low=0.0, high=10.0),
            "num_leaves": IntRange(low=10, high=40, log=True),
            "max_depth": IntRange(low=3, high=9),
            "data_sample_strategy": Choice(options=("bagging", "goss")),
        },
        trials=1,
    )
    (first,) = search(plan, bowl, seed=1)
    expected = {
        "learning_rate": 0.1,
        "lambda_l2": 5.0,
        "num_leaves": 20,
        "max_depth": 6,
        "data_sample_strategy": "bagging",
    }
    assert first.parameters == middle(plan) == expected


def test_every_point_lies_in_the_space() -> None:
    for chosen, _ in searched():
        assert 0.05 <= float(chosen["learning_rate"]) <= 0.4
        assert isinstance(chosen["num_leaves"], int) and 4 <= chosen["num_leaves"] <= 16


def test_hopeless_trials_are_given_up_and_the_best_is_not() -> None:
    found = search(SearchPlan(space=SPACE, trials=20), bowl, seed=7)
    given_up = [trial for trial in found if trial.loss is None]
    assert given_up and all(trial.rounds < 100 for trial in given_up)
    best = min(found, key=lambda trial: trial.loss if trial.loss is not None else 9.0)
    assert best.loss is not None and best.loss < 0.02 and best.rounds == 100


def test_what_breaks_in_a_trial_is_not_a_trial_that_was_given_up() -> None:
    def broken(chosen: Mapping[str, Value], watch: Watch) -> Attempted:
        raise MemoryError

    with pytest.raises(MemoryError):
        search(SearchPlan(space=SPACE), broken, seed=1)


def test_progress_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="flightline"):
        searched(3)
    assert len(caplog.messages) == 3
    assert caplog.messages[0].startswith("trial 1 of 3: loss 0.0")


def test_on_real_trees_the_same_trials_twice() -> None:
    first, second = (fit_boosted(toy_material()) for _ in range(2))
    told = [
        [(trial.parameters, trial.loss, trial.rounds) for trial in one.trials]
        for one in (first, second)
    ]
    assert told[0] == told[1] and len(told[0]) == 6
    losses = [trial.loss for trial in first.trials if trial.loss is not None]
    assert first.loss == pytest.approx(min(losses))


def test_what_decides_how_rows_are_binned_can_be_searched() -> None:
    space = {"max_bin": IntRange(low=15, high=63), **SPACE}
    found = fit_boosted(toy_material(toy_plan(search=SearchPlan(space=space, trials=4))))
    assert len({trial.parameters["max_bin"] for trial in found.trials}) > 1


def test_an_alias_in_the_space_is_the_parameter() -> None:
    by_alias = {"eta": SPACE["learning_rate"], "num_leaves": SPACE["num_leaves"]}
    plan = toy_plan(search=SearchPlan(space=by_alias, trials=3))
    assert "learning_rate" in fit_boosted(toy_material(plan)).parameters


def test_rows_of_no_window_are_never_looked_at() -> None:
    """The holdout is not in a training set; if it were, nothing would read it."""
    rows = toy_rows()
    more = rows.tail(200).assign(window="holdout", y=1.0, speed=1e9, place="Mars")
    import pandas as pd

    assert (
        fit_boosted(toy_material(rows=pd.concat([rows, more], ignore_index=True))).files
        == fit_boosted(toy_material(rows=rows)).files
    )
