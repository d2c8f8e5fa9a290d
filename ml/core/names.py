"""Every name that the platform derives from a use case's slug, in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ml.core.errors import ConfigError

SLUG = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
SLUG_MAX_LENGTH = 40

CHAMPION = "champion"
CANARY = "canary"
PREVIOUS = "previous"


def check_slug(slug: str) -> str:
    """Return `slug` unchanged, or raise.

    >>> check_slug("flight_delay")
    'flight_delay'

    Raises:
        ConfigError: if it is too long or not lower snake case.
    """
    if len(slug) > SLUG_MAX_LENGTH or not SLUG.fullmatch(slug):
        raise ConfigError(
            f"bad use case name {slug!r}",
            expected=f"lower snake case, at most {SLUG_MAX_LENGTH} characters, as in flight_delay",
            repair="choose another slug",
        )
    return slug


@dataclass(frozen=True)
class Names:
    """Names of everything that belongs to one use case.

    >>> Names("flight_delay").dag("daily")
    'flight_delay_daily'
    """

    slug: str

    def __post_init__(self) -> None:
        check_slug(self.slug)

    def dag(self, job: str) -> str:
        """Dag id, which is also the stem of its file."""
        return f"{self.slug}_{job}"

    def asset(self, noun: str) -> str:
        return f"{self.slug}__{noun}"

    @property
    def retrain_request(self) -> str:
        """The unkeyed asset that asks for a retraining.

        Events with a partition key never reach a schedule of assets or time, so it has no key.
        """
        return self.asset("retrain_requested")

    @property
    def pool(self) -> str:
        """Airflow pool of one slot: a DuckDB file has one writer."""
        return self.slug

    @property
    def experiment(self) -> str:
        return self.slug

    @property
    def registered_model(self) -> str:
        return self.slug

    @property
    def runbook(self) -> str:
        """Path in the repository of the page for whoever is on call."""
        return f"docs/runbooks/{self.slug}.md"

    def run(self, stage: str, as_of_key: str) -> str:
        """Name of an MLflow run: `train-2013-06-01`."""
        return f"{stage}-{as_of_key}"
