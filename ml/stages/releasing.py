"""How a revision comes into force: written first, then told to everybody who looks."""

from __future__ import annotations

from collections.abc import Mapping

from ml.core.errors import DataError
from ml.core.ports import Platform
from ml.core.release import ROLLED_BACK, Release, Standing, standings

ROLLED_BACK_FROM = "release.rolled_back_from_revision"
"""Tag of a version, the last write of its rollback: without it, the rollback broke off."""


def released(platform: Platform) -> tuple[Release, ...]:
    """Every release so far, the oldest first.

    Raises:
        DataError: if a later one has answered: it is lost.
    """
    found, slug = platform.registry.releases(), platform.spec.slug
    tables = platform.lake.tables("predictions")
    known = {predictions_of(revision) for revision in range(found[-1].revision + 1 if found else 0)}
    if lost := [table for table in tables if table not in known]:
        raise DataError(
            f"releases of {slug} are lost, but there are predictions that they made: "
            + ", ".join(lost),
            expected=f"the registered model {slug} in MLflow, with a tag for each release",
            repair="if another MLflow made them, set MLOPS_TRACKING_URI to its address; else "
            "restore MLflow's database: another model would take their place; to go on without "
            f"them on purpose, move these folders out of predictions/{slug} of the lake",
        )
    return found


def predictions_of(revision: int) -> str:
    """The table with what a release has answered."""
    return f"revision={revision}"


def put_in_force(platform: Platform, release: Release) -> None:
    """Publish a revision and tag every version that it or an older one has put aside.

    Of all revisions, not only the last: a crash may have come between. The version that this step
    has put aside comes last.
    """
    platform.registry.publish(release)
    present = {found.version: found for found in platform.registry.versions()}
    aside = [one for one in standings(platform.registry.releases()).items() if one[1].left]
    for version, standing in sorted(aside, key=lambda one: one[1].left or 0):
        found = present.get(version)
        if found is None:  # somebody has deleted it
            continue
        wanted = _tags(standing)
        missing = {name: value for name, value in wanted.items() if found.tags.get(name) != value}
        first = f"Rolled back from release {standing.left}: {standing.reason}."
        if standing.status == ROLLED_BACK and missing and not found.description.startswith(first):
            # Or its page would begin with gates that pass.
            platform.registry.describe(version, f"{first}\n\n{found.description}")
        platform.registry.tag(version, missing)


def _tags(standing: Standing) -> Mapping[str, str]:
    tags = {"release.status": standing.status, "release.traffic_pct": "0"}
    if standing.status == ROLLED_BACK:
        tags["release.rolled_back_reason"] = standing.reason
        tags[ROLLED_BACK_FROM] = str(standing.left)
    return tags
