"""Predictions as a table: the log, the events that were asked about, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.core.errors import ConfigError, DataError
from ml.core.metrics import decided_class, row_cost
from ml.core.names import CANARY, CHAMPION
from ml.core.plans import CostMatrix, CostModel
from ml.core.ports import Platform
from ml.core.problems import ProblemType
from ml.core.spec import Label, UseCase
from ml.stages.answers import amount, class_shares, shares_of, told_shares
from ml.stages.examples import require_labels
from ml.stages.releasing import predictions_of

# The log's columns in the order in which people read them; without the features, which are long.
_ANSWER = ["score", "lower", "upper", "decision", "probability"]
_ASKED = ["served", "assigned", "source", "revision"]
_MODELS = [f"{alias}_{what}" for alias in (CHAMPION, CANARY) for what in ("version", "score")]
# Whole numbers stay whole where some are missing.
_WITH_GAPS = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_REST = ["canary_weight_bp", "champion_error", "canary_error", "flags", "request_id"]
# Whose answer, by the start of the columns that hold it.
_WHOSE = ("", f"{CHAMPION}_", f"{CANARY}_")


def scored(platform: Platform) -> Mapping[str, tuple[int, ...]]:
    """The revisions that have answered for each partition, by its key, oldest first."""
    found: dict[str, tuple[int, ...]] = {}
    for release in platform.registry.releases():
        for key in platform.lake.keys("predictions", predictions_of(release.revision)):
            found[key] = (*found.get(key, ()), release.revision)
    return dict(sorted(found.items()))


def class_columns(spec: UseCase, whose: str = "") -> list[str]:
    """Columns with the probability of each class.

    Args:
        whose: nothing: of what was served; `champion_` or `canary_`: of that model.
    """
    return [f"{whose}p_{name}" for name in spec.label.classes]


def label_class(label: Label) -> str:
    """Column with the name of the class that the label is; `rain_class` has `rain_class_name`."""
    return f"{label.column}_name" if label.column.endswith("_class") else f"{label.column}_class"


def read_predictions(
    platform: Platform,
    first: str = "",
    last: str = "",
    *,
    all_revisions: bool = False,
    inputs: Sequence[str] = (),
) -> pd.DataFrame:
    """One row for each prediction of these partitions.

    Args:
        first, last: partition keys, both included; default: the newest that was scored.
        all_revisions: those of older releases as well, where a partition was answered twice.
        inputs: columns that the model saw as numbers, as they were when it was asked.

    Returns:
        The columns of the mart; `score` and who gave it; the label's table, where it was known at
        data time; with a cost model `cost`, once the label is known. Beyond that, by problem:

        - binary, with a cost model: `decision`, `act` where the score is above its threshold, else
          `wait`.
        - multiclass: `decision`, the name of the class with the least expected cost (without costs
          the likeliest), its `probability`, `p_<class>` for each class, the same of each model as
          `champion_p_<class>` and `canary_p_<class>`, and the label's class as `<label>_class`
          (`<label>_name`, if the label itself ends in `_class`).
        - regression, where a model has learned an interval: `lower` and `upper`.

    Raises:
        ConfigError: if a key is malformed.
        DataError: if there are no predictions, naming what there is.
    """
    there, spec = scored(platform), platform.spec
    wanted = _wanted(platform, there, first, last)
    chosen = {key: there[key] if all_revisions else there[key][-1:] for key in wanted}
    log = with_decision(spec, read_log(platform, chosen, inputs))
    events = _events(platform, wanted).merge(_outcomes(platform, wanted), "left", spec.key)
    rows = log.merge(events, "left", spec.key, suffixes=("", "_event"), validate="many_to_one")
    rows = with_outcome(spec, rows).sort_values(
        ["partition_key", spec.decided_at, spec.key, "revision"]
    )
    return rows[_ordered(spec, list(rows.columns))].reset_index(drop=True)


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


def read_log(
    platform: Platform, chosen: Mapping[str, Sequence[int]], inputs: Sequence[str] = ()
) -> pd.DataFrame:
    """The log of partitions, by key and revision; a column that an old one lacks is empty there."""
    by_revision: dict[int, list[str]] = {}
    for key, revisions in chosen.items():
        for revision in revisions:
            by_revision.setdefault(revision, []).append(key)
    logs = []
    for revision, keys in by_revision.items():
        for key in keys:  # one by one: their features would fill the memory
            found = platform.lake.read("predictions", predictions_of(revision), [key])
            logs.append(_with_inputs(found, inputs).drop_columns(["features_sha256", "key_hash"]))
    log: pd.DataFrame = pa.concat_tables(logs, promote_options="default").to_pandas()
    # The mart says the same under its own name, unless it was made anew without the event.
    names = {"key": platform.spec.key, "decided_at": platform.spec.decided_at}
    return _by_class(platform.spec, log.rename(columns=names).astype({"canary_version": "Int32"}))


def _with_inputs(log: pa.Table, inputs: Sequence[str]) -> pa.Table:
    """With columns of the features' JSON instead of the JSON."""
    if inputs:
        rows = [json.loads(text) for text in log["features"].to_pylist()]
        for name in inputs:
            values = pa.array([row.get(name) for row in rows], pa.float64())
            log = log.append_column(name, values)
    return log.drop_columns(["features"])


