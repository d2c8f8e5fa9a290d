"""The report: its figures are those of the labels, its page stands alone, it says what it lacks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from support import DAYS, with_labels
from typer.testing import CliRunner

from ml import settings as settings_module
from ml.cli import app
from ml.core.errors import ConfigError, DataError
from ml.core.ports import Platform
from ml.core.prediction_source import Source
from ml.core.spec import UseCase
from ml.stages import report, score
from ml.stages.predictions import read_predictions
from ml.stages.report import words
from ml.stages.report.quality import Quality

pytestmark = pytest.mark.xdist_group("chain")
Broken = Callable[..., Platform]
CLOSED, OPEN = DAYS


@pytest.fixture(scope="module")
def one_day(chain: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Quality, str]:
    """The report on the chain: one day with closed labels, and a canary."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    return report.run(chain.platform, output=path), path.read_text()


@pytest.fixture
def known(chain: Any) -> pd.DataFrame:
    rows = read_predictions(chain.platform, CLOSED)
    return rows[rows["is_late"].notna()].astype({"is_late": int})


def metrics(comparison: Any, name: str) -> Any:
    return next(one for one in comparison.competitors if one.name == name).metrics


def test_only_days_whose_labels_have_closed_count(
    one_day: tuple[Quality, str], chain: Any, known: pd.DataFrame
) -> None:
    found = one_day[0].coverage
    assert (found.first, found.last, found.partitions, found.still_open) == (
        *(CLOSED, CLOSED),
        1,
        (OPEN,),
    )
    everything = read_predictions(chain.platform, CLOSED)
    assert (found.predictions, found.known) == (len(everything), len(known))
    assert found.known <= found.expected < found.predictions, "cancelled flights have no label"
    assert f"Still waiting for labels: {OPEN}." in words.sentences(one_day[0])[0]


def test_the_figures_are_those_of_the_labels(
    one_day: tuple[Quality, str], known: pd.DataFrame, spec: UseCase
) -> None:
    """Computed a second time, by other means."""
    quality, label = one_day[0], known["is_late"]
    for comparison, columns in (
        (quality.everything, {"served": "score", "champion": "champion_score"}),
        (quality.beside, {"canary": "canary_score", "champion": "champion_score"}),
    ):
        for name, column in columns.items():
            found = metrics(comparison, name)
            assert found["log_loss"].value == pytest.approx(log_loss(label, known[column]))
            assert found["auc"].value == pytest.approx(roc_auc_score(label, known[column]))
    assert metrics(quality.everything, "served")["cost"].value == pytest.approx(
        known["cost"].mean()
    )
    assert spec.cost is not None
    never = spec.cost.missed * label.mean()
    assert quality.everything.constant_cost["never acting"] == pytest.approx(never)
    assert quality.beside is not None and quality.beside.difference is not None
    difference = log_loss(label, known["canary_score"]) - log_loss(label, known["champion_score"])
    assert quality.beside.difference.value == pytest.approx(difference)


def test_the_rule_is_that_of_the_champions_training(
    one_day: tuple[Quality, str], chain: Any, known: pd.DataFrame
) -> None:
    rule = chain.platform.tracking.load_rule(chain.platform.registry.version(1).run_id)
    predicted = rule.predict(known)
    found = metrics(one_day[0].everything, "rule")
    assert found["log_loss"].value == pytest.approx(log_loss(known["is_late"], predicted))
    assert found["skill"].value == pytest.approx(0)


def test_days_and_segments_hold_all_rows(
    one_day: tuple[Quality, str], known: pd.DataFrame, spec: UseCase
) -> None:
    quality = one_day[0]
    assert [day.value for day in quality.days] == [CLOSED]
    for column in spec.segments:
        found = {one.value: one for one in quality.segments if one.column == column}
        counts = known[column].value_counts()
        assert {value: one.rows for value, one in found.items()} == counts.to_dict()
        largest = found[str(counts.index[0])]
        chosen = known[known[column] == largest.value]
        assert largest.observed == pytest.approx(chosen["is_late"].mean())
        loss = log_loss(chosen["is_late"], chosen["champion_score"])
        assert largest.losses["champion"] == pytest.approx(loss)


def test_a_day_has_no_bounds(one_day: tuple[Quality, str]) -> None:
    """Rows of one day share a shock: they are one observation, whatever their number."""
    quality, text = one_day
    for competitor in quality.everything.competitors:
        assert all(np.isnan(one.lower) for one in competitor.metrics.values())
    assert "too few to tell canary and champion apart" in words.sentences(quality)[-1]
    assert "Without bounds: 7 days are the least that can give them." in text


