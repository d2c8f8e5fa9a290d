"""Rows that small models learn from in tests of their files: a number, a place, gaps in both."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.adapters.model_files import Contract

COLUMNS, PLACES = ("speed", "place"), ("EWR", "JFK", "LGA")
_RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "unused": "x",
        "place": _RANDOM.choice([*PLACES, None], 600),
        "speed": np.where(_RANDOM.random(600) < 0.1, np.nan, _RANDOM.normal(size=600)),
    }
)
LABEL = ((FRAME["speed"] > 0) ^ (FRAME["place"] == "JFK")).to_numpy("float64")


def contract(kind: str, columns: tuple[str, ...] = COLUMNS) -> Contract:
    return Contract(kind, "binary", columns, {"place": PLACES})
