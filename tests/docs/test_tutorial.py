"""The tutorial works as it is written: its commands run in order, in an empty home."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ml.use_cases import available

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
FLIGHTLINE = Path(sys.executable).parent / "flightline"
REFUSED = ["promote", "low_visibility", "2"]
"""Of two calls the second: it was taken back meanwhile."""


def steps() -> list[list[str]]:
    """Arguments of each `flightline` command by hand; the last part needs a scheduler."""
    by_hand = PAGE.read_text().partition("## 8.")[0].partition("## 2.")[2]
    blocks = re.findall(r"^```\n(.*?)^```$", by_hand, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("flightline ")]


def test_the_tutorial_has_every_stage() -> None:
    stages = {"ingest", "transform", "materialize", "train", "validate", "promote", "score"}
    assert stages | {"report", "predictions", "rollback"} <= {step[0] for step in steps()}
    assert steps()[-1] == REFUSED


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif("low_visibility" not in available(), reason="it was taken out of this fork")
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    said = {}
    for number, step in enumerate(steps(), start=1):
        done = subprocess.run(
            [FLIGHTLINE, *step],
            env=os.environ | {"MLOPS_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        is_last = number == len(steps())
        assert done.returncode == (2 if is_last else 0), (step, done.stderr)
        said[" ".join(step)] = " ".join((done.stdout + done.stderr).split())
    assert "rows weather 10,842 nulled weather 1" in said[" ".join(steps()[0])]
    assert "lightgbm: loss 0.13773" in said["train low_visibility --as-of 2013-06-01"]
    assert "better upper bound" in said["validate low_visibility 2"]
    answers = next(text for step, text in said.items() if step.startswith("predictions"))
    assert "canary" in answers
    assert "champion" in answers
    assert "rolled back out of release 2: a rehearsal" in said["status low_visibility"]
