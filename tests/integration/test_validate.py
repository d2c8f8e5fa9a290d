"""Validation: a control, then each gate with a planted fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import SLUG, training_set, verdicts, with_labels, with_model

from ml.core.errors import ConfigError, DataError, GateRejected
from ml.core.gates import Decision, Verdict
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import promote, train, validate

pytestmark = pytest.mark.xdist_group("chain")
Broken = Callable[..., Platform]


def test_control_the_unfaulted_candidate_passes_again_with_the_same_evidence(
    broken: Broken, chain: Any
) -> None:
    again = validate.run(broken(), version=2)
    assert again == chain.verdicts[1] and again.decision is Decision.ACCEPTED


def test_fault_random_scores_fail_the_floor_of_skill(broken: Broken) -> None:
    generator = np.random.default_rng(0)
    platform = with_model(broken(), 2, lambda rows: generator.uniform(0.01, 0.99, len(rows)))
    found = validate.run(platform, version=2)
    assert verdicts(found) == {"skill": "FAIL", "leak": "PASS", "better": "FAIL"}
    assert found.decision is Decision.REJECTED


def test_fault_the_base_rate_itself_is_not_enough(broken: Broken) -> None:
    platform = with_model(broken(), 1, lambda rows: np.full(len(rows), 0.25))
    assert verdicts(validate.run(platform, version=1))["skill"] in ("FAIL", "INSUFFICIENT")


def test_fault_a_model_that_saw_the_outcome_fails_the_ceiling(broken: Broken) -> None:
    """A leak beats any honest model: skill and better pass, so only this gate can stop it."""
    platform = with_model(
        broken(), 2, lambda rows: 0.05 + 0.9 * rows["is_late"].to_numpy("float64")
    )
    found = validate.run(platform, version=2)
    assert verdicts(found) == {"skill": "PASS", "leak": "FAIL", "better": "PASS"}
    assert found.decision is Decision.REJECTED


def test_fault_a_leak_in_a_feature_is_caught_through_training(
    broken: Broken, spec: UseCase
) -> None:
    """The real path: a feature is computed from the outcome, a real model learns it."""
    leaking = broken()

    class Leak:
        def __init__(self, real: Any) -> None:
            self.real, self.columns, self.apply = real, real.columns, real.apply
            labels = leaking.lake.read("marts", spec.label.table).to_pandas()
            self.delays = labels.set_index("flight_id")["arrival_delay_min"].astype("float64")

        def historical(self, events: pd.DataFrame, decided_at: str) -> pd.DataFrame:
            found = self.real.historical(events, decided_at)
            delays = self.delays.reindex(found["flight_id"]).to_numpy()
            return found.assign(**{self.columns[0]: delays})

    leaking = dataclasses.replace(leaking, features=Leak(leaking.features))
    version = train.run(leaking, as_of=spec.as_of("2013-03-20")).version
    found = validate.run(leaking, version=version)
    assert verdicts(found)["leak"] == "FAIL" and found.decision is Decision.REJECTED
    with pytest.raises(GateRejected, match="leak FAIL"):
        promote.run(leaking, version=version)


def test_fault_a_challenger_that_is_worse_fails(broken: Broken, chain: Any) -> None:
    run_id = chain.platform.registry.version(1).run_id
    honest = chain.platform.tracking.load_model(run_id)
    platform = with_model(broken(), 2, lambda rows: honest.predict(rows) * 0.4)
    found = validate.run(platform, version=2)
    assert verdicts(found)["better"] == "FAIL"


def test_fault_a_champion_compared_with_itself_is_not_better(broken: Broken, chain: Any) -> None:
    run_id = chain.platform.registry.version(1).run_id
    same = chain.platform.tracking.load_model(run_id)
    found = validate.run(with_model(broken(), 2, same.predict), version=2)
    assert verdicts(found)["better"] == "INSUFFICIENT"
    assert found.decision is Decision.REJECTED


def _delete_version(platform: Platform, version: int) -> None:
    import mlflow

    uri = platform.registry.uri  # type: ignore[attr-defined]  # the adapter's
    mlflow.MlflowClient(uri, uri).delete_model_version(SLUG, str(version))


def test_fault_a_champion_that_has_gone_missing_is_invalid_not_first(broken: Broken) -> None:
    platform = broken()
    _delete_version(platform, 1)
    with pytest.raises(DataError, match="gate better"):
        validate.run(platform, version=2)
    tags = platform.registry.version(2).tags
    assert tags["release.gate.better"] == "INVALID" and tags["release.decision"] == "invalid"
    with pytest.raises(DataError, match="could not be judged"):
        promote.run(platform, version=2)


@pytest.mark.parametrize("where", ["all", "one"])
def test_fault_scores_that_are_not_numbers_are_invalid(broken: Broken, where: str) -> None:
    def answer(rows: pd.DataFrame) -> np.ndarray:
        found = np.full(len(rows), 0.3)
        found[slice(None) if where == "all" else 7] = np.nan
        return found

    platform = with_model(broken(), 2, answer)
    with pytest.raises(DataError, match="cannot be judged"):
        validate.run(platform, version=2)
    tags = platform.registry.version(2).tags
    gates = {name: tags[f"release.gate.{name}"] for name in ("skill", "leak", "better")}
    assert set(gates.values()) == {"INVALID"}, "no gate says PASS on what is not a number"


def test_fault_a_champion_that_answers_nothing_is_invalid(broken: Broken) -> None:
    platform = with_model(broken(), 1, lambda rows: np.full(len(rows), np.nan))
    with pytest.raises(DataError, match="gate better"):
        validate.run(platform, version=2)


def test_fault_a_holdout_without_labels_is_invalid(broken: Broken) -> None:
    platform = with_labels(broken(), lambda rows: rows.assign(is_late=np.nan))
    with pytest.raises(DataError, match="no labelled rows"):
        validate.run(platform, version=2)


def test_fault_a_holdout_of_which_most_days_have_no_labels_does_not_pass(broken: Broken) -> None:
    """One day left has an interval of no width, which would pass every gate."""

    def one_day(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(is_late=rows["is_late"].where(rows["partition_key"] == "2013-03-08"))

    found = validate.run(with_labels(broken(), one_day), version=2)
    assert {gate.verdict for gate in found.gates} == {Verdict.INSUFFICIENT}
    assert found.decision is Decision.REJECTED


def test_fault_a_holdout_that_was_not_transformed_is_bad_data(broken: Broken) -> None:
    platform = broken()
    platform.lake.remove("marts", platform.spec.mart, "2013-03-10")
    with pytest.raises(DataError, match="2013-03-10"):
        validate.run(platform, version=2)


def test_fault_a_spec_that_changed_in_between_does_not_judge_on_rows_that_were_learned(
    broken: Broken, chain: Any, spec: UseCase
) -> None:
    """A longer holdout than at the training reaches back into the select and fit windows."""
    platform = broken(spec.model_copy(update={"holdout_partitions": 28}))
    seen = set(training_set(chain.platform, chain.second.dataset_digest)["partition_key"])
    try:
        validate.run(platform, version=2)
    except (ConfigError, DataError):
        return
    evidence = platform.tracking.evidence(chain.second.run_id)
    assert evidence is not None and evidence["holdout"]["first"] > max(seen)


def test_a_version_that_does_not_exist_names_those_that_do(chain: Any) -> None:
    with pytest.raises(ConfigError, match=r"no version 9.*\n.*1, 2"):
        validate.run(chain.platform, version=9)


def test_validating_a_released_version_again_does_not_take_its_status(broken: Broken) -> None:
    """It serves until a release says otherwise; a tag that says `rejected` would be a lie."""
    platform = with_model(broken(), 1, lambda rows: np.full(len(rows), 0.5))
    assert validate.run(platform, version=1).decision is Decision.REJECTED
    assert platform.registry.version(1).tags["release.status"] == "champion"
