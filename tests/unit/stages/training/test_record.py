"""What a run says of itself, for any problem and whoever is chosen."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from toy_training import toy_material, toy_plan, toy_rows

from ml.core.metric_names import computed_for
from ml.core.plans import CostModel, Rule
from ml.core.ports import Platform
from ml.core.problems import ProblemType
from ml.core.spec import UseCase
from ml.core.trained_run import TrainedRun
from ml.stages.training.contest import Contest, compete
from ml.stages.training.material import Material
from ml.stages.training.record import Facts, Record
from ml.stages.training.rule import fit_rule


def recorded(material: Material, contest: Contest | None = None) -> TrainedRun:
    nothing: Any = None  # no adapter is asked
    platform = Platform(
        material.spec, *[nothing] * 5, code_digest="c" * 64, code_tags={"git.commit": "abc"}
    )
    windows = material.spec.windows(datetime(2020, 2, 1, tzinfo=UTC))
    facts = Facts(windows, "i" * 64, 12.5, "d" * 64, "/lake/x", False, "a test")
    return Record(platform, facts, material, contest or compete(material)).run()


def with_spec(material: Material, **changes: Any) -> Material:
    return dataclasses.replace(material, spec=material.spec.model_copy(update=changes))


def test_every_metric_has_bounds_and_every_competitor_a_loss() -> None:
    found = recorded(with_spec(toy_material(), cost=CostModel(missed=4)))
    for metric in computed_for(ProblemType.BINARY, has_cost=True):
        for end in ("", "_lower", "_upper"):
            assert f"select/{metric.name}{end}" in found.metrics
    for kind in ("rule", "logistic", "lightgbm"):
        assert np.isfinite(found.metrics[f"select/{kind}_log_loss"])
    assert found.metrics["select/always_cost"] == 1.0 and "select/never_cost" in found.metrics
    assert "select/cost" not in recorded(toy_material()).metrics


def test_the_documents_can_be_read_again() -> None:
    material = toy_material()
    found = recorded(material)
    assert UseCase.model_validate_json(found.documents["spec.json"]) == material.spec
    training = json.loads(found.documents["training.json"])
    assert training["columns"] == list(material.columns)
    assert training["chosen"] == found.tags["model.kind"] == found.parameters["model"]
    assert found.documents["notes.md"] == found.description


def test_the_data_set_is_described() -> None:
    found = recorded(toy_material())
    assert found.dataset_rows == {"fit": 23 * 80, "select": 7 * 80}
    kinds = {name: found.dataset_columns[name] for name in ("speed", "place", "decided_at")}
    assert kinds == {"speed": "double", "place": "string", "decided_at": "datetime"}


def test_groups_of_rows_are_compared_with_the_rule() -> None:
    found = recorded(toy_material())
    table = found.tables["tables/by_place.json"]
    assert set(table["value"]) == {"EWR", "JFK", "LGA", "unknown"}
    assert table["rows"].sum() == found.dataset_rows["select"]
    assert (table["against_rule_lower"] <= table["against_rule"]).all()
    assert list(found.tables["tables/by_month.json"]["value"]) == ["2020-01"]


def test_what_was_shuffled_and_matters_costs_more() -> None:
    table = recorded(toy_material()).tables["tables/importance.json"].set_index("column")
    assert table["loss_rise_when_shuffled"].idxmax() == "speed"


def test_a_base_rate_that_nobody_beats_is_recorded_as_well() -> None:
    """It looks at no column, and MLflow has no signature without one."""
    material = toy_material(toy_plan(rule=Rule()))
    found = recorded(material, Contest({"rule": fit_rule(material)}, latency_us=1.0))
    assert found.tags["model.kind"] == "rule"
    assert list(found.example.columns) == list(material.columns)
    assert found.rule["rule.json"] and len(found.example) == 5


def test_a_chosen_linear_model_has_no_trees_to_show() -> None:
    random, rows = np.random.default_rng(5), toy_rows()
    score = 0.7 * rows["speed"] + 0.7 * rows["weight"].fillna(0)
    rows["y"] = (random.random(len(rows)) < 1 / (1 + np.exp(-score))).astype("float64")
    found = recorded(toy_material(rows=rows))
    assert found.tags["model.kind"] == "logistic" and not found.curves
    assert "plots/learning_curve.png" not in found.figures and found.trials


def test_a_value_is_recorded_as_well_as_a_class() -> None:
    rows = toy_rows()
    material = toy_material(rows=rows.assign(y=3 * rows["speed"] + rows["y"]))
    found = recorded(with_spec(material, problem=ProblemType.REGRESSION))
    assert found.metrics["select/skill"] > 0.3
    assert "select/absolute_error" in found.metrics and "plots/competitors.png" in found.figures


@pytest.mark.parametrize(("is_trial", "stage"), [(False, "train"), (True, "trial")])
def test_the_name_says_what_and_as_of_when(is_trial: bool, stage: str) -> None:
    windows = toy_material().spec.windows(datetime(2020, 2, 1, tzinfo=UTC))
    facts = Facts(windows, "", 0.0, "", "", is_trial, "")
    assert facts.stage == stage
