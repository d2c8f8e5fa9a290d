"""The pictures of a report, as SVG: they stay sharp on a telephone, and need no other file."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ml.core.names import CANARY, CHAMPION
from ml.core.problems import ProblemType
from ml.stages import plots
from ml.stages.drawing.canvas import FAR, MARK, MODEL, OBSERVED, PALE, REFERENCE, dress
from ml.stages.examples import group_values
from ml.stages.report import groups, words
from ml.stages.report.groups import PARTITION, Group
from ml.stages.report.quality import Quality
from ml.stages.report.rows import RULE, SERVED, Judged

_NAIVE = ("#CC79A7", "#E69F00")  # of the same palette, one for each
_COLOURS = {CHAMPION: MODEL, CANARY: MARK, RULE: REFERENCE}
_FEW = 10  # rows; means of fewer labels that are 0 or 1 jump up and down
# Without a date, and with fixed identifiers: the same report is the same file.
_METADATA = {"Date": None, "Creator": None}


def pictures(judged: Judged, quality: Quality) -> Mapping[str, str]:
    """SVG by name: `partitions`, and those of `plots.evaluation` over what was served."""
    spec, coverage = judged.spec, quality.coverage
    drawn = plots.evaluation(
        spec.problem,
        judged.label,
        judged.prediction(SERVED),
        title=f"served from {coverage.first} to {coverage.last}",
        folder="",
        groups={column: group_values(judged.rows, column) for column in spec.segments},
        cost=spec.cost,
        classes=spec.label.classes,
        interval=judged.interval,
        nominal=spec.model.interval,
        times=judged.rows[spec.decided_at].to_numpy("datetime64[us]"),
        naive=judged.naive,
    )
    named = {path.strip("/").removesuffix(".png"): figure for path, figure in drawn.items()}
    named["partitions"] = by_partition(judged, quality)
    return {name: svg(figure, name) for name, figure in named.items()}


def by_partition(judged: Judged, quality: Quality) -> Figure:
    """Observed and predicted mean by partition, and the loss of each competitor.

    Labels that are 0 or 1 are shown over longer stretches where partitions have few rows.
    """
    judged, days, unit = _with_enough_rows(judged, quality)
    figure = Figure(figsize=(7.2, 5.2), dpi=90)
    upper, lower = figure.subplots(2, 1, sharex=True)
    figure.subplots_adjust(left=0.11, right=0.97, top=0.89, bottom=0.07, hspace=0.28)
    observed, predicted = words.means(quality)
    figure.text(
        0.02,
        0.985,
        f"By {unit}: {observed}, {predicted}, and the loss",
        fontsize=12,
        weight="bold",
        va="top",
    )
    _line(upper, days, [day.observed for day in days], observed, OBSERVED)
    _line(upper, days, [day.predicted for day in days], f"{predicted} (served)", MODEL)
    _band(upper, judged, days)
    upper.set(ylabel="share of rows" if quality.classes else "mean label")
    if quality.problem != ProblemType.REGRESSION:  # values may lie far from zero
        upper.set_ylim(0, None)
    colours = _COLOURS | dict(zip(judged.naive, _NAIVE, strict=False))
    for name in (RULE, *judged.naive, CHAMPION, CANARY):
        losses = [day.losses.get(name, np.nan) for day in days]
        if np.isfinite(losses).any():
            _line(lower, days, losses, words.plain(name), colours[name])
    lower.set(ylabel=words.plain(quality.loss_name), ylim=(0, None))
    for axis in (upper, lower):
        dress(axis)
        axis.legend(loc="lower left", bbox_to_anchor=(0, 0.98), ncols=5, frameon=False, fontsize=8)
    if _are_far_apart(quality):  # after `dress`, whose ticks a logarithmic scale does not know
        lower.set_yscale("log")
        lower.autoscale(axis="y")
    _ticks(lower, [day.value for day in days])
    return figure


def _with_enough_rows(judged: Judged, quality: Quality) -> tuple[Judged, tuple[Group, ...], str]:
    """The rows by partition, cluster or month, the shortest that has enough, and what it is."""
    keys, spec = judged.rows[PARTITION], judged.spec
    first_of_cluster = keys.groupby(spec.clusters(keys)).transform("min")
    stretches = {
        quality.unit: keys,
        f"{spec.cluster_partitions} {quality.unit}s": first_of_cluster,
        "month": keys.str[:7],
    }
    if quality.problem == ProblemType.REGRESSION or len(keys) >= _FEW * keys.nunique():
        return judged, quality.days, quality.unit
    by_length = sorted(stretches, key=lambda unit: -stretches[unit].nunique())
    enough = (unit for unit in by_length if len(keys) >= _FEW * stretches[unit].nunique())
    unit = next(enough, by_length[-1])
    judged = replace(judged, rows=judged.rows.assign(**{PARTITION: stretches[unit]}))
    return judged, groups.by_partition(groups.measure(judged)), unit


def _are_far_apart(quality: Quality) -> bool:
    """Whether the best of the competitors would be a line at zero beside the worst."""
    found = [one.metrics[quality.loss_name].value for one in quality.everything.competitors]
    finite = [loss for loss in found if np.isfinite(loss)]
    return min(finite, default=0.0) * FAR < max(finite, default=0.0)


def _band(axis: Axes, judged: Judged, days: tuple[Group, ...]) -> None:
    """The mean interval of each partition."""
    if judged.interval is None:
        return
    ends = judged.rows.groupby("partition_key")[["lower", "upper"]].mean()
    ends = ends.reindex([day.value for day in days])
    axis.fill_between(
        range(len(days)), ends["lower"], ends["upper"], color=PALE, alpha=0.5, label="interval"
    )


def _line(axis: Axes, days: tuple[Group, ...], values: list[float], name: str, colour: str) -> None:
    marker = "o" if len(days) < 45 else ""  # of more days the line alone is clearer
    axis.plot(range(len(days)), values, marker=marker, markersize=3, color=colour, label=name)


def _ticks(axis: Axes, keys: list[str]) -> None:
    """A few of the keys; each in full, so that none needs another to be read."""
    most = 6 if len(keys[0]) <= 10 else 5
    places = np.unique(np.linspace(0, len(keys) - 1, min(len(keys), most)).astype(int))
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
