"""The report as one HTML file that needs no other: it opens offline and on a telephone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ml.core.spec import MINIMUM_CLUSTERS, UseCase
from ml.stages.report import words
from ml.stages.report.quality import Quality

_TEMPLATE = "page.html.j2"
_MOST_PARTITIONS = 400  # a year of hours would be a page that no telephone opens
# In the order in which people ask; what is not named here comes last.
_CAPTIONS = {
    "partitions": "Is it as good as it was?",
    "over_time": "Does it follow what happened?",
    "coverage": "Does the interval hold as many labels as it should?",
    "calibration": "Does a score mean what it says?",
    "cost": "What does acting cost, at this threshold and at others?",
    "recall_precision": "Which classes does it find?",
    "by_": "For whom is it good or bad?",
    "decisions": "What is decided, and what would have been right?",
    "confusion": "Which classes does it take for one another?",
    "scores": "Does it tell the two apart?",
    "gain": "How many are found among the highest scores?",
    "precision_recall": "How many of the alarms are right?",
    "roc": "In which order does it put them?",
    "predicted_observed": "How close does it come?",
    "residuals": "By how much, and to which side, is it wrong?",
}


def page(spec: UseCase, quality: Quality, pictures: Mapping[str, str]) -> str:
    """The whole page; `pictures` are SVG elements by name."""
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(_TEMPLATE).render(
        spec=spec,
        quality=quality,
        pictures=_captioned(pictures),
        words=words,
        comparisons=_comparisons(quality),
        least=MINIMUM_CLUSTERS,
        most=_MOST_PARTITIONS,
    )


def _comparisons(quality: Quality) -> list[tuple[str, object]]:
    found = [("All that was answered", quality.everything), ("Beside the canary", quality.beside)]
    return [(title, one) for title, one in found if one is not None]


def _captioned(pictures: Mapping[str, str]) -> list[tuple[str, str]]:
    """Caption and picture, in the order of the captions."""
    order = list(_CAPTIONS)

    def place(name: str) -> int:
        return next((i for i, start in enumerate(order) if name.startswith(start)), len(order))

    captions = [*_CAPTIONS.values(), ""]
    names = sorted(pictures, key=lambda name: (place(name), name))
    return [(captions[place(name)], pictures[name]) for name in names]
