"""All figures on one page: Markdown, JSON, and a picture of what has an aim."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from ml.local.bench.figures import Figure, Section
from ml.render import cell_table
from ml.stages.drawing.canvas import MODEL, OBSERVED, REFERENCE, bars, canvas, rows_of_names

PICTURE = "bench.png"
_NAMES = ("", "measured", "aim", "", "made of")
_LONGEST = 4.0  # times its aim: a longer bar would leave no room for the others


def write(folder: Path, machine: Mapping[str, str], sections: Sequence[Section]) -> Path:
    """Write the page; returns the Markdown file."""
    folder.mkdir(parents=True, exist_ok=True)
    aimed = [figure for section in sections for figure in section.figures if figure.aim is not None]
    if aimed:
        _draw(folder / PICTURE, machine, aimed)
    plain = [dataclasses.asdict(section) for section in sections]
    content = json.dumps({"machine": dict(machine), "sections": plain}, indent=2)
    (folder / "bench.json").write_text(content + "\n")
    page = folder / "bench.md"
    page.write_text("\n".join(_lines(machine, sections, aimed)))
    return page


def table(section: Section) -> RenderableType:
    """A section for the terminal."""
    rows = cell_table(_NAMES, [_row(figure) for figure in section.figures])
    return Group(rows, Text(section.failure, style="red")) if section.failure else rows


def _lines(
    machine: Mapping[str, str], sections: Iterable[Section], aimed: Sequence[Figure]
) -> Iterable[str]:
    met = sum(figure.verdict == "met" for figure in aimed)
    yield "# Benchmarks\n"
    yield f"{met} of {len(aimed)} aims are met."
    yield "Every figure is a cost: less is better."
    yield "Ratios and CPU seconds travel between machines, wall seconds do not."
    yield "`make bench` measures this page anew.\n"
    if aimed:
        yield f"![Each figure over its aim]({PICTURE})\n"
    for section in sections:
        yield f"## {section.title}\n"
        yield from _table(_NAMES, map(_row, section.figures))
        if section.failure:
            yield f"Not measured to the end:\n\n```\n{section.failure}\n```\n"
    yield "## Machine\n"
    yield from _table(("", ""), machine.items())


def _row(figure: Figure) -> tuple[str, ...]:
    aim = "" if figure.aim is None else f"≤ {_amount(figure.aim, figure.unit)}"
    return (figure.name, _amount(figure.value, figure.unit), aim, figure.verdict, figure.note)


def _amount(value: float, unit: str) -> str:
    """Three digits are more than a second run repeats.

    >>> _amount(1234.5, "MiB"), _amount(0.0431234, "CPU s"), _amount(1.2, "")
    ('1,234 MiB', '0.0431 CPU s', '1.2')
    """
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{shown} {unit}".strip()


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    cells = [list(names), ["---"] * len(names), *rows]
    if len(cells) > 2:
        yield from (f"| {' | '.join(row)} |" for row in cells)
        yield ""


def _draw(path: Path, machine: Mapping[str, str], aimed: Sequence[Figure]) -> None:
    shares = [min(figure.share_of_aim or 0.0, _LONGEST) for figure in aimed]
    names = [f"{figure.name}  {_amount(figure.value, figure.unit)}" for figure in aimed]
    where = f"{machine.get('processor', '')}, {machine.get('cores', '?')} cores"
    figure, (axis,) = canvas(
        "Each cost over its aim", where, height=1.5 + 0.26 * len(names), names=names
    )
    bars(axis, shares, colours=[MODEL if share <= 1 else OBSERVED for share in shares])
    axis.axvline(1, color=REFERENCE, linestyle="--")
    axis.set_xlabel(f"share of the aim (cut at {_LONGEST:g})")
    rows_of_names(axis, names)
    figure.savefig(path)
