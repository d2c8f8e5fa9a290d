"""What a spec names must be there: inputs of the model, classes of the label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from toy_answers import MULTICLASS, REGRESSION, Toy, toy_spec

from ml.core.errors import ConfigError, DataError
from ml.core.plans import ModelPlan
from ml.stages.examples import read_examples, require_classes, require_inputs


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path, toy_spec(MULTICLASS), count=2)


@pytest.mark.parametrize(
    ("plan", "seen"),
    [
        ({"difference_from": "shop"}, "model.difference_from is 'shop'"),
        ({"naive": {"persistence": "yesterday"}}, "model.naive['persistence'] is 'yesterday'"),
    ],
)
def test_what_an_answer_is_made_from_is_an_input(
    plan: dict[str, Any], seen: str, tmp_path: Path
) -> None:
    model = ModelPlan(parameters={}, max_rounds=5, early_stopping_rounds=2, **plan)
    toy = Toy(tmp_path, toy_spec(REGRESSION, model=model), count=2)
    for check in (require_inputs, lambda platform: read_examples(platform, toy.partitions[:1])):
        with pytest.raises(ConfigError) as caught:
            check(toy.platform)
        assert caught.value.seen == f"{seen}, which is no number that the model sees"
        assert caught.value.expected == "one of: things__last, things__hint, year_ago"
        assert "to the service toy_v1 or to features.on_request" in caught.value.repair


def with_labels(toy: Toy, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Have the first partition's labels otherwise."""
    key = toy.partitions[0].key
    rows = toy.lake.read("marts", "fct_labels", [key]).to_pandas().drop(columns="partition_key")
    content = pa.Table.from_pandas(change(rows), preserve_index=False)
    toy.lake.write("marts", "fct_labels", key, content)


@pytest.mark.parametrize(("value", "text"), [(3.0, "3"), (-1.0, "-1"), (0.5, "0.5")])
def test_a_label_is_the_index_of_a_class(toy: Toy, value: float, text: str) -> None:
    with_labels(toy, lambda rows: rows.assign(y=rows["y"].where(rows.index != 4, value)))
    with pytest.raises(DataError) as caught:
        read_examples(toy.platform, toy.partitions[:2])
    assert caught.value.seen == f"y of fct_labels is {text} in 1 of 24 rows"
    assert caught.value.expected == "the index of a class of the spec: 0 low, 1 middle, 2 high"
    toy.models[1] = toy.models[2]
    with pytest.raises(DataError, match=f"y of fct_labels is {text} in"):
        toy.score(1)


def test_a_label_that_is_missing_may_still_come(toy: Toy) -> None:
    with_labels(toy, lambda rows: rows.assign(y=np.nan))
    found = read_examples(toy.platform, toy.partitions[:1])
    assert found["y"].isna().all()
    require_classes(toy.spec, np.array([np.nan, 2.0]))
