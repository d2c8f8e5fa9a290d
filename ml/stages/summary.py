"""What there is of a use case: data, versions with their verdicts, predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml.core.ports import Lake, ModelVersion, Platform
from ml.core.release import Release
from ml.core.spec import UseCase


@dataclass(frozen=True)
class TableSummary:
    """Rows of a raw table; `first` and `last` are partition keys, empty if it has none."""

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
        mean_scores: by model, over all rows, whichever was served.
    """

    key: str
    revision: int
    served: Mapping[str, int]
    mean_scores: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """Everything above, for one use case, and the first partition that its source has."""

    slug: str
    coverage_first: str
    tables: tuple[TableSummary, ...]
    versions: tuple[VersionSummary, ...]
    release: Release | None
    predictions: PredictionSummary | None


def run(platform: Platform) -> Summary:
    """Read the summary of a use case; nothing is changed."""
    releases = platform.registry.releases()
    return Summary(
        slug=platform.spec.slug,
        coverage_first=platform.spec.coverage.first,
        tables=_tables(platform.spec, platform.lake),
        versions=tuple(
            VersionSummary(version, platform.tracking.evidence(version.run_id))
            for version in platform.registry.versions()
        ),
        release=releases[-1] if releases else None,
        predictions=_predictions(platform, releases),
    )


def without_models(spec: UseCase, lake: Lake) -> Summary:
    """The summary of a use case whose models have no store yet."""
    tables = _tables(spec, lake)
    return Summary(spec.slug, spec.coverage.first, tables, (), release=None, predictions=None)


def _tables(spec: UseCase, lake: Lake) -> tuple[TableSummary, ...]:
    return tuple(_table(lake, table.name, table.is_snapshot) for table in spec.tables)


def _table(lake: Lake, name: str, is_snapshot: bool) -> TableSummary:
    keys = lake.keys("raw", name)
    present: tuple[str | None, ...] = (None,) if is_snapshot else keys
    return TableSummary(
        name=name,
        rows=sum(lake.count("raw", name, key) for key in present),
        quarantined=sum(
            lake.count("quarantine", name, key) for key in lake.keys("quarantine", name)
        ),
        is_snapshot=is_snapshot,
        first=keys[0] if keys else "",
        last=keys[-1] if keys else "",
    )


def _predictions(platform: Platform, releases: tuple[Release, ...]) -> PredictionSummary | None:
    newest: tuple[str, int] | None = max(
        (
            (key, release.revision)
            for release in releases
            for key in platform.lake.keys("predictions", f"revision={release.revision}")
        ),
        default=None,
    )
    if newest is None:
        return None
    key, revision = newest
    log = platform.lake.read("predictions", f"revision={revision}", [key]).to_pandas()
    scores = {alias: log[f"{alias}_score"].mean() for alias in ("champion", "canary")}
    return PredictionSummary(
        key=key,
        revision=revision,
        served=log["served"].value_counts().to_dict(),
        mean_scores={alias: float(mean) for alias, mean in scores.items() if mean == mean},
    )
