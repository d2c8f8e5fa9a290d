"""What a training set must hold before anything is learned from it."""

from __future__ import annotations

import pandas as pd
import pytest
from toy_training import class_rows, class_spec, toy_spec, trend_spec

from ml.core.errors import DataError
from ml.core.spec import UseCase
from ml.stages.training_set import _require_contrast


def check(spec: UseCase, labels: list[float], window: str = "fit") -> None:
    _require_contrast(spec, window, pd.DataFrame({"y": labels}))


def test_control_what_holds_everything_is_fine() -> None:
    check(class_spec(), class_rows()["y"].tolist())
    check(toy_spec(), [0.0, 1.0])
    check(trend_spec(), [0.1, 0.2])


def test_the_fit_window_holds_every_class_of_the_spec() -> None:
    with pytest.raises(DataError, match=r"the fit window has no row of haze in 4 rows"):
        check(class_spec(), [0.0, 2.0, 2.0, 0.0])
    with pytest.raises(DataError, match=r"no row of haze, fog in 2 rows"):
        check(class_spec(), [0.0, 0.0])


def test_the_select_window_may_miss_a_class_as_a_calm_week_does() -> None:
    check(class_spec(), [0.0, 2.0], window="select")
    with pytest.raises(DataError, match="the select window holds 1 class"):
        check(class_spec(), [2.0, 2.0], window="select")


@pytest.mark.parametrize(("spec", "what"), [(toy_spec(), "class"), (trend_spec(), "value")])
def test_one_value_is_nothing_to_learn_from(spec: UseCase, what: str) -> None:
    with pytest.raises(DataError, match=f"holds 1 {what}"):
        check(spec, [1.0, 1.0])
