"""The tutorial works as it is written: its commands run in order, in an empty home."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from documented import EXCEPTIONS, Reader, commands_of

from ml.use_cases import available

PAGE = "docs/tutorial.md"


def steps() -> list[list[str]]:
    """Arguments of each `flightline` command that needs no scheduler."""
    lines = [line for line in commands_of(PAGE) if line not in EXCEPTIONS]
    return [shlex.split(line)[1:] for line in lines]


def test_the_tutorial_has_every_stage() -> None:
    stages = {"ingest", "transform", "materialize", "train", "validate", "promote", "score"}
    assert stages | {"report", "predictions", "rollback"} <= {step[0] for step in steps()}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif("low_visibility" not in available(), reason="it was taken out of this fork")
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    assert reader.read(PAGE) == []
    said = {line.removeprefix("flightline "): text for line, text in reader.said.items()}
    first = " ".join(next(step for step in steps() if step[0] == "ingest"))
    assert "rows weather 10,842 nulled weather 1" in said[first]
    assert "lightgbm: loss 0.13773" in said["train low_visibility --as-of 2013-06-01"]
    assert "better upper bound" in said["validate low_visibility 2"]
    answers = next(text for step, text in said.items() if step.startswith("predictions"))
    assert "canary" in answers
    assert "champion" in answers
    assert "rolled back out of release 2: a rehearsal" in said["status low_visibility"]
