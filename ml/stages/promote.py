"""Promote: an accepted version becomes champion (the first ever) or canary beside the champion."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ml.core.errors import ConfigError, GateRejected
from ml.core.gates import Decision
from ml.core.names import CANARY, CHAMPION
from ml.core.ports import ModelVersion, Platform
from ml.core.release import Release, first_champion, start_canary


@dataclass(frozen=True)
class PromoteResult:
    """What serves now.

    Attributes:
        alias: what the version holds: champion or canary.
        is_new: False if it held it already.
    """

    version: int
    alias: str
    traffic_pct: float
    revision: int
    is_new: bool


def run(platform: Platform, *, version: int) -> PromoteResult:
    """Release a version that passed its gates; promoting it again changes nothing.

    Raises:
        ConfigError: if it was not validated, or was released and replaced before.
        GateRejected: if it did not pass.
    """
    candidate = platform.registry.version(version)
    _require_accepted(platform, candidate)
    releases = platform.registry.releases()
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
        is_new=release is not current,
    )


def _require_accepted(platform: Platform, candidate: ModelVersion) -> None:
    slug, version = platform.spec.slug, candidate.version
    if "release.evidence_sha256" not in candidate.tags:
        raise ConfigError(
            f"version {version} of {slug} has no verdict",
            expected="a validated version",
            repair=f"run: flightline validate {slug} {version}",
        )
    if candidate.tags["release.decision"] != Decision.ACCEPTED:
        prefix = "release.gate."
        failed = [
            f"{name.removeprefix(prefix)} {verdict}"
            for name, verdict in sorted(candidate.tags.items())
            if name.startswith(prefix) and verdict != "PASS"
        ]
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
    return start_canary(current, version, in_force_from, weight_bp=weight)
