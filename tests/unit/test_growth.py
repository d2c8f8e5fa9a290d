"""Planted growth of one stage is seen, noise is not: what `e2e/test_year.py` relies on."""

from __future__ import annotations

import random

import pytest
from growth import COMPARED, grown

CPU_SECONDS = {"ingest": 0.4, "transform": 2.0, "materialize": 0.2, "score": 0.8}
DAYS = 16


def life(growing: str = "", factor: float = 2.0, seed: int = 7) -> list[dict[str, float]]:
    """Days with noise of a sixth, and one day that costs thrice; one stage may grow evenly."""
    noise = random.Random(seed)
    days = [
        {stage: cost * noise.uniform(0.85, 1.15) for stage, cost in CPU_SECONDS.items()}
        for _ in range(DAYS)
    ]
    days[-2] = {stage: 3 * cost for stage, cost in days[-2].items()}
    for number, day in enumerate(days):
        if growing:
            late = max(0, number - COMPARED) / (DAYS - 2 * COMPARED)
            day[growing] *= 1 + (factor - 1) * min(1, late)
    return days


@pytest.mark.parametrize("stage", CPU_SECONDS)
def test_a_doubling_of_one_stage_is_seen_and_named(stage: str) -> None:
    days = life(stage)
    assert list(grown(days)) == [stage]
    assert grown(days)[stage].endswith("at first")


def test_the_doubling_of_a_small_stage_would_be_lost_in_the_sum() -> None:
    days = [{"all": sum(day.values())} for day in life("materialize")]
    assert grown(days) == {}


@pytest.mark.parametrize("seed", range(20))
def test_noise_and_a_day_that_costs_thrice_are_no_growth(seed: int) -> None:
    assert grown(life(seed=seed)) == {}


def test_too_few_days_are_refused() -> None:
    with pytest.raises(AssertionError, match="11 days are too few"):
        grown(life()[: 2 * COMPARED - 1])
