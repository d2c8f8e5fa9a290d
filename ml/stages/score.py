"""Score: champion and canary on the events of a partition, as of their own decision times."""

from __future__ import annotations

import json
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.core.digests import frame_digest
from ml.core.errors import TransientError
from ml.core.losses import Floats
from ml.core.metrics import decided_class
from ml.core.names import CANARY, CHAMPION
from ml.core.partitions import Partition
from ml.core.plans import CostMatrix
from ml.core.ports import Model, Platform
from ml.core.prediction_log import PREDICTION_LOG, features_json, request_id
from ml.core.prediction_source import Source
from ml.core.release import Release, in_force_at
from ml.core.router import key_hash
from ml.core.spec import UseCase
from ml.stages.answers import Answer, ask, class_shares, no_answer
from ml.stages.examples import model_columns, read_examples
from ml.stages.releasing import predictions_of, released

# What a rerun may change: how long it took, and whether it was one of a range.
_NOT_DIGESTED = ["champion_latency_us", "canary_latency_us", "source"]
# Of one kind of problem each; where they say nothing, the digest is that of a log without them.
_OF_SOME = ["lower", "upper"]
_OF_CLASSES = ["probabilities", "champion_probabilities", "canary_probabilities"]


@dataclass(frozen=True)
class ScoreResult:
    """What was predicted.

    Attributes:
        rows: predictions by the model that served them.
        skipped: keys of partitions before the first release: nothing could answer.
        note: why partitions were skipped; empty if none was.
        canary_errors: rows that the canary could not score; the champion answered.
        mean_score: of what was served; NaN if nothing was, None where it is a class.
        decisions: share of each class that was decided for by what was served, as `flightline
            predictions` shows it: by expected cost, without costs the likeliest; multiclass only.
        digests: SHA-256 of the log by partition, without measured times and source.
    """

    partitions: int
    rows: Mapping[str, int]
    skipped: tuple[str, ...]
    note: str
    canary_errors: int
    mean_score: float | None
    digests: Mapping[str, str]
    decisions: Mapping[str, float] = field(default_factory=dict)


def run(platform: Platform, *, partitions: Sequence[Partition], source: Source) -> ScoreResult:
    """Score these partitions, each by the release that was in force when it began.

    Running it again overwrites the log of the same partition and revision; of a partition that has
    no events any more, the log goes.

    Raises:
        DataError: if a partition was not transformed, or the champion has no answer.
    """
    releases = released(platform)
    in_force = {p.key: in_force_at(releases, p.start) for p in partitions}
    answerable = [p for p in partitions if in_force[p.key]]
    skipped = tuple(p.key for p in partitions if not in_force[p.key])
    logs = []
    if answerable:
        examples = read_examples(platform, answerable)
        models: dict[int, Model] = {}
        by_key = dict(iter(examples.groupby("partition_key")))
        for key in sorted(p.key for p in answerable):
            release = in_force[key]
            assert release is not None
            table = predictions_of(release.revision)
            if key not in by_key:
                platform.lake.remove("predictions", table, key)
                continue
            rows = by_key[key].reset_index(drop=True)
            log = _score(platform, release, rows, source, models)
            content = pa.Table.from_pandas(log, schema=PREDICTION_LOG, preserve_index=False)
            content = content.drop_columns(["partition_key"])
            platform.lake.write("predictions", table, key, content)
            logs.append(log)
    # Only what is summed up: columns that are empty in some logs have no common type.
    answers = [log[["served", "score"]] for log in logs]
    everything = pd.concat(answers) if logs else pd.DataFrame({"served": [], "score": []})
    return ScoreResult(
        partitions=len(answerable),
        rows={str(by): int(n) for by, n in everything["served"].value_counts().items()},
        skipped=skipped,
        note=_note(releases) if skipped else "",
        canary_errors=sum(int(log["canary_error"].notna().sum()) for log in logs),
        mean_score=None if platform.spec.label.classes else float(everything["score"].mean()),
        digests={log["partition_key"][0]: _digest(log) for log in logs},
        decisions=_decisions(platform.spec, logs),
    )


def _decisions(spec: UseCase, logs: Sequence[pd.DataFrame]) -> dict[str, float]:
    if not (classes := spec.label.classes):
        return {}
    chances = [list(row) for log in logs for row in log["probabilities"]]
    cost = spec.cost if isinstance(spec.cost, CostMatrix) else None
    decided = decided_class(np.reshape(chances, (-1, len(classes))), cost)
    return class_shares(classes, pd.Series(decided))


def _note(releases: Sequence[Release]) -> str:
    first = min((release.in_force_from for release in releases), default=None)
    began = f"the first is from {first:%Y-%m-%d %H:%M} UTC" if first else "there is none yet"
    return f"no release was in force; {began}"


