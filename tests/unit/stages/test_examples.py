"""What a spec names must be there: inputs of the model, classes of the label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from toy_answers import BINARY, MULTICLASS, REGRESSION, Toy, toy_spec

from ml.core.errors import ConfigError, DataError
from ml.core.plans import ModelPlan
from ml.core.problems import ProblemType
from ml.stages.examples import read_examples, require_inputs, require_labels


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


@pytest.mark.parametrize(
    ("problem", "value", "expected"),
    [(BINARY, 2.0, "0 or 1"), (BINARY, -1.0, "0 or 1"), (REGRESSION, np.inf, "a finite number")],
)
def test_a_label_is_one_of_its_problem(
    tmp_path: Path, problem: ProblemType, value: float, expected: str
) -> None:
    """Labels 1 and 2, or -1 and 1, would make a model that knows nothing pass every gate."""
    toy = Toy(tmp_path, toy_spec(problem), count=2)
    with_labels(toy, lambda rows: rows.assign(y=rows["y"].where(rows.index != 1, value)))
    for read in (lambda: read_examples(toy.platform, toy.partitions), lambda: toy.score(1)):
        with pytest.raises(DataError, match=f"y of fct_labels is {value:g} in 1 of") as caught:
            read()
        assert caught.value.expected.startswith(expected)


def test_a_label_that_is_missing_may_still_come(toy: Toy) -> None:
    with_labels(toy, lambda rows: rows.assign(y=np.nan))
    found = read_examples(toy.platform, toy.partitions[:1])
    assert found["y"].isna().all()
    require_labels(toy.spec, np.array([np.nan, 2.0]))


def with_events(toy: Toy, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Have the first partition's events otherwise."""
    key = toy.partitions[0].key
    rows = toy.lake.read("marts", "fct_events", [key]).drop_columns(["partition_key"])
    content = pa.Table.from_pandas(change(rows.to_pandas()), preserve_index=False)
    content = content if len(content) else rows.slice(0, 0)  # pandas does not know text by then
    toy.lake.write("marts", "fct_events", key, content)


def test_an_infinite_feature_is_one_that_is_not_known(toy: Toy) -> None:
    """Training takes it for missing, so scoring does."""
    with_events(
        toy, lambda rows: rows.assign(year_ago=rows["year_ago"].where(rows.index > 0, np.inf))
    )
    assert read_examples(toy.platform, toy.partitions)["year_ago"].isna().sum() == 1
    toy.score(1)
    log = toy.lake.read("predictions", "revision=2", [toy.partitions[0].key]).to_pydict()
    assert log["flags"].count(["missing_features"]) == 1


def test_a_key_is_text(toy: Toy) -> None:
    with_events(toy, lambda rows: rows.assign(event_id=range(len(rows))))
    with pytest.raises(ConfigError) as caught:
        read_examples(toy.platform, toy.partitions[:1])
    assert caught.value.seen == "event_id of fct_events is int64"
    assert "cast it to varchar in the dbt models fct_events and fct_labels" in caught.value.repair


def test_a_partition_without_events_keeps_no_answers(toy: Toy) -> None:
    """A correction may take away everything that was asked about."""
    toy.score()
    first, second = (day.key for day in toy.partitions)
    with_events(toy, lambda rows: rows.head(0))
    toy.score()
    assert toy.lake.keys("predictions", "revision=2") == (second,) != (first,)


@pytest.mark.parametrize("lost", [2, 3])
def test_a_newer_release_that_is_lost_is_not_replaced(toy: Toy, lost: int) -> None:
    """As after a restore of MLflow's database alone; a release may have answered nothing."""
    toy.score()
    for day in toy.partitions:
        rows = toy.lake.read("predictions", "revision=2", [day.key])
        toy.lake.remove("predictions", "revision=2", day.key)
        toy.lake.write("predictions", f"revision={lost}", day.key, rows)
    toy.releases = toy.releases[:1]
    with pytest.raises(DataError, match=f"that they made: revision={lost}") as caught:
        toy.score()
    assert "MLOPS_TRACKING_URI" in caught.value.repair


def test_releases_that_are_lost_are_not_the_beginning(toy: Toy) -> None:
    """Whoever deletes the registered model must not make the next candidate the first ever."""
    toy.score()
    toy.releases = ()
    with pytest.raises(DataError, match=r"releases of toy are lost, .*: revision=2") as caught:
        toy.score()
    assert "restore MLflow's database" in caught.value.repair
    for revision in (1, 2):
        for day in toy.partitions:
            toy.lake.remove("predictions", f"revision={revision}", day.key)
    assert len(toy.score().skipped) == 2
