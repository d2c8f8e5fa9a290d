"""Where a prediction was made. Apart from the log's schema, so that Dag files stay light."""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """Where a prediction was made."""

    SCORE = "score"  # a partition on its own day
    REPLAY = "replay"  # a range of past partitions
    SERVER = "server"  # a request to the model server
