"""Measure the parts one after the other, and write one page."""

from __future__ import annotations

import argparse
import os
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from ml.local.bench import page
from ml.local.bench.figures import Section
from ml.local.bench.machine import machine
from ml.render import console
from ml.settings import settings

PARTS = {  # module: title
    "start": "Start of commands",
    "story": "Orchestration",
    "data": "Data path",
    "models": "Models",
    "use_cases": "A hundred use cases",
}

_TEAMS = ("MLOPS_TRACKING_URI", "MLOPS_NOTIFY_")  # trainings and alerts of a bench are not theirs


def measured(part: str) -> Section:
    """Measure a part in a process of its own: what one has loaded, or broken, is not the next's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, part).result()
        except BrokenProcessPool as error:  # it was killed, for want of memory or by a library
            return Section(PARTS.get(part, part), failure=str(error))


def _measure(part: str) -> Section:
    found = Section(PARTS.get(part, part))
    for name in [name for name in os.environ if name.startswith(_TEAMS)]:
        del os.environ[name]  # of this part's process, and of the commands that it starts
    try:
        for figure in import_module(f"ml.local.bench.{part}").measure():
            found = found.with_figure(figure)
    except (Exception, SystemExit):  # noqa: BLE001  # what was measured before is true all the same
        return replace(found, failure=traceback.format_exc(limit=-3).strip())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Never fails because of a figure, only if a part could not be measured."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--output", type=Path, help="folder; default: bench in the home")
    chosen = parser.parse_args(arguments)
    parts = chosen.parts or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}: one of {', '.join(PARTS)}")
    folder = chosen.output or settings().home / "bench"
    about, sections, out = machine(), [], console()
    for part in parts:
        out.rule(PARTS[part], align="left")
        sections.append(measured(part))
        out.print(page.table(sections[-1]))
        written = page.write(folder, about, sections)  # after each: an interruption costs one part
    out.print(f"\nthe page: {written}", markup=False, soft_wrap=True)
    return int(any(section.failure for section in sections))
