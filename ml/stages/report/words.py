"""What a report says in words and figures, the same on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ml.core.metric_names import MetricName, metric_named
from ml.core.names import CANARY, CHAMPION
from ml.core.problems import ProblemType
from ml.core.statistics import MISSING, Estimate
from ml.stages.answers import amount, places
from ml.stages.report.groups import Group
from ml.stages.report.quality import FORESIGHT, Comparison, Competitor, Quality
from ml.stages.report.rows import RULE, SERVED

_OF_NAIVE = {"persistence": "persistence's", "seasonal_naive": "the seasonal naive forecast's"}
_SPELT = {"auc": "AUC", "f1": "F1"}
_OF_CLASS = ("recall", "precision", "auc_of", "calibration_error_of")


def figure(estimate: Estimate | None) -> str:
    """A figure with its bounds, if it has any, all with the same decimal places.

    >>> figure(Estimate(0.52, 0.5, 0.54, 900, 28)), figure(Estimate(0.0002, 0, 0.0003, 900, 28))
    ('0.520 (0.500 to 0.540)', '0.00020 (0.00000 to 0.00030)')
    """
    if estimate is None or not np.isfinite(estimate.value):
        return "-"
    return f"{estimate.value:,.{_places(estimate)}f}{_bounds(estimate)}"


def _bounds(estimate: Estimate) -> str:
    if not estimate.is_finite:
        return ""
    digits = _places(estimate)
    return f" ({estimate.lower:,.{digits}f} to {estimate.upper:,.{digits}f})"


def _places(estimate: Estimate) -> int:
    ends = (estimate.lower, estimate.upper) if estimate.is_finite else ()
    return places(max(map(abs, (estimate.value, *ends))))


def cell(value: float | None, like: float) -> str:
    """A figure of a column with as many places as say something of a figure like another.

    >>> cell(0.25, 0.0059), cell(None, 1.0)
    ('0.2500', '')
    """
    return "" if value is None or not np.isfinite(value) else f"{value:,.{places(like)}f}"


def signed(estimate: Estimate) -> str:
    """A difference with its bounds, if it has any; small ones matter.

    >>> signed(Estimate(-0.0019, -0.0058, 0.002, 900, 28))
    '-0.0019 (-0.0058 to +0.0020)'
    """
    digits = _signed_places(estimate.value)
    bounds = ""
    if estimate.is_finite:
        bounds = f" ({estimate.lower:+,.{digits}f} to {estimate.upper:+,.{digits}f})"
    return f"{estimate.value:+,.{digits}f}{bounds}"


def _signed_places(value: float) -> int:
    return max(4, places(value)) if abs(value) < 1_000 else places(value)


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
    return f"{difference.value:+,.{_signed_places(difference.value)}f}{word}"


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "day"), count(1200, "row")
    ('1 day', '1,200 rows')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def clusters(quality: Quality, number: int) -> str:
    """How many stretches of partitions that share a shock."""
    if quality.cluster_partitions == 1:
        return count(number, quality.unit)
    stretches = f"{number:,} stretch" + ("" if number == 1 else "es")
    return f"{stretches} of {count(quality.cluster_partitions, quality.unit)}"


def resampled(quality: Quality) -> str:
    """What the bounds of a page rest on, in a sentence."""
    if quality.cluster_partitions == 1:
        whole, one = f"{quality.unit}s", quality.unit
    else:
        whole, one = f"stretches of {quality.cluster_partitions} {quality.unit}s", "stretch"
    return f"whole {whole} are resampled, because rows of one {one} share a shock"


def plain(name: str) -> str:
    """A name of the code as words.

    >>> plain("log_loss"), plain("macro_auc"), plain("seasonal_naive")
    ('log loss', 'macro AUC', 'seasonal naive')
    """
    return " ".join(_SPELT.get(word, word) for word in name.split("_"))


def title_of(competitor: Competitor) -> str:
    """Its name, with the versions behind it."""
    versions = ", ".join(map(str, competitor.versions))
    return f"{plain(competitor.name)} {versions}".strip()


def metric_columns(comparison: Comparison) -> list[str]:
    """Heads of the table of metrics."""
    return ["metric", *map(title_of, comparison.competitors)]


def metric_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """For each metric its name, and the figure of each competitor; those of classes stand apart."""
    return [
        (plain(name), *(figure(one.metrics.get(name)) for one in comparison.competitors))
        for name, metric in _named(comparison)
        if not metric.by_class
    ]


def class_rows(quality: Quality) -> list[tuple[str, ...]]:
    """For each class its rows, shares and metrics, of what was served."""
    metrics = _served(quality)
    return [
        (
            one.name,
            f"{one.rows:,}",
            f"{one.observed:.3f}",
            f"{one.predicted:.3f}",
            *(figure(metrics.get(f"{metric}_{one.name}")) for metric in _OF_CLASS),
        )
        for one in quality.classes
    ]


CLASS_COLUMNS = (
    "class", "rows", "observed", "predicted", "recall", "precision", "AUC", "calibration error",
)  # fmt: skip


def class_comparison(quality: Quality) -> list[tuple[str, ...]]:
    """For each class recall and precision of champion and canary on the canary's rows."""
    if quality.beside is None:
        return []
    by_name = {one.name: one.metrics for one in quality.beside.competitors}
    return [
        (
            one.name,
            *(
                figure(by_name[name].get(f"{metric}_{one.name}"))
                for metric in _OF_CLASS[:2]
                for name in (CHAMPION, CANARY)
            ),
        )
        for one in quality.classes
    ]


