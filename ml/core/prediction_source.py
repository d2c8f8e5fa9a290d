"""Where a prediction was made. Apart from the log's schema, so that Dag files stay light."""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """Where a prediction was made."""

    SCORE = "score"  # a partition on its own day
    REPLAY = "replay"  # a range of past partitions
    SERVER = "server"  # a request to the model server


ANSWER_COLUMNS = frozenset(
    {
        "request_id",
        "partition_key",
        "key",
        "key_hash",
        "decided_at",
        "source",
        "is_simulated",
        "revision",
        "canary_weight_bp",
        "assigned",
        "served",
        "score",
        "lower",
        "upper",
        "probabilities",
        "champion_version",
        "champion_score",
        "champion_probabilities",
        "champion_latency_us",
        "champion_error",
        "canary_version",
        "canary_score",
        "canary_probabilities",
        "canary_latency_us",
        "canary_error",
        "features",
        "features_sha256",
        "flags",
        "decision",
        "probability",
        "cost",
    }
)
"""Columns of the prediction log, and those that are added where predictions are read."""
