from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

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
