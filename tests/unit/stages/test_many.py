"""Many small files at once: in order, not without bound, and an error is an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ml.stages.many import _AT_ONCE, _WRITERS, for_each


def test_several_are_worked_on_at_a_time() -> None:
    """Each waits for all the others: one after the other, the first would wait for ever."""
    together = threading.Barrier(_WRITERS, timeout=10)

    def work(item: int) -> int:
        together.wait()
        return item

    assert list(for_each(work, range(2 * _WRITERS))) == list(range(2 * _WRITERS))


def test_only_a_few_are_in_memory() -> None:
    """The items may be the rows of years: they are asked for as they are needed."""
    taken = []

    def items() -> Iterator[int]:
        for item in range(10 * _AT_ONCE):
            taken.append(item)
            yield item

    assert next(for_each(abs, items())) == 0
    assert len(taken) == _AT_ONCE


def test_after_an_error_nothing_further_begins() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        list(for_each(work, range(5 * _AT_ONCE)))
    assert max(begun) < _AT_ONCE
