"""Promote: an accepted version becomes champion (the first ever) or canary beside the champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ml.core.digests import json_digest
from ml.core.errors import ConfigError, DataError, GateRejected
from ml.core.gates import Decision
from ml.core.names import CANARY, CHAMPION
from ml.core.ports import ModelVersion, Platform
from ml.core.release import Release, first_champion, opponent_of, start_canary


@dataclass(frozen=True)
class PromoteResult:
    """What serves now.

    Attributes:
        alias: what the version holds: champion or canary.
        replaces: the undecided canary that it took the place of.
        is_new: False if it held it already.
    """

    version: int
    alias: str
    traffic_pct: float
    revision: int
    in_force_from: datetime
    replaces: int | None
    is_new: bool


def run(platform: Platform, *, version: int) -> PromoteResult:
    """Release a version that passed its gates; promoting it again changes nothing.

    Raises:
        ConfigError: if it was not validated, or was released and replaced before.
        DataError: if it could not be judged.
        GateRejected: if it did not pass.
    """
    candidate = platform.registry.version(version)
    releases = platform.registry.releases()
    _require_accepted(platform, candidate, releases)
    current = releases[-1] if releases else None
    release = _next_release(platform, candidate, releases, current)
    platform.registry.publish(release)
    # All of them, not only the last: a crash may have come between.
    canaries = {old.canary for old in releases if old.canary}
    for replaced in canaries - {release.champion, release.canary}:
        platform.registry.tag(
            replaced, {"release.status": "superseded", "release.traffic_pct": "0"}
        )
    return PromoteResult(
        version=version,
        alias=CHAMPION if version == release.champion else CANARY,
        traffic_pct=release.traffic_pct(version),
        revision=release.revision,
        in_force_from=release.in_force_from,
        replaces=current.canary if current and current.canary != release.canary else None,
        is_new=release is not current,
    )


def _require_accepted(
    platform: Platform, candidate: ModelVersion, releases: Sequence[Release]
) -> None:
    """The verdict must be complete, unchanged, and on a comparison with today's champion."""
    tags, version, slug = candidate.tags, candidate.version, platform.spec.slug
    stored = dict(platform.tracking.evidence(candidate.run_id) or {})
    opponent = opponent_of(releases, version)
    expected = {
        "decision": tags.get("release.decision"),
        "version": version,
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
    if any(version in (release.champion, release.canary) for release in releases):
        raise ConfigError(
            f"version {version} was released before and replaced",
            expected="a version that was never released",
            repair="train a new candidate",
        )
    weight = platform.spec.release.canary_weight_bp
    # From now on in data time: partitions that were answered already keep their release.
    in_force_from = max(in_force_from, platform.data_time())
    return start_canary(current, version, in_force_from, weight_bp=weight)
