"""What the gates would have decided, without touching what is released."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from faults import files
from support import platform_at

from ml.adapters import connect
from ml.core.errors import DataError
from ml.core.spec import UseCase
from ml.local import calibration
from ml.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain")]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, spec: UseCase) -> None:
    monkeypatch.setattr(connect, "load_spec", lambda _: spec)


def test_dates_are_one_holdout_apart_and_have_enough_before_them(
    data_home: Any, spec: UseCase
) -> None:
    found = calibration.dates(platform_at(data_home[0], spec))
    assert found == ["2013-02-08", "2013-02-22", "2013-03-08", "2013-03-22"]
    for key in found:
        spec.windows(spec.as_of(key))


def test_each_date_is_judged_against_what_would_have_served(
    data_home: Any, spec: UseCase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Path(data_home[0])
    before = files(home)
    output = tmp_path / "verdicts.json"
    calibration.show(spec.slug, Settings(home=home), ["2013-03-01", "2013-03-20"], output)
    first, second = json.loads(output.read_text())
    assert (first["champion"], first["decision"]) == (None, "accepted")
    assert second["champion"] == 1
    assert {"better", "segments", "latency"} <= {gate["name"] for gate in second["gates"]}
    printed = capsys.readouterr().out
    assert first["chosen"] in {"lightgbm", "logistic"}
    assert f"1/2  as of 2013-03-01  {first['chosen']} accepted: all pass" in printed
    assert "skill" in printed
    assert files(home) == before and not (home / "mlflow").exists()


def test_without_data_it_says_so(tmp_path: Path, spec: UseCase) -> None:
    with pytest.raises(DataError, match="nothing of flight_delay was ingested"):
        calibration.show(spec.slug, Settings(home=tmp_path), [], None)
