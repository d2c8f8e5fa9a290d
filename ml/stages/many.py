"""Many small files at once: who writes one waits for the disk nearly all of the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_WRITERS = 8
_AT_ONCE = 64  # so many are held in memory

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def for_each(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """What `work` gives for each of the items, in their order; several are worked on at a time.

    Each write is safe by itself as before. After an error those that have begun end, then it is
    raised; no further ones begin.

    >>> list(for_each(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    rest = iter(items)
    with ThreadPoolExecutor(_WRITERS) as pool:
        while some := list(islice(rest, _AT_ONCE)):
            results = pool.map(work, some)
            try:
                yield from results
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
