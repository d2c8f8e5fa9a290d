"""Ingest: from the source into the lake, bad rows into the quarantine with their reasons.

For each partition mended rows are remembered first, then the quarantine is written, the raw rows,
and the receipt; a quarantine that is empty now goes last. A run that was killed in between is
finished by the next one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from ml.core.errors import DataError
from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.stages.intake import memory
from ml.stages.intake.compare import FLAGS
from ml.stages.intake.deliveries import HISTORY, Breach, Delivery, read
from ml.stages.intake.examine import Examined, examine
from ml.stages.intake.judge import GIVEN, NULLED, REJECTED, STOPPED, STOPPED_BY
from ml.stages.intake.receipts import Receipt, Receipts
from ml.stages.intake.revisions import Terms, Version, versions
from ml.stages.many import for_each

_LISTED = 3


@dataclass(frozen=True)
class IngestResult:
    """What an ingest wrote.

    Attributes:
        rows: in the lake, by table.
        quarantined: rows that were kept out, by table.
        nulled: rows of which a cell was nulled, by table.
        flagged: rows that go on with a note, by table.
        revisions: number of the revision of each partition that was ever corrected.
        warnings: what is unusual, but did not stop anything.
        digests: SHA-256 of what each table holds for these partitions.
    """

    partitions: int
    rows: Mapping[str, int]
    quarantined: Mapping[str, int]
    nulled: Mapping[str, int]
    flagged: Mapping[str, int]
    revisions: Mapping[str, int]
    warnings: tuple[str, ...]
    digests: Mapping[str, str]


def run(
    platform: Platform,
    *,
    partitions: Sequence[Partition],
    revision: datetime | None = None,
    accept_anomalies: bool = False,
    replace: bool = False,
) -> IngestResult:
    """Ingest these partitions of all tables; running it again changes nothing.

    What was accepted once, or mended by hand, stays so as long as the source gives the same.

    Args:
        revision: when this delivery became known, if it corrects an earlier one; rows that are
            new or changed get it. A first delivery is known as it happened, whatever this says.
        accept_anomalies: unusual volume or freshness is told as a warning and stops nothing.
        replace: forget what the lake has of these partitions, and its receipts; what is read now
            counts as the first delivery.

    Raises:
        DataError: if the source cannot be read, gives other partitions than it was asked for, or
            if a partition is stopped: other columns than in the contract, too many bad rows, or
            another volume or freshness than the source's own past. What was stopped is in the
            quarantine then, and all raw partitions are as they were.
        ConfigError: if the rows are others than the lake has and `revision` does not say since
            when; or if it is older than what the lake has.
        TransientError: if the source or the lake is away.
    """
    terms = Terms(revision, accept_anomalies, replace)
    deliveries: list[Delivery] = []
    for table in platform.spec.tables:
        found = read(platform, table, partitions)
        is_forgotten = replace and not table.is_snapshot
        deliveries += [found] if is_forgotten else memory.remembered(platform, found)
    result = take(platform, deliveries, terms)
    warnings = (*result.warnings, *memory.again_warnings(deliveries))
    return dataclasses.replace(result, warnings=warnings)


def take(
    platform: Platform, deliveries: Sequence[Delivery], terms: Terms, command: str = ""
) -> IngestResult:
    """Take deliveries into the lake; see `run`.

    Args:
        command: what is to be run again after a repair; default: `flightline ingest`.
    """
    receipts = [_receipts(platform, delivery) for delivery in deliveries]
    examined = [
        examine(platform, delivery, table, terms)
        for delivery, table in zip(deliveries, receipts, strict=True)
    ]
    if any(one.stops for one in examined):
        raise _stop(platform, examined, command)
    # Everything was read and judged before the first raw partition is replaced.
    planned = [
        (one, versions(platform, one.delivery, one.good, one.key_columns, table, terms))
        for one, table in zip(examined, receipts, strict=True)
    ]
    forgotten: list[str] = []
    for (one, found), table in zip(planned, receipts, strict=True):
        forgotten += _write(platform, one, found, table)
    result = _result(platform, planned)
    told = (
        f"{name}: the source gives other rows than those that were mended by hand; these count "
        "now, and what was mended is forgotten"
        for name in forgotten
    )
    return dataclasses.replace(result, warnings=(*result.warnings, *told))


def _receipts(platform: Platform, delivery: Delivery) -> Receipts:
    """Those of the partitions themselves and of the history that they are compared with."""
    receipts = Receipts(platform, delivery.table.name)
    before = {one for key in delivery.partition_keys for one in receipts.before(key, HISTORY)}
    receipts.load(dict.fromkeys([*delivery.keys, *sorted(before)]))
    return receipts


def _stop(platform: Platform, examined: Sequence[Examined], command: str) -> DataError:
    """Keep what was stopped beside the quarantine of what is in the lake; the error says why.

    Of a file with mended rows nothing is kept if they are refused; if only another table is, they
    need no second mending.
    """
    stops: list[Breach] = []
    for one in examined:
        if one.delivery.file and not one.stops:
            for key, mended in one.mended().items():
                memory.keep(platform, one.delivery.table, key, mended)
        for key, found in one.stops.items():
            stops += found
            rows = one.refused(key)
            if len(rows) and not one.delivery.file:
                marks = {STOPPED_BY: ", ".join(stop.rule for stop in found)}
                if given := one.delivery.given.get(key):
                    marks[GIVEN] = given
                platform.lake.write(STOPPED, one.delivery.table.name, key, rows.to_arrow(), marks)
    keys = sorted({key for one in examined for key in one.delivery.partition_keys})
    stretch = " ".join(dict.fromkeys([*keys[:1], *keys[-1:]])) or "FIRST"
    slug, is_file = platform.spec.slug, any(one.delivery.file and one.stops for one in examined)
    what = "the rows" if is_file else "the source or the contract"
    return _error(slug, stops, what, command or f"flightline ingest {slug} {stretch}")


def _error(slug: str, stops: Sequence[Breach], what: str, command: str) -> DataError:
    told = {stop.seen: stop.expected for stop in stops}  # one for a table is not one for each key
    more = f"; and {len(told) - _LISTED} more" if len(told) > _LISTED else ""
    repair = f"look: flightline quarantine list {slug}; after a fix of {what}: {command}"
    if any(stop.is_anomaly for stop in stops):
        repair += "; if it is right as it is, add --accept-anomalies"
    return DataError(
        "; ".join([*told][:_LISTED]) + more,
        expected="; ".join(dict.fromkeys([*told.values()][:_LISTED])),
        repair=repair,
    )


def _write(
    platform: Platform,
    one: Examined,
    found: Mapping[str | None, Version],
    receipts: Receipts,
) -> list[str]:
    """Returns the names of partitions whose mended rows were replaced by the source's."""
    lake, table = platform.lake, one.delivery.table.name
    quarantined, mended = one.aside(), one.mended()
    known = memory.keys(platform, one.delivery.table)

    def write(item: tuple[str | None, Version]) -> None:
        key, version = item
        aside = quarantined[key]
        if key in mended:
            memory.keep(platform, one.delivery.table, key, mended[key])
        elif key in known:
            memory.forget(platform, one.delivery.table, key)
        if len(aside):
            lake.write("quarantine", table, key, aside.to_arrow())
        lake.write("raw", table, key, version.rows.to_arrow(), version.revision.to_metadata())
        outcomes = aside["outcome"].to_list()
        receipts.write(
            key,
            Receipt(
                version.revision,
                rows=len(version.rows),
                quarantined=outcomes.count(REJECTED),
                nulled=outcomes.count(NULLED),
                extent=one.extents[key],
            ),
        )

    list(for_each(write, found.items()))
    # One at a time: with the last file of a table goes its folder, in which others may be writing.
    for key in found:
        if not len(quarantined[key]):
            lake.remove("quarantine", table, key)
        lake.remove(STOPPED, table, key)
    return [one.delivery.name(key) for key in found if key in known and key not in mended]


