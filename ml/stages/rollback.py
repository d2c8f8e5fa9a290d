"""Rollback: one step back, without the canary or to the champion before; it needs no approval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ml.core.errors import ConfigError, DataError, FlightlineError
from ml.core.ports import Platform
from ml.core.release import (
    REASON_MAX_LENGTH,
    ROLLED_BACK,
    Release,
    is_rollback,
    standings,
    step_back,
)
from ml.stages.releasing import ROLLED_BACK_FROM, put_in_force, released


@dataclass(frozen=True)
class RollbackResult:
    """What was taken back, and what serves now.

    Attributes:
        rolled_back: version that answers no more.
        champion: version that has all the traffic now.
        in_force_from: data time from which it does, UTC; older partitions keep their release.
        is_new: False if the step was taken before and only what was left of it has been done.
    """

    rolled_back: int
    champion: int
    revision: int
    in_force_from: datetime
    reason: str
    is_new: bool
    note: str


def run(platform: Platform, *, reason: str = "", expect: int = 0) -> RollbackResult:
    """Take the newest step of the release back: each call is one step.

    A call that was killed half-way is finished by the next one, which takes no step of its own.

    Args:
        reason: for the tags of the version that goes.
        expect: the revision to leave; with it, a call that is repeated never takes a second step.

    Raises:
        ConfigError: if there is nothing to go back to, or another revision is in force.
        DataError: if the champion before cannot be used.
    """
    reason = _checked(reason)
    releases = released(platform)
    if not releases:
        raise ConfigError(
            f"nothing of {platform.spec.slug} was released yet",
            expected="a canary, or a previous champion",
            repair=f"see what there is: flightline status {platform.spec.slug}",
        )
    current = releases[-1]
    was_taken = _was_taken(platform, releases, expect)
    if not was_taken:
        since = max(current.in_force_from, platform.data_time())
        release = step_back(current, since, reason=reason)
        if release.champion != current.champion:
            _require_usable(platform, release.champion)
        releases = (*releases, release)
    put_in_force(platform, releases[-1])
    return _result(releases, was_taken, is_expected=bool(expect))


def _checked(reason: str) -> str:
    text = " ".join(reason.split()) or "none given"
    if len(text) > REASON_MAX_LENGTH:
        raise ConfigError(
            f"a reason of {len(text)} characters",
            expected=f"at most {REASON_MAX_LENGTH}: it is a tag; the story belongs elsewhere",
        )
    return text


def _was_taken(platform: Platform, releases: Sequence[Release], expect: int) -> bool:
    """Whether the step that is asked for was taken already, whole or in part."""
    current = releases[-1]
    is_back = len(releases) > 1 and is_rollback(releases[-2], current)
    if not expect:
        return is_back and not _is_told(platform, releases)
    if expect not in (current.revision, current.revision - is_back):
        canary = f", version {current.canary} the canary" if current.canary else ""
        raise ConfigError(
            f"release {current.revision} is in force (version {current.champion} the "
            f"champion{canary}), not {expect}",
            expected="the revision that you have looked at",
            repair=f"look again: flightline status {platform.spec.slug}",
        )
    return expect != current.revision


def _is_told(platform: Platform, releases: Sequence[Release]) -> bool:
    """Whether the newest revision, a rollback, was told to the end."""
    left = str(releases[-2].revision)
    gone = _gone(releases)
    tags = {found.version: found.tags for found in platform.registry.versions()}
    return gone not in tags or tags[gone].get(ROLLED_BACK_FROM) == left


def _gone(releases: Sequence[Release]) -> int:
    """The version that the newest revision has rolled back."""
    left = releases[-2].revision
    return next(
        version
        for version, standing in standings(releases).items()
        if standing.status == ROLLED_BACK and standing.left == left
    )


def _require_usable(platform: Platform, version: int) -> None:
    """A champion that cannot answer is worse than the one that is there."""
    try:
        platform.tracking.load_model(platform.registry.version(version).run_id)
    except (ConfigError, DataError) as error:
        raise DataError(
            f"version {version}, the champion before, cannot come back: {error.seen}",
            expected="a version that is registered, with the model that was recorded",
            repair=_repair(error),
        ) from error


def _repair(error: FlightlineError) -> str:
    return f"{error.repair}; what is released stays as it is" if error.repair else ""


def _result(releases: Sequence[Release], was_taken: bool, *, is_expected: bool) -> RollbackResult:
    release = releases[-1]
    note = ""
    if was_taken and not is_expected:
        note = "finished a rollback that had broken off; run it again for another step back"
    return RollbackResult(
        rolled_back=_gone(releases),
        champion=release.champion,
        revision=release.revision,
        in_force_from=release.in_force_from,
        reason=release.reason,
        is_new=not was_taken,
        note=note,
    )
