"""What a report says in words and figures, the same on the page and in the terminal."""

from __future__ import annotations

import numpy as np

from ml.core.metric_names import METRICS
from ml.core.statistics import Estimate
from ml.stages.report.quality import SERVED, Comparison, Competitor, Quality


def figure(estimate: Estimate | None) -> str:
    """A figure with its bounds, if it has any.

    >>> figure(Estimate(0.52, 0.5, 0.54, 900, 28))
    '0.520 (0.500 to 0.540)'
    """
    if estimate is None or not np.isfinite(estimate.value):
        return "-"
    bounds = f" ({estimate.lower:.3f} to {estimate.upper:.3f})" if estimate.is_finite else ""
    return f"{estimate.value:.3f}{bounds}"


def signed(estimate: Estimate) -> str:
    """A difference with its bounds, if it has any; small ones matter.

    >>> signed(Estimate(-0.0019, -0.0058, 0.002, 900, 28))
    '-0.0019 (-0.0058 to +0.0020)'
    """
    bounds = f" ({estimate.lower:+.4f} to {estimate.upper:+.4f})" if estimate.is_finite else ""
    return f"{estimate.value:+.4f}{bounds}"


def compared(difference: Estimate | None) -> str:
    """The canary's loss minus the champion's, in short: with a word where the bounds agree.

    >>> compared(Estimate(-0.01, -0.02, -0.001, 900, 28))
    '-0.0100 better'
    """
    if difference is None:
        return ""
    word = ""
    if difference.is_finite and not difference.lower <= 0 <= difference.upper:
        word = " better" if difference.upper < 0 else " worse"
    return f"{difference.value:+.4f}{word}"


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "day"), count(1200, "row")
    ('1 day', '1,200 rows')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def plain(name: str) -> str:
    """A name of the code as words.

    >>> plain("log_loss"), plain("auc")
    ('log loss', 'AUC')
    """
    return "AUC" if name == "auc" else name.replace("_", " ")


def title_of(competitor: Competitor) -> str:
    """Its name, with the versions behind it."""
    versions = ", ".join(map(str, competitor.versions))
    return f"{competitor.name} {versions}".strip()


def metric_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """For each metric its name, and the figure of each competitor."""
    names = comparison.competitors[0].metrics
    return [
        (plain(name), *(figure(one.metrics[name]) for one in comparison.competitors))
        for name in names
    ]


def meanings(comparison: Comparison) -> list[tuple[str, str]]:
    """What each metric means, and which way is better."""
    found = [METRICS[name] for name in comparison.competitors[0].metrics]
    better = {True: "higher is better", False: "lower is better"}
    return [
        (plain(metric.name), f"{metric.meaning}; {better[metric.higher_is_better]}")
        for metric in found
    ]


def headlines(quality: Quality) -> list[tuple[str, str, str]]:
    """The figures that people look for first: name, figure, what it is compared with."""
    served, found = _served(quality), quality.coverage
    shown = [("labels known", f"{_share(quality):.1%}", f"{found.known:,} of {found.expected:,}")]
    for name in ("auc", "skill", "calibration_error", "absolute_error"):
        if metric := served.get(name):
            bounds = f"{metric.lower:.3f} to {metric.upper:.3f}" if metric.is_finite else ""
            shown.append((plain(name), f"{metric.value:.3f}", bounds))
    if cost := served.get("cost"):
        never, always = list(quality.everything.constant_cost.values())[:2]
        shown.append(
            ("cost a row", f"{cost.value:.3f}", f"without a model {min(never, always):.3f}")
        )
    return shown


def sentences(quality: Quality) -> list[str]:
    """The report in a few sentences."""
    told = [_coverage(quality), _against_rule(quality), _against_constants(quality)]
    return [sentence for sentence in [*told, _against_champion(quality)] if sentence]


def _share(quality: Quality) -> float:
    found = quality.coverage
    return found.known / found.expected if found.expected else 0.0


def _coverage(quality: Quality) -> str:
    found = quality.coverage
    text = (
        f"{found.known:,} of {found.expected:,} expected labels are known ({_share(quality):.1%}), "
        f"of {found.predictions:,} predictions in {count(found.partitions, quality.unit)}."
    )
    if found.still_open:
        shown = ", ".join(found.still_open[:3]) + (" …" if len(found.still_open) > 3 else "")
        text += f" Still waiting for labels: {shown}."
    return text


def _against_rule(quality: Quality) -> str:
    skill = _served(quality)["skill"]
    bounds = f" ({skill.lower:.1%} to {skill.upper:.1%})" if skill.is_finite else ""
    rows = sum(day.rows for day in quality.days)
    observed = sum(day.observed * day.rows for day in quality.days) / rows
    predicted = sum(day.predicted * day.rows for day in quality.days) / rows
    return (
        f"What was served saves {skill.value:.1%}{bounds} of the rule's "
        f"{plain(quality.loss_name)}; on average it predicted {predicted:.3f}, and "
        f"{observed:.3f} was observed."
    )


def _against_constants(quality: Quality) -> str:
    cost = _served(quality).get("cost")
    if cost is None:
        return ""
    others = ", ".join(f"{name} {v:.3f}" for name, v in quality.everything.constant_cost.items())
    return (
        f"Acting where the score is above {quality.cost_threshold:g} costs {figure(cost)} "
        f"a row; {others}."
    )


def _against_champion(quality: Quality) -> str:
    found = quality.beside
    if found is None or found.difference is None:
        return "No canary stood beside the champion in this time."
    days = count(found.partitions, quality.unit)
    failed = count(quality.canary_failures, "row") if quality.canary_failures else ""
    return (
        f"On {count(found.rows, 'row')} of {days}, {verdict(found.difference)}: "
        f"{plain(quality.loss_name)} {signed(found.difference)}."
        + (f" It failed on {failed}." if failed else "")
    )


def verdict(difference: Estimate) -> str:
    """The canary against the champion, by the difference of their losses.

    >>> verdict(Estimate(-0.01, -0.02, -0.001, 900, 28))
    'the canary is better than the champion'
    """
    if not difference.is_finite:
        return "which are too few to tell canary and champion apart"
    if difference.upper < 0:
        return "the canary is better than the champion"
    if difference.lower > 0:
        return "the canary is worse than the champion"
    return "canary and champion cannot be told apart yet"


def _served(quality: Quality) -> dict[str, Estimate]:
    found = next(one for one in quality.everything.competitors if one.name == SERVED)
    return dict(found.metrics)
