"""The spec that a run recorded, read by code that has changed since."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from support import small_spec

from ml.core.errors import ConfigError
from ml.stages.reproduce import _Record
from ml.stages.training.record import SPEC


@dataclasses.dataclass
class Tracking:
    """What a run has kept."""

    spec: dict[str, Any]

    def document(self, run_id: str, path: str) -> str:
        return json.dumps(self.spec if path == SPEC else {})

    def tags(self, run_id: str) -> dict[str, str]:
        return {"dataset.sha256": "0" * 64}


@dataclasses.dataclass
class Platform:
    tracking: Tracking


def recorded(**changes: Any) -> dict[str, Any]:
    return small_spec().model_dump(mode="json") | changes


def test_a_field_that_was_added_since_has_its_default() -> None:
    then = recorded()
    del then["segments"]
    record = _Record.of(Platform(Tracking(then)), "r")  # type: ignore[arg-type]  # all it asks for
    assert record.spec == small_spec()


@pytest.mark.parametrize("change", [{"colour": "red"}, {"cadence": "fortnight"}])
def test_a_field_that_is_gone_or_means_something_else_is_told_with_the_way_back(
    change: dict[str, Any],
) -> None:
    platform = Platform(Tracking(recorded(**change)))
    with pytest.raises(ConfigError, match="cannot read the spec of run r") as told:
        _Record.of(platform, "r")  # type: ignore[arg-type]  # all it asks for
    assert "git.commit" in str(told.value)
