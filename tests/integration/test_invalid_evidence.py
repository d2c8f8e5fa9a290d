"""Evidence that is missing or proves nothing: never a pass, whatever the figures."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_faults import (
    FIRST,
    SECOND,
    Workshop,
    decision_without,
    judged,
    only_schedule,
    open_workshop,
    stored_evidence,
    stored_verdicts,
    tripped,
    with_answers,
    with_features,
    with_run_tags,
)
from support import SLUG, with_labels

from ml.core.errors import ConfigError, DataError, TransientError
from ml.core.gates import Decision
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import promote, summary, validate

pytestmark = pytest.mark.xdist_group("chain")


@pytest.fixture(scope="module")
def workshop(
    chain: Any, tmp_path_factory: pytest.TempPathFactory, spec: UseCase
) -> Iterator[Workshop]:
    yield from open_workshop(chain.home, tmp_path_factory.mktemp("workshop"), spec)


def not_judged(platform: Platform, version: int, match: str) -> dict[str, Any]:
    with pytest.raises(DataError, match=match):
        validate.run(platform, version=version)
    tags = platform.registry.version(version).tags
    assert tags["release.decision"] == "invalid"
    with pytest.raises(DataError, match="could not be judged"):
        promote.run(platform, version=version)
    return stored_evidence(platform, version)


def verdicts_in(tags: Mapping[str, str]) -> set[str]:
    return {value for name, value in tags.items() if name.startswith("release.gate.")}


def description(platform: Platform, version: int) -> str:
    return str(_client(platform).get_model_version(SLUG, str(version)).description)


def invalid_without_gates(platform: Platform, match: str, version: int = SECOND) -> dict[str, str]:
    """It came to no gate: then nothing of an earlier verdict is left."""
    with pytest.raises(DataError, match=match) as caught:
        validate.run(platform, version=version)
    tags = dict(platform.registry.version(version).tags)
    assert tags["release.decision"] == "invalid" and verdicts_in(tags) == {"not judged"}
    told = description(platform, version)
    assert told == f"Invalid, not judged: {caught.value.seen}." and "PASS" not in told
    with pytest.raises(ConfigError, match="no verdict that holds"):
        promote.run(platform, version=version)
    [shown] = [v for v in summary.run(platform).versions if v.version.version == version]
    assert shown.evidence is None, "no table of an earlier verdict"
    return tags


def _client(platform: Platform) -> Any:
    import mlflow

    uri = platform.registry.uri  # type: ignore[attr-defined]  # the adapter's
    return mlflow.MlflowClient(uri, uri)


def test_a_champion_that_has_gone_missing_is_invalid_not_first(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = workshop.copy("no-champion").platform
    _client(platform).delete_model_version(SLUG, str(FIRST))
    evidence = not_judged(platform, SECOND, "gate better: there is no version 1")
    assert tripped(evidence) == {"better"}
    tags = platform.registry.version(SECOND).tags
    assert tags["release.gate.cost"] == "not judged", "what an earlier validation said is gone"
    assert decision_without(evidence, {"better"}, monkeypatch) is Decision.ACCEPTED


def test_a_candidate_that_is_the_champion_is_invalid(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run, registered once more."""
    platform = workshop.copy("twice").platform
    champion = platform.registry.version(FIRST)
    source = platform.tracking.tags(champion.run_id)["model.uri"]
    made = _client(platform).create_model_version(SLUG, source, run_id=champion.run_id)
    platform.registry.tag(int(made.version), champion.tags)
    evidence = not_judged(platform, int(made.version), "gate better: .* is champion 1 itself")
    assert tripped(evidence) == {"better"}
    assert decision_without(evidence, {"better"}, monkeypatch) is Decision.ACCEPTED