def _result(
    platform: Platform, planned: Sequence[tuple[Examined, Mapping[str | None, Version]]]
) -> IngestResult:
    examined = [one for one, _ in planned]
    dated = [one.delivery for one in examined if not one.delivery.table.is_snapshot]
    return IngestResult(
        partitions=len({key for delivery in dated for key in delivery.keys}),
        rows={one.delivery.table.name: len(one.good) for one in examined},
        quarantined=_counts(examined, lambda one: one.count(REJECTED)),
        nulled=_counts(examined, lambda one: one.count(NULLED)),
        flagged=_counts(examined, lambda one: one.good.filter(pl.col(FLAGS).list.len() > 0).height),
        revisions={
            one.delivery.name(key): version.revision.number
            for one, found in planned
            for key, version in found.items()
            if version.revision.number > 1
        },
        warnings=tuple(text for one, found in planned for text in _warnings(one, found)),
        digests={
            delivery.table.name: platform.lake.digest(
                "raw", delivery.table.name, delivery.partition_keys
            )
            for delivery in dated
        },
    )


def _warnings(one: Examined, found: Mapping[str | None, Version]) -> Iterable[str]:
    yield from one.warnings
    for key, version in found.items():
        if version.revision.removed and not one.delivery.table.is_snapshot:
            yield (
                f"{one.delivery.name(key)}: revision {version.revision.number} withdrew "
                f"{version.revision.removed:,} rows; what is computed without them cannot show "
                "since when"
            )


def _counts(examined: Sequence[Examined], count: Callable[[Examined], int]) -> dict[str, int]:
    """By table; tables that have none are left out."""
    found = {one.delivery.table.name: count(one) for one in examined}
    return {name: number for name, number in found.items() if number}
