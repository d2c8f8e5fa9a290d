"""Planted faults: each trips its gates on real data, and comes through without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_faults import (
    FIRST,
    SECOND,
    Answer,
    Frame,
    Workshop,
    correct_late,
    decision_without,
    half_of_the_late_lost,
    judged,
    leaked,
    never_late,
    only_schedule,
    only_since,
    open_workshop,
    remap_categories,
    scaled,
    six_hours_ahead,
    stored_verdicts,
    stuck,
    towards_truth,
    tripped,
    with_answers,
    with_features,
    with_inputs,
    with_run_tags,
    without_created_times,
    without_criteria,
)
from support import platform_at, with_labels

from ml.core.errors import GateRejected
from ml.core.gates import Decision
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import promote, validate

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain")]
Plant = Callable[["Workshop"], tuple[Platform, int]]


@pytest.fixture(scope="module")
def workshop(
    chain: Any, tmp_path_factory: pytest.TempPathFactory, spec: UseCase
) -> Iterator[Workshop]:
    yield from open_workshop(chain.home, tmp_path_factory.mktemp("workshop"), spec)


# --- what can be planted ---


def in_training(name: str, change: Frame) -> Plant:
    """Training sees other features than serving."""

    def plant(shop: Workshop) -> tuple[Platform, int]:
        return shop.platform, shop.trained(name, with_features(shop.platform, change))

    return plant


def in_labels(name: str, change: Frame) -> Plant:
    """Training sees other outcomes than those that happened."""

    def plant(shop: Workshop) -> tuple[Platform, int]:
        return shop.platform, shop.trained(name, with_labels(shop.platform, change))

    return plant


def leak(shop: Workshop) -> tuple[Platform, int]:
    column = shop.platform.features.columns[0]
    leaking = with_features(shop.platform, leaked(shop.platform, column))
    return leaking, shop.trained("leak", leaking)


def in_answers(version: int, change: Answer) -> Plant:
    return lambda shop: (with_answers(shop.platform, version, change), version)


def in_inputs(version: int, change: Frame) -> Plant:
    return lambda shop: (with_inputs(shop.platform, version, change), version)


def in_codes(*carriers: str) -> Plant:
    """The stored file says that codes mean other carriers than at the training."""

    def plant(shop: Workshop) -> tuple[Platform, int]:
        broken = shop.copy("-".join(("codes", *carriers)))
        remap_categories(broken.platform, broken.home, SECOND, *carriers)
        return broken.platform, SECOND

    return plant


# --- F1 to F8 of the reference use case ---

# Gates that are there for the fault, and those that trip beside them.
FAULTS: dict[str, tuple[Plant, set[str], set[str]]] = {
    "F1 schedule features only": (
        in_training("schedule", only_schedule),
        {"auc", "skill", "better", "segments"},
        {"cost"},
    ),
    # Metres a second for miles an hour, as measured, goes unnoticed: wind decides too little in
    # these 80 days, and the model is as good as without the fault. Hours for minutes do not.
    "F2 units: trained in hours, served in minutes": (
        in_training("units", scaled("_min", 1 / 60)),
        {"better"},
        set(),
    ),
    "F3 half of the late labels lost": (
        in_labels("lost", half_of_the_late_lost),
        {"calibration", "better"},
        {"segments", "cost"},
    ),
    "F4 only the last days": (
        in_labels("short", only_since("2013-02-13")),
        {"better", "segments"},
        {"cost"},
    ),
    "F5 a delay that only the future knows": (leak, {"leak"}, set()),
    "F6 carrier codes re-mapped": (in_codes(), {"contract"}, {"better"}),
    "F7 an airline without delays": (
        in_labels("airline", never_late("B6")),
        {"auc", "better", "segments"},
        {"cost"},
    ),
    # For the candidate alone. A feed that fails the champion as well leaves them in their order:
    # what compares the two cannot see it, and here no bound on the candidate alone does.
    "F8 a feed stuck at 0": (in_inputs(SECOND, stuck("overdue")), {"better"}, set()),
}


def test_control_without_a_fault_every_gate_passes(workshop: Workshop) -> None:
    first, second = judged(workshop.platform, FIRST), judged(workshop.platform, SECOND)
    assert not tripped(first) and first["decision"] == Decision.ACCEPTED
    assert not tripped(second) and second["decision"] == Decision.ACCEPTED
    assert set(stored_verdicts(second)) == set(ONLY), "every gate has a fault below"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_trips_its_gates_and_comes_through_without_them(
    workshop: Workshop, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, expected, beside = FAULTS[name]
    evidence = judged(*plant(workshop))
    assert tripped(evidence) == expected | beside, evidence["gates"]
    assert evidence["decision"] == Decision.REJECTED
    without = decision_without(evidence, expected, monkeypatch)
    assert without is (Decision.REJECTED if beside else Decision.ACCEPTED)


# --- each gate alone ---


def logit_shifted(answers: np.ndarray, by: float) -> np.ndarray:
    shifted: np.ndarray = 1 / (1 + np.exp(-np.log(answers / (1 - answers)) - by))
    return shifted


def only_storms(answers: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Knows the worst flights well, and of all others nothing."""
    known = towards_truth(answers, rows, 0.2)
    worst = known >= np.quantile(known, 0.92)
    return np.where(worst, known[worst].mean(), known[~worst].mean())


