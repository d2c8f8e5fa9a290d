"""Evidence of each kind of problem, from rows and models that exist on paper only."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import small_spec

from ml.adapters.features import FEATURES_KNOWN_AT
from ml.core.errors import DataError
from ml.core.evidence import Evidence
from ml.core.gates import Decision, Verdict, decide, judge
from ml.core.plans import (
    Cost,
    CostMatrix,
    CostModel,
    Criterion,
    GatePlan,
    ModelPlan,
    SegmentPlan,
    UnitCost,
)
from ml.core.ports import ModelVersion
from ml.core.problems import ProblemType
from ml.core.spec import UseCase
from ml.stages import evidence, validate
from ml.stages.evidence import Gathered, gather

BINARY, MULTICLASS, REGRESSION = ProblemType
CLASSES = ("low", "middle", "high")
KEYS = [f"2020-03-{day:02}" for day in range(1, 15)]
COUNT = 40  # rows a day
GENERATOR = np.random.default_rng(5)
NUMBER = GENERATOR.integers(0, 3, len(KEYS) * COUNT).astype(float)
COSTS: dict[ProblemType, Cost] = {
    BINARY: CostModel(missed=4),
    MULTICLASS: CostMatrix(costs=((0, 1, 2), (1, 0, 1), (2, 1, 0))),
    REGRESSION: UnitCost(over=1, under=3),
}
METRIC = {BINARY: "auc", MULTICLASS: "recall_high", REGRESSION: "skill_persistence"}


def spec_of(problem: ProblemType, *, days: int = 1) -> UseCase:
    label, plan = small_spec().label, small_spec().model.model_dump()
    if problem is MULTICLASS:
        label = label.model_copy(update={"classes": CLASSES})
    if problem is REGRESSION:
        plan |= {"naive": {"persistence": "y_last"}, "interval": 0.9, "difference_from": "y_last"}
    gates = GatePlan(
        criteria=(Criterion(metric=METRIC[problem], minimum=0.2),),
        margin=0.01,
        minimum_gain=0.001,
        segments=SegmentPlan(minimum_rows=50, maximum_loss_increase=0.1),
        maximum_cost_increase=0.1,
        cluster_partitions=days,
        replicates=200,
    )
    return small_spec(
        problem=problem,
        label=label,
        model=ModelPlan(**plan),
        gates=gates,
        cost=COSTS[problem],
        segments=("place",),
        holdout_partitions=14,
    )


def rows_of(problem: ProblemType) -> pd.DataFrame:
    """Fourteen days, with a label that was known in time."""
    day = pd.to_datetime(np.repeat(KEYS, COUNT), utc=True)
    return pd.DataFrame(
        {
            "partition_key": np.repeat(KEYS, COUNT),
            "decided_at": day,
            "known_at": day + timedelta(hours=25),
            FEATURES_KNOWN_AT: day,
            "y": np.minimum(NUMBER, 1) if problem is BINARY else NUMBER,
            "y_last": NUMBER + 1.0,
            "place": np.where(np.arange(len(NUMBER)) % 2, "here", "there"),
        }
    )


def answer(problem: ProblemType, label: np.ndarray, *, knows: float) -> np.ndarray:
    """What a model says that knows this share of the truth."""
    if problem is REGRESSION:
        return label + (1 - knows)
    shares = np.eye(3)[label.astype(int)] * knows + (1 - knows) / 3
    return shares if problem is MULTICLASS else shares[:, 1] * 0.99


class Fake:
    """A model that says what it is told to."""

    kind, columns, contract_sha256 = "lightgbm", ("y_last",), "c0ffee"

    def __init__(self, said: Any, interval: Any = None) -> None:
        self._said, self._interval = said, interval

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        return np.asarray(self._said)[: len(features)]

    def interval(self, features: pd.DataFrame) -> np.ndarray | None:
        return None if self._interval is None else np.asarray(self._interval)[: len(features)]


def version(number: int) -> ModelVersion:
    tags = {
        "as_of": datetime(2020, 4, 1, tzinfo=UTC).isoformat(),
        "window.select": "2020-02-20..2020-02-28",
        "window.holdout": f"{KEYS[0]}..{KEYS[-1]}",
        "model.sha256": str(number),
        "contract.sha256": "c0ffee",
    }
    return ModelVersion(number, f"run-{number}", tags)


def gathered(
    monkeypatch: pytest.MonkeyPatch,
    spec: UseCase,
    said: Any = None,
    *,
    champion: Any = None,
    interval: Any = None,
    rows: pd.DataFrame | None = None,
) -> Gathered:
    """The evidence on a model that says this.

    Args:
        champion: what the champion says; None for the first model ever.
    """
    rows = rows_of(spec.problem) if rows is None else rows
    label = rows["y"].to_numpy("float64")
    good = answer(spec.problem, label, knows=0.9)
    models = {
        "run-2": Fake(good if said is None else said, interval),
        "run-1": Fake(champion),
    }
    rule = Fake(answer(spec.problem, label, knows=0.0))
    tracking = SimpleNamespace(
        tags=lambda run_id: version(int(run_id[-1])).tags | {"latency_us": "9"},
        load_model=lambda run_id, any_contract=False: models[run_id],
        load_rule=lambda _: rule,
    )
    platform: Any = SimpleNamespace(
        spec=spec,
        tracking=tracking,
        registry=SimpleNamespace(version=version),
        features=SimpleNamespace(columns=("y_last",)),
    )
    monkeypatch.setattr(evidence, "read_examples", lambda *_: rows)
    return gather(platform, version(2), None if champion is None else 1)


every_problem = pytest.mark.parametrize("problem", ProblemType)


@every_problem
def test_a_good_model_is_accepted_without_and_with_a_champion(
    problem: ProblemType, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, label = spec_of(problem), rows_of(problem)["y"].to_numpy()
    band = np.stack([label - 1, label + 1], axis=1)
    alone = gathered(monkeypatch, spec, interval=band)
    weak = answer(problem, label, knows=0.5)
    against = gathered(monkeypatch, spec, champion=weak, interval=band)
    for found in (alone, against):
        assert all(metric.is_finite for metric in found.evidence.metrics.values())
        assert decide(judge(spec.gates, found.evidence)) is Decision.ACCEPTED
        assert np.isfinite(list(found.baselines.values())).all()
    assert alone.evidence.opponent == "rule" and alone.evidence.difference is None
    assert against.evidence.difference is not None and against.evidence.difference.upper < 0


@every_problem
def test_a_model_that_knows_less_than_the_champion_is_rejected(
    problem: ProblemType, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, label = spec_of(problem), rows_of(problem)["y"].to_numpy()
    weak, good = (answer(problem, label, knows=share) for share in (0.6, 0.9))
    found = gathered(monkeypatch, spec, weak, champion=good).evidence
    verdicts = {one.name: one.verdict for one in judge(spec.gates, found)}
    assert verdicts["better"] is Verdict.FAIL


@every_problem
def test_clusters_are_those_of_the_spec(
    problem: ProblemType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days, clusters in ((1, 14), (2, 7)):
        found = gathered(monkeypatch, spec_of(problem, days=days)).evidence
        assert found.metrics["skill"].clusters == clusters


def test_what_is_reached_without_a_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {problem: set(gathered(monkeypatch, spec_of(problem)).baselines) for problem in COSTS}
    assert names[BINARY] == {"rule_log_loss", "never_cost", "always_cost"}
    assert names[MULTICLASS] == {"rule_log_loss", "always_middle_cost"}
    assert names[REGRESSION] == {"rule_squared_error", "persistence_squared_error", "rule_cost"}


def test_positives_are_rows_from_which_a_loss_can_be_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = rows_of(MULTICLASS)
    rows["y"] = np.r_[np.ones(500), np.zeros(40), np.full(20, 2.0)]
    found = gathered(monkeypatch, spec_of(MULTICLASS), rows=rows).evidence
    assert found.positives == 60, "all but those of the commonest class"
    assert [one.positives for one in found.segments] == [30, 30]
    assert gathered(monkeypatch, spec_of(REGRESSION)).evidence.positives == len(NUMBER)
    assert gathered(monkeypatch, spec_of(BINARY)).evidence.positives == int((NUMBER > 0).sum())


@pytest.mark.parametrize(
    ("problem", "metric", "absent"),
    [
        (MULTICLASS, "recall_high", "high"),
        (MULTICLASS, "macro_f1", "high"),
        (BINARY, "auc", "1"),
        (BINARY, "average_precision", "1"),
        (BINARY, "value", "1"),
    ],
)
def test_a_class_that_does_not_occur_is_too_little_data_and_named(
    problem: ProblemType, metric: str, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not invalid: the task would fail each time, and no repair would help."""
    rows, spec = rows_of(problem), spec_of(problem)
    rows["y"] = np.minimum(rows["y"], 1 if problem is MULTICLASS else 0)
    criteria = (Criterion(metric=metric, minimum=0.2),)
    plan = spec.gates.model_copy(update={"criteria": criteria, "segments": None})
    found = gathered(monkeypatch, spec, rows=rows).evidence
    again = Evidence.from_plain(json.loads(json.dumps(found.to_plain(), allow_nan=False)))
    for judged in (judge(plan, found), judge(plan, again)):
        assert decide(judged) is Decision.REJECTED
        unsure = next(one for one in judged if one.name == metric)
        assert unsure.verdict is Verdict.INSUFFICIENT
        assert unsure.reason.endswith(f"no row is of class {absent}")
    silent = np.full_like(answer(problem, rows["y"].to_numpy(), knows=0.9), np.nan)
    with monkeypatch.context() as patch:
        patch.setattr(evidence, "_require_probabilities", lambda _: None)
        broken = gathered(patch, spec, silent, rows=rows).evidence
    verdicts = {one.name: one.verdict for one in judge(plan, broken)}
    assert verdicts[metric] is Verdict.INVALID, "answers that are no numbers are a fault"


