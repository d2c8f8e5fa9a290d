"""A report on rows of paper: what is known beforehand must come out, for each kind of problem."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss, precision_recall_fscore_support
from support import small_spec
from toy_answers import BINARY, CLASSES, MULTICLASS, REGRESSION, Toy, ToyModel, toy_spec

from ml.core.plans import CostModel, Criterion, GatePlan, SegmentPlan
from ml.core.problems import ProblemType
from ml.core.statistics import Estimate
from ml.local.models import _tell
from ml.stages import report
from ml.stages.predictions import read_predictions
from ml.stages.report import words
from ml.stages.report.groups import Group
from ml.stages.report.page import page
from ml.stages.report.pictures import by_partition, pictures
from ml.stages.report.quality import Comparison, Quality, quality_of
from ml.stages.report.rows import Coverage, Judged

DAYS, EACH = 10, 60


def judged(*, problem: ProblemType, cost: CostModel | None = None, canary: float = 0.0) -> Judged:
    """Ten days of rows; the champion is off by a noise, the canary by so many times that noise."""
    random = np.random.default_rng(3)
    count = DAYS * EACH
    truth = random.uniform(0.05, 0.95, count)
    label = truth if problem is ProblemType.REGRESSION else (random.uniform(size=count) < truth)
    champion = np.clip(truth + random.normal(0, 0.05, count), 0.01, 0.99)
    rows = pd.DataFrame(
        {
            "partition_key": np.repeat([f"2020-01-{day:02}" for day in range(1, DAYS + 1)], EACH),
            "decided_at": pd.date_range("2020-01-01", periods=count, freq="24min", tz="UTC"),
            "shop": np.where(np.arange(count) % 4 == 0, "small [b]", "large"),
            "y": label.astype(float),
            "score": champion,
            "served": "champion",
            "champion_version": 1,
            "champion_score": champion,
            "canary_version": pd.array([2 if canary else None] * count, dtype="Int32"),
            "canary_score": truth + (champion - truth) * canary if canary else np.nan,
            "canary_error": None,
            "rule_score": np.full(count, label.mean()),
        }
    )
    gates = GatePlan(
        criteria=(Criterion(metric="skill", minimum=0.0),),
        margin=0.01,
        minimum_gain=0.001,
        segments=SegmentPlan(minimum_rows=200, maximum_loss_increase=0.1),
        replicates=200,
    )
    spec = small_spec(problem=problem, cost=cost, segments=("shop",), gates=gates)
    coverage = Coverage("2020-01-01", "2020-01-10", DAYS, (), count + 5, count + 2, count)
    return Judged(spec, datetime(2020, 1, 12, tzinfo=UTC), coverage, rows)


CASES: dict[str, dict[str, Any]] = {
    "binary": {"problem": ProblemType.BINARY},
    "with cost": {"problem": ProblemType.BINARY, "cost": CostModel(missed=4)},
    "regression": {"problem": ProblemType.REGRESSION, "canary": 0.5},
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_problem_has_a_page(case: str) -> None:
    found = judged(**CASES[case])
    quality = quality_of(found)
    text = page(found.spec, quality, pictures(found, quality))
    assert text.rstrip().endswith("</html>") and "<svg" in text
    assert "small [b]" in text, "values of data are text"
    assert ("cost a row" in text) == (case == "with cost")
    assert len(words.headlines(quality)) >= 3 and not re.search(r">\s*nan\b", text)
    losses = [competitor.metrics["skill"].value for competitor in quality.everything.competitors]
    assert losses[0] == losses[1] > 0 and losses[2] == 0


@pytest.mark.parametrize(
    ("canary", "said"),
    [
        (0.5, "the canary is better than the champion"),
        (2.0, "the canary is worse than the champion"),
        (0.0, "No canary stood beside"),
    ],
)
def test_the_canary_is_compared_on_its_own_rows(canary: float, said: str) -> None:
    quality = quality_of(judged(problem=ProblemType.REGRESSION, canary=canary))
    assert said in words.sentences(quality)[-1]
    assert (quality.beside is None) == (canary == 0)


def test_a_canary_that_failed_is_not_hidden() -> None:
    found = judged(problem=ProblemType.REGRESSION, canary=0.5)
    broken = found.rows["partition_key"] > "2020-01-05"
    found.rows.loc[broken, ["canary_score", "canary_error"]] = [np.nan, "ValueError"]
    quality = quality_of(found)
    assert quality.beside is not None and quality.beside.rows == len(found.rows) / 2
    assert words.sentences(quality)[-1].endswith(f"It failed on {broken.sum()} rows.")
    assert ["canary" in day.losses for day in quality.days] == [True] * 5 + [False] * 5


def test_small_segments_are_shown_without_a_judgement() -> None:
    quality = quality_of(judged(problem=ProblemType.BINARY))
    found = {segment.value: segment for segment in quality.segments}
    assert found["small [b]"].rows == 150 and found["small [b]"].skill is None
    assert found["large"].skill is not None and found["large"].skill.is_finite
    assert sum(segment.rows for segment in quality.segments) == DAYS * EACH


def test_a_difference_is_told_with_its_sign() -> None:
    assert words.signed(Estimate(0.01, np.nan, np.nan, 9, 1)) == "+0.0100"
    assert words.figure(Estimate(np.nan, np.nan, np.nan, 0, 0)) == "-" == words.figure(None)
    assert words.verdict(Estimate(0.01, 0.001, 0.02, 9, 9)).endswith("worse than the champion")


# --- the three problems, from the mart to the page ---


@dataclass(frozen=True)
class Told:
    """A report on a toy use case."""

    toy: Toy
    quality: Quality
    text: str
    rows: pd.DataFrame

    def metric(self, name: str, of: str = "served", *, beside: bool = False) -> Estimate:
        found = self.quality.beside if beside else self.quality.everything
        assert found is not None
        return competitor(found, of).metrics[name]


def competitor(comparison: Comparison, name: str) -> Any:
    return next(one for one in comparison.competitors if one.name == name)


def tell(home: Path, toy: Toy, inputs: tuple[str, ...] = ()) -> Told:
    toy.score()
    quality = report.run(toy.platform, output=home / "report.html")
    keys = toy.partitions[0].key, toy.partitions[-1].key
    rows = read_predictions(toy.platform, *keys, inputs=inputs)
    return Told(toy, quality, html.unescape((home / "report.html").read_text()), rows)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ProblemType], Told]:
    """The report on each problem, made once."""
    found: dict[ProblemType, Told] = {}

    def make(problem: ProblemType) -> Told:
        if problem not in found:
            home = tmp_path_factory.mktemp(problem.value)
            inputs = ("things__last", "year_ago") if problem is REGRESSION else ()
            found[problem] = tell(home, Toy(home, toy_spec(problem)), inputs)
        return found[problem]

    return make


Telling = Callable[[ProblemType], Told]


@pytest.mark.parametrize("problem", ProblemType)
def test_a_page_says_nothing_that_is_no_number(told: Telling, problem: ProblemType) -> None:
    text = told(problem).text
    plain = re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    assert not re.search(r"\bnan\b|\binf\b|None|Estimate\(", plain)
    assert "small [b]" in plain and text.count("<svg") >= 4
    captions = re.findall(r"<figcaption>([^<]*)</figcaption>", text)
    assert len(captions) == text.count("<figure>") == len(set(captions)), "each has its own"


@pytest.mark.parametrize("problem", ProblemType)
def test_a_report_is_json_for_programs(told: Telling, problem: ProblemType) -> None:
    assert json.loads(json.dumps(asdict(told(problem).quality), default=str))["problem"] == problem


def test_of_classes_each_is_judged(told: Telling) -> None:
    """Computed a second time, by other means."""
    found = told(MULTICLASS)
    label, called = found.rows["y"].astype(int), found.rows["score"].astype(int)
    precision, recall, _, support = precision_recall_fscore_support(label, called)
    shares = found.rows[[f"p_{name}" for name in CLASSES]].mean()
    for place, (name, one) in enumerate(zip(CLASSES, found.quality.classes, strict=True)):
        assert (one.name, one.rows) == (name, support[place])
        assert one.observed == pytest.approx(support[place] / len(label))
        assert one.predicted == pytest.approx(shares[f"p_{name}"])
        assert found.metric(f"recall_{name}").value == pytest.approx(recall[place])
        assert found.metric(f"precision_{name}").value == pytest.approx(precision[place])
    cells = words.class_rows(found.quality)
    assert [row[0] for row in cells] == list(CLASSES)
    assert cells[0][4].startswith(f"{recall[0]:.3f} (") and len(cells[0]) == len(
        words.CLASS_COLUMNS
    )
    beside = words.class_comparison(found.quality)
    assert [len(row) for row in beside] == [len(words.CLASS_COMPARISON_COLUMNS)] * 3
    assert "<h2>By class</h2>" in found.text and "recall, canary" in found.text
    assert not any("low" in row[0] for row in words.metric_rows(found.quality.everything))


def test_of_classes_a_group_is_right_or_sure(told: Telling) -> None:
    found = told(MULTICLASS)
    right = (found.rows["score"] == found.rows["y"]).groupby(found.rows["partition_key"]).mean()
    sure = found.rows[[f"p_{name}" for name in CLASSES]].max(axis=1)
    chances = found.rows[[f"champion_p_{name}" for name in CLASSES]]
    for hour in found.quality.days:
        here = found.rows["partition_key"] == hour.value
        assert hour.observed == pytest.approx(right[hour.value])
        assert hour.predicted == pytest.approx(sure[here].mean())
        loss = log_loss(found.rows["y"][here], chances[here], labels=[0, 1, 2])
        assert hour.losses["champion"] == pytest.approx(loss)
        assert hour.costs["served"] == pytest.approx(found.rows["cost"][here].mean())
    assert words.group_columns(found.quality, found.quality.days)[1:3] == ["right", "confidence"]
    assert f"its likeliest class was right in {(right.mean()):.1%} of the rows" in found.text


def test_decisions_of_classes_are_compared_with_one_for_all(told: Telling) -> None:
    found = told(MULTICLASS)
    costs = np.array(found.toy.spec.cost.costs)  # type: ignore[union-attr]  # it is a matrix
    by_decision = costs[found.rows["y"].astype(int)].mean(axis=0)
    best = CLASSES[by_decision.argmin()]
    baselines = found.quality.everything.constant_cost
    assert list(baselines) == [f"always {best}", "perfect foresight"]
    assert baselines[f"always {best}"] == pytest.approx(by_decision.min())
    [sentence] = [one for one in words.sentences(found.quality) if "cost matrix" in one]
    assert f"Decisions by the cost matrix cost {found.rows['cost'].mean():.3f} (" in sentence


def test_bounds_are_over_the_specs_clusters(told: Telling) -> None:
    found = told(MULTICLASS)
    everything = found.quality.everything
    assert (everything.partitions, everything.clusters) == (48, 8)
    assert found.metric("log_loss").clusters == 8 and found.metric("log_loss").is_finite
    assert "whole stretches of 6 hours are resampled, because rows of one stretch" in found.text
    assert "On 576 rows of 48 hours, " in found.text
    assert words.clusters(found.quality, 1) == "1 stretch of 6 hours"
    assert words.clusters(found.quality, 7) == "7 stretches of 6 hours"


def test_naive_forecasts_are_competitors(told: Telling) -> None:
    found, label = told(REGRESSION), told(REGRESSION).rows["y"]
    error = {
        name: ((found.rows[column] - label) ** 2)
        for name, column in (
            ("persistence", "things__last"),
            ("seasonal_naive", "year_ago"),
            ("served", "score"),
        )
    }
    names = [one.name for one in found.quality.everything.competitors]
    assert names == ["served", "champion", "rule", "persistence", "seasonal_naive"]
    for name in names[3:]:
        assert found.metric("squared_error", name).value == pytest.approx(error[name].mean())
        assert found.metric("squared_error", name, beside=True).is_finite
        saved = 1 - error["served"].sum() / error[name].sum()
        assert found.metric(f"skill_{name}").value == pytest.approx(saved)
        by_week = error[name].groupby(found.rows["partition_key"]).mean()
        assert [week.losses[name] for week in found.quality.days] == pytest.approx(list(by_week))
        assert all(name in segment.losses for segment in found.quality.segments)
    rule = ((found.rows["things__last"] + 0.05 - label) ** 2).mean()
    assert found.metric("squared_error", "rule").value == pytest.approx(rule)
    assert "of persistence's and " in found.text
    assert "<th>seasonal naive</th>" in found.text


def test_intervals_hold_what_they_hold(told: Telling) -> None:
    found = told(REGRESSION)
    held = found.rows["y"].between(found.rows["lower"], found.rows["upper"])
    assert 0.5 < held.mean() < 0.9, "the toy's is too narrow"
    assert found.metric("interval_coverage").value == pytest.approx(held.mean())
    by_week = held.groupby(found.rows["partition_key"]).mean()
    assert [week.held for week in found.quality.days] == pytest.approx(list(by_week))
    [sentence] = [one for one in words.sentences(found.quality) if "interval" in one]
    assert sentence.startswith(f"The 90% interval holds {held.mean():.1%} (")
    assert sentence.endswith("is 0.200 wide on average: it is too narrow.")
    assert "interval_coverage" not in competitor(found.quality.everything, "rule").metrics
    assert ("interval coverage", f"{held.mean():.3f}", "should be 90%") in words.headlines(
        found.quality
    )


def test_a_wide_interval_is_said_to_be_wide(told: Telling) -> None:
    found = told(REGRESSION).quality
    loose = dataclasses.replace(found, nominal_coverage=0.5)
    assert any("it is wider than it has to be." in one for one in words.sentences(loose))
    coverage = competitor(found.everything, "served").metrics["interval_coverage"]
    exact = dataclasses.replace(found, nominal_coverage=coverage.value)
    assert any(one.endswith("0.200 wide on average.") for one in words.sentences(exact))


def test_an_interval_that_came_later_is_judged_where_it_is(tmp_path: Path) -> None:
    toy = Toy(tmp_path, toy_spec(REGRESSION))
    toy.models[2] = ToyModel(toy.models[2].predict)  # has learned none
    found = tell(tmp_path, toy)
    by_champion = found.rows["served"] == "champion"
    held = found.rows["y"].between(found.rows["lower"], found.rows["upper"])[by_champion]
    coverage = found.metric("interval_coverage")
    assert (coverage.rows, coverage.value) == (by_champion.sum(), pytest.approx(held.mean()))
    assert found.metric("squared_error").rows == len(found.rows)
    assert f", of the {by_champion.sum()} that have one, and is" in found.text


def test_a_naive_forecast_without_a_value_says_nothing(tmp_path: Path) -> None:
    toy = Toy(tmp_path, toy_spec(REGRESSION))
    key = toy.partitions[0].key
    rows = toy.lake.read("marts", "fct_events", [key]).drop_columns(["partition_key"]).to_pandas()
    rows.loc[0, "year_ago"] = np.nan
    toy.lake.write("marts", "fct_events", key, pa.Table.from_pandas(rows, preserve_index=False))
    found = tell(tmp_path, toy)
    assert competitor(found.quality.everything, "seasonal_naive").missing == 1
    assert not found.metric("squared_error", "seasonal_naive").is_finite
    assert "Of 120 rows no value is there of seasonal naive in 1: nothing is said" in found.text
    assert "seasonal naive forecast's" not in found.text and "of persistence's" in found.text
    assert found.quality.days[0].losses["seasonal_naive"] > 0, "the other row has one"


@pytest.mark.parametrize(
    ("problem", "unit"), [(BINARY, "day"), (MULTICLASS, "hour"), (REGRESSION, "week")]
)
def test_partitions_are_called_what_they_are(
    told: Telling, problem: ProblemType, unit: str
) -> None:
    found = told(problem)
    plain = re.sub(r"<style>.*?</style>|class=\"[a-z ]*\"", "", found.text, flags=re.DOTALL)
    assert found.quality.unit == unit and f"<h2>By {unit}</h2>" in plain
    others = {"day", "hour", "week", "month"} - {unit}
    assert not re.search(rf"\b({'|'.join(others)})s?\b", plain)


@pytest.mark.parametrize("problem", ProblemType)
def test_the_terminal_tells_the_same(
    told: Telling, problem: ProblemType, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(problem)
    _tell(found.quality)
    text = capsys.readouterr().out
    for sentence in words.sentences(found.quality):
        assert sentence in text
    assert ("by class, of what was served" in text) == (problem is MULTICLASS)
    assert ("seasonal naive" in text) == ("in interval" in text) == (problem is REGRESSION)
    assert f"by {found.quality.unit}: mean " in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("each", "clusters", "unit", "points"),
    [(10, None, "day", 60), (1, 20, "20 days", 3), (1, 6, "month", 2), (1, None, "month", 2)],
)
def test_few_rows_a_partition_are_drawn_over_longer_stretches(
    each: int, clusters: int | None, unit: str, points: int
) -> None:
    """A line of zeros and ones says nothing."""
    found = judged(problem=BINARY)
    days = pd.date_range("2020-01-01", periods=60).strftime("%Y-%m-%d")
    rows = found.rows[: 60 * each].assign(partition_key=np.repeat(days, each))
    gates = found.spec.gates.model_copy(update={"cluster_partitions": clusters})
    spec = found.spec.model_copy(update={"gates": gates})
    found = dataclasses.replace(found, spec=spec, rows=rows)
    quality = quality_of(found)
    figure = by_partition(found, quality)
    assert figure.texts[0].get_text().startswith(f"By {unit}: observed")
    values = np.asarray(figure.axes[0].lines[0].get_ydata(), dtype=float)
    assert len(values) == points and len(quality.days) == 60
    if unit == "month":
        assert values == pytest.approx([rows["y"][:31].mean(), rows["y"][31:].mean()])


def test_a_use_case_without_segments_has_no_table_of_them(tmp_path: Path) -> None:
    gates = toy_spec(REGRESSION).gates.model_copy(update={"segments": None})
    toy = Toy(tmp_path, toy_spec(REGRESSION, segments=(), gates=gates, cost=None))
    found = tell(tmp_path, toy)
    assert "For whom" not in found.text and found.quality.segments == ()
    assert "cost" not in words.metric_rows(found.quality.everything)[-1]
    assert not any("costs" in one for one in words.sentences(found.quality))


def test_a_long_report_shows_its_newest_partitions(
    told: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["ml.stages.report.page"], "_MOST_PARTITIONS", 5)
    found = told(BINARY)
    text = page(found.toy.spec, found.quality, {})
    assert "The last 5 of 12 days" in text
    assert "<td>2020-01-12</td>" in text and "<td>2020-01-07</td>" not in text


def test_losses_of_a_table_have_places_that_tell_them_apart(told: Telling) -> None:
    """A column of squared errors of a thousandth would otherwise be zeros."""
    found = told(REGRESSION).quality
    cells = words.group_rows(found, found.days)
    losses = [row[4] for row in cells]
    assert all(re.fullmatch(r"0\.\d{4}", loss) for loss in losses) and len(set(losses)) > 9
    empty = Group("shop", "x", 0, np.nan, np.nan, {}, {})
    assert words.group_rows(found, [empty])[0][:3] == ["0", "", ""]
