"""What is released: the champion, perhaps a canary beside it, and since when.

A release is an immutable revision. Promoting a version makes the next revision; scoring an old
partition again uses the revision that was in force then.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from ml.core.errors import ConfigError
from ml.core.router import BASIS_POINTS, assign


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

    def to_json(self) -> str:
        """Canonical JSON, well under the 2,000 characters that a registry tag may hold."""
        return json.dumps(asdict(self), default=datetime.isoformat, sort_keys=True)

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
    if in_force_from < current.in_force_from:
        raise ConfigError(
            f"a release in force from {in_force_from:%Y-%m-%d}",
            expected=f"not before the current one, in force from {current.in_force_from:%Y-%m-%d}",
            repair="promote a version that was trained as of a later time",
        )
    revision = current.revision + 1
    return replace(
        current,
        revision=revision,
        in_force_from=in_force_from,
        canary=version,
        canary_weight_bp=weight_bp,
        salt=f"{current.slug}/{revision}",
    )


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
