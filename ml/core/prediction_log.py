"""The one prediction log: what was asked, who answered, and what each model said.

`score` writes it from the first day and evidence reads it later, so a column is never renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256

import pyarrow as pa

_UTC = pa.timestamp("us", tz="UTC")
_EACH = pa.list_(pa.float64())


def _column(name: str, kind: pa.DataType, text: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": text})


PREDICTION_LOG = pa.schema(
    [
        _column("request_id", pa.string(), "identifies the row; stable when it is scored again"),
        _column("partition_key", pa.string(), "partition of the event"),
        _column("key", pa.string(), "routing key: the event's identifier"),
        _column("key_hash", pa.string(), "hash of the key by which the router decided"),
        _column("decided_at", _UTC, "decision time: features are as of this instant"),
        _column("source", pa.string(), "score, replay or server"),
        _column("is_simulated", pa.bool_(), "asked after the decision time, from history"),
        _column("revision", pa.int32(), "release revision in force at the decision time"),
        _column("canary_weight_bp", pa.int32(), "the canary's share, basis points"),
        _column("assigned", pa.string(), "model that the router chose: champion or canary"),
        _column("served", pa.string(), "model that answered; differs if the assigned one failed"),
        _column("score", pa.float64(), "the answer: probability, value, or index of a class"),
        _column("lower", pa.float64(), "lower end of the interval around a value", nullable=True),
        _column("upper", pa.float64(), "its upper end", nullable=True),
        _column("probabilities", _EACH, "of each class, of what was served", nullable=True),
        _column("champion_version", pa.int32(), "version of the champion"),
        _column("champion_score", pa.float64(), "its score", nullable=True),
        _column("champion_probabilities", _EACH, "its probability of each class", nullable=True),
        _column("champion_latency_us", pa.float64(), "its time a row, microseconds", nullable=True),
        _column("champion_error", pa.string(), "its error class", nullable=True),
        _column("canary_version", pa.int32(), "version of the canary", nullable=True),
        _column("canary_score", pa.float64(), "its score", nullable=True),
        _column("canary_probabilities", _EACH, "its probability of each class", nullable=True),
        _column("canary_latency_us", pa.float64(), "its time a row, microseconds", nullable=True),
        _column("canary_error", pa.string(), "its error class", nullable=True),
        _column("features", pa.string(), "feature values as canonical JSON"),
        _column("features_sha256", pa.string(), "digest of the column before, 16 digits"),
        _column("flags", pa.list_(pa.string()), "remarks, such as features that were missing"),
    ]
)


def request_id(slug: str, key: str, revision: int) -> str:
    """Identifier of a scored row: the same row under the same revision has the same one.

    >>> request_id("flight_delay", "20130701-UA-1545-EWR", 2)
    '8abc187cd9c35530'
    """
    return sha256(f"{slug}/{revision}/{key}".encode()).hexdigest()[:16]


def features_json(values: Mapping[str, float | str | None]) -> tuple[str, str]:
    """Canonical JSON of one row's feature values, and its digest.

    >>> features_json({"b": 1.0, "a": None})[0]
    '{"a":null,"b":1.0}'
    """
    text = json.dumps(dict(values), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text, sha256(text.encode()).hexdigest()[:16]
