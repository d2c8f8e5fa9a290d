"""Validate: the candidate on the holdout, against the gates of the spec and the champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from ml.core.digests import frame_digest, json_digest
from ml.core.errors import ConfigError, DataError
from ml.core.gates import Decision, GateResult, better_gate, ceiling_gate, decide, floor_gate
from ml.core.losses import row_loss
from ml.core.ports import ModelVersion, Platform
from ml.core.problems import ProblemType
from ml.core.release import opponent_of
from ml.core.statistics import MISSING, clustered_auc, clustered_mean, clustered_ratio
from ml.stages.examples import label_values, read_examples, with_label

_DECISION = "release.decision"


@dataclass(frozen=True)
class ValidateResult:
    """The verdicts on a version.

    Attributes:
        champion: version that it was compared with; None for the first model ever.
        evidence_sha256: digest of everything that the verdicts rest on.
    """

    version: int
    decision: Decision
    gates: tuple[GateResult, ...]
    champion: int | None
    rows: int
    evidence_sha256: str


def run(platform: Platform, *, version: int) -> ValidateResult:
    """Judge a version and tag it; the same evidence gives the same verdicts.

    Raises:
        ConfigError: if there is no such version.
        DataError: if the evidence is invalid: a decision cannot rest on it.
    """
    candidate = platform.registry.version(version)
    _require_trained_here(candidate)
    # First of all the old verdict goes: a crash or an error below must not leave it standing.
    platform.registry.tag(version, {_DECISION: "pending"})
    first, last = candidate.tags["window.holdout"].split("..")
    holdout = _holdout(platform, candidate, first, last)
    opponent = opponent_of(platform.registry.releases(), version)
    champion = opponent.champion if opponent else None
    gates = _judge(platform, candidate, holdout, champion)
    decision = decide(gates)
    evidence = {
        "use_case": platform.spec.slug,
        "version": version,
        "model_sha256": candidate.tags["model.sha256"],
        "as_of": candidate.tags["as_of"],
        "holdout": {
            "first": first,
            "last": last,
            "rows": len(holdout),
            "sha256": frame_digest(holdout),
        },
        "champion": champion,
        "gates": [_finite(asdict(gate)) for gate in gates],
        "decision": decision,
    }
    digest = json_digest(evidence)
    _record(platform, candidate, gates, decision, {**evidence, "sha256": digest})
    if decision is Decision.INVALID:
        invalid = next(gate for gate in gates if gate.verdict == "INVALID")
        raise DataError(
            f"version {version} cannot be judged: gate {invalid.name}: {invalid.reason}",
            expected="evidence for every gate",
            repair="mend what the reason names, or train as of a time after the champion's; "
            "then validate again",
        )
    return ValidateResult(version, decision, gates, champion, len(holdout), digest)


def _require_trained_here(candidate: ModelVersion) -> None:
    needed = {"as_of", "base_rate", "model.sha256", "window.select", "window.holdout"}
    if missing := needed - set(candidate.tags):
        raise ConfigError(
            f"version {candidate.version} has no tag {', '.join(sorted(missing))}",
            expected="a version that flightline train registered",
            repair="train a candidate; a version made by hand cannot be judged",
        )


def _holdout(platform: Platform, candidate: ModelVersion, first: str, last: str) -> pd.DataFrame:
    """The labelled rows of the holdout as the training recorded it.

    Not as the spec says now: the spec may have changed, and the model has seen what it saw.
    """
    as_of = datetime.fromisoformat(candidate.tags["as_of"])
    examples = read_examples(platform, platform.spec.partitions(first, last))
    holdout = with_label(platform, examples, known_by=as_of)
    if holdout.empty:
        raise DataError(
            f"the holdout {first} to {last} has no labelled rows",
            expected=f"labels that were known at {as_of.isoformat()}",
            repair="ingest and transform these partitions, then validate again",
        )
    return holdout


def _judge(
    platform: Platform, candidate: ModelVersion, holdout: pd.DataFrame, champion: int | None
) -> tuple[GateResult, ...]:
    problem, plan = platform.spec.problem, platform.spec.gates
    options = {"replicates": plan.replicates, "seed": plan.seed}
    label, cluster = label_values(platform, holdout), holdout["partition_key"].to_numpy("str")
    prediction = platform.tracking.load_model(candidate.run_id).predict(holdout)
    loss = row_loss(problem, label, prediction)
    base_rate = np.full_like(label, float(candidate.tags["base_rate"]))
    base_loss = row_loss(problem, label, base_rate)
    skill = clustered_ratio(base_loss - loss, base_loss, cluster, **options)
    gates = [floor_gate("skill", skill, minimum=plan.minimum_skill)]
    if problem is ProblemType.BINARY:
        auc = clustered_auc(label, prediction, cluster, **options)
        gates.append(ceiling_gate("leak", auc, maximum=plan.maximum_auc))
    if champion is not None:
        limits = {"margin": plan.margin, "minimum_gain": plan.minimum_gain}
        try:
            champion_loss = _champion_loss(platform, champion, holdout)
            difference = clustered_mean(loss - champion_loss, cluster, **options)
            gates.append(better_gate("better", difference, **limits))
        except (ConfigError, DataError) as error:  # no fair comparison is no reason to pass
            gates.append(replace(better_gate("better", MISSING, **limits), reason=error.seen))
    return tuple(gates)


def _champion_loss(platform: Platform, champion: int, holdout: pd.DataFrame) -> np.ndarray:
    """Loss of each row.

    Raises:
        ConfigError: if the champion has gone missing.
        DataError: if its file is broken, or it has learned from days of this holdout.
    """
    found = platform.registry.version(champion)
    learned, first = found.tags["window.select"].split("..")[1], holdout["partition_key"].min()
    if learned >= first:
        raise DataError(
            f"champion {champion} has learned from data up to {learned}, the holdout begins {first}"
        )
    prediction = platform.tracking.load_model(found.run_id).predict(holdout)
    return row_loss(platform.spec.problem, label_values(platform, holdout), prediction)


def _record(
    platform: Platform,
    candidate: ModelVersion,
    gates: tuple[GateResult, ...],
    decision: Decision,
    evidence: Mapping[str, Any],
) -> None:
    metrics = {
        f"holdout/{gate.name}{suffix}": value
        for gate in gates
        for suffix, value in (
            ("", gate.estimate.value),
            ("_lower", gate.estimate.lower),
            ("_upper", gate.estimate.upper),
        )
        if np.isfinite(value)
    }
    platform.tracking.log_validation(candidate.run_id, evidence, metrics)
    tags = {f"release.gate.{gate.name}": gate.verdict.value for gate in gates}
    if decision is not Decision.ACCEPTED and "release.revision" not in candidate.tags:
        tags["release.status"] = decision.value
    tags["release.evidence_sha256"] = str(evidence["sha256"])
    tags[_DECISION] = decision.value  # the last write: with it, the validation is complete
    platform.registry.tag(candidate.version, tags)


def _finite(gate: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    estimate = {
        name: value if np.isfinite(value) else None for name, value in gate["estimate"].items()
    }
    return {**gate, "estimate": estimate}