def timid(answers: np.ndarray, _: pd.DataFrame) -> np.ndarray:
    """In the right order, but hardly away from the mean."""
    return 0.25 + 0.1 * (answers - 0.25)


def alarmist(answers: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Tells flights apart better than before, and calls each of them later than it is."""
    return logit_shifted(towards_truth(answers, rows, 0.06), 0.75)


def bad_for_one_airline(answers: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Better for all others."""
    is_one = (rows["carrier"] == "US").to_numpy()
    better = towards_truth(answers, rows, 0.05)
    return np.where(is_one, np.clip(answers + 0.4, 0.01, 0.99), better)


def dear(answers: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Better in the mean, and just below the threshold where acting pays."""
    pays = (answers > 0.25) & (answers < 0.5)
    return np.where(pays, 0.249, towards_truth(answers, rows, 0.045))


def slow(shop: Workshop) -> tuple[Platform, int]:
    """As its training has measured it: ten times what is never too long, or more."""
    run_id = shop.platform.registry.version(SECOND).run_id
    usual = float(shop.platform.tracking.tags(run_id)["latency_us"])
    return with_run_tags(shop.platform, SECOND, {"latency_us": str(50 * max(usual, 10))}), SECOND


def future_features(shop: Workshop) -> tuple[Platform, int]:
    """A store that says so of one row of ten: known five minutes after the decision."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        late = frame["decided_at"] + timedelta(minutes=5)
        is_hit = pd.Series(np.arange(len(frame)) % 10 == 0, frame.index)
        return frame.assign(features_known_at=frame["features_known_at"].mask(is_hit, late))

    return with_features(shop.platform, change), SECOND


# Gate to faults that no other one catches.
ONLY: dict[str, list[Plant]] = {
    "contract": [in_codes("AS", "HA"), future_features],
    "auc": [in_answers(FIRST, only_storms)],
    "skill": [in_answers(FIRST, timid)],
    "leak": [leak],
    "calibration": [in_answers(FIRST, alarmist)],
    "better": [in_answers(SECOND, lambda answers, _: 0.85 * answers)],
    "segments": [in_answers(SECOND, bad_for_one_airline)],
    "cost": [in_answers(SECOND, dear)],
    "latency": [slow],
}


@pytest.mark.parametrize(
    ("gate", "plant"), [(gate, plant) for gate, plants in ONLY.items() for plant in plants]
)
def test_some_faults_only_this_gate_stops(
    workshop: Workshop, gate: str, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = judged(*plant(workshop))
    assert tripped(evidence) == {gate} and evidence["decision"] == Decision.REJECTED
    assert decision_without(evidence, {gate}, monkeypatch) is Decision.ACCEPTED


# --- a store that really leaks: how it tells is its own, not the test's ---

VIEW, CORRECTED = "feat_origin_overdue", "2013-03-10"


def test_a_late_correction_is_the_future_only_if_the_store_shows_it(workshop: Workshop) -> None:
    """Control: asked as always, the store leaves out what was corrected after the decision."""
    there = workshop.copy("corrected")
    correct_late(there.home, VIEW, CORRECTED)
    honest = platform_at(there.home, there.platform.spec)
    assert not tripped(judged(honest, SECOND))
    leaking = judged(without_created_times(honest), SECOND)
    assert "contract" in tripped(leaking) and leaking["decision"] == Decision.REJECTED
    facts = leaking["facts"]["contract"]
    assert 0 < facts["late_features"] < facts["expected_labels"] / 5, "of one day and no other"


def test_a_store_that_joins_rows_from_after_the_decision_trips_the_contract(
    workshop: Workshop,
) -> None:
    platform = platform_at(workshop.home, workshop.platform.spec)
    evidence = judged(six_hours_ahead(platform), SECOND)
    assert "contract" in tripped(evidence) and evidence["decision"] == Decision.REJECTED
    facts = evidence["facts"]["contract"]
    assert facts["late_features"] > facts["expected_labels"] / 2


def test_taking_a_gate_away_lets_its_fault_through_to_the_traffic(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through validate and promote: the feature that knows the future becomes the canary."""
    platform, version = leak(workshop)
    there = workshop.copy("through")
    platform = dataclasses.replace(there.platform, features=platform.features)
    assert validate.run(platform, version=version).decision is Decision.REJECTED
    with pytest.raises(GateRejected, match="leak FAIL"):
        promote.run(platform, version=version)
    plan = without_criteria(platform.spec.gates, {"leak"})
    blind = platform.spec.model_copy(update={"gates": plan})
    platform = dataclasses.replace(platform_at(there.home, blind), features=platform.features)
    assert validate.run(platform, version=version).decision is Decision.ACCEPTED
    assert promote.run(platform, version=version).alias == "canary"
