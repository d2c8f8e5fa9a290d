"""What a data scientist does: the how-to's notebook, the file, and dbt by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import DAYS, ROOT, SLUG, copy_home
from typer.testing import CliRunner

from ml import settings as settings_module
from ml.cli import app
from ml.core.errors import ConfigError, TransientError
from ml.stages.runner import opened

pytestmark = pytest.mark.xdist_group("chain")


@pytest.fixture
def home(chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the home with 80 days, of which two are scored, as the one that commands use."""
    home = copy_home(chain.home, tmp_path / "home")
    monkeypatch.setenv("MLOPS_HOME", str(home))
    settings_module.settings.cache_clear()
    yield home
    settings_module.settings.cache_clear()


def test_the_notebook_of_the_how_to_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "how-to" / "notebook.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 4
    session: dict[str, Any] = {}
    for block in blocks:
        scored = block.replace('"2013-06-24", "2013-06-30"', str(DAYS)[1:-1])
        exec(scored, session)  # noqa: S102  # our own page
    auc = float(re.search(r"AUC on the select window: ([\d.]+)", capsys.readouterr().out)[1])  # type: ignore[index]
    assert 0.65 < auc < 0.85, "features carry signal, and none of the outcome"
    assert set(session["rows"]["window"]) == {"fit", "select"}
    assert len(session["days"]) > 2_000
    assert set(session["answers"]["partition_key"]) == set(DAYS)


def test_the_training_set_in_a_file_is_the_one_that_training_records(home: Path) -> None:
    path = home.parent / "set.parquet"
    call = ["features", SLUG, "--as-of", "2013-03-20", "-o", str(path), "--json"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)["result"]
    rows = pd.read_parquet(path)
    assert rows["window"].value_counts().to_dict() == said["rows"]
    assert set(said["columns"]) <= set(rows.columns) and len(said["digest"]) == 64


def test_dbt_runs_on_the_files_of_the_use_case(home: Path) -> None:
    done = CliRunner().invoke(app, ["dbt", SLUG, "ls", "--select", "fct_labels"])
    assert done.exit_code == 0 and "flightline.marts.fct_labels" in done.output
    for wrong in (["frobnicate"], ["ls", "--bogus"], []):
        refused = CliRunner().invoke(app, ["dbt", SLUG, *wrong])
        assert isinstance(refused.exception, ConfigError), wrong


def test_dbt_waits_for_nobody_silently(home: Path) -> None:
    with opened(SLUG):
        done = CliRunner().invoke(app, ["dbt", SLUG, "ls"])
    assert isinstance(done.exception, TransientError)


@pytest.mark.parametrize("arguments", [[], ["2013-03-01", "--stale"]])
def test_transform_wants_a_range_or_what_is_stale(home: Path, arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["transform", SLUG, *arguments])
    assert isinstance(done.exception, ConfigError)
    assert "--stale" in str(done.exception)


@pytest.mark.parametrize("name", ["set.csv", ".", "no/such/folder/set.parquet"])
def test_a_training_set_that_cannot_be_written_is_told_at_once(home: Path, name: str) -> None:
    call = ["features", SLUG, "--as-of", "2013-03-20", "-o", str(home.parent / name)]
    assert isinstance(CliRunner().invoke(app, call).exception, ConfigError)


def test_nothing_stale_is_nothing_to_do(home: Path) -> None:
    done = CliRunner().invoke(app, ["transform", SLUG, "--stale"])
    assert done.exit_code == 0 and "nothing to do" in done.output


def test_the_quarantine_is_listed_shown_and_written(home: Path) -> None:
    def say(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["quarantine", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    assert "seats|min 34" in say("list", SLUG)
    assert "wind_speed=1048.36058" in say("show", SLUG, "weather", "2013-02-12")
    path = home.parent / "planes.csv"
    assert "wrote 34 rows" in say("show", SLUG, "planes", "--output", str(path))
    assert len(path.read_text().splitlines()) == 35


def test_what_is_not_in_the_quarantine_is_said_with_where_to_look(home: Path) -> None:
    done = CliRunner().invoke(app, ["quarantine", "show", SLUG, "flights", "2013-02-12"])
    assert isinstance(done.exception, ConfigError)
    assert f"flightline quarantine list {SLUG}" in str(done.exception)
    assert isinstance(
        CliRunner().invoke(app, ["quarantine", "show", SLUG, "flights"]).exception, ConfigError
    )
