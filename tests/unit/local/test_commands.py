"""Paths and foreign texts are printed as they are: Rich would take [i] for italics."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from ml.local import commands, quarantine
from ml.local.airflow_db import Work, WorkRun
from ml.settings import Settings
from ml.stages import quarantine as stage

BAD = "cl[i]ose[/b]"


def test_a_run_of_any_name_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2013, 6, 1, tzinfo=UTC)
    commands._show_work(Work((WorkRun("toy_daily", BAD, None, "failed", at, is_dag_paused=False),)))
    assert BAD in capsys.readouterr().out


def test_reasons_of_a_contract_are_told_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    toy: Any = SimpleNamespace(spec=SimpleNamespace(tables=()))
    rows = pl.DataFrame({"outcome": ["broken"], "reasons": [[BAD]], "n": [1]})
    entry = SimpleNamespace(table="t", key="k", outcome="invalid", rows=1, reasons={BAD: 1})
    monkeypatch.setattr(quarantine, "settings", lambda: Settings(home=tmp_path / "home"))
    monkeypatch.setattr(quarantine, "_platform", lambda _: toy)
    monkeypatch.setattr(quarantine, "_URGENT", ("invalid",))
    monkeypatch.setattr(stage, "rows", lambda *_: rows)
    monkeypatch.setattr(stage, "listing", lambda _: [entry])
    monkeypatch.setattr(stage, "save", lambda *_: 1)
    quarantine.show_rows("toy", "t", "k", None)
    quarantine.show_list("toy")
    quarantine.show_rows("toy", "t", "k", tmp_path / f"{BAD}.csv")
    assert capsys.readouterr().out.count(BAD) == 4
