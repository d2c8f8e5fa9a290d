"""Models as files for each problem: several classes, values from a column, an interval."""

from __future__ import annotations

import json

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from small_rows import COLUMNS, FRAME, LABEL, PLACES

from ml.adapters.model_files import (
    CONTRACT,
    NATIVE,
    Contract,
    ModelError,
    contract_digest,
    interval_digest,
    read_model,
    scaled,
)
from ml.adapters.model_writing import (
    interval_files,
    lightgbm_files,
    linear_files,
    naive_files,
    rule_files,
)

# --- several classes ---

CLASSES = ("clear", "haze", "fog")
CLASS = (np.nan_to_num(FRAME["speed"].to_numpy()) > 0) + (FRAME["place"] == "JFK").to_numpy(int)


def class_contract(kind: str, columns: tuple[str, ...] = COLUMNS) -> Contract:
    return Contract(kind, "multiclass", columns, {"place": PLACES}, classes=CLASSES)


def _lightgbm_of_classes() -> dict[str, bytes]:
    matrix = class_contract("lightgbm").encode(FRAME)
    data = lightgbm.Dataset(matrix, CLASS, params={"verbose": -1})
    parameters = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    return lightgbm_files(class_contract("lightgbm"), lightgbm.train(parameters, data, 5))


def _logistic_of_classes() -> dict[str, bytes]:
    plan, matrix = class_contract("logistic"), class_contract("logistic").encode(FRAME)
    scaling = StandardScaler().fit(matrix)
    model = LogisticRegression().fit(scaled(scaling, matrix), CLASS)
    return linear_files(plan, Pipeline([("scaling", scaling), ("model", model)]))


def _rule_of_classes() -> dict[str, bytes]:
    groups = {(0,): [0.1, 0.2, 0.7], (2,): [0.0, 0.5, 0.5]}
    return rule_files(class_contract("rule", ("place",)), base=[0.5, 0.3, 0.2], groups=groups)


OF_CLASSES = {
    "lightgbm": _lightgbm_of_classes,
    "logistic": _logistic_of_classes,
    "rule": _rule_of_classes,
}
kinds_of_classes = pytest.mark.parametrize("kind", OF_CLASSES)


@kinds_of_classes
def test_every_class_has_a_column_and_they_add_up(kind: str) -> None:
    files = OF_CLASSES[kind]()
    assert files == OF_CLASSES[kind]()
    found = read_model(files).predict(FRAME)
    assert found.shape == (600, 3) and found.sum(axis=1) == pytest.approx(1)
    assert read_model(files).predict(FRAME.head(1)).shape == (1, 3)


def test_a_group_of_the_rule_has_the_share_of_each_class() -> None:
    rows = pd.DataFrame({"place": ["LGA", "Mars"]})
    expected = [[0.0, 0.5, 0.5], [0.5, 0.3, 0.2]]
    assert read_model(_rule_of_classes()).predict(rows).tolist() == expected


@kinds_of_classes
@pytest.mark.parametrize("classes", [(), CLASSES[:2], (*CLASSES, "snow")])
def test_a_contract_of_other_classes_is_an_error_to_read(
    kind: str, classes: tuple[str, ...]
) -> None:
    files = OF_CLASSES[kind]()
    plain = json.loads(files[CONTRACT]) | {"classes": classes}
    with pytest.raises(ModelError, match=f"{NATIVE[kind]} has 3 classes"):
        read_model({**files, CONTRACT: json.dumps(plain).encode()})


def test_a_group_with_too_few_values_is_an_error_to_read() -> None:
    broken = b'{"base": [0.5, 0.3, 0.2], "groups": [[0, 0.5, 0.5]]}'
    with pytest.raises(ModelError, match="another number of values"):
        read_model({**_rule_of_classes(), "rule.json": broken})


# --- values, from a column ---


def value_contract(kind: str, columns: tuple[str, ...] = COLUMNS, offset: str = "") -> Contract:
    categories = {"place": PLACES} if "place" in columns else {}
    return Contract(kind, "regression", columns, categories, offset=offset)


def _values(offset: str = "") -> dict[str, bytes]:
    plan = value_contract("lightgbm", offset=offset)
    return lightgbm_files(plan, _booster(plan, {"objective": "regression"}))


def _booster(plan: Contract, parameters: dict[str, object]) -> lightgbm.Booster:
    data = lightgbm.Dataset(plan.encode(FRAME), LABEL, params={"verbose": -1})
    return lightgbm.train({"verbose": -1, "num_threads": 1, **parameters}, data, 5)


