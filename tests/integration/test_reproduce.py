"""A past run is trained again from its record: the same model, or what exactly differs."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import with_labels

from ml.core.errors import ConfigError, DataError
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import reproduce, train
from ml.stages.reproduce import ReproduceResult

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain")]
Broken = Callable[..., Platform]


def notes(found: ReproduceResult) -> dict[str, str]:
    return {one.what: one.note for one in found.checks if not one.is_same}


def test_a_run_reproduces_and_nothing_is_changed(broken: Broken, chain: Any) -> None:
    platform = dataclasses.replace(broken(), code_digest=chain.platform.code_digest)
    before = platform.registry.versions()
    found = reproduce.run(platform, run_id=chain.second.run_id)
    assert found.is_same and found.differs == ()
    assert {one.what for one in found.checks} >= {"data", "spec", "code", "environment", "model"}
    assert platform.registry.versions() == before
    model = next(one for one in found.checks if one.what == "model")
    assert model.now == chain.second.model_digest


def test_the_first_digits_of_a_run_are_enough(broken: Broken, chain: Any) -> None:
    found = reproduce.run(broken(), run_id=chain.first.run_id[:10])
    assert found.run_id == chain.first.run_id and found.is_same


def test_data_that_changed_since_is_named_and_the_record_still_gives_the_model(
    broken: Broken, chain: Any
) -> None:
    def corrected(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(is_late=rows["is_late"].where(rows.index != 100, 1 - rows["is_late"]))

    platform = with_labels(broken(), corrected)
    found = reproduce.run(platform, run_id=chain.first.run_id)
    assert found.is_same and "data" in found.differs
    assert "do not come out of the features" in notes(found)["data"]


def test_data_that_cannot_be_read_today_is_a_finding_too(broken: Broken, chain: Any) -> None:
    platform = broken()
    platform.lake.remove("marts", platform.spec.mart, "2013-01-10")
    found = reproduce.run(platform, run_id=chain.first.run_id)
    assert found.is_same and notes(found)["data"] == "not transformed yet: 2013-01-10"


def test_a_spec_that_changed_since_is_named_field_by_field(
    broken: Broken, chain: Any, spec: UseCase
) -> None:
    model = spec.model.model_copy(update={"seed": 8, "max_rounds": 3})
    platform = broken(spec.model_copy(update={"model": model}))
    found = reproduce.run(platform, run_id=chain.first.run_id)
    assert found.is_same, "the recorded spec counts"
    assert notes(found)["spec"] == "model.max_rounds 80 → 3, model.seed 7 → 8"


def test_code_and_environment_that_changed_since_are_named(broken: Broken, chain: Any) -> None:
    tags = {**chain.platform.code_tags, "env.lock_sha256": "0" * 16}
    platform = dataclasses.replace(broken(), code_digest="4" * 64, code_tags=tags)
    found = reproduce.run(platform, run_id=chain.first.run_id)
    assert found.is_same and found.differs == ("code", "environment")


def test_fault_a_training_that_does_otherwise_now_gives_another_model(
    broken: Broken, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: the check can fail."""
    from ml.stages.training import parameters

    other = {**parameters._FIXED, "extra_trees": True}
    monkeypatch.setattr(parameters, "_FIXED", other)
    found = reproduce.run(broken(), run_id=chain.first.run_id)
    if chain.first.chosen == "lightgbm":
        assert not found.is_same and {"model", "parameters"} <= set(found.differs)
        assert "extra_trees None → True" in notes(found)["parameters"]


def _training_set(platform: Platform, trained: Any) -> Path:
    address = platform.lake.address("training_sets", trained.dataset_digest[:32], None)
    return Path(address.removeprefix("file://"))


def test_a_lost_training_set_is_read_anew_if_it_is_the_same(broken: Broken, chain: Any) -> None:
    platform = broken()
    shutil.rmtree(_training_set(platform, chain.first).parent)
    assert reproduce.run(platform, run_id=chain.first.run_id).is_same


def test_fault_a_training_set_that_is_lost_and_cannot_be_read_anew_is_bad_data(
    broken: Broken, chain: Any
) -> None:
    platform = broken()
    path = _training_set(platform, chain.first)
    platform.lake.remove("marts", platform.spec.mart, "2013-01-10")
    pd.read_parquet(path).head(1000).to_parquet(path)
    with pytest.raises(DataError, match=r"is lost: .*; and .* not transformed yet: 2013-01-10"):
        reproduce.run(platform, run_id=chain.first.run_id)


def test_an_experiment_can_be_reproduced(broken: Broken, spec: UseCase) -> None:
    platform = broken()
    settings = ("learning_rate=0.2", "max_rounds=20", "num_leaves=7")
    trial = train.run(platform, as_of=spec.as_of("2013-03-01"), settings=settings, is_trial=True)
    found = reproduce.run(platform, run_id=trial.run_id)
    assert found.is_same
    assert "model.parameters.num_leaves 7 → 31" in notes(found)["spec"]


def test_a_run_that_does_not_exist_is_an_error_to_read(chain: Any) -> None:
    with pytest.raises(ConfigError, match="there is no run 0123abc"):
        reproduce.run(chain.platform, run_id="0123abc")


def test_two_runs_that_begin_alike_are_told_apart(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        dataclasses.replace(v, run_id=f"ab{v.version}") for v in chain.platform.registry.versions()
    ]

    class Registry:
        def versions(self) -> Any:
            return runs

    platform = dataclasses.replace(chain.platform, registry=Registry())
    with pytest.raises(ConfigError, match="2 runs begin with ab\n  expected: one of: ab1, ab2"):
        reproduce.run(platform, run_id="ab")
