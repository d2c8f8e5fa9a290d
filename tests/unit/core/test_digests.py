from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.digests import frame_digest, json_digest

FRAME = pd.DataFrame(
    {"a": [1.0, None], "b": ["x", None], "t": [datetime(2013, 1, 1, tzinfo=UTC)] * 2}
)


@pytest.mark.parametrize(
    "changed",
    [
        FRAME.rename(columns={"a": "c"}),
        FRAME[["b", "a", "t"]],
        FRAME[::-1],
        FRAME.assign(a=[1.0, 0.0]),
        FRAME.assign(a=[np.nextafter(1.0, 2), None]),
        FRAME.assign(b=["x", ""]),
        FRAME.head(1),
        pd.concat([FRAME, FRAME.tail(1)]),
    ],
    ids=["name", "column order", "row order", "null", "last bit", "empty", "fewer", "more"],
)
def test_any_change_of_content_changes_the_digest(changed: pd.DataFrame) -> None:
    assert frame_digest(changed) != frame_digest(FRAME)


def test_the_index_is_no_content() -> None:
    assert frame_digest(FRAME.set_axis([7, 9], axis=0)) == frame_digest(FRAME)


def test_a_digest_is_the_same_in_another_process() -> None:
    """Python's own `hash` is seeded anew in each."""
    code = (
        "import pandas as pd; from ml.core.digests import *;"
        "print(frame_digest(pd.DataFrame({'b': ['x', None]})), json_digest({'b': {'x': 1}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_root()
    )
    here = f"{frame_digest(FRAME[['b']])} {json_digest({'b': {'x': 1}})}"
    assert done.stdout.strip() == here


def _root() -> str:
    from support import ROOT

    return str(ROOT)


def test_json_digest_depends_on_content_alone() -> None:
    assert json_digest({"a": 1, "b": {"c": [1, 2]}}) == json_digest({"b": {"c": [1, 2]}, "a": 1})
    assert json_digest({"a": 1}) != json_digest({"a": 2})
    assert json_digest({"a": "1"}) != json_digest({"a": 1})
    assert len(json_digest({})) == 64


texts = st.text(max_size=3)
leaves = st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from([0.0, 1.0, 0.1]) | texts
contents = st.dictionaries(
    texts, leaves | st.lists(leaves, max_size=2) | st.dictionaries(texts, leaves, max_size=3)
)


def turned(content: Any) -> Any:
    """The same, with the entries of each mapping in reverse order."""
    if isinstance(content, dict):
        return {name: turned(value) for name, value in reversed(content.items())}
    return [turned(value) for value in content] if isinstance(content, list) else content


def ordered(content: Any) -> Any:
    if isinstance(content, dict):
        return sorted((name, ordered(value)) for name, value in content.items())
    return [ordered(value) for value in content] if isinstance(content, list) else content


@given(contents, contents)
def test_json_digests_are_equal_where_the_content_is(one: Any, other: Any) -> None:
    assert json_digest(turned(one)) == json_digest(one)
    assert json_digest(json.loads(json.dumps(one))) == json_digest(one), "also when it was stored"
    # Not by ==, for which 1, 1.0 and True are one.
    are_equal = repr(ordered(one)) == repr(ordered(other))
    assert (json_digest(one) == json_digest(other)) == are_equal


def test_processors_may_differ_in_the_sign_of_what_has_none() -> None:
    one, other = pd.DataFrame({"x": [0.0, np.nan]}), pd.DataFrame({"x": [-0.0, -np.nan]})
    assert other["x"].to_numpy().tobytes() != one["x"].to_numpy().tobytes()
    assert frame_digest(one) == frame_digest(other)
    assert frame_digest(pd.DataFrame({1: [0.5]})) != frame_digest(pd.DataFrame({"1": [0.5]}))


cells = st.floats(allow_nan=True) | st.none()


@given(
    st.lists(st.tuples(cells, st.none() | texts), min_size=1, max_size=8),
    st.integers(0, 7),
    st.integers(0, 1),
    st.data(),
)
def test_any_other_cell_is_another_digest(
    rows: list[tuple[Any, Any]], row: int, column: int, data: st.DataObject
) -> None:
    frame = pd.DataFrame(rows, columns=["number", "text"]).astype({"number": "float64"})
    where = (row % len(rows), column)
    changed = frame.copy()
    changed.iloc[where] = data.draw((cells, st.none() | texts)[column])
    same = frame.equals(changed)
    assert (frame_digest(frame) == frame_digest(changed)) == same
    assert frame_digest(frame) == frame_digest(pd.concat([frame.head(1), frame.iloc[1:]]))