def test_the_offset_is_added_to_the_answer() -> None:
    found, plain = read_model(_values("speed")), read_model(_values())
    rows = FRAME[FRAME["speed"].notna()]
    np.testing.assert_allclose(found.predict(rows) - rows["speed"], plain.predict(rows))
    unknown = found.predict(pd.DataFrame({"speed": [None], "place": ["JFK"]}))
    assert np.isnan(unknown).all(), "a difference from nothing is no answer"


def test_an_offset_that_the_model_does_not_see_is_read_as_well() -> None:
    plan = value_contract("rule", ("place",), offset="speed")
    model = read_model(rule_files(plan, base=0.5, groups={(1,): 2.0}))
    rows = pd.DataFrame({"place": ["JFK", "EWR"], "speed": [10.0, 20.0]})
    assert model.columns == ("place", "speed")
    assert model.predict(rows).tolist() == [12.0, 20.5]
    with pytest.raises(ModelError, match="no column speed"):
        model.predict(rows[["place"]])


def test_an_offset_of_text_is_an_error_to_read() -> None:
    plan = value_contract("lightgbm", offset="place")
    with pytest.raises(ModelError, match="cannot be read"):
        read_model({**_values(), CONTRACT: plan.to_bytes()})


@pytest.mark.parametrize("kind", ["persistence", "seasonal_naive"])
def test_a_naive_forecast_is_its_column(kind: str) -> None:
    files = naive_files(value_contract(kind, ("speed",)))
    model = read_model(files)
    assert set(files) == {CONTRACT, "rule.json"} and model.columns == ("speed",)
    np.testing.assert_array_equal(model.predict(FRAME), FRAME["speed"])
    for content in (b"", b"{}", b'{"column": "place"}'):
        with pytest.raises(ModelError, match=r"rule\.json"):
            read_model({**files, "rule.json": content})


def test_offset_and_classes_are_part_of_the_contract() -> None:
    plans = [
        value_contract("lightgbm"),
        value_contract("lightgbm", offset="speed"),
        class_contract("lightgbm"),
        Contract("lightgbm", "multiclass", COLUMNS, {"place": PLACES}, classes=CLASSES[::-1]),
    ]
    assert len({contract_digest(plan.to_bytes()) for plan in plans}) == 4
    assert [Contract.from_bytes(plan.to_bytes()) for plan in plans] == plans


# --- an interval ---


def _interval(widen: float = 0.1, offset: str = "") -> dict[str, bytes]:
    plan = value_contract("lightgbm", offset=offset)
    ends = [_booster(plan, {"objective": "quantile", "alpha": share}) for share in (0.1, 0.9)]
    return interval_files(plan, ends[0], ends[1], coverage=0.8, widen=widen)


def test_a_model_without_these_files_has_no_interval() -> None:
    assert read_model(_values()).interval(FRAME) is None and interval_digest(_values()) == ""


def test_the_ends_are_widened_and_in_order() -> None:
    narrow, wide, crossed = (
        read_model({**_values(), **_interval(widen)}).interval(FRAME) for widen in (0.0, 0.1, -9.0)
    )
    assert narrow is not None and wide is not None and crossed is not None
    assert narrow.shape == (600, 2)
    np.testing.assert_allclose(wide - narrow, np.tile([-0.1, 0.1], (600, 1)))
    assert (crossed[:, 0] <= crossed[:, 1]).all()


def test_the_interval_moves_with_the_offset() -> None:
    plain, moved = (
        read_model({**_values(), **_interval(offset=name)}).interval(FRAME)
        for name in ("", "speed")
    )
    assert plain is not None and moved is not None
    np.testing.assert_allclose(moved, plain + FRAME[["speed"]].to_numpy())


def test_the_interval_of_a_rule_reads_columns_that_the_rule_does_not() -> None:
    rule = rule_files(value_contract("rule", ("place",)), base=0.5, groups={})
    model = read_model({**rule, **_interval()})
    assert model.columns == ("place", "speed")
    assert model.predict(FRAME[["place"]]).tolist() == [0.5] * 600
    with pytest.raises(ModelError, match="no column speed"):
        model.interval(FRAME[["place"]])


@pytest.mark.parametrize("name", ["lower.lgb", "upper.lgb", "interval.json"])
def test_every_file_of_the_interval_counts(name: str) -> None:
    files = {**_values(), **_interval()}
    changed = {**files, name: files[name].replace(b"0", b"1", 1)}
    assert interval_digest(changed) != interval_digest(files) == interval_digest(_interval())
    del changed[name]
    with pytest.raises(ModelError, match=f"no file {name}"):
        read_model(changed)
    for content in (b"", b"garbage", b"{}", b"[1]"):
        with pytest.raises(ModelError, match=name.replace(".", r"\.")):
            read_model({**files, name: content})


def test_the_same_interval_is_the_same_bytes() -> None:
    assert _interval() == _interval()
