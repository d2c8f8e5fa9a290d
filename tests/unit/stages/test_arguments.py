"""Plain values from the outside are checked before anything is read or written."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import SLUG

from ml.core.errors import ConfigError, OutOfCoverage
from ml.settings import Settings
from ml.stages.runner import Arguments, run_stage


@pytest.mark.parametrize(
    ("stage", "arguments", "seen"),
    [
        ("ingest", Arguments(first="2013-01-01", revision="soon"), "bad time 'soon'"),
        ("ingest", Arguments(first="2013-01-01", revision="2013-07-01T12:00"), "bad time"),
        ("score", Arguments(first="2013-01-01", source="server"), "bad source 'server'"),
        ("ingest", Arguments(first="2013-02-30"), "bad partition key '2013-02-30'"),
        ("ingest", Arguments(), "bad partition key ''"),
        ("transform", Arguments(first="2013-02-02", last="2013-02-01"), "empty range"),
        ("train", Arguments(as_of="yesterday"), "bad partition key 'yesterday'"),
        ("validate", Arguments(version=7), "no version 7"),
    ],
)
def test_bad_input_is_one_clear_error(
    tmp_path: Path, stage: str, arguments: Arguments, seen: str
) -> None:
    with pytest.raises(ConfigError, match=seen):
        run_stage(stage, SLUG, arguments, where=Settings(home=tmp_path / "home"))
    assert not (tmp_path / "home" / "lake").exists()


def test_a_day_outside_the_source_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(OutOfCoverage, match="2013-01-01 to 2013-12-31"):
        run_stage("ingest", SLUG, Arguments(first="2014-01-01"), where=Settings(home=tmp_path))
