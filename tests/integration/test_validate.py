"""Validation: what it records, and that the same evidence gives the same verdicts.

That each gate trips is in test_model_faults.py and test_invalid_evidence.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_faults import stored_evidence, stored_verdicts, tripped, with_answers
from support import training_set, with_labels

from ml.core.digests import json_digest
from ml.core.errors import ConfigError, DataError, GateRejected
from ml.core.evidence import Evidence
from ml.core.gates import Decision, decide, judge
from ml.core.plans import GatePlan
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import promote, train, validate

pytestmark = pytest.mark.xdist_group("chain")
Broken = Callable[..., Platform]


def evidence_of(chain: Any, version: int) -> dict[str, Any]:
    return stored_evidence(chain.platform, version)


# --- the same evidence, the same verdict ---


def test_control_the_unfaulted_candidates_pass_every_gate(chain: Any) -> None:
    for version, result in enumerate(chain.verdicts, 1):
        assert result.decision is Decision.ACCEPTED and result.warnings == ()
        assert not tripped(evidence_of(chain, version))
    first, second = (set(stored_verdicts(evidence_of(chain, version))) for version in (1, 2))
    assert second - first == {"better", "latency"}, "what takes a champion to compare with"


def test_validating_again_gives_the_same_evidence(broken: Broken, chain: Any) -> None:
    platform = broken()
    before = {name: platform.registry.version(2).tags[name] for name in released(platform)}
    assert validate.run(platform, version=2) == chain.verdicts[1]
    assert stored_evidence(platform, 2) == evidence_of(chain, 2)
    assert {name: platform.registry.version(2).tags[name] for name in released(platform)} == before


def test_a_holdout_that_is_stale_is_told(broken: Broken, chain: Any) -> None:
    """A day of it was delivered anew, and its features and labels are those of before."""
    platform = broken()
    key = evidence_of(chain, 2)["holdout"]["last"]
    rows = platform.lake.read("raw", "flights", [key]).drop_columns(["partition_key"])
    platform.lake.write("raw", "flights", key, rows.slice(1))
    (warning,) = validate.run(platform, version=2).warnings
    assert warning.startswith(f"1 of its partitions are stale, {key} to {key}: flightline trans")
    again = dataclasses.replace(platform, code_digest=chain.platform.code_digest)
    as_of = platform.spec.as_of("2013-03-20")
    assert train.run(again, as_of=as_of).warnings == (warning,), "its candidate is told, too"

    def late(labels: pd.DataFrame) -> pd.DataFrame:
        return labels.assign(label_known_at=labels["label_known_at"] + timedelta(days=2))

    with pytest.raises(DataError, match="late or never came are of") as invalid:
        validate.run(with_labels(platform, late), version=2)
    assert warning in invalid.value.seen, "most of all where it may be the reason"


def released(platform: Platform) -> list[str]:
    return [name for name in platform.registry.version(2).tags if name.startswith("release.")]


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_stored_is_enough_to_judge_again(chain: Any, version: int) -> None:
    stored = evidence_of(chain, version)
    plan, facts = GatePlan.model_validate(stored["plan"]), Evidence.from_plain(stored["facts"])
    again = judge(plan, facts)
    assert [(g.name, g.verdict.value, g.reason, g.threshold) for g in again] == [
        (g["name"], g["verdict"], g["reason"], g["threshold"]) for g in stored["gates"]
    ]
    assert [dataclasses.asdict(gate.estimate) for gate in again] == [
        gate["estimate"] for gate in stored["gates"]
    ]
    assert decide(again) == stored["decision"] and plan == chain.platform.spec.gates
    assert facts.to_plain() == stored["facts"]


def test_evidence_that_was_changed_has_another_digest(broken: Broken, chain: Any) -> None:
    stored = evidence_of(chain, 2)
    digest = stored.pop("sha256")
    assert digest == json_digest(stored) == chain.verdicts[1].evidence_sha256
    assert digest == chain.platform.registry.version(2).tags["release.evidence_sha256"]
    stored["facts"]["difference"]["value"] -= 1e-9
    assert json_digest(stored) != digest
    platform = broken()
    platform.tracking.log_validation(chain.second.run_id, {**stored, "sha256": digest}, {})
    with pytest.raises(ConfigError, match="no verdict that holds"):
        promote.run(platform, version=2)


def test_other_answers_or_another_plan_are_other_evidence(
    broken: Broken, chain: Any, spec: UseCase
) -> None:
    plan = spec.gates.model_copy(update={"margin": spec.gates.margin * 2})
    platform = broken(spec.model_copy(update={"gates": plan}))
    other_plan = validate.run(platform, version=2)
    nearly = with_answers(platform, 2, lambda answers, _: answers + 1e-9)
    found = (chain.verdicts[1], other_plan, validate.run(nearly, version=2))
    assert {result.decision for result in found} == {Decision.ACCEPTED}
    assert len({result.evidence_sha256 for result in found}) == 3


# --- what is recorded, and in which order ---


def test_the_evidence_says_what_was_judged(chain: Any) -> None:
    stored, result = evidence_of(chain, 2), chain.verdicts[1]
    tags = chain.platform.tracking.tags(chain.second.run_id)
    assert (stored["version"], stored["run_id"]) == (2, chain.second.run_id)
    assert stored["champion"] == result.champion == 1
    assert stored["model_sha256"] == tags["model.sha256"]
    assert stored["contract_sha256"] == tags["contract.sha256"]
    assert stored["holdout"]["rows"] == stored["facts"]["rows"] == result.rows > 10_000
    first, last = tags["window.holdout"].split("..")
    assert (stored["holdout"]["first"], stored["holdout"]["last"]) == (first, last)
    contract = stored["facts"]["contract"]
    assert contract["late_features"] == 0 and contract["missing_columns"] == []
    assert 0.98 < contract["known_labels"] / contract["expected_labels"] < 1, "some are diverted"


def test_each_segment_is_compared_and_together_they_are_all_rows(chain: Any) -> None:
    for version in (1, 2):
        facts = evidence_of(chain, version)["facts"]
        for column in chain.platform.spec.segments:
            parts = [one for one in facts["segments"] if one["column"] == column]
            assert len(parts) > 2
            assert sum(one["rows"] for one in parts) == facts["rows"]
            assert sum(one["positives"] for one in parts) == facts["positives"]
        origins = [one for one in facts["segments"] if one["column"] == "origin"]
        total = sum(one["rows"] * one["difference"]["value"] for one in origins) / facts["rows"]
        difference = facts["difference"]
        assert (difference is None) == (version == 1)
        if difference:
            assert total == pytest.approx(difference["value"])


def test_the_run_shows_metrics_with_bounds_and_what_the_baselines_reach(chain: Any) -> None:
    import mlflow

    client = mlflow.MlflowClient(chain.platform.tracking.uri, chain.platform.tracking.uri)
    found = client.get_run(chain.second.run_id).data.metrics
    holdout = {name: value for name, value in found.items() if name.startswith("holdout/")}
    for name in ("auc", "skill", "log_loss", "log_loss_over_champion", "cost_over_opponent"):
        lower, value, upper = (
            holdout[f"holdout/{name}{part}"] for part in ("_lower", "", "_upper")
        )
        assert lower < value < upper
    skill = 1 - holdout["holdout/log_loss"] / holdout["holdout/rule_log_loss"]
    assert skill == pytest.approx(holdout["holdout/skill"])
    assert holdout["holdout/cost"] < holdout["holdout/never_cost"]
    gates = json.loads(
        chain.platform.tracking.document(chain.second.run_id, "validation/gates.json")
    )
    verdicts = [row[gates["columns"].index("verdict")] for row in gates["data"]]
    assert verdicts == ["PASS"] * len(chain.verdicts[1].gates)
    listed = {item.path for item in client.list_artifacts(chain.second.run_id, "validation")}
    assert {
        f"validation/{name}" for name in ("evidence.json", "segments.json", "roc.png")
    } <= listed


def test_a_rejection_is_a_decision_with_tags_and_words(broken: Broken) -> None:
    generator = np.random.default_rng(0)
    platform = broken()

    def random(answers: np.ndarray, _: pd.DataFrame) -> np.ndarray:
        return generator.uniform(0.01, 0.99, len(answers))

    found = validate.run(with_answers(platform, 2, random), version=2)
    assert found.decision is Decision.REJECTED
    tags = platform.registry.version(2).tags
    assert tags["release.gate.skill"] == tags["release.gate.better"] == "FAIL"
    assert tags["release.gate.leak"] == "PASS" and tags["release.decision"] == "rejected"
    with pytest.raises(GateRejected, match="skill FAIL"):
        promote.run(platform, version=2)


def test_a_crash_leaves_no_verdict_standing(broken: Broken) -> None:
    platform = broken()

    def crash(*_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate.run(with_answers(platform, 2, crash), version=2)
    assert platform.registry.version(2).tags["release.decision"] == "pending"
    with pytest.raises(ConfigError, match="no verdict that holds"):
        promote.run(platform, version=2)


def test_validating_a_released_version_again_does_not_take_its_status(broken: Broken) -> None:
    """It serves until a release says otherwise; a tag that says `rejected` would be a lie."""
    platform = broken()
    flat = with_answers(platform, 1, lambda answers, _: np.full_like(answers, 0.5))
    assert validate.run(flat, version=1).decision is Decision.REJECTED
    assert platform.registry.version(1).tags["release.status"] == "champion"


# --- which rows ---


def test_a_holdout_that_was_not_transformed_is_bad_data(broken: Broken) -> None:
    platform = broken()
    platform.lake.remove("marts", platform.spec.mart, "2013-03-10")
    with pytest.raises(DataError, match="2013-03-10"):
        validate.run(platform, version=2)


def test_a_spec_that_changed_in_between_does_not_judge_on_rows_that_were_learned(
    broken: Broken, chain: Any, spec: UseCase
) -> None:
    """A longer holdout than at the training reaches back into the select and fit windows."""
    platform = broken(spec.model_copy(update={"holdout_partitions": 28}))
    seen = set(training_set(chain.platform, chain.second.dataset_digest)["partition_key"])
    validate.run(platform, version=2)
    assert stored_evidence(platform, 2)["holdout"]["first"] > max(seen)


def test_a_segment_column_that_the_mart_does_not_have_is_named(
    broken: Broken, spec: UseCase
) -> None:
    platform = broken(spec.model_copy(update={"segments": ("carrier", "terminal")}))
    with pytest.raises(ConfigError, match="no column terminal"):
        validate.run(platform, version=2)


def test_a_version_that_does_not_exist_names_those_that_do(chain: Any) -> None:
    with pytest.raises(ConfigError, match=r"no version 9.*\n.*1, 2"):
        validate.run(chain.platform, version=9)
