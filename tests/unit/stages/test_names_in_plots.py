"""Names of groups come from the data: whatever they hold, they are drawn as they are."""

from __future__ import annotations

import io

import numpy as np
import pytest

from ml.core.problems import ProblemType
from ml.stages import plots


@pytest.mark.parametrize("name", ["$0_$10", "$5%-$10", "$5 #1 $6", "$x_$", "a_b^c", "{x} \\n"])
def test_a_name_is_no_formula(name: str) -> None:
    label = np.arange(400.0) % 2
    groups = {"price": np.where(np.arange(400) % 3 == 0, name, "plain")}
    figures = plots.evaluation(
        ProblemType.BINARY, label, 0.3 + 0.4 * label, title="select window", groups=groups
    )
    figures["plots/by_price.png"].savefig(io.BytesIO())
