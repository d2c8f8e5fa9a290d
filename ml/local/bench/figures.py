"""What a measurement gives, and how calls and commands are measured."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

REPEATS = 3
FLIGHTLINE = str(Path(sys.executable).parent / "flightline")


@dataclass(frozen=True)
class Figure:
    """One measured cost: less is better.

    Attributes:
        unit: empty for a ratio.
        aim: at most so much; None where the figure only explains others.
        note: what it was made of.

    >>> Figure("start", 0.3, "CPU s", aim=0.4).share_of_aim
    0.75
    """

    name: str
    value: float
    unit: str = ""
    aim: float | None = None
    note: str = ""

    @property
    def share_of_aim(self) -> float | None:
        return None if self.aim is None else round(self.value / self.aim, 4)

    @property
    def verdict(self) -> str:
        """Empty without an aim."""
        if self.aim is None:
            return ""
        return "met" if self.value <= self.aim else "missed"  # NaN is not met


def ratio(
    name: str, ours: float, plain: float, *, aim: float | None = None, unit: str = "s"
) -> Figure:
    """How many times the plain way.

    >>> ratio("sort", 3.0, 2.0, aim=1.2)
    Figure(name='sort', value=1.5, unit='', aim=1.2, note='3.00 s over 2.00 s')
    """
    note = f"{ours:.2f} {unit} over {plain:.2f} {unit}"
    return Figure(name, ours / plain, aim=aim, note=note)


@dataclass(frozen=True)
class Section:
    """What one part measured; `failure` says why there is nothing, or not all of it."""

    title: str
    figures: tuple[Figure, ...] = ()
    failure: str = ""

    def with_figure(self, figure: Figure) -> Section:
        return replace(self, figures=(*self.figures, figure))


def cpu_seconds(work: Callable[[], object]) -> float:
    """Median CPU seconds of a few calls, after one that loads what is loaded once."""
    work()
    return median(_cpu_once(work) for _ in range(REPEATS))


def _cpu_once(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def wall_seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Command:
    """A command that ended well: what it printed, and what it and its children took."""

    output: str
    seconds: float
    cpu_seconds: float


def run(command: Sequence[str], environment: Mapping[str, str]) -> Command:
    """Run a command; its errors go to this process's stderr.

    Raises:
        CalledProcessError: if it fails.
    """
    wall, cpu = time.perf_counter(), _children_cpu()
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return Command(done.stdout, time.perf_counter() - wall, _children_cpu() - cpu)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
