"""Which files of a model a reproduction compares; the whole of it is an integration test."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from toy_training import toy_material, trend_material

from ml.adapters.model_files import CONTRACT, NATIVE, contract_digest, interval_digest
from ml.stages.reproduce import _MODEL, Compared, _outputs, _Record
from ml.stages.training.contest import compete
from ml.stages.training.material import Competitor, Material


def tags_of(chosen: Competitor) -> dict[str, str]:
    interval = interval_digest(chosen.files)
    return {
        "model.sha256": sha256(chosen.files[NATIVE[chosen.kind]]).hexdigest(),
        "contract.sha256": contract_digest(chosen.files[CONTRACT]),
        **({"interval.sha256": interval} if interval else {}),
    }


def compared(material: Material, **changes: Any) -> dict[str, Compared]:
    chosen = compete(material).chosen
    training = {"chosen": chosen.kind, "parameters": dict(chosen.parameters)}
    record = _Record("run", material.spec, training, tags_of(chosen) | changes)
    return {one.what: one for one in _outputs(record, compete(material).chosen)}


def test_the_interval_comes_out_again_as_well() -> None:
    found = compared(trend_material())
    assert "interval" in found and all(one.is_same for one in found.values())


@pytest.mark.parametrize("tag", ["interval.sha256", "model.sha256", "contract.sha256"])
def test_fault_another_file_is_told_and_is_not_the_same_model(tag: str) -> None:
    found = compared(trend_material(), **{tag: "0" * 64})
    what = tag.partition(".")[0]
    assert not found[what].is_same and what in _MODEL


def test_of_a_model_without_an_interval_nothing_is_said_of_one() -> None:
    assert "interval" not in compared(toy_material())
