"""What an online read gives back: values, and for each feature view whether they may be used."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class OnlineStatus(StrEnum):
    """What the online store has of one key of one feature view at a time `at`.

    Only FRESH rows have values; of the others all features are NaN.

    Attributes:
        FRESH: a row of this key, not newer than `at` and not older than the view's TTL before it.
            A single feature of it may still be null.
        EXPIRED: the row is older than the TTL: offline, too, there is no value at this time.
        FUTURE: the row is newer than `at`. The store keeps one row for each key, so what was valid
            at `at` is gone: ask `historical`.
        MISSING: a row of this key that could be used, and all its features are null.
        UNKNOWN: no row of this key was ever written, or it is no key at all (None, another type).
    """

    FRESH = "fresh"
    EXPIRED = "expired"
    FUTURE = "future"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class OnlineFeatures:
    """Features of n entities at one time.

    Attributes:
        values: shape (n, columns), float64, NaN where there is no usable value; the columns and
            their order are those of `FeatureStore.columns`, the index that of the entities.
        status: shape (n, views), an `OnlineStatus` each, in the order of the service's views.
    """

    values: pd.DataFrame
    status: pd.DataFrame
