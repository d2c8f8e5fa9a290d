from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from typing import Any

import pytest

from ml.core.errors import ConfigError
from ml.settings import Settings
from ml.stages.meter import Meter
from ml.stages.runner import Arguments, StageRun, run_stage
from ml.use_cases import available


@dataclass(frozen=True)
class Result:
    value: float
    when: datetime
    keys: tuple[str, ...]


def test_a_result_crosses_to_the_orchestrator_as_plain_json() -> None:
    """Airflow stores it as JSON, which has neither NaN nor tuples nor times."""
    when = datetime(2013, 6, 1, tzinfo=UTC)
    plain = StageRun("train", Result(nan, when, ("a",)), 1.5, 1.0, 100.0).to_plain()
    assert plain["result"] == {"value": None, "when": str(when), "keys": ["a"]}
    assert plain["seconds"] == 1.5
    json.dumps(plain, allow_nan=False)


def test_arguments_are_plain_values_with_the_documented_defaults() -> None:
    assert Arguments() == Arguments(first="", last="", as_of="", version=0, source="score")


def test_an_unknown_use_case_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=", ".join(available())):
        run_stage("ingest", "nothing_here", Arguments(), where=Settings(home=tmp_path))


@pytest.mark.parametrize("slug", ["../etc", "Flight", ""])
def test_a_slug_is_checked_before_it_becomes_a_path(tmp_path: Path, slug: str) -> None:
    with pytest.raises(ConfigError, match="unknown use case"):
        run_stage("ingest", slug, Arguments(first="2013-01-01"), where=Settings(home=tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_meter_measures_time_work_and_memory() -> None:
    def work() -> list[Any]:
        return [object() for _ in range(300_000)]

    with Meter() as meter:
        kept = work()
    assert kept and meter.seconds > 0 and meter.cpu_seconds > 0 and meter.peak_mib > 10