CLASS_COMPARISON_COLUMNS = (
    "class", "recall, champion", "recall, canary", "precision, champion", "precision, canary",
)  # fmt: skip


def meanings(comparison: Comparison) -> list[tuple[str, str]]:
    """What each metric means, and which way is better."""
    better = {True: "higher is better", False: "lower is better"}
    found = {metric.name: metric for _, metric in _named(comparison)}
    return [
        (plain(name), f"{metric.meaning}; {better[metric.higher_is_better]}")
        for name, metric in found.items()
    ]


def _named(comparison: Comparison) -> list[tuple[str, MetricName]]:
    """The metrics that any competitor has, in the order of the one that has most."""
    most = max(comparison.competitors, key=lambda one: len(one.metrics))
    known = ((name, metric_named(name)) for name in most.metrics)
    return [(name, metric) for name, metric in known if metric]


def means(quality: Quality) -> tuple[str, str]:
    """What the two means of a group are called, and what they are."""
    if quality.classes:
        return "right", "confidence"
    return "observed", "predicted"


def groups_explained(quality: Quality) -> str:
    """What the columns of the tables of groups are."""
    observed, predicted = "mean label", "mean of what was served"
    if quality.classes:
        observed, predicted = (
            "share of rows whose likeliest class was right",
            "its mean probability",
        )
    first, second = means(quality)
    text = f"{first.capitalize()} and {second}: {observed}, and {predicted}."
    if has_intervals(quality.days):
        text += " In interval: share of the labels in the interval that was served."
    names = [plain(name) for name in group_names(quality, [*quality.days, *quality.segments])]
    text += f" {', '.join(names).capitalize()}: mean {plain(quality.loss_name)}"
    text += "; canary − champion: the same on the canary's rows." if quality.beside else "."
    return text + (" Cost: units a row, of what was served." if quality.has_cost else "")


def group_names(quality: Quality, groups: Sequence[Group]) -> list[str]:
    """The competitors that tables of these groups have, in their order."""
    naive = [one.name for one in quality.everything.competitors if one.name in _OF_NAIVE]
    names = [CHAMPION, CANARY, RULE, *naive]
    return [name for name in names if any(name in group.losses for group in groups)]


def group_rows(quality: Quality, groups: Sequence[Group]) -> list[list[str]]:
    """For each group its rows, means and losses, and its cost with a cost model."""
    names, has_interval = group_names(quality, groups), has_intervals(groups)
    loss = min(_means_of(quality, quality.loss_name), default=0.0)
    cost = min(_means_of(quality, "cost"), default=0.0)
    return [
        [
            f"{group.rows:,}",
            *(cell(one, groups[0].observed) for one in (group.observed, group.predicted)),
            *([cell(group.held, 1.0)] if has_interval else []),
            *(cell(group.losses.get(one), loss) for one in names),
            *([cell(group.costs.get(SERVED), cost)] if quality.has_cost else []),
        ]
        for group in groups
    ]


def group_columns(quality: Quality, groups: Sequence[Group]) -> list[str]:
    """Heads of the same."""
    names = ["rows", *means(quality), *(["in interval"] if has_intervals(groups) else [])]
    names += map(plain, group_names(quality, groups))
    return [*names, *(["cost"] if quality.has_cost else [])]