def test_a_naive_forecast_with_a_gap_is_invalid_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, spec = rows_of(REGRESSION), spec_of(REGRESSION)
    rows.loc[3, "y_last"] = np.nan
    found = gathered(monkeypatch, spec, rows=rows).evidence
    [invalid] = [one for one in judge(spec.gates, found) if one.verdict is Verdict.INVALID]
    assert invalid.name == "skill_persistence"
    assert invalid.reason.endswith("y_last is missing in 1 of 560 rows")


@pytest.mark.parametrize("problem", [BINARY, MULTICLASS])
def test_answers_that_are_no_probabilities_are_refused(
    problem: ProblemType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is sure of every class would have the best loss of all."""
    spec = spec_of(problem)
    good = answer(problem, rows_of(problem)["y"].to_numpy(), knows=0.9)
    faults = [good + 0.5, good - 0.5]
    for fault in [*faults, np.ones_like(good)] if problem is MULTICLASS else faults:
        with pytest.raises(DataError, match="are no probabilities"):
            gathered(monkeypatch, spec, fault)
        found = gathered(monkeypatch, spec, champion=fault).evidence
        assert "are no probabilities" in found.opponent_fault


@every_problem
def test_answers_of_another_shape_are_refused(
    problem: ProblemType, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, count = spec_of(problem), len(NUMBER)
    shapes = {(count - 1,), (count,), (count, 2), (count, 3)}
    for shape in shapes - {(count, 3) if problem is MULTICLASS else (count,)}:
        with pytest.raises(DataError, match="answers of shape"):
            gathered(monkeypatch, spec, np.full(shape, 0.5))
        assert "answers of shape" in (
            gathered(monkeypatch, spec, champion=np.full(shape, 0.5)).evidence.opponent_fault
        )


@every_problem
def test_an_answer_that_is_no_number_never_passes(
    problem: ProblemType, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(problem)
    good = answer(problem, rows_of(problem)["y"].to_numpy(), knows=0.9)
    broken = good.copy()
    broken.flat[8] = np.nan
    own = gathered(monkeypatch, spec, broken, champion=good).evidence
    assert decide(judge(spec.gates, own)) is Decision.INVALID
    assert own.difference is not None and not own.difference.is_finite
    other = gathered(monkeypatch, spec, champion=broken).evidence
    assert other.opponent_fault == "champion 1 gave 1 answer(s) that are not numbers"
    assert decide(judge(spec.gates, other)) is Decision.INVALID


def test_a_model_without_interval_has_no_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    found = gathered(monkeypatch, spec_of(REGRESSION))
    assert found.interval is None
    assert not found.evidence.metrics["interval_coverage"].is_finite
    with pytest.raises(DataError, match="shape"):
        gathered(monkeypatch, spec_of(REGRESSION), interval=np.zeros((len(NUMBER), 3)))


@every_problem
def test_missing_columns_leave_no_answer(
    problem: ProblemType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the contract that fails, and every other gate says that there is nothing to judge."""
    monkeypatch.setattr(Fake, "columns", ("y_last", "gone"))
    spec = spec_of(problem)
    found = gathered(monkeypatch, spec).evidence
    verdicts = {one.name: one.verdict for one in judge(spec.gates, found)}
    assert verdicts.pop("contract") is Verdict.FAIL
    assert set(verdicts.values()) == {Verdict.INVALID}


@every_problem
def test_single_classes_stand_in_a_table_and_not_among_the_metrics(
    problem: ProblemType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten classes would be 120 columns in the table of runs; what a gate looks at is there."""
    spec = spec_of(problem)
    found = gathered(monkeypatch, spec)
    shown = validate._metrics(spec, found)
    tables = validate._tables(spec, found.evidence, judge(spec.gates, found.evidence))
    assert ("holdout/recall_high_lower" in shown) is (problem is MULTICLASS)
    assert not any(name.startswith(("holdout/recall_low", "holdout/auc_of")) for name in shown)
    assert ("validation/by_class.json" in tables) is (problem is MULTICLASS)
    if problem is MULTICLASS:
        table = tables["validation/by_class.json"].set_index("class")
        recall = found.evidence.metrics["recall_low"]
        assert list(table.index) == list(CLASSES)
        assert table.loc["low", "recall_upper"] == recall.upper


@every_problem
def test_every_problem_is_drawn(problem: ProblemType, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, label = spec_of(problem), rows_of(problem)["y"].to_numpy()
    band = np.stack([label - 1, label + 1], axis=1)
    found = gathered(monkeypatch, spec, interval=band if problem is REGRESSION else None)
    platform: Any = SimpleNamespace(spec=spec)
    assert {"validation/by_place.png"} < set(validate._figures(platform, found))
