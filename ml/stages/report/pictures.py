"""The pictures of a report, as SVG: they stay sharp on a telephone, and need no other file."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ml.core.names import CANARY, CHAMPION
from ml.stages import plots
from ml.stages.drawing.canvas import MARK, MODEL, OBSERVED, REFERENCE, dress
from ml.stages.examples import group_values
from ml.stages.report.quality import RULE, Group, Quality
from ml.stages.report.rows import Judged

_COLOURS = {CHAMPION: MODEL, CANARY: MARK, RULE: REFERENCE}
# Without a date, and with fixed identifiers: the same report is the same file.
_METADATA = {"Date": None, "Creator": None}


def pictures(judged: Judged, quality: Quality) -> Mapping[str, str]:
    """SVG by name: `daily`, and those of `plots.evaluation` over what was served."""
    spec, coverage = judged.spec, quality.coverage
    drawn = plots.evaluation(
        spec.problem,
        judged.label,
        judged.numbers("score"),
        title=f"served from {coverage.first} to {coverage.last}",
        folder="",
        groups={column: group_values(judged.rows, column) for column in spec.segments},
        cost=spec.cost,
    )
    named = {path.strip("/").removesuffix(".png"): figure for path, figure in drawn.items()}
    named["daily"] = daily(quality)
    return {name: svg(figure, name) for name, figure in named.items()}


def daily(quality: Quality) -> Figure:
    """Observed and predicted mean by partition, and the loss of each competitor."""
    figure = Figure(figsize=(7.2, 5.2), dpi=90)
    upper, lower = figure.subplots(2, 1, sharex=True)
    figure.subplots_adjust(left=0.11, right=0.97, top=0.89, bottom=0.07, hspace=0.28)
    figure.text(
        0.02,
        0.985,
        f"By {quality.unit}: observed, predicted, and the loss",
        fontsize=12,
        weight="bold",
        va="top",
    )
    days = quality.days
    _line(upper, days, [day.observed for day in days], "observed", OBSERVED)
    _line(upper, days, [day.predicted for day in days], "predicted (served)", MODEL)
    upper.set(ylabel="mean label", ylim=(0, None))
    for name in (RULE, CHAMPION, CANARY):
        losses = [day.losses.get(name, np.nan) for day in days]
        if np.isfinite(losses).any():
            _line(lower, days, losses, name, _COLOURS[name])
    lower.set(ylabel=quality.loss_name.replace("_", " "))
    for axis in (upper, lower):
        dress(axis)
        axis.legend(loc="lower left", bbox_to_anchor=(0, 0.98), ncols=3, frameon=False, fontsize=8)
    _ticks(lower, [day.value for day in days])
    return figure


def _line(axis: Axes, days: tuple[Group, ...], values: list[float], name: str, colour: str) -> None:
    marker = "o" if len(days) < 45 else ""  # of more days the line alone is clearer
    axis.plot(range(len(days)), values, marker=marker, markersize=3, color=colour, label=name)


def _ticks(axis: Axes, keys: list[str]) -> None:
    """A few of the keys; each in full, so that none needs another to be read."""
    places = np.unique(np.linspace(0, len(keys) - 1, min(len(keys), 6)).astype(int))
    axis.set_xticks(places, [keys[place] for place in places], fontsize=8)


def svg(figure: Figure, name: str) -> str:
    """The figure as an element of a page; the page's other figures cannot disturb it."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "flightline"}):
        figure.savefig(buffer, format="svg", metadata=_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Identifiers are unique within a figure only, and a page has several.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    return re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
