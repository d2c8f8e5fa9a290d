from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ml.core.errors import ConfigError
from ml.local import calibration
from ml.local.calibration import Dated
from ml.settings import Settings


def test_each_line_says_which_competitor_was_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        Dated("2020-01-01", 0, "", None, "not trained: too few [rows]", ()),
        Dated("2020-02-01", 1, "logistic", None, "accepted", ()),
    ]

    def connect(*_: Any) -> None: ...

    monkeypatch.setattr(calibration, "connect", connect)
    monkeypatch.setattr(calibration, "calibrate", lambda *_: iter(found))
    output = tmp_path / "verdicts.json"
    calibration.show("toy", Settings(home=tmp_path), [one.as_of for one in found], output)
    assert [one["chosen"] for one in json.loads(output.read_text())] == ["", "logistic"]
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first == "1/2  as of 2020-01-01  not trained: too few [rows]"
    assert second == "2/2  as of 2020-02-01  logistic accepted"


@pytest.mark.parametrize("name", ["verdicts.csv", "nowhere/verdicts.json", "folder.json"])
def test_a_file_that_cannot_be_written_is_told_before_the_first_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "folder.json").mkdir()
    monkeypatch.setattr(calibration, "connect", lambda *_: pytest.fail("work began"))
    with pytest.raises(ConfigError, match=f"cannot write .*{name}") as error:
        calibration.show("toy", Settings(home=tmp_path), ["2020-01-01"], tmp_path / name)
    assert error.value.expected == "a .json file in a folder that exists"
