"""Validate: the candidate on the holdout, against the gates of the spec and the champion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml.adapters.tracking_views import shown_metrics
from ml.core.digests import frame_digest, json_digest
from ml.core.errors import ConfigError, DataError
from ml.core.evidence import Evidence
from ml.core.gates import Decision, GateResult, Verdict, decide, judge
from ml.core.metrics import by_class
from ml.core.ports import ModelVersion, Platform
from ml.core.release import opponent_of, standings
from ml.core.spec import UseCase
from ml.core.statistics import Estimate
from ml.stages import notes, plots
from ml.stages.evidence import Gathered, gather
from ml.stages.examples import group_values, naive_values
from ml.stages.releasing import released
from ml.stages.stale import stale_warnings

_DECISION, _STATUS = "release.decision", "release.status"
_EVIDENCE = "release.evidence_sha256"
_GATE = "release.gate."
_FOLDER = "validation"
_WORST = 3  # partitions that an error names


@dataclass(frozen=True)
class ValidateResult:
    """The verdicts on a version.

    Attributes:
        champion: version that it was compared with; None for the first model ever.
        evidence_sha256: digest of everything that the verdicts rest on.
        warnings: what is stale in the holdout.
    """

    version: int
    decision: Decision
    gates: tuple[GateResult, ...]
    champion: int | None
    rows: int
    evidence_sha256: str
    warnings: tuple[str, ...] = ()


def run(platform: Platform, *, version: int) -> ValidateResult:
    """Judge a version and tag it; the same evidence gives the same verdicts.

    Raises:
        ConfigError: if there is no such version, or its windows are not those of its training.
        DataError: if the evidence is invalid: a decision cannot rest on it. `details` has the
            verdicts of the gates, if it came to them.
    """
    candidate = platform.registry.version(version)
    _require_trained_here(candidate)
    releases = released(platform)
    is_released = version in standings(releases)
    _forget_verdict(platform, candidate, is_released=is_released)
    opponent = opponent_of(releases, version)
    champion = opponent.champion if opponent else None
    try:
        found = gather(platform, candidate, champion)
    except DataError as error:
        platform.registry.describe(version, f"Invalid, not judged: {error.seen}.")
        platform.registry.tag(version, _decided(Decision.INVALID, is_released=is_released))
        raise
    gates = judge(platform.spec.gates, found.evidence)
    decision = decide(gates)
    content = _content(platform, candidate, found, champion, gates)
    _record(platform, candidate, found, gates, content)
    platform.registry.tag(version, _decided(decision, is_released=is_released))  # now it holds
    keys = {one.key for one in platform.spec.partitions(found.first, found.last)}
    warnings = stale_warnings(platform, keys)
    if decision is Decision.INVALID:
        told = (*_worst_days(found.without_label), *warnings)
        raise _not_judged(version, gates, content["gates"], told)
    rows, digest = found.evidence.rows, content["sha256"]
    return ValidateResult(version, decision, gates, champion, rows, digest, warnings)


def _require_trained_here(candidate: ModelVersion) -> None:
    needed = {"as_of", "model.sha256", "window.select", "window.holdout"}
    if missing := needed - set(candidate.tags):
        raise ConfigError(
            f"version {candidate.version} has no tag {', '.join(sorted(missing))}",
            expected="a version that flightline train registered",
            repair="train a candidate; a version made by hand cannot be judged",
        )


def _forget_verdict(platform: Platform, candidate: ModelVersion, *, is_released: bool) -> None:
    """First of all the old verdict goes: a crash or an error later must not leave it standing."""
    version = candidate.version
    platform.registry.tag(version, _decided("pending", is_released=is_released))
    gates = {name: "not judged" for name in candidate.tags if name.startswith(_GATE)}
    platform.registry.tag(version, {**gates, _EVIDENCE: ""})
    platform.registry.describe(version, "Not judged: its validation has begun and not ended.")


def _decided(decision: str, *, is_released: bool) -> dict[str, str]:
    """Tags of a decision; of a released version, its releases say what its status is."""
    status = {} if is_released else {_STATUS: str(decision)}
    return {**status, _DECISION: str(decision)}


def _worst_days(without_label: Mapping[str, int]) -> Iterator[str]:
    """Where most labels are missing."""
    worst = sorted(without_label.items(), key=lambda one: (-one[1], one[0]))[:_WORST]
    if worst:
        named = ", ".join(f"{key} ({count:,})" for key, count in worst)
        yield f"most labels that were late or never came are of {named}"


def _not_judged(
    version: int,
    gates: Sequence[GateResult],
    plain: Sequence[dict[str, Any]],
    told: Sequence[str],
) -> DataError:
    invalid = [gate for gate in gates if gate.verdict is Verdict.INVALID]
    reasons = (f"gate {gate.name}: {gate.reason}" for gate in invalid)
    return DataError(
        f"version {version} cannot be judged: " + "; ".join([*reasons, *told]),
        expected="evidence for every gate",
        repair="mend what the reason names, or train as of a time after the champion's; "
        "then validate again",
        details={"gates": plain},
    )


def _content(
    platform: Platform,
    candidate: ModelVersion,
    found: Gathered,
    champion: int | None,
    gates: Sequence[GateResult],
) -> dict[str, Any]:
    """The evidence as it is stored: enough to judge again, with the digest of all of it."""
    facts = found.evidence.to_plain()
    content = {
        "use_case": platform.spec.slug,
        "version": candidate.version,
        "run_id": candidate.run_id,
        "model_sha256": candidate.tags["model.sha256"],
        "contract_sha256": facts["contract"]["recorded"],
        "as_of": candidate.tags["as_of"],
        "holdout": {
            "first": found.first,
            "last": found.last,
            "rows": len(found.rows),
            "sha256": frame_digest(found.rows),
        },
        "champion": champion,
        "plan": platform.spec.gates.model_dump(mode="json"),
        "facts": facts,
        "gates": [_plain_gate(gate) for gate in gates],
        "decision": decide(gates),
    }
    return {**content, "sha256": json_digest(content)}


def _plain_gate(gate: GateResult) -> dict[str, Any]:
    plain = {"verdict": gate.verdict.value, "estimate": _plain(gate.estimate)}
    return {**asdict(gate), **plain}


def _plain(estimate: Estimate) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: _finite(value) for name, value in asdict(estimate).items()}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _record(
    platform: Platform,
    candidate: ModelVersion,
    found: Gathered,
    gates: Sequence[GateResult],
    content: dict[str, Any],
) -> None:
    platform.tracking.log_validation(
        candidate.run_id,
        content,
        _metrics(platform.spec, found),
        tables=_tables(platform.spec, found.evidence, gates),
        figures=_figures(platform, found),
    )
    platform.registry.describe(candidate.version, notes.verdict_notes(content))
    tags = {f"{_GATE}{gate.name}": gate.verdict.value for gate in gates}
    platform.registry.tag(candidate.version, {**tags, _EVIDENCE: content["sha256"]})


# --- what people look at ---


def _metrics(spec: UseCase, found: Gathered) -> dict[str, float]:
    """Of the holdout: each metric and difference with its bounds, and what the baselines reach.

    What is said of single classes stands in a table, unless a gate looks at it.
    """
    estimates = {
        **{name: found.evidence.metrics[name] for name in shown_metrics(spec)},
        f"{spec.problem.loss_name}_over_champion": found.evidence.difference,
        "cost_over_opponent": found.evidence.cost_difference,
    }
    bounds = {"": "value", "_lower": "lower", "_upper": "upper"}
    metrics = {
        f"holdout/{name}{suffix}": getattr(estimate, field)
        for name, estimate in estimates.items()
        if estimate is not None
        for suffix, field in bounds.items()
    }
    metrics |= {f"holdout/{name}": value for name, value in found.baselines.items()}
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def _tables(
    spec: UseCase, evidence: Evidence, gates: Sequence[GateResult]
) -> dict[str, pd.DataFrame]:
    plan = spec.gates.segments
    tables = {f"{_FOLDER}/gates.json": pd.DataFrame(_gate_row(gate) for gate in gates)}
    if spec.label.classes:
        rows = by_class(spec.scope, evidence.metrics)
        tables[f"{_FOLDER}/by_class.json"] = pd.DataFrame(map(_finite_row, rows))
    if evidence.segments:
        tables[f"{_FOLDER}/segments.json"] = pd.DataFrame(
            {
                "column": one.column,
                "value": one.value,
                "rows": one.rows,
                "positives": one.positives,
                "evaluated": plan is not None
                and one.rows >= plan.minimum_rows
                and one.positives >= plan.minimum_positives,
                f"loss over {evidence.opponent}": _finite(one.difference.value),
                "lower": _finite(one.difference.lower),
                "upper": _finite(one.difference.upper),
            }
            for one in evidence.segments
        )
    return tables


def _finite_row(row: Mapping[str, str | float]) -> dict[str, str | float | None]:
    """JSON has no NaN."""
    return {k: v if isinstance(v, str) else _finite(v) for k, v in row.items()}


def _gate_row(gate: GateResult) -> dict[str, Any]:
    plain = _plain(gate.estimate)
    return {
        "gate": gate.name,
        "verdict": gate.verdict.value,
        "value": plain["value"],
        "lower": plain["lower"],
        "upper": plain["upper"],
        "threshold": gate.threshold,
        "rows": gate.estimate.rows,
        "clusters": gate.estimate.clusters,
        "reason": gate.reason,
    }


def _figures(platform: Platform, found: Gathered) -> dict[str, Any]:
    spec = platform.spec
    columns = {"partition": "partition_key", **{name: name for name in spec.segments}}
    return plots.evaluation(
        spec.problem,
        found.label,
        found.prediction,
        title=f"holdout {found.first} to {found.last}",
        folder=_FOLDER,
        groups={name: group_values(found.rows, column) for name, column in columns.items()},
        cost=spec.cost,
        classes=spec.label.classes,
        interval=found.interval,
        nominal=spec.model.interval,
        times=found.rows[spec.decided_at].to_numpy("datetime64[ns]"),
        naive=naive_values(spec, found.rows),
    )
