from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from support import small_spec

from ml.core.plans import (
    Choice,
    Cost,
    CostMatrix,
    CostModel,
    Criterion,
    FloatRange,
    GatePlan,
    IntRange,
    ModelPlan,
    SearchPlan,
    SegmentPlan,
    UnitCost,
)
from ml.core.problems import ProblemType
from ml.core.spec import Label, UseCase

GOOD: dict[str, Any] = {"margin": 0.01, "minimum_gain": 0.001}


def with_criteria(*criteria: Criterion, **changes: Any) -> UseCase:
    return small_spec(gates=GatePlan(criteria=criteria, **GOOD), **changes)


@pytest.mark.parametrize(
    ("range_", "low", "high", "log"),
    [
        (FloatRange, 1, 1, False),
        (FloatRange, 2, 1, False),
        (FloatRange, 0, 1, True),
        (IntRange, 9, 3, False),
        (IntRange, -1, 3, True),
    ],
)
def test_a_range_without_inside_is_refused(range_: Any, low: int, high: int, log: bool) -> None:
    with pytest.raises(ValidationError, match="expected low below high"):
        range_(low=low, high=high, log=log)


def test_a_choice_of_one_and_an_empty_search_are_refused() -> None:
    with pytest.raises(ValidationError):
        Choice(options=(1,))
    with pytest.raises(ValidationError):
        SearchPlan(space={})


def test_a_parameter_is_fixed_or_searched() -> None:
    search = SearchPlan(space={"learning_rate": FloatRange(low=0.1, high=0.2)})
    plan = {"max_rounds": 5, "early_stopping_rounds": 2, "search": search}
    with pytest.raises(ValidationError, match="learning_rate both fixed and searched"):
        ModelPlan(parameters={"learning_rate": 0.1}, **plan)


@pytest.mark.parametrize(
    "bounds", [{}, {"minimum": 0.7, "maximum": 0.8}, {"minimum": 0.7, "too_good": 0.8}]
)
def test_a_criterion_has_one_bound(bounds: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="expected one of minimum, maximum and too_good"):
        Criterion(metric="auc", **bounds)


@pytest.mark.parametrize(
    ("criterion", "said"),
    [
        (Criterion(metric="auc", maximum=0.7), "the wrong way round: higher is better for auc"),
        (Criterion(metric="brier", minimum=0.1), "the wrong way round: lower is better for brier"),
        (Criterion(metric="acu", minimum=0.7), "nobody computes the metric 'acu'.*one of.* auc"),
        (Criterion(metric="squared_error", maximum=1), "nobody computes .* this binary problem"),
        (
            Criterion(metric="cost", name="dear", maximum=1),
            "nobody computes .* without a cost model",
        ),
        (Criterion(metric="recall_low", minimum=0.5), "nobody computes .* this binary problem"),
        (Criterion(metric="auc", minimum=1.7), "auc never gets beyond 1"),
        (Criterion(metric="auc", too_good=1), "auc never gets beyond 1"),
        (Criterion(metric="brier", maximum=0), "brier never gets beyond 0"),
    ],
)
def test_a_threshold_that_could_not_work_is_refused(criterion: Criterion, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        with_criteria(criterion)


THREE = Label(
    table="fct_labels",
    column="y",
    known_at="known_at",
    maturity=timedelta(hours=8),
    classes=("low", "middle", "high"),
)
CLASSES: dict[str, Any] = {"problem": ProblemType.MULTICLASS, "label": THREE}
VALUE: dict[str, Any] = {"problem": ProblemType.REGRESSION}


@pytest.mark.parametrize(
    ("criterion", "changes", "said"),
    [
        (Criterion(metric="recall", minimum=0.5), CLASSES, "one of: .*recall_low, recall_middle"),
        (Criterion(metric="recall_huge", minimum=0.5), CLASSES, "nobody computes .*recall_huge"),
        (Criterion(metric="recall_low", maximum=0.5), CLASSES, "higher is better for recall"),
        (Criterion(metric="auc_of_low", minimum=1), CLASSES, "auc_of never gets beyond 1"),
        (Criterion(metric="calibration_error_of_low", minimum=1), CLASSES, "lower is better"),
        (Criterion(metric="macro_f1", maximum=0.5), CLASSES, "higher is better for macro_f1"),
        (Criterion(metric="auc", minimum=0.5), CLASSES, "this multiclass problem"),
        (Criterion(metric="bias", minimum=0.5), VALUE, "lower is better for bias"),
        (Criterion(metric="skill_persistence", minimum=0), VALUE, "without model.naive"),
        (Criterion(metric="interval_coverage", minimum=0.8), VALUE, "without model.interval"),
        (Criterion(metric="interval_width", maximum=3), VALUE, "without model.interval"),
    ],
)
def test_a_threshold_of_another_problem_is_refused(
    criterion: Criterion, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        with_criteria(criterion, **changes)


def test_a_threshold_of_one_class_and_of_an_interval_is_accepted() -> None:
    with_criteria(Criterion(metric="recall_high", minimum=0.5), **CLASSES)
    plan = ModelPlan(
        parameters={},
        max_rounds=5,
        early_stopping_rounds=2,
        naive={"persistence": "y_last"},
        interval=0.9,
    )
    criteria = (
        Criterion(metric="interval_coverage", minimum=0.8),
        Criterion(metric="interval_width", maximum=3),
        Criterion(metric="bias", maximum=1),
        Criterion(metric="skill_persistence", minimum=0),
    )
    with_criteria(*criteria, model=plan, **VALUE)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (Criterion(metric="auc", minimum=0.9), Criterion(metric="auc", name="l", too_good=0.85)),
        (
            Criterion(metric="brier", maximum=0.1),
            Criterion(metric="brier", name="leak", too_good=0.2),
        ),
    ],
)
def test_bounds_that_nothing_can_pass_are_refused(low: Criterion, high: Criterion) -> None:
    with pytest.raises(ValidationError, match="nothing can pass"):
        with_criteria(low, high)


