"""Train, validate, promote and score, whole; and every gate trips on a planted fault."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import SLUG, copy_home, platform_at, with_mart

from ml.adapters.files import exclusive
from ml.core.digests import json_digest
from ml.core.errors import ConfigError, DataError, GateRejected, TransientError
from ml.core.gates import Decision, Verdict
from ml.core.ports import Platform
from ml.core.prediction_log import PREDICTION_LOG
from ml.core.prediction_source import Source
from ml.core.release import in_force_at, opponent_of
from ml.core.spec import UseCase
from ml.stages import ingest, promote, score, train, validate
from ml.stages.examples import read_examples, with_label
from ml.stages.runner import Arguments, run_stage

pytestmark = pytest.mark.xdist_group("chain")
Broken = Callable[..., Platform]
DAYS = ("2013-03-20", "2013-03-21")


class Fake:
    """A model that answers what a function says."""

    def __init__(self, answer: Callable[[pd.DataFrame], np.ndarray]) -> None:
        self.answer = answer

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        return self.answer(features)


class Fakes:
    """The real tracking, but for the models of some runs."""

    def __init__(self, real: Any, models: dict[str, Fake]) -> None:
        self._real, self._models = real, models

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def load_model(self, run_id: str) -> Any:
        return self._models.get(run_id) or self._real.load_model(run_id)


def with_model(platform: Platform, version: int, answer: Callable[..., Any]) -> Platform:
    """The same platform, where a version answers otherwise."""
    run_id = platform.registry.version(version).run_id
    return dataclasses.replace(platform, tracking=Fakes(platform.tracking, {run_id: Fake(answer)}))


def verdicts(found: Any) -> dict[str, str]:
    return {gate.name: gate.verdict.value for gate in found.gates}


def log_of(platform: Platform, revision: int, *keys: str) -> pd.DataFrame:
    return platform.lake.read("predictions", f"revision={revision}", keys or DAYS).to_pandas()


# --- the chain ---


def test_the_first_model_has_its_own_path_and_the_second_is_compared(chain: Any) -> None:
    first, second = chain.verdicts
    assert (first.champion, second.champion) == (None, 1)
    assert verdicts(first) == {"skill": "PASS", "leak": "PASS"}
    assert verdicts(second) == {"skill": "PASS", "leak": "PASS", "better": "PASS"}


def test_aliases_and_tags_say_what_is_released(chain: Any) -> None:
    one, two = chain.platform.registry.versions()
    assert (one.aliases, two.aliases) == (("champion",), ("canary",))
    assert (one.tags["release.traffic_pct"], two.tags["release.traffic_pct"]) == ("90", "10")
    assert two.tags["release.gate.better"] == "PASS" and two.tags["release.decision"] == "accepted"
    assert len(two.tags["release.evidence_sha256"]) == 64


def test_the_manifest_repeats_the_newest_revision(chain: Any) -> None:
    import mlflow

    client = mlflow.MlflowClient(chain.platform.registry.uri, chain.platform.registry.uri)
    tags = client.get_registered_model(SLUG).tags
    assert tags["release.manifest"] == tags["release.revision.0002"]
    assert tags["release.manifest"] == chain.platform.registry.releases()[-1].to_json()


def test_a_run_can_be_read_by_people(chain: Any) -> None:
    tags = chain.platform.tracking.tags(chain.second.run_id)
    assert tags["window.holdout"].endswith("..2013-03-18"), "the 19th closes at noon"
    for name in ("dataset.sha256", "code.sha256", "git.commit", "feature_service", "requested_by"):
        assert tags[name]
    evidence = chain.platform.tracking.evidence(chain.second.run_id)
    assert evidence["decision"] == "accepted" and evidence["champion"] == 1


# --- train ---


def test_the_same_training_is_found_again(broken: Broken, chain: Any, spec: UseCase) -> None:
    platform = dataclasses.replace(broken(), code_digest=chain.platform.code_digest)
    again = train.run(platform, as_of=spec.as_of("2013-03-20"))
    assert again == dataclasses.replace(chain.second, is_new=False)


def test_another_home_gives_the_same_model(
    chain: Any, data_home: Any, tmp_path: Path, spec: UseCase
) -> None:
    platform = platform_at(copy_home(data_home[0], tmp_path / "home"), spec)
    platform.features.apply()
    other = train.run(platform, as_of=spec.as_of("2013-03-01"))
    assert other.is_new and other.run_id != chain.first.run_id
    assert other.dataset_digest == chain.first.dataset_digest
    assert other.model_digest == chain.first.model_digest


@pytest.mark.parametrize("change", ["seed", "code"])
def test_another_seed_or_code_is_another_run(
    broken: Broken, chain: Any, spec: UseCase, change: str
) -> None:
    if change == "seed":
        model = spec.model.model_copy(update={"seed": 8})
        platform = broken(spec.model_copy(update={"model": model}))
    else:
        platform = dataclasses.replace(broken(), code_digest="0" * 64)
    other = train.run(platform, as_of=spec.as_of("2013-03-01"))
    assert other.is_new and other.version == 3
    assert other.dataset_digest == chain.first.dataset_digest
    assert (other.model_digest == chain.first.model_digest) == (change == "code")


def test_a_training_that_was_killed_is_closed_and_done_anew(
    broken: Broken, chain: Any, spec: UseCase
) -> None:
    import mlflow

    platform = dataclasses.replace(broken(), code_digest="1" * 64)
    client = mlflow.MlflowClient(platform.registry.uri, platform.registry.uri)  # type: ignore[attr-defined]  # the adapter's
    first = train.run(platform, as_of=spec.as_of("2013-03-01"))
    client.update_run(first.run_id, status="RUNNING")
    again = train.run(platform, as_of=spec.as_of("2013-03-01"))
    assert again.is_new and again.run_id != first.run_id
    assert again.model_digest == first.model_digest
    assert client.get_run(first.run_id).info.status == "KILLED"


def training_set(platform: Platform, digest: str) -> pd.DataFrame:
    return pd.read_parquet(platform.training_sets / f"{digest[:32]}.parquet")


def test_the_holdout_is_not_in_the_training_set(chain: Any, spec: UseCase) -> None:
    windows = spec.windows(spec.as_of("2013-03-20"))
    rows = training_set(chain.platform, chain.second.dataset_digest)
    assert set(rows["partition_key"]) == {p.key for p in (*windows.fit, *windows.select)}
    assert max(rows["partition_key"]) < windows.holdout[0].key
    assert set(rows.loc[rows["window"] == "select", "partition_key"]) == {
        p.key for p in windows.select
    }


def test_the_champion_has_not_seen_the_challengers_holdout(chain: Any, spec: UseCase) -> None:
    holdout = {p.key for p in spec.windows(spec.as_of("2013-03-20")).holdout}
    seen = training_set(chain.platform, chain.first.dataset_digest)["partition_key"]
    assert not holdout & set(seen)


def test_only_labels_that_were_known_are_used(chain: Any, spec: UseCase) -> None:
    """A flight that lands after `as_of` has no label yet, whatever the table says today."""
    days = spec.partitions("2013-02-01", "2013-02-03")
    examples = read_examples(chain.platform, days)
    known_by = days[1].start
    kept = with_label(chain.platform, examples, known_by=known_by)
    assert 0 < len(kept) < len(examples)
    assert (kept["label_known_at"] <= known_by).all() and kept["is_late"].notna().all()
    left_out = examples[~examples["flight_id"].isin(kept["flight_id"])]
    assert ((left_out["label_known_at"] > known_by) | left_out["is_late"].isna()).all()


def test_too_early_a_time_says_how_much_is_needed(chain: Any, spec: UseCase) -> None:
    with pytest.raises(ConfigError, match="at least 35"):
        train.run(chain.platform, as_of=spec.as_of("2013-01-20"))


def test_a_window_of_one_class_is_bad_data(chain: Any, spec: UseCase) -> None:
    platform = with_mart(chain.platform, lambda rows: rows.assign(is_late=0))
    with pytest.raises(DataError, match="holds 1 class"):
        train.run(platform, as_of=spec.as_of("2013-03-01"))


def test_a_partition_that_was_not_transformed_is_named(chain: Any, spec: UseCase) -> None:
    with pytest.raises(DataError, match=r"not transformed yet: 2013-03-22 and 3 more"):
        train.run(chain.platform, as_of=spec.as_of("2013-04-10"))


def test_training_without_a_time_and_without_data_is_an_error_to_read(empty: Platform) -> None:
    with pytest.raises((ConfigError, DataError)):
        empty.data_time()


# --- validate: a control, then each gate with a planted fault ---


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

        def historical(self, events: pd.DataFrame, decided_at: str) -> pd.DataFrame:
            found = self.real.historical(events, decided_at)
            return found.assign(**{self.columns[0]: found["arrival_delay_min"].astype("float64")})

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
    platform = with_mart(broken(), lambda rows: rows.assign(is_late=np.nan))
    with pytest.raises(DataError, match="no labelled rows"):
        validate.run(platform, version=2)


def test_fault_a_holdout_of_which_most_days_have_no_labels_does_not_pass(broken: Broken) -> None:
    """One day left has an interval of no width, which would pass every gate."""

    def one_day(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(is_late=rows["is_late"].where(rows["partition_key"] == "2013-03-08"))

    found = validate.run(with_mart(broken(), one_day), version=2)
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


# --- promote ---


@pytest.fixture
def third(broken: Broken, spec: UseCase) -> Platform:
    """A platform with a third version that is trained but not judged."""
    platform = broken()
    assert train.run(platform, as_of=spec.as_of("2013-03-21")).version == 3
    return platform


def judge(platform: Platform, version: int, **verdicts: str) -> None:
    """Store verdicts as `validate` would, with evidence that holds."""
    found = platform.registry.version(version)
    opponent = opponent_of(platform.registry.releases(), version)
    evidence = {
        "version": version,
        "model_sha256": found.tags["model.sha256"],
        "champion": opponent.champion if opponent else None,
        "gates": [{"name": name, "verdict": verdict} for name, verdict in verdicts.items()],
        "decision": "accepted" if set(verdicts.values()) == {"PASS"} else "rejected",
    }
    digest = json_digest(evidence)
    platform.tracking.log_validation(found.run_id, {**evidence, "sha256": digest}, {})
    tags = {"release.evidence_sha256": digest, "release.decision": evidence["decision"]}
    platform.registry.tag(version, tags)


def accept(platform: Platform, version: int) -> None:
    judge(platform, version, skill="PASS", leak="PASS", better="PASS")


def test_a_version_without_a_verdict_is_refused(third: Platform) -> None:
    with pytest.raises(ConfigError, match="version 3 of flight_delay has no verdict"):
        promote.run(third, version=3)
    assert third.registry.version(3).aliases == ()


def test_a_rejected_version_is_a_decision_and_changes_nothing(third: Platform) -> None:
    before = third.registry.releases()
    judge(third, 3, skill="FAIL", leak="PASS")
    with pytest.raises(GateRejected, match="skill FAIL") as caught:
        promote.run(third, version=3)
    assert "leak" not in str(caught.value)
    assert third.registry.releases() == before


def test_promoting_again_changes_nothing(broken: Broken) -> None:
    platform = broken()
    before = (platform.registry.versions(), platform.registry.releases())
    for version, alias, traffic in ((1, "champion", 90.0), (2, "canary", 10.0)):
        again = promote.run(platform, version=version)
        assert (again.alias, again.traffic_pct, again.is_new) == (alias, traffic, False)
    assert (platform.registry.versions(), platform.registry.releases()) == before


def test_a_new_canary_replaces_the_undecided_one(third: Platform) -> None:
    accept(third, 3)
    found = promote.run(third, version=3)
    assert (found.alias, found.revision, found.is_new) == ("canary", 3, True)
    one, two, three = third.registry.versions()
    assert (one.aliases, two.aliases, three.aliases) == (("champion",), (), ("canary",))
    assert (two.tags["release.status"], two.tags["release.traffic_pct"]) == ("superseded", "0")
    with pytest.raises(ConfigError, match="released before and replaced"):
        promote.run(third, version=2)


def test_a_promotion_does_not_rewrite_the_past(broken: Broken, spec: UseCase) -> None:
    """A version trained as of an earlier time answers from data time on, not from then."""
    platform = broken()
    before = {t: in_force_at(platform.registry.releases(), t) for t in (spec.as_of("2013-03-15"),)}
    version = train.run(platform, as_of=spec.as_of("2013-03-10")).version
    accept(platform, version)
    promote.run(platform, version=version)
    releases = platform.registry.releases()
    assert releases[-1].canary == version
    assert releases[-1].in_force_from == platform.data_time()
    assert {time: in_force_at(releases, time) for time in before} == before


@pytest.mark.parametrize(
    ("tamper", "value"),
    [("decision", "accepted"), ("champion", None), ("version", 2), ("model_sha256", "0" * 64)],
)
def test_changed_evidence_is_refused(third: Platform, tamper: str, value: Any) -> None:
    """A verdict that was edited by hand, in the tags or in the file, releases nothing."""
    judge(third, 3, skill="PASS", better="FAIL")
    found = third.registry.version(3)
    evidence = dict(third.tracking.evidence(found.run_id) or {})
    third.tracking.log_validation(found.run_id, {**evidence, tamper: value}, {})
    third.registry.tag(3, {"release.decision": "accepted"})
    with pytest.raises(ConfigError, match="has no verdict that holds now"):
        promote.run(third, version=3)


def test_a_verdict_from_before_the_champion_is_refused(
    data_home: Any, tmp_path: Path, spec: UseCase
) -> None:
    """Two first models are both accepted without a comparison; only one of them may be released."""
    platform = platform_at(copy_home(data_home[0], tmp_path / "home"), spec)
    for as_of in ("2013-03-01", "2013-03-10"):
        version = train.run(platform, as_of=spec.as_of(as_of)).version
        assert validate.run(platform, version=version).champion is None
    promote.run(platform, version=1)
    with pytest.raises(ConfigError, match="validation against the present champion"):
        promote.run(platform, version=2)
    assert "better" in verdicts(validate.run(platform, version=2))


def test_a_validation_that_breaks_off_takes_the_old_verdict_back(broken: Broken) -> None:
    platform = with_mart(broken(), lambda rows: rows.assign(is_late=np.nan))
    with pytest.raises(DataError):
        validate.run(platform, version=2)
    with pytest.raises(ConfigError, match="has no verdict that holds now"):
        promote.run(platform, version=2)


def test_lost_releases_do_not_make_a_first_model(broken: Broken) -> None:
    """Or the next candidate would take all traffic without a comparison."""
    platform = broken()
    path = platform.warehouse.settings.mlflow_database  # type: ignore[attr-defined]  # the adapter's
    with sqlite3.connect(path) as connection:
        connection.execute("delete from registered_model_tags")
    connection.close()
    with pytest.raises(DataError, match="releases of flight_delay are lost"):
        platform.registry.releases()


def test_a_champion_that_learned_from_the_holdout_is_no_opponent(
    broken: Broken, spec: UseCase
) -> None:
    platform = broken()
    version = train.run(platform, as_of=spec.as_of("2013-02-20")).version
    with pytest.raises(DataError, match="gate better: champion 1 has learned from data up to"):
        validate.run(platform, version=version)


def test_a_lost_model_is_trained_again(broken: Broken, spec: UseCase) -> None:
    platform = broken()
    run_id = platform.registry.version(2).run_id
    folder = platform.warehouse.settings.artifacts  # type: ignore[attr-defined]  # the adapter's
    for file in folder.rglob("model.lgb"):
        file.unlink()
    again = train.run(platform, as_of=spec.as_of("2013-03-20"))
    assert again.is_new and again.run_id != run_id and again.version > 2


CRASHES = {
    "no alias yet": "delete from registered_model_aliases where alias = 'canary'",
    "the old alias": "update registered_model_aliases set version = 2 where alias = 'canary'",
    "no manifest": "delete from registered_model_tags where key = 'release.manifest'",
    "old manifest": "update registered_model_tags set value = (select value from "
    "registered_model_tags where key = 'release.revision.0002') where key = 'release.manifest'",
    "no tags of the new one": "delete from model_version_tags where version = 3 and key in "
    "('release.status', 'release.traffic_pct', 'release.revision')",
    "old tags of the champion": "update model_version_tags set value = '2' where version = 1 and "
    "key = 'release.revision'",
    "the old one is not superseded": "update model_version_tags set value = 'canary' where "
    "version = 2 and key = 'release.status'",
    "the old one keeps its traffic": "update model_version_tags set value = '10' where "
    "version = 2 and key = 'release.traffic_pct'",
}


def state(platform: Platform) -> Any:
    path = platform.warehouse.settings.mlflow_database  # type: ignore[attr-defined]  # the adapter's
    queries = {
        "aliases": "select alias, version from registered_model_aliases order by 1",
        "model": "select key, value from registered_model_tags order by 1",
        "versions": "select version, key, value from model_version_tags order by 1, 2",
    }
    with sqlite3.connect(path) as connection:
        found = {name: connection.execute(sql).fetchall() for name, sql in queries.items()}
    connection.close()
    return found


def test_a_crash_between_two_writes_is_repaired_by_promoting_again(third: Platform) -> None:
    """Each write of the registry is undone in turn, as if the process had been killed before it."""
    accept(third, 3)
    promote.run(third, version=3)
    whole = state(third)
    path = third.warehouse.settings.mlflow_database  # type: ignore[attr-defined]  # the adapter's
    unrepaired = []
    for crash, sql in CRASHES.items():
        with sqlite3.connect(path) as connection:
            connection.execute(sql)
        connection.close()
        assert state(third) != whole, f"{crash}: nothing was broken"
        promote.run(third, version=3)
        if state(third) != whole:
            unrepaired.append(crash)
            third.registry.tag(2, {"release.status": "superseded", "release.traffic_pct": "0"})
    assert unrepaired == []


# --- score ---


def test_both_models_score_every_row_and_the_routed_one_answers(chain: Any) -> None:
    log = log_of(chain.platform, 2)
    assert len(log) == sum(chain.scored.rows.values()) > 1800
    assert log["champion_score"].notna().all() and log["canary_score"].notna().all()
    routed = np.where(log["served"] == "canary", log["canary_score"], log["champion_score"])
    assert (log["score"] == routed).all() and (log["served"] == log["assigned"]).all()
    assert log["score"].between(0, 1).all()
    assert set(log["champion_version"]) == {1} and set(log["canary_version"]) == {2}


def test_the_canarys_share_is_near_its_weight(chain: Any) -> None:
    share = (log_of(chain.platform, 2)["served"] == "canary").mean()
    assert abs(share - 0.10) < 4 * (0.1 * 0.9 / 1900) ** 0.5


def test_the_log_is_the_published_one(chain: Any) -> None:
    table = chain.platform.lake.read("predictions", "revision=2", DAYS[:1])
    wanted = {f.name: f.type for f in PREDICTION_LOG}
    assert {f.name: f.type for f in table.schema} == wanted
    log = table.to_pandas()
    assert log["request_id"].is_unique and set(log["source"]) == {"score"}
    features = json.loads(log["features"][0])
    assert set(features) >= {"origin_departures__departure_count_6h", "day_of_week"}


def test_features_that_were_missing_are_flagged(chain: Any) -> None:
    log = log_of(chain.platform, 2)
    missing = log["features"].str.contains("null")
    assert missing.any()
    assert (log["flags"].map(list).map(bool) == missing).all()


def test_scoring_again_overwrites_its_own_partition(broken: Broken, chain: Any) -> None:
    platform = broken()
    again = score.run(platform, partitions=chain.days[-2:], source=Source.SCORE)
    assert again == chain.scored
    assert platform.lake.keys("predictions", "revision=2") == DAYS
    assert len(log_of(platform, 2)) == sum(again.rows.values())


def test_a_past_partition_is_answered_by_the_release_of_its_time(
    broken: Broken, spec: UseCase
) -> None:
    platform = broken()
    days = spec.partitions("2013-02-27", "2013-03-02")
    found = score.run(platform, partitions=days, source=Source.REPLAY)
    assert found.skipped == ("2013-02-27", "2013-02-28"), "nothing was released yet"
    assert found.partitions == 2 and set(found.rows) == {"champion"}
    log = log_of(platform, 1, "2013-03-01", "2013-03-02")
    assert set(log["revision"]) == {1} and log["canary_version"].isna().all()
    assert log["canary_score"].isna().all() and set(log["source"]) == {"replay"}


def test_before_the_first_release_everything_is_skipped(
    data_home: Any, tmp_path: Path, spec: UseCase
) -> None:
    platform = platform_at(copy_home(data_home[0], tmp_path / "home"), spec)
    days = spec.partitions(*DAYS)
    found = score.run(platform, partitions=days, source=Source.SCORE)
    assert found.skipped == DAYS and found.rows == {} and np.isnan(found.mean_score)


def test_when_the_canary_breaks_the_champion_answers(broken: Broken, chain: Any) -> None:
    def explode(rows: pd.DataFrame) -> np.ndarray:
        raise RuntimeError("boom")

    platform = with_model(broken(), 2, explode)
    found = score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)
    assert set(found.rows) == {"champion"}
    log = log_of(platform, 2, DAYS[1])
    assert set(log["canary_error"]) == {"RuntimeError"} and log["canary_score"].isna().all()
    assert (log["score"] == log["champion_score"]).all()
    assert (log["assigned"] == "canary").any(), "who should have answered stays on record"


def test_when_the_canary_answers_nothing_the_champion_answers(broken: Broken, chain: Any) -> None:
    platform = with_model(broken(), 2, lambda rows: np.full(len(rows), np.nan))
    found = score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)
    assert set(found.rows) == {"champion"}
    assert log_of(platform, 2, DAYS[1])["score"].notna().all()


def test_a_champion_that_answers_nothing_is_an_error_to_read(broken: Broken, chain: Any) -> None:
    platform = with_model(broken(), 1, lambda rows: np.full(len(rows), np.nan))
    with pytest.raises(DataError):
        score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)


def model_file(platform: Platform, version: int) -> Path:
    tracking: Any = platform.tracking
    tags = tracking.tags(platform.registry.version(version).run_id)
    return Path(tracking._model_file(tags["model.uri"]))


def test_a_corrupt_model_is_refused_and_the_process_survives(broken: Broken, chain: Any) -> None:
    """LightGBM's own parser ends the process."""
    platform = broken()
    path = model_file(platform, 1)
    path.write_text(path.read_text()[:2000] + "\x00garbage")
    with pytest.raises(DataError, match="is not the one that was recorded"):
        score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)
    with pytest.raises(DataError, match="is not the one that was recorded"):
        validate.run(platform, version=1)


