"""What a version's verdicts rest on, gathered from its holdout: the only place that reads one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.adapters.features import FEATURES_KNOWN_AT
from ml.adapters.model_files import NAIVE
from ml.core.errors import ConfigError, DataError
from ml.core.evidence import ContractEvidence, Evidence, SegmentEvidence
from ml.core.losses import Floats, row_loss
from ml.core.metrics import baseline_costs, constant_cost, cost_metric, evaluate, row_cost
from ml.core.ports import Model, ModelVersion, Platform
from ml.core.problems import ProblemType
from ml.core.statistics import Estimate, Resampling
from ml.stages.answers import Answer, ask
from ml.stages.examples import group_values, label_values, naive_values, read_examples, with_label

RULE = "rule"
_ROUNDING = 1e-6  # by which probabilities may miss 1 in sum


@dataclass(frozen=True)
class Gathered:
    """Evidence, and the rows that it was gathered from.

    Attributes:
        first, last: partition keys of the holdout.
        rows: of the holdout, with a label.
        label: of these rows, shape (n,).
        prediction: of these rows, shape (n,), or (n, classes).
        interval: of these rows, shape (n, 2); None if the model has learned none.
        baselines: what people reach without a model: metric name to its value.
        without_label: by partition key, how many expected labels were not known in time.
    """

    evidence: Evidence
    first: str
    last: str
    rows: pd.DataFrame
    label: Floats
    prediction: Floats
    interval: Floats | None
    baselines: Mapping[str, float]
    without_label: Mapping[str, int]


@dataclass(frozen=True)
class _Holdout:
    """The labelled rows of the holdout, and what can be said of them without a model."""

    platform: Platform
    rows: pd.DataFrame
    label: Floats
    draws: Resampling

    @classmethod
    def of(cls, platform: Platform, rows: pd.DataFrame) -> _Holdout:
        plan, cluster = platform.spec.gates, platform.spec.clusters(rows["partition_key"])
        draws = Resampling(
            np.array(cluster, dtype=np.str_), replicates=plan.replicates, seed=plan.seed
        )
        return cls(platform, rows, label_values(platform, rows), draws)

    def loss(self, prediction: Floats) -> Floats:
        return row_loss(self.platform.spec.problem, self.label, prediction)

    def cost(self, prediction: Floats) -> Floats | None:
        cost = self.platform.spec.cost
        return None if cost is None else row_cost(self.label, prediction, cost)

    def no_model_cost(self, rule: Floats) -> Floats | None:
        cost = self.platform.spec.cost
        return None if cost is None else constant_cost(self.label, cost, rule=rule)

    @property
    def naive(self) -> dict[str, Floats]:
        return naive_values(self.platform.spec, self.rows)

    def positives(self, mask: NDArray[np.bool_]) -> int:
        """Rows from which a loss can be learned.

        Of class 1; of several classes, all but the commonest one's, which are few where nearly
        every row is alike; of a value, all.
        """
        label, problem = self.label[mask], self.platform.spec.problem
        if problem is ProblemType.BINARY:
            return int(label.sum())
        if problem is ProblemType.REGRESSION or not len(label):
            return len(label)
        return len(label) - int(np.bincount(label.astype(int)).max())

    @property
    def gaps(self) -> tuple[str, ...]:
        """What is missing without which some figures are no numbers."""
        spec, count = self.platform.spec, len(self.rows)
        columns = dict.fromkeys([spec.model.difference_from, *spec.model.naive.values()])
        found = {name: int(self.rows[name].isna().sum()) for name in columns if name in self.rows}
        binary = ("0", "1") if spec.problem is ProblemType.BINARY else ()
        names = enumerate(spec.label.classes or binary)
        return (
            *(f"no row is of class {name}" for place, name in names if place not in self.label),
            *(f"{name} is missing in {n:,} of {count:,} rows" for name, n in found.items() if n),
        )


@dataclass(frozen=True)
class _Opponent:
    """What the candidate is compared with, row by row.

    Attributes:
        fault: why there is no fair comparison; loss and cost are missing then.
    """

    name: str
    fault: str = ""
    loss: Floats | None = None
    cost: Floats | None = None
    latency_us: float | None = None


def gather(platform: Platform, candidate: ModelVersion, champion: int | None) -> Gathered:
    """Read the holdout once, as the candidate's training recorded it, and ask everyone.

    Not as the spec says now: the spec may have changed, and the model has seen what it saw.

    Args:
        champion: version to compare with; None for the first model ever.

    Raises:
        ConfigError: if the version's windows are not those of its run, or the holdout does not lie
            after what the candidate has learned from.
        DataError: if the holdout has no labelled rows, or a file of the candidate is broken.
    """
    tags = platform.tracking.tags(candidate.run_id)
    first, last = _holdout_window(candidate, tags)
    examples = read_examples(platform, platform.spec.partitions(first, last))
    as_of = datetime.fromisoformat(candidate.tags["as_of"])
    holdout = _Holdout.of(platform, with_label(platform, examples, known_by=as_of))
    if holdout.rows.empty:
        raise DataError(
            f"the holdout {first} to {last} has no labelled rows",
            expected=f"labels that were known at {as_of.isoformat()}",
            repair="ingest and transform these partitions, then validate again",
        )
    model = platform.tracking.load_model(candidate.run_id, any_contract=True)
    contract = _contract(platform, tags.get("contract.sha256", ""), model, examples)
    prediction, interval = _answers(platform, model, contract, holdout.rows)
    rule = platform.tracking.load_rule(candidate.run_id).predict(holdout.rows)
    opponent = _opponent(holdout, candidate, champion, rule)
    metrics = _metrics(holdout, prediction, interval, rule)
    evidence = _evidence(holdout, contract, metrics, prediction, opponent, _latency(tags))
    return Gathered(
        *(evidence, first, last, holdout.rows, holdout.label, prediction, interval),
        baselines=_baselines(holdout, rule),
        without_label=_without_label(platform, examples),
    )


def _metrics(
    holdout: _Holdout, prediction: Floats, interval: Floats | None, rule: Floats
) -> dict[str, Estimate]:
    spec = holdout.platform.spec
    return evaluate(
        *(spec.scope, holdout.label, prediction),
        rule=rule,
        resampling=holdout.draws,
        cost=spec.cost,
        naive=holdout.naive,
        interval=interval,
    )


def _evidence(
    holdout: _Holdout,
    contract: ContractEvidence,
    metrics: dict[str, Estimate],
    prediction: Floats,
    opponent: _Opponent,
    latency_us: float | None,
) -> Evidence:
    draws = holdout.draws
    difference = None if opponent.loss is None else holdout.loss(prediction) - opponent.loss
    cost = holdout.cost(prediction)
    more_cost = None if cost is None or opponent.cost is None else cost - opponent.cost
    return Evidence(
        rows=len(holdout.rows),
        positives=holdout.positives(np.ones(len(holdout.rows), dtype=bool)),
        opponent=opponent.name,
        opponent_fault=opponent.fault,
        contract=contract,
        metrics=metrics,
        difference=None if difference is None or opponent.name == RULE else draws.mean(difference),
        cost_difference=None if more_cost is None else draws.mean(more_cost),
        segments=() if difference is None else tuple(_segments(holdout, difference)),
        latency_us=latency_us,
        opponent_latency_us=opponent.latency_us,
        problem=holdout.platform.spec.problem,
        gaps=holdout.gaps,
    )


def _segments(holdout: _Holdout, difference: Floats) -> Iterator[SegmentEvidence]:
    for column in holdout.platform.spec.segments:
        values = group_values(holdout.rows, column)
        for value in np.unique(values):
            mask = values == value
            yield SegmentEvidence(
                column=column,
                value=str(value),
                rows=int(mask.sum()),
                positives=holdout.positives(mask),
                difference=holdout.draws.among(mask).mean(difference[mask]),
            )


# --- the candidate ---

_OF_THE_TRAINING = ("as_of", "window.select", "window.holdout")


def _holdout_window(candidate: ModelVersion, tags: Mapping[str, str]) -> tuple[str, str]:
    """First and last key of the holdout: rows that the candidate cannot have learned from.

    Args:
        tags: of the candidate's run.
    """
    own, version = candidate.tags, candidate.version
    told = {name: f"{name} {own[name]}, its run {tags.get(name)}" for name in _OF_THE_TRAINING}
    if other := [told[name] for name in told if own[name] != tags.get(name)]:
        raise ConfigError(
            f"version {version} says {'; '.join(other)}",
            expected="the tags that its training has written",
            repair="somebody has edited them: set them back to the run's, or train a new candidate",
        )
    _, _, learned = own["window.select"].partition("..")
    first, _, last = own["window.holdout"].partition("..")
    if not learned or learned >= first:
        raise ConfigError(
            f"version {version} has learned from data up to {learned}, its holdout begins {first}",
            expected="a holdout after everything that the candidate has learned from",
            repair="train a new candidate: what this one has seen cannot judge it",
        )
    return first, last


def _contract(
    platform: Platform, recorded: str, model: Model, examples: pd.DataFrame
) -> ContractEvidence:
    expected = _has_expected_label(platform, examples)
    return ContractEvidence(
        recorded=recorded,
        found=model.contract_sha256,
        missing_columns=tuple(name for name in model.columns if name not in examples.columns),
        expected_labels=int(expected.sum()),
        known_labels=int((expected & _known_at_closing(platform, examples)).sum()),
        late_features=int(_is_late(platform, examples).sum()),
    )


def _without_label(platform: Platform, examples: pd.DataFrame) -> dict[str, int]:
    missing = _has_expected_label(platform, examples) & ~_known_at_closing(platform, examples)
    counts = examples.loc[missing, "partition_key"].value_counts()
    return {str(key): int(count) for key, count in counts.items()}


def _has_expected_label(platform: Platform, examples: pd.DataFrame) -> NDArray[np.bool_]:
    column = platform.spec.label.expected
    return examples[column].to_numpy(bool) if column else np.ones(len(examples), dtype=bool)


def _known_at_closing(platform: Platform, examples: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether the label of each row was there when the labels of its partition closed."""
    spec, keys = platform.spec, examples["partition_key"]
    closing = {k: spec.calendar.parse(k).end + spec.label.maturity for k in keys.unique()}
    in_time = examples[spec.label.known_at] <= pd.to_datetime(keys.map(closing), utc=True)
    return (examples[spec.label.column].notna() & in_time).to_numpy(dtype=bool)


