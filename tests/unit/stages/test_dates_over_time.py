"""The dates below values in time: few, whatever the span."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta

import numpy as np
import pytest
from matplotlib.figure import Figure

from ml.stages.drawing.forecasts import _dates


@pytest.mark.parametrize("first", ["1999-12-31T23:59:59", "2000-02-29", "2013-07-14T06:30"])
def test_a_span_of_any_length_has_few_dates(first: str) -> None:
    """Matplotlib warns where no interval between ticks fits, and then draws too many of them."""
    axis = Figure().add_subplot()
    _dates(axis)
    locator = axis.xaxis.get_major_locator()
    start = datetime.fromisoformat(first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seconds in np.geomspace(3, 120 * 365.25 * 86_400, 2_000):
            ticks = locator.tick_values(start, start + timedelta(seconds=float(seconds)))
            assert 2 <= len(ticks) <= 10, seconds