def test_a_corrupt_canary_does_not_stop_the_champion(broken: Broken, chain: Any) -> None:
    platform = broken()
    model_file(platform, 2).write_text("tree")
    score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)
    assert set(log_of(platform, 2, DAYS[1])["canary_error"]) == {"DataError"}


def test_a_model_file_that_is_gone_is_an_error_to_read(broken: Broken, chain: Any) -> None:
    platform = broken()
    model_file(platform, 1).unlink()
    with pytest.raises(DataError):
        score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)


# --- the outside is away, or busy ---


@pytest.mark.parametrize("stage", ["train", "validate", "promote", "score"])
def test_a_tracking_server_that_is_away_is_said_soon_and_may_be_tried_again(
    broken: Broken, spec: UseCase, stage: str
) -> None:
    platform = broken(tracking_uri="http://127.0.0.1:1")
    start = time.perf_counter()
    away = r"MLflow does not answer at http://127\.0\.0\.1:1"
    with pytest.raises(TransientError, match=away):  # noqa: PT012  # four stages, one claim
        if stage == "train":
            train.run(platform, as_of=spec.as_of("2013-03-20"))
        elif stage == "score":
            score.run(platform, partitions=spec.partitions(*DAYS), source=Source.SCORE)
        else:
            {"validate": validate.run, "promote": promote.run}[stage](platform, version=1)
    assert time.perf_counter() - start < 15


def test_a_second_stage_of_a_use_case_waits_its_turn(empty: Platform, tmp_path: Path) -> None:
    where = empty.warehouse.settings  # type: ignore[attr-defined]  # the adapter's
    with (
        exclusive(where.home / "locks" / f"{SLUG}.lock"),
        pytest.raises(TransientError, match=f"{SLUG} is busy"),
    ):
        run_stage("ingest", SLUG, Arguments(first="2013-01-01"), where=where)
    assert not (where.home / "lake").exists()


def test_a_stage_by_its_name_is_the_stage(empty: Platform) -> None:
    where = empty.warehouse.settings  # type: ignore[attr-defined]  # the adapter's
    ran = run_stage("ingest", SLUG, Arguments(first="2013-01-01"), where=where)
    direct = ingest.run(empty, partitions=empty.spec.partitions("2013-01-01", "2013-01-01"))
    assert ran.result == direct and ran.seconds > 0 and ran.stage == "ingest"
