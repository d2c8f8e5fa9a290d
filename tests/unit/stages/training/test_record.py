"""What a run says of itself, for any problem and whoever is chosen."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from toy_training import (
    CLASSES,
    class_material,
    toy_material,
    toy_plan,
    toy_rows,
    trend_material,
    trend_rows,
)

from ml.core.metric_names import computed_for
from ml.core.plans import CostMatrix, CostModel, Criterion, Rule, UnitCost
from ml.core.ports import Platform
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
    for name in computed_for(with_spec(toy_material(), cost=CostModel(missed=4)).spec.scope):
        for end in ("", "_lower", "_upper"):
            assert f"select/{name}{end}" in found.metrics
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


# --- values ---


def test_a_value_is_recorded_with_its_naive_forecasts_and_its_interval() -> None:
    material = with_spec(trend_material(), cost=UnitCost(over=1, under=3))
    found = recorded(material)
    for name in computed_for(material.spec.scope):
        assert np.isfinite([found.metrics[f"select/{name}{end}"] for end in ("", "_lower")]).all()
    assert found.metrics["select/skill_persistence"] > 0.9
    assert found.metrics["select/interval_coverage"] == pytest.approx(0.8, abs=0.01)
    for kind in ("rule", "linear", "lightgbm", "persistence", "seasonal_naive"):
        assert np.isfinite(found.metrics[f"select/{kind}_squared_error"])
    assert found.metrics["select/cost"] < found.metrics["select/rule_cost"]
    drawn = "over_time coverage predicted_observed residuals by_place by_month competitors"
    assert {f"plots/{name}.png" for name in drawn.split()} <= set(found.figures)
    assert set(found.model) >= {"lower.lgb", "upper.lgb", "interval.json"}
    assert set(found.rule) == {"contract.json", "rule.json"}
    assert list(found.example.columns) == list(material.columns)
    assert "learned as a difference from `last`" in found.description
    assert "80% of the select window's labels" in found.description


def test_rows_that_were_left_out_are_told() -> None:
    rows = trend_rows()
    found = recorded(trend_material(rows=rows.assign(last=rows["last"].mask(rows.index < 7))))
    assert "left out: 7 of fit." in found.description
    assert json.loads(found.documents["training.json"])["left_out"] == {"fit": 7, "select": 0}
    assert found.dataset_rows == {"fit": 1_393, "select": 600}


def test_shuffling_the_column_that_the_answer_starts_from_costs_most() -> None:
    table = recorded(trend_material()).tables["tables/importance.json"].set_index("column")
    assert table["loss_rise_when_shuffled"].idxmax() == "last"


# --- several classes ---

COSTS = CostMatrix(costs=((0, 1, 4), (1, 0, 2), (9, 5, 0)))


def test_classes_have_a_table_and_no_metrics_of_their_own() -> None:
    found = recorded(with_spec(class_material(), cost=COSTS))
    table = found.tables["tables/by_class.json"]
    assert list(table["class"]) == list(CLASSES)
    assert table["rows"].sum() == found.dataset_rows["select"]
    for name in ("recall", "precision", "auc", "calibration_error"):
        ends = table[[f"{name}_lower", name, f"{name}_upper"]].to_numpy()
        assert np.isfinite(ends).all() and (ends[:, 0] <= ends[:, 2]).all()
    assert not [name for name in found.metrics if any(one in name for one in ("_fog", "_clear"))]
    assert found.metrics["select/macro_recall"] == pytest.approx(table["recall"].mean())
    assert found.metrics["select/cost"] < found.metrics["select/always_haze_cost"]
    accuracy = found.tables["tables/by_place.json"]["accuracy"]
    assert ((accuracy > 0.5) & (accuracy < 0.9)).all()
    drawn = "confusion decisions calibration recall_precision by_place learning_curve importance"
    assert {f"plots/{name}.png" for name in drawn.split()} <= set(found.figures)


def test_a_class_that_a_gate_looks_at_is_among_the_metrics() -> None:
    material = class_material()
    criteria = (Criterion(metric="recall_fog", minimum=0.2),)
    gates = material.spec.gates.model_copy(update={"criteria": criteria})
    metrics = recorded(with_spec(material, gates=gates)).metrics
    assert "select/recall_fog_lower" in metrics and "select/recall_haze" not in metrics


@pytest.mark.parametrize(("is_trial", "stage"), [(False, "train"), (True, "trial")])
def test_the_name_says_what_and_as_of_when(is_trial: bool, stage: str) -> None:
    windows = toy_material().spec.windows(datetime(2020, 2, 1, tzinfo=UTC))
    facts = Facts(windows, "", 0.0, "", "", is_trial, "")
    assert facts.stage == stage
