"""A slice that no platform code names, with several classes and hourly data, goes the whole way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rendered_slices import SLUG, copy_repository, environment, render, write_digits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("rendered")]

FIRST, LAST, NEXT = "2020-01-06T00Z", "2020-01-08T17Z", "2020-01-08T20Z"
AS_OF = "2020-01-08T18Z"


class Team:
    """What a team has: a repository, data, and the command line."""

    def __init__(self, folder: Path) -> None:
        self.tree = copy_repository(folder / "tree")
        self.home = folder / "home"
        render(self.tree)
        self.where = environment(self.tree, self.home, write_digits(folder / "data"))

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ml.cli", *arguments],
            cwd=self.tree,
            env=self.where,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def result(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))["result"]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    return Team(tmp_path_factory.mktemp("team"))


@pytest.fixture(scope="module")
def champion(team: Team) -> Any:
    """The first model, from the source to its release."""
    assert team.result("ingest", SLUG, FIRST, LAST)["rows"] == {"scans": 66 * 12}
    team.run("transform", SLUG, FIRST, LAST)
    team.run("materialize", SLUG, LAST)
    trained = team.result("train", SLUG, "--as-of", AS_OF)
    judged = team.result("validate", SLUG, str(trained["version"]))
    assert judged["decision"] == "accepted", judged["gates"]
    team.run("promote", SLUG, str(trained["version"]))
    return trained


def test_three_competitors_learn_the_classes(champion: Any) -> None:
    assert champion["version"] == 1 and {"rule", "logistic", "lightgbm"} <= set(champion["losses"])
    losses = champion["losses"]
    assert losses["lightgbm"] < 0.5 * losses["rule"] > losses["logistic"]


@pytest.fixture(scope="module")
def scored(team: Team, champion: Any) -> Any:
    """The hours after the training, one by one as the hourly Dag would."""
    for stage in ("ingest", "transform", "materialize", "score"):
        team.run(stage, SLUG, "2020-01-08T18Z", NEXT)
    return team.result("score", SLUG, NEXT)


def test_predictions_are_classes_by_their_names(team: Team, scored: Any) -> None:
    assert scored["rows"] == {"champion": 12}
    query = "select decision, digit from predictions where digit is not null"
    told = team.run("predictions", SLUG, "--date", "2020-01-08T18Z", "--sql", query)
    assert any(name in told for name in ("zero", "one", "two", "three", "four")), told


def test_the_report_shows_how_good_they_were(team: Team, scored: Any) -> None:
    page = team.home / "digits.html"
    team.run("report", SLUG, "--output", str(page))
    text = page.read_text()
    assert "Digits" in text and "accuracy" in text.lower()


def test_the_use_case_is_listed_with_its_model(team: Team, scored: Any) -> None:
    assert SLUG in team.run("list")


def test_the_same_way_by_its_dags(team: Team) -> None:
    """History, two retrainings and single hours through the real scheduler, in its own home."""
    by_dag = {**team.where, "MLOPS_HOME": str(team.home.with_name("by_dag"))}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ml.cli", *arguments],
            cwd=team.tree,
            env=by_dag,
            capture_output=True,
            text=True,
            check=False,
        )

    try:
        played = run("demo", SLUG)
    finally:
        run("down")
    assert played.returncode == 0, played.stdout[-2000:] + played.stderr[-2000:]
    assert "macro_recall" in played.stdout and "version 2" in played.stdout
    told = run("predictions", SLUG, "--sql", "select count(*) as n, min(decision) from predictions")
    assert any(name in told.stdout for name in ("zero", "one", "two", "three", "four"))
