"""Digests that depend on content alone: not on the clock, the machine or a file format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd


def frame_digest(frame: pd.DataFrame) -> str:
    """SHA-256 over column names and the 64-bit hashes of rows, in order; 64 hexadecimal digits.

    >>> a = pd.DataFrame({"x": [1.0, None]})
    >>> frame_digest(a) == frame_digest(a.copy()), frame_digest(a) == frame_digest(a[::-1])
    (True, False)
    """
    # One zero and one "missing": processors differ in the sign of both.
    floats = frame.select_dtypes(np.floating)
    frame = frame.copy(deep=False)
    frame[floats.columns] = floats.where(floats.notna(), np.nan) + 0.0
    digest = sha256(json.dumps(list(frame.columns)).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def json_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 over canonical JSON; 64 hexadecimal digits.

    >>> json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return sha256(text.encode()).hexdigest()