class Page(HTMLParser):
    """What a page refers to, and which of its elements were never closed."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        self.ids += [v for k, v in attrs if k == "id" and v]
        if tag not in self.VOID and "/" not in values:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, [*attrs, ("/", None)])

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()


def test_the_page_stands_alone(one_day: tuple[Quality, str], spec: UseCase) -> None:
    """It is sent by mail, and opened on a telephone and offline."""
    text = one_day[1]
    page = Page(text)
    assert page.open == [] and len(page.ids) == len(set(page.ids))
    assert {name for name in page.references if not name.startswith("#")} == set()
    assert {name[1:] for name in page.references} <= set(page.ids)
    assert not re.search(r"<script|@import|url\((?!#)", text)
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    assert text.count("<svg") >= 6 + len(spec.segments) and len(text) < 1_000_000
    for said in (spec.title, CLOSED, "champion 1", "canary 2", "rule", "Calibration"):
        assert said in text


def test_the_same_data_are_the_same_page(
    one_day: tuple[Quality, str], chain: Any, tmp_path: Path
) -> None:
    report.run(chain.platform, output=tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == one_day[1]


def test_over_many_days_there_are_bounds(broken: Broken, spec: UseCase, tmp_path: Path) -> None:
    platform = broken()
    score.run(
        platform, partitions=spec.partitions("2013-03-08", "2013-03-19"), source=Source.REPLAY
    )
    quality = report.run(platform, last=CLOSED, output=tmp_path / "report.html")
    assert (quality.coverage.partitions, len(quality.days)) == (13, 13)
    served = metrics(quality.everything, "served")
    assert all(one.is_finite and one.clusters == 13 for one in served.values())
    assert served["auc"].lower < served["auc"].value < served["auc"].upper
    assert quality.beside is not None and quality.beside.partitions == 1, "the canary came later"
    large = [one for one in quality.segments if one.skill]
    assert large and all(one.rows >= 400 for one in large)
    assert all(one.skill is None for one in quality.segments if one.rows < 400)
    assert "whole days are resampled" in (tmp_path / "report.html").read_text()
    some = report.run(
        platform, first="2013-03-10", last="2013-03-12", output=tmp_path / "some.html"
    )
    assert (some.coverage.first, some.coverage.partitions, some.beside) == ("2013-03-10", 3, None)
    assert words.sentences(some)[-1] == "No canary stood beside the champion in this time."


def test_labels_that_have_not_closed_are_waited_for(chain: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"labels of {OPEN} have not closed yet") as caught:
        report.run(chain.platform, first=OPEN, output=tmp_path / "report.html")
    assert "data up to 2013-03-22 12:00 UTC" in caught.value.expected
    assert not (tmp_path / "report.html").exists()


def test_labels_that_never_came_are_no_report(chain: Any, tmp_path: Path) -> None:
    platform = with_labels(chain.platform, lambda rows: rows.assign(is_late=np.nan))
    with pytest.raises(DataError, match=f"no label of {CLOSED} is known, though"):
        report.run(platform, first=CLOSED, last=CLOSED, output=tmp_path / "report.html")


def test_a_day_that_was_not_scored_is_told(chain: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no predictions of 2013-03-02"):
        report.run(
            chain.platform, first="2013-03-02", last="2013-03-03", output=tmp_path / "x.html"
        )


@pytest.mark.parametrize("name", ["report.pdf", "report", "."])
def test_another_file_than_a_page_is_refused(chain: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        report.run(chain.platform, output=tmp_path / name)


# --- the command ---


@pytest.fixture
def command(chain: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    monkeypatch.setenv("MLOPS_HOME", str(chain.home))
    settings_module.settings.cache_clear()
    yield lambda *arguments: CliRunner().invoke(app, ["report", "flight_delay", *arguments])
    settings_module.settings.cache_clear()


def test_the_terminal_tells_the_same(
    command: Callable[..., Any], one_day: tuple[Quality, str], tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    done = command("-o", str(path))
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    quality = one_day[0]
    assert set(words.sentences(quality)) <= set(lines)
    [auc] = [line.split() for line in lines if line.startswith("AUC")][:1]
    assert auc[1] == f"{metrics(quality.everything, 'served')['auc'].value:.3f}"
    assert lines[-1] == f"page: {path}" and path.exists()
    tables = [line for line in lines if line not in words.sentences(quality)[:] + lines[-1:]]
    assert max(len(line.rstrip()) for line in tables) <= 80


def test_as_json_it_is_for_programs(command: Callable[..., Any], tmp_path: Path) -> None:
    done = command("--json", "-o", str(tmp_path / "report.html"))
    found = json.loads(done.output)
    assert found["coverage"]["first"] == CLOSED
    assert found["everything"]["competitors"][0]["metrics"]["auc"]["lower"] is None


def test_by_default_the_page_lies_in_the_home(
    command: Callable[..., Any], chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def run(platform: Platform, **options: Any) -> Any:
        written.append(options["output"])
        raise ConfigError("enough")

    monkeypatch.setattr(report, "run", run)
    command()
    assert written == [chain.home / "reports" / "flight_delay.html"]
