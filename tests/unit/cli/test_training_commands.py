"""The commands of a data scientist: experiments, and past runs trained again."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from support import SLUG
from typer.testing import CliRunner

from ml.cli import app, stages
from ml.cli.base import _progress
from ml.stages.reproduce import Compared, ReproduceResult
from ml.stages.runner import StageRun

_SAME = Compared("data", "a" * 64, "a" * 64, is_same=True)
_OTHER = Compared("model", "b" * 64, "c" * 64, is_same=False, note="the file is another one")


@pytest.fixture
def reproduced(monkeypatch: pytest.MonkeyPatch) -> Any:
    def with_checks(*checks: Compared) -> None:
        is_same = all(one.is_same for one in checks)
        differs = tuple(one.what for one in checks if not one.is_same)
        result = ReproduceResult("run1", is_same, differs, checks)
        ran = StageRun("reproduce", result, 1.5, 1.0, 100.0)
        monkeypatch.setattr(stages, "run_here", lambda *_, **__: ran)

    return with_checks


def test_the_same_model_is_said_and_exits_well(reproduced: Any) -> None:
    reproduced(_SAME)
    found = CliRunner().invoke(app, ["reproduce", SLUG, "run1"])
    assert found.exit_code == 0 and "the same model" in found.stdout


def test_another_model_is_exit_code_3_with_what_differs(reproduced: Any) -> None:
    reproduced(_SAME, _OTHER)
    found = CliRunner().invoke(app, ["reproduce", SLUG, "run1"])
    assert found.exit_code == 3
    assert "ANOTHER MODEL" in found.stdout and "the file is another one" in found.stdout


def test_as_json_it_is_the_whole_result(reproduced: Any) -> None:
    reproduced(_SAME, _OTHER)
    found = CliRunner().invoke(app, ["reproduce", SLUG, "run1", "--json"])
    assert json.loads(found.stdout)["result"]["checks"][1]["now"] == "c" * 64


def test_changes_of_an_experiment_reach_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(stages, "run_and_tell", lambda *_, **values: seen.update(values))
    command = ["train", SLUG, "--trial", "--set", "seed=8", "--set", "trials=0"]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert seen == {"as_of": "", "is_trial": True, "settings": ("seed=8", "trials=0")}


def test_progress_goes_to_stderr_for_as_long_as_the_stage_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = logging.getLogger("flightline")
    with _progress():
        log.info("trial 1 of 20")
    log.info("nobody listens any more")
    shown = capsys.readouterr()
    assert shown.err == "trial 1 of 20\n" and not shown.out
