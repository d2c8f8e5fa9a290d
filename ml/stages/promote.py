"""Promote: an accepted version becomes champion (the first ever) or canary beside the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml.core.digests import json_digest
from ml.core.errors import ConfigError, DataError, GateRejected
from ml.core.evidence import Evidence
from ml.core.gates import Decision, decide, judge
from ml.core.names import CANARY, CHAMPION
from ml.core.plans import GatePlan
from ml.core.ports import ModelVersion, Platform
from ml.core.release import (
    ROLLED_BACK,
    Release,
    crown,
    first_champion,
    opponent_of,
    standings,
    start_canary,
)
from ml.stages.releasing import put_in_force, released


@dataclass(frozen=True)
class PromoteResult:
    """What serves now.

    Attributes:
        alias: what the version holds: champion or canary.
        replaces: the undecided canary, or the champion, that it took the place of.
        is_new: False if it held it already.
    """

    version: int
    alias: str
    traffic_pct: float
    revision: int
    in_force_from: datetime
    replaces: int | None
    is_new: bool


def run(platform: Platform, *, version: int, as_champion: bool = False) -> PromoteResult:
    """Release a version that passed its gates; promoting it again changes nothing.

    Args:
        as_champion: the version is the canary, and takes all the traffic.

    Raises:
        ConfigError: if it was not validated, was released and replaced or rolled back before, or
            is to be champion and is not the canary.
        DataError: if it could not be judged.
        GateRejected: if it did not pass.
    """
    candidate = platform.registry.version(version)
    releases = released(platform)
    _require_accepted(platform, candidate, releases)
    current = releases[-1] if releases else None
    if as_champion:
        release = _crowned(platform, version, current)
    else:
        release = _next_release(platform, candidate, releases, current)
    put_in_force(platform, release)
    return PromoteResult(
        version=version,
        alias=CHAMPION if version == release.champion else CANARY,
        traffic_pct=release.traffic_pct(version),
        revision=release.revision,
        in_force_from=release.in_force_from,
        replaces=_replaced(current, release),
        is_new=release is not current,
    )


def _replaced(before: Release | None, after: Release) -> int | None:
    if before is None or before is after:
        return None
    return before.canary if after.canary else before.champion


def _require_accepted(
    platform: Platform, candidate: ModelVersion, releases: Sequence[Release]
) -> None:
    """The verdict must be complete, unchanged, and on a comparison with today's champion."""
    tags, version, slug = candidate.tags, candidate.version, platform.spec.slug
    stored = dict(platform.tracking.evidence(candidate.run_id) or {})
    opponent = opponent_of(releases, version)
    expected: dict[str, Any] = {
        "decision": tags.get("release.decision"),
        "version": version,
        "run_id": candidate.run_id,
        "model_sha256": tags.get("model.sha256"),
        "champion": opponent.champion if opponent else None,
    }
    digest = stored.pop("sha256", None)
    is_whole = digest == tags.get("release.evidence_sha256") == json_digest(stored)
    if not is_whole or any(stored.get(name) != value for name, value in expected.items()):
        raise ConfigError(
            f"version {version} of {slug} has no verdict that holds now",
            expected="a validation against the present champion, whose evidence is unchanged",
            repair=f"run: flightline validate {slug} {version}",
        )
    _require_repeatable(stored, version, slug)
    was_released = any(version in (old.champion, old.canary) for old in releases)
    if not was_released and GatePlan.model_validate(stored["plan"]) != platform.spec.gates:
        raise ConfigError(
            f"version {version} of {slug} was judged by other thresholds than the spec's",
            expected="a validation by the gates that the spec states now",
            repair=f"run: flightline validate {slug} {version}",
        )
    if stored["decision"] == Decision.INVALID:
        raise DataError(
            f"version {version} of {slug} could not be judged",
            expected="evidence for every gate",
            repair=f"run: flightline validate {slug} {version}, it says why",
        )
    if stored["decision"] != Decision.ACCEPTED:
        failed = [f"{g['name']} {g['verdict']}" for g in stored["gates"] if g["verdict"] != "PASS"]
        raise GateRejected(
            f"version {version} of {slug} was not accepted: {', '.join(failed)}",
            expected="every gate PASS",
            repair="none needed: what is released stays as it is",
        )


def _require_repeatable(stored: Mapping[str, Any], version: int, slug: str) -> None:
    """The verdicts must follow from the evidence by the plan that is stored with it."""
    told = {gate["name"]: gate["verdict"] for gate in stored["gates"]}
    try:
        plan = GatePlan.model_validate(stored["plan"])
        results = judge(plan, Evidence.from_plain(stored["facts"]))
    except (KeyError, TypeError, ValueError) as error:  # of an older platform
        raise ConfigError(
            f"the evidence on version {version} of {slug} cannot be judged again: "
            f"{type(error).__name__}: {str(error).splitlines()[0]}",
            expected="evidence in today's form",
            repair=f"run: flightline validate {slug} {version}",
        ) from error
    again = {result.name: result.verdict.value for result in results}
    if again != told or decide(results) != stored["decision"]:
        names = sorted(n for n in {*told, *again} if told.get(n) != again.get(n))
        wrong = [f"{n} {told.get(n, 'nothing')}, now {again.get(n, 'nothing')}" for n in names]
        raise ConfigError(
            f"the verdicts on version {version} of {slug} do not follow from their evidence: "
            + ("; ".join(wrong) or f"decision {stored['decision']}"),
            expected="the same verdicts from the same evidence",
            repair=f"run: flightline validate {slug} {version}",
        )


def _crowned(platform: Platform, version: int, current: Release | None) -> Release:
    """The next revision, in which the canary is the champion; the same if it is already."""
    if current and version == current.champion:
        return current  # publishing it again repairs what a crash left
    if current is None or version != current.canary:
        canary, slug = current.canary if current else None, platform.spec.slug
        was_released = current and version in standings(platform.registry.releases())
        raise ConfigError(
            f"version {version} is not the canary",
            expected=f"version {canary}, the canary" if canary else "a canary; there is none",
            repair=f"it was released before: train a new candidate: flightline train {slug}"
            if was_released
            else f"it becomes the canary by: flightline promote {slug} {version}",
        )
    return crown(current, max(current.in_force_from, platform.data_time()))


def _next_release(
    platform: Platform,
    candidate: ModelVersion,
    releases: tuple[Release, ...],
    current: Release | None,
) -> Release:
    version = candidate.version
    in_force_from = datetime.fromisoformat(candidate.tags["as_of"])
    if current is None:
        return first_champion(platform.spec.slug, version, in_force_from)
    if version in (current.champion, current.canary):
        return current  # publishing it again repairs what a crash left
    if standing := standings(releases).get(version):
        became = f"rolled back ({standing.reason})"
        raise ConfigError(
            f"version {version} was released before and "
            + (became if standing.status == ROLLED_BACK else "replaced"),
            expected="a version that was never released",
            repair=f"train a new candidate: flightline train {platform.spec.slug}",
        )
    weight = platform.spec.release.canary_weight_bp
    # From now on in data time: partitions that were answered already keep their release.
    in_force_from = max(in_force_from, platform.data_time())
    return start_canary(current, version, in_force_from, weight_bp=weight)