def _digest(log: pd.DataFrame) -> str:
    unused = [name for name in (*_OF_SOME, *_OF_CLASSES) if log[name].isna().all()]
    content = log.drop(columns=[*_NOT_DIGESTED, *unused])
    text = {name: content[name].map(_text) for name in _OF_CLASSES if name in content}
    return frame_digest(content.assign(flags=content["flags"].map(",".join), **text))


def _text(values: Sequence[float] | None) -> str | None:
    return None if values is None else json.dumps(list(values))


def _score(
    platform: Platform,
    release: Release,
    rows: pd.DataFrame,
    source: Source,
    models: dict[int, Model],
) -> pd.DataFrame:
    spec = platform.spec
    keys = rows[spec.key]
    assigned = np.array([release.assign(key) for key in keys])
    champion = _predict(platform, release.champion, rows, models)
    if not champion.answer.is_finite.all():
        kind = models[release.champion].kind if spec.model.naive else ""
        raise no_answer(spec, release.champion, rows, champion.answer, kind=kind)
    canary = _Prediction.none(len(rows))
    if release.canary:
        try:
            canary = _predict(platform, release.canary, rows, models)
        except TransientError:  # the partition can be scored again, by both
            raise
        except Exception as error:  # noqa: BLE001  # whatever breaks a canary, the champion answers
            canary = _Prediction.none(len(rows), error=type(error).__name__)
    by_canary = (assigned == CANARY) & canary.answer.is_finite
    lower, upper = np.where(by_canary[:, None], canary.interval, champion.interval).T
    served = zip(by_canary, canary.probabilities, champion.probabilities, strict=True)
    features = [_features(row) for row in rows[model_columns(platform)].to_dict("records")]
    return pd.DataFrame(
        {
            "request_id": [request_id(spec.slug, key, release.revision) for key in keys],
            "partition_key": rows["partition_key"],
            "key": keys,
            "key_hash": [key_hash(key, salt=release.salt) for key in keys],
            "decided_at": rows[spec.decided_at],
            "source": source.value,
            "is_simulated": True,  # a batch asks after the decision time, from history
            "revision": release.revision,
            "canary_weight_bp": release.canary_weight_bp,
            "assigned": assigned,
            "served": np.where(by_canary, CANARY, CHAMPION),
            "score": np.where(by_canary, canary.answer.score, champion.answer.score),
            "lower": lower,
            "upper": upper,
            "probabilities": _objects([one if use else other for use, one, other in served]),
            "champion_version": release.champion,
            "champion_score": champion.answer.score,
            "champion_probabilities": _objects(champion.probabilities),
            "champion_latency_us": champion.latency_us,
            "champion_error": champion.error,
            "canary_version": pd.array([release.canary] * len(rows), dtype="Int32"),
            "canary_score": canary.answer.score,
            "canary_probabilities": _objects(canary.probabilities),
            "canary_latency_us": canary.latency_us,
            "canary_error": canary.error,
            "features": [text for text, _, _ in features],
            "features_sha256": [digest for _, digest, _ in features],
            "flags": [flags for _, _, flags in features],
        }
    )


def _objects(values: Sequence[object]) -> pd.Series:
    """A column of lists or None; pandas would make numbers of the latter alone."""
    return pd.Series(values, dtype=object)


@dataclass(frozen=True)
class _Prediction:
    """What a model said, how long it took a row, and the error class of each row without answer."""

    answer: Answer
    latency_us: float | None
    error: np.ndarray | str | None

    @classmethod
    def none(cls, rows: int, error: str | None = None) -> _Prediction:
        return cls(Answer(np.full(rows, np.nan)), None, error)

    @property
    def interval(self) -> Floats:
        """Shape (n, 2); NaN without one."""
        found = self.answer.interval
        return np.full((len(self.answer.score), 2), np.nan) if found is None else found

    @property
    def probabilities(self) -> list[list[float] | None]:
        """Of each row; None where there is no answer."""
        found = self.answer.probabilities
        if found is None:
            return [None] * len(self.answer.score)
        return [
            row if is_finite else None
            for row, is_finite in zip(found.tolist(), self.answer.is_finite, strict=True)
        ]


def _predict(
    platform: Platform, version: int, rows: pd.DataFrame, models: dict[int, Model]
) -> _Prediction:
    if version not in models:
        run_id = platform.registry.version(version).run_id
        models[version] = platform.tracking.load_model(run_id)
    start = time.perf_counter()
    answer = ask(platform.spec, models[version], rows)
    latency_us = (time.perf_counter() - start) / len(rows) * 1e6
    error = np.full(len(rows), None, dtype=object)
    error[~answer.is_finite] = "NotANumber"
    return _Prediction(answer, latency_us, error)


def _features(row: Mapping[Hashable, float | str | None]) -> tuple[str, str, list[str]]:
    # Of all that is not equal to itself there is only NaN.
    values = {str(name): None if value != value else value for name, value in row.items()}
    text, digest = features_json(values)
    return text, digest, ["missing_features"] if None in values.values() else []