def test_names_of_gates_are_distinct() -> None:
    with pytest.raises(ValidationError, match="two gates named auc"):
        GatePlan(criteria=(Criterion(metric="auc", minimum=0.7),) * 2, **GOOD)
    with pytest.raises(ValidationError, match="two gates named better"):
        GatePlan(criteria=(Criterion(metric="auc", name="better", minimum=0.7),), **GOOD)
    with pytest.raises(ValidationError, match="name"):
        Criterion(metric="auc", name="a, b: c", minimum=0.7)


def test_a_limit_needs_what_it_limits() -> None:
    criterion = Criterion(metric="auc", minimum=0.7)
    gates = GatePlan(criteria=(criterion,), maximum_cost_increase=0.1, **GOOD)
    with pytest.raises(ValidationError, match="maximum_cost_increase without a cost model"):
        small_spec(gates=gates)
    small_spec(gates=gates, cost=CostModel(missed=4))
    segments = SegmentPlan(maximum_loss_increase=0.1)
    with pytest.raises(ValidationError, match=r"gates\.segments without segments"):
        small_spec(gates=GatePlan(criteria=(criterion,), segments=segments, **GOOD))


def test_segments_that_need_not_be_evaluated_are_no_gate() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        SegmentPlan(minimum_coverage=0, maximum_loss_increase=0.1)
    assert SegmentPlan(minimum_coverage=0.01, maximum_loss_increase=0.1).minimum_coverage == 0.01


def test_a_problem_has_its_own_metrics() -> None:
    found = with_criteria(
        Criterion(metric="absolute_error", maximum=1), problem=ProblemType.REGRESSION
    )
    assert found.gates.criteria[0].gate == "absolute_error"


def test_a_matrix_of_costs_is_square_and_a_unit_costs_something() -> None:
    with pytest.raises(ValidationError, match="a row and a column for each class"):
        CostMatrix(costs=((0, 1), (1, 0), (2, 2)))
    for over, under in ((0, 1), (1, -1)):
        with pytest.raises(ValidationError, match="greater than 0"):
            UnitCost(over=over, under=under)


@pytest.mark.parametrize(
    "cost", [CostModel(missed=3), UnitCost(over=1, under=2), CostMatrix(costs=((0, 1), (2, 0)))]
)
def test_a_cost_comes_back_from_json_as_what_it_was(cost: Any) -> None:
    found = TypeAdapter(Cost).validate_json(cost.model_dump_json())
    assert found == cost and type(found) is type(cost)


def test_a_spec_survives_json() -> None:
    """A run records its spec, and is reproduced from it."""
    search = SearchPlan(
        space={
            "a": FloatRange(low=0.1, high=0.2, log=True),
            "b": IntRange(low=1, high=3),
            "c": Choice(options=("gbdt", "dart")),
        }
    )
    model = ModelPlan(
        parameters={"d": True, "e": 1, "f": 0.5},
        max_rounds=5,
        early_stopping_rounds=2,
        search=search,
    )
    spec = small_spec(model=model, cost=CostModel(missed=3), segments=("origin",))
    again = UseCase.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert [type(value) for value in again.model.parameters.values()] == [bool, int, float]
