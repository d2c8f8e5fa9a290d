"""A report on rows of paper: what is known beforehand must come out, for each kind of problem."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import small_spec

from ml.core.plans import CostModel, Criterion, GatePlan, SegmentPlan
from ml.core.problems import ProblemType
from ml.core.statistics import Estimate
from ml.stages.report import words
from ml.stages.report.page import page
from ml.stages.report.pictures import pictures
from ml.stages.report.quality import quality_of
from ml.stages.report.rows import RULE_SCORE, Coverage, Judged

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
            "shop": np.where(np.arange(count) % 4 == 0, "small [b]", "large"),
            "y": label.astype(float),
            "score": champion,
            "served": "champion",
            "champion_version": 1,
            "champion_score": champion,
            "canary_version": pd.array([2 if canary else None] * count, dtype="Int32"),
            "canary_score": truth + (champion - truth) * canary if canary else np.nan,
            "canary_error": None,
            RULE_SCORE: np.full(count, label.mean()),
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