def test_a_candidate_that_answers_like_the_champion_is_not_better(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = workshop.platform.registry.version(FIRST).run_id
    same = workshop.platform.tracking.load_model(run_id)
    platform = with_answers(workshop.platform, SECOND, lambda _, rows: same.predict(rows))
    evidence = judged(platform, SECOND)
    assert tripped(evidence) == {"better"} and evidence["decision"] == Decision.REJECTED
    assert decision_without(evidence, {"better"}, monkeypatch) is Decision.ACCEPTED


def test_a_champion_whose_file_is_broken_is_invalid(workshop: Workshop) -> None:
    there = workshop.copy("broken-champion")
    uri = there.platform.tracking.tags(there.platform.registry.version(FIRST).run_id)["model.uri"]
    folder = next(there.home.rglob(uri.removeprefix("models:/")))
    next(folder.rglob("model.lgb")).write_text("tree\n")
    assert tripped(judged(there.platform, SECOND)) == {"better"}
    not_judged(there.platform, SECOND, "gate better: .*model.lgb.* is not the one")


def test_a_champion_that_has_learned_from_the_holdout_is_invalid(workshop: Workshop) -> None:
    platform = workshop.copy("learned").platform
    platform.registry.tag(FIRST, {"window.select": "2013-03-01..2013-03-07"})
    not_judged(platform, SECOND, "gate better: champion 1 has learned from data up to 2013-03-07")


def test_a_champion_that_answers_nothing_is_invalid(workshop: Workshop) -> None:
    platform = with_answers(
        workshop.platform, FIRST, lambda answers, _: np.full_like(answers, np.nan)
    )
    not_judged(platform, SECOND, "gate better: champion 1 gave .* that are not numbers")


@pytest.mark.parametrize("rows", [slice(None), 7], ids=["all", "one"])
def test_answers_that_are_not_numbers_are_invalid(workshop: Workshop, rows: Any) -> None:
    def answer(answers: np.ndarray, _: pd.DataFrame) -> np.ndarray:
        found = answers.copy()
        found[rows] = np.nan
        return found

    evidence = not_judged(with_answers(workshop.platform, SECOND, answer), SECOND, "cannot be")
    passed = set(stored_verdicts(evidence)) - tripped(evidence)
    assert passed == {"contract", "latency"}, "no PASS on what is not a number"
    assert set(stored_verdicts(evidence).values()) == {"PASS", "INVALID"}


def test_a_cpu_time_that_nobody_measured_is_invalid(workshop: Workshop) -> None:
    platform = with_run_tags(workshop.platform, SECOND, {"latency_us": "unknown"})
    assert tripped(not_judged(platform, SECOND, "gate latency")) == {"latency"}


def test_labels_that_are_missing_from_the_holdout_are_invalid(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of a hundred: too few to move any other figure."""

    def lose(labels: pd.DataFrame) -> pd.DataFrame:
        is_lost = pd.Series(np.arange(len(labels)) % 33 == 0, labels.index)
        return labels.assign(is_late=labels["is_late"].mask(is_lost))

    evidence = not_judged(with_labels(workshop.platform, lose), SECOND, "gate contract: .* labels")
    assert tripped(evidence) == {"contract"}
    assert decision_without(evidence, {"contract"}, monkeypatch) is Decision.ACCEPTED


def test_labels_that_came_too_late_are_invalid(workshop: Workshop) -> None:
    def delay(labels: pd.DataFrame) -> pd.DataFrame:
        is_hit = pd.Series(np.arange(len(labels)) % 20 == 0, labels.index)
        late = labels["label_known_at"] + timedelta(days=2)
        return labels.assign(label_known_at=labels["label_known_at"].mask(is_hit, late))

    told = (
        r"gate contract: .* labels .*; most labels that were late .* are of 2013-03-\d\d \(\d+\),"
    )
    not_judged(with_labels(workshop.platform, delay), SECOND, told)


def test_a_holdout_without_labels_is_bad_data(workshop: Workshop) -> None:
    platform = with_labels(workshop.platform, lambda rows: rows.assign(is_late=np.nan))
    tags = invalid_without_gates(platform, "no labelled rows")
    assert tags["release.status"] == "canary", "it serves until a release says otherwise"


def test_a_status_follows_the_newest_verdict_of_what_was_never_released(
    workshop: Workshop,
) -> None:
    """Rejected, accepted, then not to be judged: each time the tags say this and nothing else."""
    there = workshop.copy("status")
    version = there.trained("unreleased", with_features(there.platform, only_schedule))
    flat = with_answers(there.platform, version, lambda answers, _: np.full_like(answers, 0.5))
    for platform, status in [(flat, "rejected"), (accepting(there.platform), "accepted")]:
        validate.run(platform, version=version)
        tags = platform.registry.version(version).tags
        assert tags["release.status"] == tags["release.decision"] == status
    nothing = with_labels(there.platform, lambda rows: rows.assign(is_late=np.nan))
    tags = invalid_without_gates(nothing, "no labelled rows", version)
    assert tags["release.status"] == "invalid"


def accepting(platform: Platform) -> Platform:
    """The same platform, whose gates ask for nothing but evidence."""
    changes = {"margin": 9.0, "minimum_gain": -9.0, "maximum_cost_increase": None, "segments": None}
    plan = platform.spec.gates.model_copy(update={**changes, "criteria": ()})
    spec = platform.spec.model_copy(update={"gates": plan})
    return dataclasses.replace(platform, spec=spec)


@pytest.mark.parametrize("error", [TransientError("busy"), ConfigError("no such column")])
def test_other_errors_leave_it_pending(workshop: Workshop, error: Exception) -> None:
    def fail(_: Any) -> Any:
        raise error

    with pytest.raises(type(error)):
        validate.run(with_labels(workshop.platform, fail), version=SECOND)
    tags = workshop.platform.registry.version(SECOND).tags
    assert tags["release.decision"] == "pending" and verdicts_in(tags) == {"not judged"}
    assert description(workshop.platform, SECOND).startswith("Not judged")


def test_a_holdout_of_which_one_day_has_labels_does_not_pass(workshop: Workshop) -> None:
    """Its interval has no width, which would pass every gate."""

    def one_day(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(is_late=rows["is_late"].where(rows["partition_key"] == "2013-03-08"))

    evidence = not_judged(with_labels(workshop.platform, one_day), SECOND, "gate contract")
    assert "PASS" not in {
        verdict for name, verdict in stored_verdicts(evidence).items() if name != "latency"
    }


def test_features_that_are_no_longer_offered_fail_the_contract(workshop: Workshop) -> None:
    class Fewer:
        def __init__(self, real: Any) -> None:
            self._real, self.columns = real, real.columns[:-1]

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    gone = workshop.platform.features.columns[-1]
    platform = dataclasses.replace(workshop.platform, features=Fewer(workshop.platform.features))
    evidence = not_judged(platform, SECOND, "cannot be judged")
    contract = next(gate for gate in evidence["gates"] if gate["name"] == "contract")
    assert contract["verdict"] == "FAIL" and f"lack {gone}" in contract["reason"]


def test_a_store_that_does_not_say_when_features_became_known_does_not_pass(
    workshop: Workshop,
) -> None:
    def forget(frame: pd.DataFrame) -> pd.DataFrame:
        unknown = pd.Series(pd.NaT, frame.index, dtype="datetime64[us, UTC]")
        return frame.assign(features_known_at=unknown)

    evidence = judged(with_features(workshop.platform, forget), SECOND)
    assert tripped(evidence) == {"contract"}


# --- windows that were edited by hand ---


@pytest.mark.parametrize(
    "window",
    [
        {"window.holdout": "2013-02-20..2013-03-05"},
        {"window.select": "2013-02-01..2013-02-07"},
        {"as_of": "2013-03-25T04:00:00+00:00"},
    ],
    ids=lambda window: next(iter(window)),
)
def test_a_version_whose_windows_are_not_its_runs_is_refused(
    workshop: Workshop, window: dict[str, str]
) -> None:
    platform = workshop.copy(f"edited-{next(iter(window))}").platform
    platform.registry.tag(SECOND, window)
    [(name, value)] = window.items()
    with pytest.raises(
        ConfigError, match=rf"(?s)says {name} {re.escape(value)}, its run .*repair: "
    ):
        validate.run(platform, version=SECOND)
    assert platform.registry.version(SECOND).tags["release.decision"] == "pending"


def test_a_holdout_that_was_learned_is_refused_even_if_the_run_says_so(workshop: Workshop) -> None:
    platform = workshop.copy("overlapping").platform
    version = platform.registry.version(SECOND)
    last = version.tags["window.select"].split("..")[1]
    window = {"window.holdout": f"{last}..2013-03-18"}
    platform.registry.tag(SECOND, window)
    _client(platform).set_tag(version.run_id, "window.holdout", window["window.holdout"])
    with pytest.raises(ConfigError, match=f"learned from data up to {last}, its holdout begins"):
        validate.run(platform, version=SECOND)
