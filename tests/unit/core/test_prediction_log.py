from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.prediction_log import PREDICTION_LOG, features_json, request_id
from ml.core.prediction_source import ANSWER_COLUMNS, Source

# Evidence is read years later: a column may be added, never renamed or retyped.
PUBLISHED = {
    "request_id": "string",
    "partition_key": "string",
    "key": "string",
    "key_hash": "string",
    "decided_at": "timestamp[us, tz=UTC]",
    "source": "string",
    "is_simulated": "bool",
    "revision": "int32",
    "canary_weight_bp": "int32",
    "assigned": "string",
    "served": "string",
    "score": "double",
    "lower": "double",
    "upper": "double",
    "probabilities": "list<item: double>",
    "champion_version": "int32",
    "champion_score": "double",
    "champion_probabilities": "list<item: double>",
    "champion_latency_us": "double",
    "champion_error": "string",
    "canary_version": "int32",
    "canary_score": "double",
    "canary_probabilities": "list<item: double>",
    "canary_latency_us": "double",
    "canary_error": "string",
    "features": "string",
    "features_sha256": "string",
    "flags": "list<item: string>",
}


def test_no_published_column_was_renamed_or_retyped() -> None:
    now = {field.name: str(field.type) for field in PREDICTION_LOG}
    assert PUBLISHED.items() <= now.items()


def test_every_column_is_described() -> None:
    assert all(field.metadata[b"description"] for field in PREDICTION_LOG)


@pytest.mark.parametrize("name", ["request_id", "key", "decided_at", "score", "served"])
def test_a_row_without_an_answer_is_no_row(name: str) -> None:
    assert not PREDICTION_LOG.field(name).nullable
    with pytest.raises(ValueError, match="null"):
        pa.table({name: pa.array([None], PREDICTION_LOG.field(name).type)}).cast(
            pa.schema([PREDICTION_LOG.field(name)])
        ).validate(full=True)


@pytest.mark.parametrize("name", ["lower", "probabilities", "canary_score"])
def test_what_only_some_problems_have_may_be_missing(name: str) -> None:
    assert PREDICTION_LOG.field(name).nullable


def test_a_row_has_the_same_id_until_the_release_changes() -> None:
    assert request_id("toy", "k", 2) == request_id("toy", "k", 2)
    ids = {request_id("toy", "k", 1), request_id("toy", "k", 2), request_id("toy", "j", 1)}
    assert len(ids | {request_id("other", "k", 1)}) == 4


@given(st.dictionaries(st.text(max_size=8), st.none() | st.floats(-1e6, 1e6) | st.text(max_size=5)))
def test_feature_values_are_canonical(values: dict[str, float | str | None]) -> None:
    text, digest = features_json(values)
    again, same = features_json(dict(reversed(values.items())))
    assert (text, digest) == (again, same)
    assert json.loads(text) == values and len(digest) == 16


def test_a_feature_that_is_not_a_number_must_be_said_as_null() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        features_json({"a": float("nan")})


def test_sources_have_stable_names() -> None:
    assert [source.value for source in Source] == ["score", "replay", "server"]


def test_what_predictions_are_read_with_is_known_without_arrow() -> None:
    assert {*PREDICTION_LOG.names, "decision", "probability", "cost"} == ANSWER_COLUMNS