def _is_late(platform: Platform, examples: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether a feature became known after the decision; unknown when is no excuse."""
    known_at, columns = examples[FEATURES_KNOWN_AT], list(platform.features.columns)
    is_later = known_at > examples[platform.spec.decided_at]
    unknown = known_at.isna() & examples[columns].notna().any(axis=1)
    return (is_later | unknown).to_numpy(dtype=bool)


def _answers(
    platform: Platform, model: Model, contract: ContractEvidence, rows: pd.DataFrame
) -> tuple[Floats, Floats | None]:
    """What the candidate answers, and its interval around each value.

    Nothing if columns are missing, of which the contract tells.
    """
    classes = platform.spec.label.classes
    if contract.missing_columns:
        shape = (len(rows), len(classes)) if classes else (len(rows),)
        return np.full(shape, np.nan), None
    answer = _ask(platform, model, rows)
    return _prediction(answer), answer.interval


def _prediction(answer: Answer) -> Floats:
    """An answer that is not a number stays, for the gates to see."""
    return answer.score if answer.probabilities is None else answer.probabilities


def _ask(platform: Platform, model: Model, rows: pd.DataFrame) -> Answer:
    """What the model answers.

    Raises:
        DataError: if there is not one answer for each row, and of each class, or if one is no
            probability where probabilities are asked for.
    """
    answer = ask(platform.spec, model, rows)
    if platform.spec.problem is not ProblemType.REGRESSION:
        _require_probabilities(_prediction(answer))
    return answer


def _require_probabilities(found: Floats) -> None:
    """Or the loss of a model that is sure of every class would be the best of all."""
    outside = (found < 0) | (found > 1)
    total = found.sum(axis=1) if found.ndim == 2 else np.ones(len(found))
    if count := int(outside.sum() + (np.abs(total - 1) > _ROUNDING).sum()):
        raise DataError(
            f"{count:,} answer(s) of the model are no probabilities",
            expected="from 0 to 1, and of several classes 1 in sum",
        )


def _latency(tags: Mapping[str, str]) -> float | None:
    try:
        return float(tags["latency_us"])
    except (KeyError, ValueError):
        return None


# --- what it is compared with ---


def _opponent(
    holdout: _Holdout, candidate: ModelVersion, champion: int | None, rule: Floats
) -> _Opponent:
    """The champion; for the first model ever the rule, and in cost, doing without a model."""
    if champion is None:
        return _Opponent(RULE, loss=holdout.loss(rule), cost=holdout.no_model_cost(rule))
    name = f"champion {champion}"
    try:
        found = holdout.platform.registry.version(champion)
        if fault := _unfair(candidate, found, str(holdout.rows["partition_key"].min())):
            return _Opponent(name, fault)
        model = holdout.platform.tracking.load_model(found.run_id)
        prediction = _prediction(_ask(holdout.platform, model, holdout.rows))
        latency = _latency(holdout.platform.tracking.tags(found.run_id))
    except (ConfigError, DataError) as error:  # gone or broken: no fair comparison, and no pass
        return _Opponent(name, error.seen)
    if count := int((~np.isfinite(holdout.loss(prediction))).sum()):
        return _Opponent(name, f"{name} gave {count:,} answer(s) that are not numbers")
    return _Opponent(name, "", holdout.loss(prediction), holdout.cost(prediction), latency)


def _unfair(candidate: ModelVersion, champion: ModelVersion, first: str) -> str:
    """Why a comparison on these rows would prove nothing; empty if it would."""
    tags, number = champion.tags, champion.version
    if "window.select" not in tags:
        return f"champion {number} does not say what it has learned from"
    learned = tags["window.select"].split("..")[1]
    if learned >= first:
        return (
            f"champion {number} has learned from data up to {learned}, the holdout begins {first}"
        )
    # A naive forecast that is chosen twice is the same, and so not better.
    is_same = _model(champion) == _model(candidate) and tags.get("model.kind") not in NAIVE
    if champion.run_id == candidate.run_id or is_same:
        return f"version {candidate.version} is champion {number} itself"
    return ""


def _model(version: ModelVersion) -> tuple[str | None, ...]:
    names = ("model.sha256", "contract.sha256", "interval.sha256")
    return tuple(version.tags.get(name) for name in names)


def _baselines(holdout: _Holdout, rule: Floats) -> dict[str, float]:
    """What is reached without a model: by the rule, the naive forecasts, and deciding alone."""
    spec = holdout.platform.spec
    others = {"rule": rule, **holdout.naive}
    losses = {name: float(holdout.loss(other).mean()) for name, other in others.items()}
    found = {f"{name}_{spec.problem.loss_name}": loss for name, loss in losses.items()}
    costs = baseline_costs(spec.scope, holdout.label, spec.cost, rule=rule)
    return found | {cost_metric(how): cost for how, cost in costs.items()}
