"""The gates of every use case must tell a model from the rule that needs no learning."""

from __future__ import annotations

import numpy as np
import pytest

from ml.core.gates import Verdict, criterion_gate
from ml.core.metrics import evaluate
from ml.core.problems import ProblemType
from ml.core.statistics import Resampling
from ml.use_cases import available, load_spec

ROWS, DAYS = 2_000, 40


@pytest.mark.parametrize("slug", available())
def test_the_rule_itself_is_rejected(slug: str) -> None:
    """Whatever the data, it saves nothing of its own loss; a gate must ask for more than that."""
    spec, rng = load_spec(slug), np.random.default_rng(1)
    if spec.problem is ProblemType.MULTICLASS:
        pytest.skip("nobody made up such data yet")
    is_value = spec.problem is ProblemType.REGRESSION
    rule = rng.normal(300, 5, ROWS) if is_value else rng.beta(1, 9, ROWS)
    noise = rng.normal(0, 1, ROWS)
    label = rule + noise if is_value else (rng.random(ROWS) < rule).astype(float)
    metrics = evaluate(
        spec.scope,
        label,
        rule,
        rule=rule,
        resampling=Resampling(np.arange(ROWS) % DAYS, replicates=200, seed=1),
        cost=spec.cost,
        naive=dict.fromkeys(spec.model.naive, rule - 2 * noise),
        interval=np.column_stack([rule - 3, rule + 3]) if spec.model.interval else None,
    )
    on_skill = [one for one in spec.gates.criteria if one.metric == "skill"]
    found = [criterion_gate(one, metrics["skill"]).verdict for one in on_skill]
    assert Verdict.FAIL in found, "say Criterion(metric='skill', minimum=…) above 0"
