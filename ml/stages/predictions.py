"""Predictions as a table: the log, the events that were asked about, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.core.errors import ConfigError, DataError
from ml.core.metrics import row_cost
from ml.core.names import CANARY, CHAMPION
from ml.core.ports import Platform
from ml.core.spec import UseCase

# The log's columns in the order in which people read them; without the features, which are long.
_ANSWER = ["score", "decision", "served", "assigned", "source", "revision"]
_MODELS = [f"{alias}_{what}" for alias in (CHAMPION, CANARY) for what in ("version", "score")]
# Whole numbers stay whole where some are missing.
_WITH_GAPS = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_REST = ["canary_weight_bp", "champion_error", "canary_error", "flags", "request_id"]


def scored(platform: Platform) -> Mapping[str, tuple[int, ...]]:
    """The revisions that have answered for each partition, by its key, oldest first."""
    found: dict[str, tuple[int, ...]] = {}
    for release in platform.registry.releases():
        for key in platform.lake.keys("predictions", f"revision={release.revision}"):
            found[key] = (*found.get(key, ()), release.revision)
    return dict(sorted(found.items()))


def read_predictions(
    platform: Platform, first: str = "", last: str = "", *, all_revisions: bool = False
) -> pd.DataFrame:
    """One row for each prediction of these partitions.

    Args:
        first, last: partition keys, both included; default: the newest that was scored.
        all_revisions: those of older releases as well, where a partition was answered twice.

    Returns:
        The columns of the mart; `score` and who gave it; with a cost model `decision` (`act` where
        the score is above its threshold, else `wait`) and, once the label is known, `cost`; the
        label's table, where it was known at data time.

    Raises:
        ConfigError: if a key is malformed.
        DataError: if there are no predictions, naming what there is.
    """
    there = scored(platform)
    wanted = _wanted(platform, there, first, last)
    log = _log(platform, {key: there[key] if all_revisions else there[key][-1:] for key in wanted})
    events = _events(platform, wanted).merge(_outcomes(platform, wanted), "left", platform.spec.key)
    rows = log.merge(
        events, "left", platform.spec.key, suffixes=("", "_event"), validate="many_to_one"
    )
    rows = _with_decision(platform, rows).sort_values(
        ["partition_key", platform.spec.decided_at, platform.spec.key, "revision"]
    )
    return rows[_ordered(platform, list(rows.columns))].reset_index(drop=True)


def _wanted(
    platform: Platform, there: Mapping[str, tuple[int, ...]], first: str, last: str
) -> list[str]:
    """Keys in the range that were scored."""
    if last and not first:
        raise ConfigError(f"a last partition, {last}, without a first", expected="both, or none")
    first = first or max(there, default="")
    partitions = platform.spec.partitions(first, last or first) if first else ()
    wanted = [partition.key for partition in partitions if partition.key in there]
    if not wanted:
        raise _nothing(platform.spec.slug, list(there), [partition.key for partition in partitions])
    return wanted


def _nothing(slug: str, there: Sequence[str], wanted: Sequence[str]) -> DataError:
    ends = list(dict.fromkeys([*wanted[:1], *wanted[-1:]]))
    expected = "a partition that was scored; there is none yet"
    if there:
        expected = f"between {there[0]} and {there[-1]}, where {len(there)} partitions are scored"
    return DataError(
        "there are no predictions" + (f" of {' to '.join(ends)}" if ends else ""),
        expected=expected,
        repair=f"run: flightline score {slug} {' '.join(ends) or 'FIRST'}",
    )


def _log(platform: Platform, chosen: Mapping[str, tuple[int, ...]]) -> pd.DataFrame:
    by_revision: dict[int, list[str]] = {}
    for key, revisions in chosen.items():
        for revision in revisions:
            by_revision.setdefault(revision, []).append(key)
    logs = []
    for revision, keys in by_revision.items():
        for key in keys:  # one by one: their features would fill the memory
            found = platform.lake.read("predictions", f"revision={revision}", [key])
            logs.append(found.drop_columns(["features", "features_sha256", "key_hash"]))
    log: pd.DataFrame = pa.concat_tables(logs).to_pandas()
    # The mart says the same under its own name, unless it was made anew without the event.
    names = {"key": platform.spec.key, "decided_at": platform.spec.decided_at}
    return log.rename(columns=names).astype({"canary_version": "Int32"})


def _events(platform: Platform, keys: list[str]) -> pd.DataFrame:
    spec = platform.spec
    events: pd.DataFrame = platform.lake.read("marts", spec.mart, keys).to_pandas()
    return events.drop(columns=["partition_key", spec.decided_at], errors="ignore")


def _outcomes(platform: Platform, keys: list[str]) -> pd.DataFrame:
    """The label's table; what became known after data time is not known yet."""
    spec, label = platform.spec, platform.spec.label
    present = set(platform.lake.keys("marts", label.table))
    found = platform.lake.read("marts", label.table, [key for key in keys if key in present])
    rows: pd.DataFrame = found.to_pandas(types_mapper=_WITH_GAPS.get)
    if rows.empty:
        return pd.DataFrame(columns=[spec.key, label.column, label.known_at])
    rows = rows.drop(columns="partition_key", errors="ignore").set_index(spec.key)
    return rows.mask(rows[label.known_at] > platform.data_time()).reset_index()


def _with_decision(platform: Platform, rows: pd.DataFrame) -> pd.DataFrame:
    """What to do by the cost model, and what that has cost once the label is known."""
    cost = platform.spec.cost
    if cost is None:
        return rows
    acts = rows["score"] > cost.threshold
    label = rows[platform.spec.label.column].to_numpy("float64", na_value=np.nan)
    paid = row_cost(label, rows["score"].to_numpy("float64"), cost)
    known = ~np.isnan(label)
    return rows.assign(decision=np.where(acts, "act", "wait"), cost=np.where(known, paid, np.nan))


def _ordered(platform: Platform, there: list[str]) -> list[str]:
    """The event, the answer, what became of it, and then the rest."""
    spec = platform.spec
    label = [spec.label.column, "cost", spec.label.known_at]
    head = [spec.key, "partition_key", spec.decided_at, *spec.context, *_ANSWER, *_MODELS, *label]
    middle = [name for name in there if name not in {*head, *_REST}]
    return [name for name in dict.fromkeys([*head, *middle, *_REST]) if name in there]


def told(spec: UseCase, rows: pd.DataFrame) -> str:
    """The rows in words: who answered, what to do, and what is known of the outcome."""
    if rows.empty:
        return "no prediction meets the condition"
    first, last = rows["partition_key"].min(), rows["partition_key"].max()
    revisions = ", ".join(map(str, sorted(rows["revision"].unique())))
    served = ", ".join(f"{n:,} by the {by}" for by, n in rows["served"].value_counts().items())
    lines = [
        f"{len(rows):,} predictions of {first}"
        + (f" to {last}" if last != first else "")
        + f" (release {revisions}): {served}; mean score {rows['score'].mean():.3f}"
    ]
    if spec.cost:
        acts = int((rows["decision"] == "act").sum())
        lines.append(f"to act on, score above {spec.cost.threshold:g}: {acts:,}")
    label = rows[spec.label.column].dropna()
    known = f"{len(label):,} of {len(rows):,} labels known"
    if len(label):
        known += f", mean {label.astype(float).mean():.3f}"
        known += f"; cost {rows['cost'].mean():.3f} a row" if spec.cost else ""
    return "\n".join([*lines, known])
