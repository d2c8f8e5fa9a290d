"""A kill that comes too late is none: what `integration/test_kills.py` relies on."""

from __future__ import annotations

import random
import signal
from typing import Any

import pytest
from kills import STORY, Ran, Story


class Ends:
    """Stands for a driver; its commands end by these signals."""

    def __init__(self, *signals: int) -> None:
        self.signals, self.struck_after_s = list(signals), list[float]()

    def run(self, *argv: str, after_s: float) -> Ran:
        self.struck_after_s.append(after_s)
        return Ran(self.signals.pop(0), 0, 0, "", "")


class Untouched(Story):
    """Its home is as it was."""

    def go_to(self, step: Any) -> None: ...


def story(driver: Ends) -> Story:
    found = Untouched(driver)  # type: ignore[arg-type]
    found.seconds[STORY[0].name] = 10.0
    return found


def test_a_step_that_ended_before_its_kill_is_struck_again_and_earlier() -> None:
    driver = Ends(0, signal.SIGKILL)
    after_s = story(driver).strike(STORY[0], random.Random(7))
    assert driver.signals == [] and driver.struck_after_s[-1] == after_s
    assert all(0 < struck <= 9 / n for n, struck in enumerate(driver.struck_after_s, 1))


@pytest.mark.parametrize("ending", [0, signal.SIGTERM])
def test_a_step_that_is_never_killed_fails_the_test(ending: int) -> None:
    with pytest.raises(AssertionError, match="ended before each kill"):
        story(Ends(*[ending] * 3)).strike(STORY[0], random.Random(7), attempts=3)
