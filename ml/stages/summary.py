"""What there is of a use case: data, versions with their verdicts, predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ml.core.names import CANARY, CHAMPION
from ml.core.ports import Lake, ModelVersion, Platform
from ml.core.release import Release
from ml.core.spec import Table, UseCase
from ml.stages import quarantine
from ml.stages.answers import amount, class_shares, told_shares
from ml.stages.intake.judge import NULLED
from ml.stages.releasing import predictions_of
from ml.stages.stale import Stale, stale_partitions

_NEWEST_VERSIONS = 4


@dataclass(frozen=True)
class TableSummary:
    """Rows of a raw table, and how many its contract kept out of it.

    Attributes:
        first, last: partition keys, empty if it has none.
    """

    name: str
    rows: int
    quarantined: int
    is_snapshot: bool = False
    first: str = ""
    last: str = ""


@dataclass(frozen=True)
class VersionSummary:
    """A version and the evidence that it was judged by, if it was."""

    version: ModelVersion
    evidence: Mapping[str, Any] | None


@dataclass(frozen=True)
class PredictionSummary:
    """The prediction log of the newest scored partition.

    Attributes:
        served: predictions by the model that answered.
        mean_scores: by model, over all rows, whichever was served; empty for multiclass.
        shares: of each class among a model's likeliest ones, by model; multiclass only.
    """

    key: str
    revision: int
    served: Mapping[str, int]
    mean_scores: Mapping[str, float]
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def answers(self) -> str:
        """What each model said, in words.

        >>> PredictionSummary("2020-01-01", 2, {}, {"champion": 0.25, "canary": 0.5}).answers
        'mean score champion 0.250, canary 0.500'
        """
        means = ", ".join(f"{alias} {amount(mean)}" for alias, mean in self.mean_scores.items())
        if means:
            return f"mean score {means}"
        shares = "; ".join(f"{alias} {told_shares(of)}" for alias, of in self.shares.items())
        return f"likeliest class: {shares}"


@dataclass(frozen=True)
class Summary:
    """Everything above, for one use case, and the first partition that its source has.

    Attributes:
        missing: partitions of the calendar between those that were ingested.
        stale: ingested partitions that should be built, with the reasons.
        versions: those with an alias and the newest ones.
        older_versions: how many others there are.
    """

    slug: str
    coverage_first: str
    tables: tuple[TableSummary, ...]
    missing: tuple[str, ...]
    stale: tuple[Stale, ...]
    versions: tuple[VersionSummary, ...]
    release: Release | None
    predictions: PredictionSummary | None
    older_versions: int = 0


def run(platform: Platform, *, has_models: bool = True) -> Summary:
    """Read the summary of a use case; nothing is changed.

    Args:
        has_models: False where models have no store yet, which reading would make.
    """
    releases = platform.registry.releases() if has_models else ()
    versions = platform.registry.versions() if has_models else ()
    shown = worth_showing(versions)
    return Summary(
        slug=platform.spec.slug,
        coverage_first=platform.spec.coverage.first,
        tables=_tables(platform),
        missing=_missing(platform),
        stale=stale_partitions(platform),
        versions=tuple(VersionSummary(v, _evidence(platform, v)) for v in shown),
        release=releases[-1] if releases else None,
        predictions=_predictions(platform, releases),
        older_versions=len(versions) - len(shown),
    )


def _evidence(platform: Platform, version: ModelVersion) -> Mapping[str, Any] | None:
    """What it was judged by; none if that holds no longer, as a later validation broke off."""
    found = platform.tracking.evidence(version.run_id)
    holds = found and found.get("sha256") == version.tags.get("release.evidence_sha256")
    return found if holds else None


def worth_showing(versions: Sequence[ModelVersion]) -> tuple[ModelVersion, ...]:
    """The newest, and those with an alias: a candidate a month is soon more than a screen holds."""
    newest = versions[-_NEWEST_VERSIONS:]
    return tuple(found for found in versions if found.aliases or found in newest)


def _missing(platform: Platform) -> tuple[str, ...]:
    table = next(t.name for t in platform.spec.tables if not t.is_snapshot)
    keys = platform.lake.keys("raw", table)
    if not keys:
        return ()
    all_keys = (p.key for p in platform.spec.calendar.between(keys[0], keys[-1]))
    return tuple(key for key in all_keys if key not in set(keys))


def _tables(platform: Platform) -> tuple[TableSummary, ...]:
    kept_out = Counter[str]()
    for entry in quarantine.listing(platform):
        kept_out[entry.table] += entry.rows if entry.outcome != NULLED else 0
    return tuple(_table(platform.lake, t, kept_out[t.name]) for t in platform.spec.tables)


def _table(lake: Lake, table: Table, quarantined: int) -> TableSummary:
    keys = lake.keys("raw", table.name)
    present: tuple[str | None, ...] = (None,) if table.is_snapshot else keys
    return TableSummary(
        name=table.name,
        rows=sum(lake.count("raw", table.name, key) for key in present),
        quarantined=quarantined,
        is_snapshot=table.is_snapshot,
        first=keys[0] if keys else "",
        last=keys[-1] if keys else "",
    )


def _predictions(platform: Platform, releases: tuple[Release, ...]) -> PredictionSummary | None:
    newest: tuple[str, int] | None = max(
        (
            (key, release.revision)
            for release in releases
            for key in platform.lake.keys("predictions", predictions_of(release.revision))
        ),
        default=None,
    )
    if newest is None:
        return None
    key, revision = newest
    log = platform.lake.read("predictions", predictions_of(revision), [key]).to_pandas()
    return prediction_summary(platform.spec, log, key=key, revision=revision)


def prediction_summary(
    spec: UseCase, log: pd.DataFrame, *, key: str, revision: int
) -> PredictionSummary:
    """What a partition's log says: classes have shares, everything else has a mean."""
    scores = {alias: log[f"{alias}_score"].dropna() for alias in (CHAMPION, CANARY)}
    answered = {alias: values for alias, values in scores.items() if len(values)}
    classes = spec.label.classes
    return PredictionSummary(
        key=key,
        revision=revision,
        served={str(by): int(n) for by, n in log["served"].value_counts().items()},
        mean_scores={} if classes else {a: float(v.mean()) for a, v in answered.items()},
        shares={a: class_shares(classes, v) for a, v in answered.items()} if classes else {},
    )