def _by_class(spec: UseCase, log: pd.DataFrame) -> pd.DataFrame:
    """With a column for each class instead of lists, and without what the problem does not have."""
    for whose in _WHOSE:
        lists = log.pop(f"{whose}probabilities") if f"{whose}probabilities" in log else None
        if names := class_columns(spec, whose):
            log[names] = _matrix(lists, len(log), len(names))
    ends = [name for name in ("lower", "upper") if name in log and log[name].isna().all()]
    return log.drop(columns=ends)


def _matrix(lists: pd.Series | None, rows: int, classes: int) -> np.ndarray:
    """Lists of numbers as an array of shape (rows, classes); NaN where there is none."""
    found = np.full((rows, classes), np.nan)
    for place, values in enumerate(lists if lists is not None else ()):
        if values is not None and len(values) == classes:
            found[place] = values
    return found


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


def with_decision(spec: UseCase, log: pd.DataFrame) -> pd.DataFrame:
    """What to do by the cost model, or which class it is; values are acted upon as they are."""
    cost, classes = spec.cost, spec.label.classes
    if isinstance(cost, CostModel):
        return log.assign(decision=np.where(log["score"] > cost.threshold, "act", "wait"))
    if not classes:
        return log
    chances = log[class_columns(spec)].to_numpy("float64")
    decided = decided_class(chances, cost if isinstance(cost, CostMatrix) else None)
    names = np.array([*classes, None], dtype=object)  # of -1, nothing decided, the last
    chance = chances[np.arange(len(log)), decided]
    return log.assign(decision=names[decided], probability=chance)


def with_outcome(spec: UseCase, rows: pd.DataFrame) -> pd.DataFrame:
    """The class behind a label, and what the decision has cost once the label is known."""
    label = rows[spec.label.column].to_numpy("float64", na_value=np.nan)
    known = ~np.isnan(label)
    require_labels(spec, label)
    if classes := spec.label.classes:
        names = np.full(len(rows), None, dtype=object)
        names[known] = np.array(classes, dtype=object)[label[known].astype(int)]
        rows = rows.assign(**{label_class(spec.label): names})
    if spec.cost is None:
        return rows
    answer = rows[class_columns(spec) if classes else "score"].to_numpy("float64")
    paid = np.full(len(rows), np.nan)
    paid[known] = row_cost(label[known], answer[known], spec.cost)
    return rows.assign(cost=paid)


def _ordered(spec: UseCase, there: list[str]) -> list[str]:
    """The event, the answer, what became of it, and then the rest."""
    label = [spec.label.column, label_class(spec.label), "cost", spec.label.known_at]
    of_models = [name for whose in _WHOSE[1:] for name in class_columns(spec, whose)]
    head = [spec.key, "partition_key", spec.decided_at, *spec.context, *_ANSWER]
    head += [*class_columns(spec), *_ASKED, *_MODELS, *label]
    last = [*of_models, *_REST]
    middle = [name for name in there if name not in {*head, *last}]
    return [name for name in dict.fromkeys([*head, *middle, *last]) if name in there]


def told(spec: UseCase, rows: pd.DataFrame) -> str:
    """The rows in words: who answered, what, what to do, and what is known of the outcome."""
    if rows.empty:
        return "no prediction meets the condition"
    first, last = rows["partition_key"].min(), rows["partition_key"].max()
    revisions = ", ".join(map(str, sorted(rows["revision"].unique())))
    served = ", ".join(f"{n:,} by the {by}" for by, n in rows["served"].value_counts().items())
    lines = [
        f"{len(rows):,} predictions of {first}"
        + (f" to {last}" if last != first else "")
        + f" (release {revisions}): {served}; {_told_answers(spec, rows)}"
    ]
    if isinstance(spec.cost, CostModel):
        acts = int((rows["decision"] == "act").sum())
        lines.append(f"to act on, score above {spec.cost.threshold:g}: {acts:,}")
    return "\n".join([*lines, _told_labels(spec, rows)])


def _told_answers(spec: UseCase, rows: pd.DataFrame) -> str:
    if spec.problem is ProblemType.MULTICLASS:
        shares = told_shares(shares_of(rows["decision"]))
        return f"{shares}; mean probability {rows['probability'].mean():.3f}"
    if spec.problem is ProblemType.BINARY:
        return f"mean score {rows['score'].mean():.3f}"
    text = f"mean {amount(rows['score'].mean())}"
    if "lower" in rows and rows["lower"].notna().any():
        text += f", interval on average {amount(rows['lower'].mean())}"
        text += f" to {amount(rows['upper'].mean())}"
    return text


def _told_labels(spec: UseCase, rows: pd.DataFrame) -> str:
    known = rows[rows[spec.label.column].notna()]
    text = f"{len(known):,} of {len(rows):,} labels known"
    if known.empty:
        return text
    label = known[spec.label.column].astype(float)
    text += _told_known(spec, known, label)
    return text + (f"; cost {amount(known['cost'].mean())} a row" if spec.cost else "")


def _told_known(spec: UseCase, known: pd.DataFrame, label: pd.Series) -> str:
    if spec.label.classes:
        right = (known["decision"] == known[label_class(spec.label)]).mean()
        shares = told_shares(class_shares(spec.label.classes, label))
        return f", {shares}; {right:.1%} of them decided right"
    if spec.problem is ProblemType.BINARY:
        return f", mean {label.mean():.3f}"
    text = f", mean {amount(label.mean())}"
    with_ends = known["lower"].notna() if "lower" in known else np.zeros(len(known), dtype=bool)
    if with_ends.any():
        held = label[with_ends].between(known["lower"][with_ends], known["upper"][with_ends])
        text += f", {held.mean():.1%} of them in the interval"
    return text
