"""Reads of the online store that say which values may be used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.core.errors import ConfigError, DataError
from ml.core.online import OnlineFeatures, OnlineStatus

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore

_FRESH, _EXPIRED, _FUTURE, _MISSING, _UNKNOWN = range(5)
_NAMES = np.array(
    [
        OnlineStatus.FRESH,
        OnlineStatus.EXPIRED,
        OnlineStatus.FUTURE,
        OnlineStatus.MISSING,
        OnlineStatus.UNKNOWN,
    ],
    dtype=object,
)


def read_online(
    store: FeatureStore,
    entities: pd.DataFrame,
    at: datetime,
    *,
    features: Mapping[str, Sequence[str]],
    keys: Mapping[str, Mapping[str, str]],
    ttls: Mapping[str, timedelta | None],
) -> OnlineFeatures:
    """All features of all entities in one call.

    Args:
        entities: the join keys of all views, one row for each question.
        features, keys, ttls: of each view: its features, its join keys with their Feast types, and
            its time to live.

    Raises:
        ConfigError: if `at` has no time zone.
        DataError: if the store was not materialized with these definitions.
    """
    import pandas as pd

    if at.tzinfo is None:
        raise ConfigError(f"the time {at} has no zone", expected="a time in UTC")
    if entities.empty:  # which Feast refuses
        nothing = pd.DataFrame(columns=_columns(features), index=entities.index, dtype="float64")
        return OnlineFeatures(nothing, pd.DataFrame(columns=[*features], index=entities.index))
    types = {key: kind for of_view in keys.values() for key, kind in of_view.items()}
    cleaned = {key: _clean(entities[key].tolist(), kind) for key, kind in types.items()}
    found = _ask(store, features, {key: values for key, (values, _) in cleaned.items()})
    columns: list[np.ndarray] = []
    statuses: list[np.ndarray] = []
    for view, names in features.items():
        rows = np.stack([_numbers(found[f"{view}__{name}"].values) for name in names])
        times = _times(found[f"{view}__{names[0]}"].event_timestamps)
        times[~np.logical_and.reduce([cleaned[key][1] for key in keys[view]])] = 0
        status = _status(times, rows, at.timestamp(), ttls[view])
        rows[:, status != _FRESH] = np.nan
        columns.append(rows)
        statuses.append(_NAMES[status])
    values = pd.DataFrame(np.concatenate(columns).T, entities.index, _columns(features))
    return OnlineFeatures(values, pd.DataFrame(np.stack(statuses).T, entities.index, [*features]))


def _columns(features: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{view}__{name}" for view, names in features.items() for name in names]


def _ask(
    store: FeatureStore, features: Mapping[str, Sequence[str]], keys: Mapping[str, list[Any]]
) -> Mapping[str, Any]:
    """Feast's answer by feature: its columns come in another order in each process."""
    from feast.errors import FeastObjectNotFoundException

    references = [f"{view}:{name}" for view, names in features.items() for name in names]
    try:
        answer = store.get_online_features(references, keys, full_feature_names=True).proto
    except (FeastObjectNotFoundException, KeyError) as error:
        raise DataError(
            f"the online store does not know these features: {error}",
            expected=", ".join(features),
            repair="run: flightline materialize … once more after the definitions changed",
        ) from error
    return dict(zip(answer.metadata.feature_names.val, answer.results, strict=True))


def _clean(values: Sequence[Any], kind: str) -> tuple[list[Any], np.ndarray]:
    """The values that can be keys of this type, any others replaced, and which ones can.

    Feast would refuse the whole batch for a None, and take the number 5 for the text "5".
    """
    convert, instead = _CONVERT[kind]
    found = [convert(value) for value in values]
    usable = np.array([value is not None for value in found], dtype=bool)
    return [instead if value is None else value for value in found], usable


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    return value


def _integer(value: Any) -> int | None:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return None
    if not math.isfinite(value) or value != int(value) or not -(2**63) <= value < 2**63:
        return None
    return int(value)


_CONVERT: Mapping[str, tuple[Callable[[Any], Any], Any]] = {
    "STRING": (_text, ""),
    "INT64": (_integer, 0),
}


def _numbers(values: Sequence[Any]) -> np.ndarray:
    kinds = [value.WhichOneof("val") for value in values]
    return np.array(
        [
            math.nan if kind is None else getattr(value, kind)
            for value, kind in zip(values, kinds, strict=True)
        ],
        dtype="float64",
    )


def _times(stamps: Sequence[Any]) -> np.ndarray:
    """Event times in whole seconds since 1970, as Feast's stores keep them; 0: no such key."""
    return np.array([stamp.seconds for stamp in stamps], dtype="int64")


def _status(times: np.ndarray, rows: np.ndarray, at: float, ttl: timedelta | None) -> np.ndarray:
    oldest = at - ttl.total_seconds() if ttl else -math.inf
    conditions = [times == 0, times > at, times < oldest, np.isnan(rows).all(axis=0)]
    return np.select(conditions, [_UNKNOWN, _FUTURE, _EXPIRED, _MISSING], _FRESH)
