"""What is released: the champion, perhaps a canary beside it, and since when.

A release is an immutable revision. Each step makes the next one: a canary starts, is crowned or is
withdrawn, or the champion before comes back. Scoring an old partition again uses the revision that
was in force then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from ml.core.errors import ConfigError
from ml.core.names import CANARY, CHAMPION, PREVIOUS
from ml.core.router import BASIS_POINTS, assign

SUPERSEDED, ROLLED_BACK = "superseded", "rolled_back"
REASON_MAX_LENGTH = 200


@dataclass(frozen=True)
class Release:
    """One revision of what serves a use case.

    Attributes:
        revision: 1 for the first champion, then one more for each change.
        in_force_from: data time from which it answers, UTC.
        champion: version of the registered model.
        canary: version that takes a share of the traffic, or None.
        canary_weight_bp: the canary's share in basis points.
        salt: seed of the router's cohort.
        previous: the champion before this one, the way back.
        reason: why the step before was taken back, at most `REASON_MAX_LENGTH` characters; empty
            for a step forward.

    >>> first = first_champion("flight_delay", 1, datetime(2013, 6, 1))
    >>> second = start_canary(first, 2, datetime(2013, 7, 1), weight_bp=1000)
    >>> second.revision, second.champion, second.canary
    (2, 1, 2)
    """

    slug: str
    revision: int
    in_force_from: datetime
    champion: int
    canary: int | None = None
    canary_weight_bp: int = 0
    salt: str = ""
    previous: int | None = None
    reason: str = ""

    def to_json(self) -> str:
        """Canonical JSON, under the 2,000 characters that a registry tag may hold."""
        fields = asdict(self)
        if not self.reason:  # so that a revision of before there were reasons reads the same
            del fields["reason"]
        return json.dumps(fields, default=datetime.isoformat, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Release:
        fields = json.loads(text)
        return cls(**fields | {"in_force_from": datetime.fromisoformat(fields["in_force_from"])})

    def assign(self, key: str) -> str:
        """Alias of the model that serves `key` under this release."""
        weight = self.canary_weight_bp if self.canary else 0
        return assign(key, salt=self.salt, canary_weight_bp=weight)

    def traffic_pct(self, version: int) -> float:
        """Share of the keys that `version` answers, in percent."""
        canary = self.canary_weight_bp / BASIS_POINTS * 100 if self.canary else 0.0
        return {self.champion: 100 - canary, self.canary: canary}.get(version, 0.0)


def first_champion(slug: str, version: int, in_force_from: datetime) -> Release:
    """The first model ever: there is nothing to compare it with, so it takes everything."""
    return Release(slug, 1, in_force_from, champion=version, salt=f"{slug}/1")


def start_canary(
    current: Release, version: int, in_force_from: datetime, *, weight_bp: int
) -> Release:
    """The next revision: `version` beside the champion, in place of any undecided canary.

    Raises:
        ConfigError: if `version` is the champion, or data time ran backwards.
    """
    if version == current.champion:
        raise ConfigError(
            f"version {version} is the champion", expected="another version as canary"
        )
    return _next(current, in_force_from, canary=version, canary_weight_bp=weight_bp)


def crown(current: Release, in_force_from: datetime) -> Release:
    """The next revision: the canary takes all traffic, the champion before it becomes `previous`.

    Raises:
        ConfigError: if there is no canary, or data time ran backwards.

    >>> first = first_champion("flight_delay", 1, datetime(2013, 6, 1))
    >>> second = start_canary(first, 2, datetime(2013, 7, 1), weight_bp=1000)
    >>> third = crown(second, datetime(2013, 7, 8))
    >>> third.champion, third.canary, third.previous
    (2, None, 1)
    """
    champion = _canary_of(current)
    return _next(current, in_force_from, champion=champion, previous=current.champion)


def end_canary(current: Release, in_force_from: datetime, *, reason: str = "") -> Release:
    """The next revision: the canary is withdrawn, the champion keeps all traffic.

    Raises:
        ConfigError: as `crown`.
    """
    _canary_of(current)
    return _next(current, in_force_from, reason=reason)


def restore(current: Release, in_force_from: datetime, *, reason: str = "") -> Release:
    """The next revision: the champion before comes back and takes all traffic.

    Raises:
        ConfigError: if there was none, or data time ran backwards.
    """
    if current.previous is None:
        raise ConfigError(
            f"nothing to roll back to: version {current.champion} is the champion with all the "
            f"traffic (release {current.revision}), and none before it is left",
            expected="a canary, or a previous champion",
            repair=f"train a better one: flightline train {current.slug}",
        )
    return _next(current, in_force_from, champion=current.previous, previous=None, reason=reason)


def step_back(current: Release, in_force_from: datetime, *, reason: str = "") -> Release:
    """The way out of every live state: without its canary, or to the champion before.

    Raises:
        ConfigError: if there is neither, or data time ran backwards.
    """
    step = end_canary if current.canary else restore
    return step(current, in_force_from, reason=reason)


def _canary_of(current: Release) -> int:
    if current.canary is None:
        raise ConfigError(
            f"release {current.revision} has no canary: version {current.champion} takes all "
            "the traffic",
            expected="a canary beside the champion",
        )
    return current.canary


def _next(current: Release, in_force_from: datetime, **changes: Any) -> Release:
    """The next revision, without a canary unless the changes bring one."""
    if in_force_from < current.in_force_from:
        raise ConfigError(
            f"a release in force from {in_force_from:%Y-%m-%d}",
            expected=f"not before the current one, in force from {current.in_force_from:%Y-%m-%d}",
            repair="promote a version that was trained as of a later time",
        )
    revision = current.revision + 1
    fresh: dict[str, Any] = {"canary": None, "canary_weight_bp": 0, "reason": ""}
    fresh |= {"salt": f"{current.slug}/{revision}", "in_force_from": in_force_from}
    return replace(current, revision=revision, **fresh | changes)


def is_rollback(before: Release, after: Release) -> bool:
    """Whether the step from one revision to the next took something back."""
    return after.canary is None and after.champion != before.canary


@dataclass(frozen=True)
class Standing:
    """What a version that was ever released is now.

    Attributes:
        status: champion, canary, previous, superseded or rolled_back.
        left: the last revision that it answered in; None if it still does.
        reason: why it was rolled back.
    """

    status: str
    traffic_pct: float = 0.0
    left: int | None = None
    reason: str = ""


def standings(releases: Sequence[Release]) -> Mapping[int, Standing]:
    """What became of each version that was ever released; `releases` are all, oldest first.

    >>> first = first_champion("flight_delay", 1, datetime(2013, 6, 1))
    >>> second = start_canary(first, 2, datetime(2013, 7, 1), weight_bp=1000)
    >>> third = end_canary(second, datetime(2013, 7, 8), reason="too many errors")
    >>> {version: found.status for version, found in standings([first, second, third]).items()}
    {2: 'rolled_back', 1: 'champion'}
    """
    found: dict[int, Standing] = {}
    for before, after in pairwise(releases):
        status = ROLLED_BACK if is_rollback(before, after) else SUPERSEDED
        for version in _live(before) - _live(after):
            found[version] = Standing(status, left=before.revision, reason=after.reason)
    for newest in releases[-1:]:
        if newest.previous:
            found[newest.previous] = replace(found[newest.previous], status=PREVIOUS)
        for version in _live(newest):
            alias = CHAMPION if version == newest.champion else CANARY
            found[version] = Standing(alias, newest.traffic_pct(version))
    return found


def _live(release: Release) -> set[int]:
    return {version for version in (release.champion, release.canary) if version}


def in_force_at(releases: Sequence[Release], time: datetime) -> Release | None:
    """The newest revision that was in force at `time`, or None before the first champion."""
    candidates = [release for release in releases if release.in_force_from <= time]
    return max(candidates, key=lambda release: release.revision, default=None)


def opponent_of(releases: Sequence[Release], version: int) -> Release | None:
    """The release that `version` has to beat: the newest before its own first one.

    A version that was released since is still compared with what it replaced, so validating it
    again gives the same verdict. None for the first model ever.

    >>> first = first_champion("flight_delay", 1, datetime(2013, 6, 1))
    >>> second = start_canary(first, 2, datetime(2013, 7, 1), weight_bp=1000)
    >>> opponent_of([first, second], 1), opponent_of([first, second], 2).champion
    (None, 1)
    """
    newest = None
    for release in sorted(releases, key=lambda release: release.revision):
        if version in (release.champion, release.canary):
            break
        newest = release
    return newest
