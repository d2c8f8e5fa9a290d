"""Revisions of partitions: which rows are new or changed, and since when they are known.

A row keeps the time at which its present version became known, `corrected_at`; it is null if that
was the first delivery. What was computed from a corrected row counts as known from that time on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from ml.core.errors import ConfigError
from ml.core.ports import Platform
from ml.stages.intake.compare import (
    FLAGS,
    REMOVED,
    SAME,
    STAMP,
    STATUS,
    TIME,
    compare,
    content_digest,
    counts,
    no_stamp,
)
from ml.stages.intake.deliveries import Delivery, split
from ml.stages.intake.judge import KEY
from ml.stages.intake.receipts import Receipts, Revision


@dataclass(frozen=True)
class Terms:
    """Under which terms a delivery is taken.

    Attributes:
        revision: when it became known; None: it is the first.
        accept_anomalies: unusual volume or freshness is only told.
        replace: the lake's copy was wrong and is forgotten; this is the first delivery.
    """

    revision: datetime | None = None
    accept_anomalies: bool = False
    replace: bool = False

    def __post_init__(self) -> None:
        if self.revision is not None and self.revision.tzinfo is None:
            raise ConfigError(
                f"revision {self.revision.isoformat()} has no time zone",
                expected="a time with an offset: 2013-07-01T12:00:00+00:00",
            )
        if self.revision is not None and self.replace:
            raise ConfigError(
                "both a revision and a replacement",
                expected="a revision for what the source corrected, or a replacement of what was "
                "wrong in the lake alone",
            )


@dataclass(frozen=True)
class Version:
    """What a raw partition is to hold: its rows, and which revision they are."""

    rows: pl.DataFrame
    revision: Revision


def versions(
    platform: Platform,
    delivery: Delivery,
    good: pl.DataFrame,
    key_columns: Sequence[str],
    receipts: Receipts,
    terms: Terms,
) -> dict[str | None, Version]:
    """The versions of a table's partitions that this delivery makes; nothing is written.

    Args:
        good: rows that passed the contract, with `flags`.
        key_columns: what tells a corrected row from a new one; none: every row is new.

    Raises:
        ConfigError: if the rows are others than the lake has, and it is not said since when; or if
            the revision is older than what the lake has.
    """
    table, keys = delivery.table, delivery.keys
    parts = split(good, keys)
    contents = {key: content_digest(part.drop(FLAGS)) for key, part in parts.items()}
    before = {} if terms.replace else _revisions_before(platform, delivery)
    if not (terms.replace or table.is_snapshot):
        _require_known_past(platform, delivery, receipts, before)
    compared = [
        key
        for key, past in before.items()
        if past.content != contents[key] or (past.number > 1 and not table.is_snapshot)
    ]
    found = _compare(platform, delivery, parts, compared, key_columns)
    _require_revision(platform, delivery, found, terms)
    if not table.is_snapshot:
        differs = {key: before[key] for key, rows in found.items() if any(counts(rows).values())}
        _refuse_older(delivery, receipts, differs, terms)
    return {
        key: _version(delivery, part, contents[key], before.get(key), found.get(key), terms)
        for key, part in parts.items()
    }


def _revisions_before(platform: Platform, delivery: Delivery) -> dict[str | None, Revision]:
    """The revision that the lake has of each partition, if it has one.

    A lake of an older version of this code has rows without a revision: the first delivery.
    """
    name, lake = delivery.table.name, platform.lake
    there: Collection[str | None] = set(lake.keys("raw", name))
    if delivery.table.is_snapshot:
        there = [None] if lake.metadata("raw", name, None) else []
    return {
        key: Revision.of(lake.metadata("raw", name, key)) or Revision(1, None, "", 0)
        for key in delivery.keys
        if key in there
    }


def _require_known_past(
    platform: Platform,
    delivery: Delivery,
    receipts: Receipts,
    before: Mapping[str | None, Revision],
) -> None:
    for key in delivery.keys:
        if key not in before and (newest := receipts.newest_at(key)):
            raise ConfigError(
                f"the raw rows of {delivery.name(key)} are gone, but it was corrected at "
                f"{newest.isoformat()}: since when each row is known cannot be told any more",
                expected=f"its file at {platform.lake.address('raw', delivery.table.name, key)}",
                repair="restore it from a backup; or begin anew, as if nothing had ever been "
                f"corrected: flightline ingest {platform.spec.slug} {key} --replace",
            )


def _refuse_older(
    delivery: Delivery, receipts: Receipts, before: Mapping[str | None, Revision], terms: Terms
) -> None:
    if terms.revision is None:
        return
    for key, past in before.items():
        newest = max(filter(None, (past.at, receipts.newest_at(key))), default=None)
        if newest is not None and terms.revision < newest:
            raise ConfigError(
                f"revision {terms.revision.isoformat()} of {delivery.name(key)} is older than "
                f"{newest.isoformat()}, which the lake has",
                expected="the same time or a later one: what came then is already known",
                repair="check the time; if the one in the lake is wrong, add --replace and no time",
            )


def _compare(
    platform: Platform,
    delivery: Delivery,
    parts: Mapping[str | None, pl.DataFrame],
    keys: Sequence[str | None],
    key_columns: Sequence[str],
) -> dict[str | None, pl.DataFrame]:
    """By key: all rows, old and new, with STATUS and the `corrected_at` that they had."""
    found: dict[str | None, pl.DataFrame] = {}
    for key in keys:
        old = pl.from_arrow(platform.lake.read("raw", delivery.table.name, [key]))
        assert isinstance(old, pl.DataFrame)
        found[key] = compare(old.drop(KEY), parts[key], key_columns)
    return found


def _require_revision(
    platform: Platform,
    delivery: Delivery,
    compared: Mapping[str | None, pl.DataFrame],
    terms: Terms,
) -> None:
    if terms.revision is not None or delivery.table.is_snapshot:
        return
    other = {key: found for key, rows in compared.items() if any((found := counts(rows)).values())}
    if not other:
        return
    key, found = next(iter(other.items()))
    told = ", ".join(f"{count:,} {word}" for word, count in found.items() if count)
    more = f", and {len(other) - 1:,} more partitions" if len(other) > 1 else ""
    slug = platform.spec.slug
    raise ConfigError(
        f"the rows of {delivery.name(key)} are others than the lake has: {told}{more}",
        expected="the same rows, or the time at which the others became known",
        repair="if the source corrected them, say when: --revision TIME, such as "
        "2013-07-01T12:00:00+00:00; "
        f"if only the lake's copy was wrong: flightline ingest {slug} {key} --replace",
    )


def _version(
    delivery: Delivery,
    part: pl.DataFrame,
    content: str,
    before: Revision | None,
    compared: pl.DataFrame | None,
    terms: Terms,
) -> Version:
    if before is None:
        return Version(_stamped(delivery, part), Revision(1, None, content, added=len(part)))
    if compared is None:  # the same content, and nothing was ever corrected
        return Version(_stamped(delivery, part), before)
    found = counts(compared)
    rows = compared.filter(pl.col(STATUS) != REMOVED)
    is_new = pl.col(STATUS) != SAME
    at = None if terms.revision is None else terms.revision.astimezone(UTC)
    stamp = pl.when(is_new).then(pl.lit(at, dtype=TIME)).otherwise(STAMP).alias(STAMP)
    stamped = rows.with_columns(stamp).drop(STATUS)
    if any(found.values()):
        revision = Revision(before.number + 1, at, content, **found)
    else:
        revision = replace(before, content=content)
    return Version(stamped.drop(STAMP) if delivery.table.is_snapshot else stamped, revision)


def _stamped(delivery: Delivery, part: pl.DataFrame) -> pl.DataFrame:
    return part if delivery.table.is_snapshot else part.with_columns(no_stamp())