def has_intervals(groups: Sequence[Group]) -> bool:
    """Whether any of the groups was served with an interval."""
    return any(group.held is not None for group in groups)


def _means_of(quality: Quality, metric: str) -> list[float]:
    """The finite values of a metric of all competitors."""
    found = [one.metrics.get(metric, MISSING).value for one in quality.everything.competitors]
    return [value for value in found if np.isfinite(value)]


_HEADLINES = (
    "auc", "accuracy", "macro_f1", "skill", "skill_persistence", "calibration_error",
    "absolute_error", "interval_coverage",
)  # fmt: skip


def headlines(quality: Quality) -> list[tuple[str, str, str]]:
    """The figures that people look for first: name, figure, what it is compared with."""
    served, found = _served(quality), quality.coverage
    shown = [("labels known", f"{_share(quality):.1%}", f"{found.known:,} of {found.expected:,}")]
    for name in _HEADLINES:
        if (metric := served.get(name)) and np.isfinite(metric.value):
            beside = _bounds(metric).strip(" ()")
            if name == "interval_coverage":
                beside = f"should be {quality.nominal_coverage:.0%}"
            shown.append((plain(name), amount(metric.value), beside))
    if cost := served.get("cost"):
        others = [v for name, v in quality.everything.constant_cost.items() if name != FORESIGHT]
        shown.append(("cost a row", amount(cost.value), f"without a model {amount(min(others))}"))
    return shown


def sentences(quality: Quality) -> list[str]:
    """The report in a few sentences."""
    told = [
        _coverage(quality),
        _against_rule(quality),
        _missing(quality),
        _interval(quality),
        _against_constants(quality),
        _against_champion(quality),
    ]
    return [sentence for sentence in told if sentence]


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
    served = _served(quality)
    saved = [f"{_percent(served['skill'])} of the rule's {plain(quality.loss_name)}"]
    for name, words in _OF_NAIVE.items():
        skill = served.get(f"skill_{name}")
        if skill and np.isfinite(skill.value):
            saved.append(f"{_percent(skill)} of {words}")
    text = " and ".join([", ".join(saved[:-1]), saved[-1]] if saved[1:] else saved)
    return f"What was served saves {text}; {_means(quality)}."


def _percent(share: Estimate) -> str:
    bounds = f" ({share.lower:.1%} to {share.upper:.1%})" if share.is_finite else ""
    return f"{share.value:.1%}{bounds}"


def _means(quality: Quality) -> str:
    rows = sum(day.rows for day in quality.days)
    observed = sum(day.observed * day.rows for day in quality.days) / rows
    predicted = sum(day.predicted * day.rows for day in quality.days) / rows
    if quality.classes:
        return (
            f"its likeliest class was right in {observed:.1%} of the rows, at a mean probability "
            f"of {predicted:.1%}"
        )
    return f"on average it predicted {amount(predicted)}, and {amount(observed)} was observed"


def _missing(quality: Quality) -> str:
    lacking = [one for one in quality.everything.competitors if one.missing]
    found = ", ".join(f"{plain(one.name)} in {one.missing:,}" for one in lacking)
    if not found:
        return ""
    return (
        f"Of {quality.everything.rows:,} rows no value is there of {found}: nothing is said of it."
    )


def _interval(quality: Quality) -> str:
    served, nominal = _served(quality), quality.nominal_coverage
    found, width = served.get("interval_coverage"), served.get("interval_width")
    if found is None or width is None or nominal is None:
        return ""
    word = ""
    if found.is_finite and not found.lower <= nominal <= found.upper:
        word = ": it is too narrow" if found.upper < nominal else ": it is wider than it has to be"
    some = "" if found.rows == quality.everything.rows else f", of the {found.rows:,} that have one"
    return (
        f"The {nominal:.0%} interval holds {_percent(found)} of the labels{some}, and is "
        f"{amount(width.value)} wide on average{word}."
    )


_DECIDING = {
    ProblemType.MULTICLASS: "Decisions by the cost matrix cost",
    ProblemType.REGRESSION: "Acting upon the values that were served costs",
}


def _against_constants(quality: Quality) -> str:
    cost = _served(quality).get("cost")
    if cost is None:
        return ""
    others = quality.everything.constant_cost.items()
    how = f"Acting where the score is above {quality.cost_threshold or 0:g} costs"
    how = _DECIDING.get(ProblemType(quality.problem), how)
    return f"{how} {figure(cost)} a row; {', '.join(f'{n} {amount(v)}' for n, v in others)}."


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
