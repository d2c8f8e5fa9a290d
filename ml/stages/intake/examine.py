"""Examine a delivery: its columns, its rows, its volume and freshness. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from ml.core.ports import Platform
from ml.stages.intake.compare import FLAGS, content_digest
from ml.stages.intake.deliveries import Breach, Delivery, Extent, anomalies, extent, split
from ml.stages.intake.judge import (
    KEY,
    REJECTED,
    ROW,
    STOPPED,
    conform,
    contracts,
    judge,
    require_free_names,
)
from ml.stages.intake.memory import Mended
from ml.stages.intake.receipts import Receipts, Revision
from ml.stages.intake.revisions import Terms
from ml.use_cases.contracts import Contract


@dataclass(frozen=True)
class Examined:
    """A delivery and what is to be said about it.

    Attributes:
        rows: as delivered, with their number.
        verdicts: outcome and reasons of the rows that were not good as they were, by number.
        good: rows that go on, with `flags`.
        extents: by key.
        stops: by key, why the partition must not enter the lake.
        warnings: what is unusual, but does not stop.
    """

    delivery: Delivery
    key_columns: tuple[str, ...]
    rows: pl.DataFrame
    verdicts: pl.DataFrame
    good: pl.DataFrame
    extents: Mapping[str | None, Extent] = field(default_factory=dict)
    stops: Mapping[str | None, Sequence[Breach]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def count(self, outcome: str) -> int:
        return self.verdicts["outcome"].to_list().count(outcome)

    def aside(self) -> dict[str | None, pl.DataFrame]:
        """By key, rows as delivered that belong in the quarantine, with outcome and reasons."""
        found = self.rows.join(self.verdicts, on=ROW, maintain_order="left").drop(ROW)
        return split(found, self.delivery.keys)

    def mended(self) -> dict[str | None, Mended]:
        """By key, what is to be remembered of partitions that people have mended."""
        given = self.delivery.given
        parts = split(self.rows.drop(ROW), self.delivery.keys) if given else {}
        return {key: Mended(digest, parts[key]) for key, digest in given.items()}

    def refused(self, key: str | None) -> pl.DataFrame:
        """All rows of a partition that was stopped; the rejected ones are still told apart."""
        of_key = self.rows if key is None else self.rows.filter(pl.col(KEY) == key).drop(KEY)
        texts = [f"{stop.rule}: {stop}" for stop in self.stops[key]]
        is_rejected = pl.col("outcome").eq_missing(pl.lit(REJECTED))
        reasons = pl.concat_list(
            pl.col("reasons").fill_null([]), pl.lit(texts, dtype=pl.List(pl.String))
        )
        found = of_key.join(self.verdicts, on=ROW, how="left", maintain_order="left").drop(ROW)
        return found.with_columns(
            outcome=pl.when(is_rejected).then("outcome").otherwise(pl.lit(STOPPED)),
            reasons=pl.when(is_rejected).then("reasons").otherwise(reasons),
        )


def examine(platform: Platform, delivery: Delivery, receipts: Receipts, terms: Terms) -> Examined:
    """Judge a table's delivery by its contract, the spec's limits and its own past."""
    contract = contracts(platform.spec.slug).get(delivery.table.name)
    rows = delivery.rows
    known = contract.columns if contract else {}
    added = set() if delivery.table.is_snapshot else {KEY}
    require_free_names(delivery.table.name, {*rows.columns, *known} - added)
    if contract is not None:
        rows, differences = conform(rows, contract, is_snapshot=delivery.table.is_snapshot)
        if differences:
            return _other_schema(platform, delivery, contract, differences)
    rows = rows.with_row_index(ROW)
    good, verdicts = judge(rows, contract)
    found = Examined(delivery, contract.key if contract else (), rows, verdicts, good)
    extents = _extents(found)
    breaches = [
        *anomalies(delivery, extents, receipts.extents()),
        *_quarantine_shares(platform, found, extents),
    ]
    parts = split(good, delivery.keys)

    def is_known(key: str | None) -> bool:
        taken = Revision.of(platform.lake.metadata("raw", delivery.table.name, key))
        return taken is not None and taken.content == content_digest(parts[key].drop(FLAGS))

    stops, warnings = _sorted_out(breaches, terms, is_known)
    return replace(found, extents=extents, stops=stops, warnings=warnings)


def _extents(found: Examined) -> dict[str | None, Extent]:
    delivery = found.delivery
    delivered, good = split(found.rows, delivery.keys), split(found.good, delivery.keys)
    return {
        key: extent(delivery.table, len(delivered[key]), good[key], partition)
        for key, partition in zip(delivery.keys, delivery.partitions or (None,), strict=False)
    }


def _other_schema(
    platform: Platform, delivery: Delivery, contract: Contract, differences: Sequence[str]
) -> Examined:
    schema = contract.rows
    rows = delivery.rows.with_row_index(ROW)
    stop = Breach(
        "schema",
        f"{delivery.table.name} of {platform.spec.slug} has another schema: "
        + "; ".join(differences),
        f"the columns of {schema.__module__}.{schema.__name__}",
        blocks=True,
    )
    good, verdicts = judge(rows, None)
    stops = dict.fromkeys(delivery.keys, (stop,))
    return Examined(delivery, (), rows, verdicts, good, stops=stops)


def _quarantine_shares(
    platform: Platform, found: Examined, extents: Mapping[str | None, Extent]
) -> Iterable[tuple[str | None, Breach]]:
    limit = platform.spec.max_quarantine_share
    for key, aside in found.aside().items():
        rejected = aside.filter(pl.col("outcome") == REJECTED)
        rows = extents[key].rows
        if len(rejected) <= limit * rows:
            continue
        counts = rejected.explode("reasons")["reasons"].value_counts(sort=True)
        reasons = ", ".join(f"{name} {count}" for name, count in counts.iter_rows())
        seen = (
            f"{len(rejected):,} of {rows:,} rows of {found.delivery.name(key)} are bad: {reasons}"
        )
        expected = f"at most {limit:.1%} of a partition"
        yield key, Breach("quarantine share", seen, expected, blocks=True)


def _sorted_out(
    breaches: Iterable[tuple[str | None, Breach]],
    terms: Terms,
    is_known: Callable[[str | None], bool],
) -> tuple[dict[str | None, list[Breach]], tuple[str, ...]]:
    """What stops a partition, by key, and what is only told.

    What is only unusual stops nothing if the lake has exactly these rows already.
    """
    stops: dict[str | None, list[Breach]] = {}
    warnings = []
    for key, breach in breaches:
        if not breach.blocks or (breach.is_anomaly and terms.accept_anomalies):
            warnings.append(str(breach))
        elif breach.is_anomaly and is_known(key):
            warnings.append(f"{breach}; the lake has these rows already: accepted before")
        else:
            stops.setdefault(key, []).append(breach)
    return stops, tuple(warnings)
