"""How MLflow's pages show an experiment: its description and its saved views.

A saved view is a tag of the experiment, written as the pages write it themselves when somebody
saves one: name and times around the state of table and charts. Without one, the table of runs has
no column with a metric.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ml.adapters.tracking_notes import experiment_notes
from ml.core.metric_names import computed_for
from ml.core.spec import UseCase

CANDIDATES, SEARCH = "candidates", "search"
SEARCH_OF = "search.of"  # tag of a trial: name of the run that it belongs to
_VIEW = "mlflow.sharedViewState."
_WINDOWS = ("holdout", "select")


def page(uri: str, experiment_id: str) -> str:
    """Address of the experiment's runs, as its saved view shows them."""
    return f"{uri}/#/experiments/{experiment_id}/runs?{query(CANDIDATES)}"


def query(view: str) -> str:
    """What an address of MLflow's pages needs after its question mark to open a saved view."""
    return f"workflowType=machine_learning&viewStateShareKey={view}"


def experiment_tags(spec: UseCase) -> dict[str, str]:
    """Description, saved views, and what the list of experiments shows of each."""
    return {
        "mlflow.note.content": experiment_notes(spec),
        "owner": spec.owner,
        "problem": str(spec.problem),
        "impact": f"tier_{spec.impact_tier}",
        f"{_VIEW}{CANDIDATES}": _saved("Candidates", _candidates(spec)),
        f"{_VIEW}{SEARCH}": _saved("Search", _search(spec)),
    }


def shown_metrics(spec: UseCase) -> tuple[str, ...]:
    """The metrics that runs show; of a single class only what a gate rests on.

    A table of the run has the others of each class.
    """
    judged = {criterion.metric for criterion in spec.gates.criteria}
    known = computed_for(spec.scope)
    return tuple(name for name in known if name in judged or not known[name].by_class)


def _saved(name: str, state: dict[str, Any]) -> str:
    text = json.dumps(state, separators=(",", ":"))  # a tag of an experiment takes 20,000
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": text})


def _candidates(spec: UseCase) -> dict[str, Any]:
    """Candidates and experiments, without the points of their searches."""
    known = shown_metrics(spec)
    metrics = [_metric(f"{window}/{name}") for window in _WINDOWS for name in known]
    decision, kind = _tag("release.decision"), _tag("model.kind")
    # The version; whether it passed; how good it is; what it is and who wanted it.
    columns = [_MODELS, decision, *metrics, kind, _SOURCE]
    return {
        "searchFilter": "tags.stage != 'search'",
        **_columns(columns, {_MODELS: 150, decision: 130, kind: 100, _SOURCE: 220}),
        **_charts(spec, known),
    }


def _search(spec: UseCase) -> dict[str, Any]:
    """The points of the searches, best first."""
    loss = f"select/{spec.problem.loss_name}"
    searched = sorted(spec.model.search.space) if spec.model.search else []
    columns = [_tag(SEARCH_OF), _metric(loss), *map(_parameter, (*searched, "rounds"))]
    parallel = {
        **_card("PARALLEL", "parallel", "search", 100),
        "selectedParams": searched,
        "selectedMetrics": [loss],
        "showAllRuns": True,
    }
    return {
        "searchFilter": "tags.stage = 'search'",
        "orderByKey": _metric(loss),
        "orderByAsc": True,
        "runsHiddenMode": "SHOW_ALL",
        **_columns(columns, {_tag(SEARCH_OF): 150}),
        "compareRunCharts": [parallel],
        "compareRunSections": [
            _section("search", "Parameters and loss of each trial", columns=1, height_px=480),
            _folded("select"),
        ],
        "isAccordionReordered": True,
    }


def _columns(names: Sequence[str], widths: dict[str, int]) -> dict[str, Any]:
    fixed = (_attribute("Run Name"), "runDateAndNestInfo")
    usual = dict.fromkeys(names, 115)
    return {
        "selectedColumns": list(names),
        "columnOrder": [*fixed, *names],
        "columnWidths": {fixed[0]: 180, fixed[1]: 140, **usual, **widths},
    }


def _charts(spec: UseCase, known: Sequence[str]) -> dict[str, Any]:
    """A bar for each metric and window, and the learning curves; the rest is folded away."""
    loss = spec.problem.loss_name
    shown = {window: [f"{window}/{name}" for name in known] for window in _WINDOWS}
    curves = [f"curve/{window}_{loss}" for window in ("select", "fit")]
    cards = [_bar(name, f"on {window}") for window, names in shown.items() for name in names]
    sections = [
        *(_section(f"on {window}", f"Quality on the {window} window") for window in _WINDOWS),
        _section("curves", "Learning curves", columns=2),
        *map(_folded, (*_WINDOWS, "curve")),
    ]
    return {
        "compareRunCharts": [*cards, *(_line(name, "curves") for name in curves)],
        "compareRunSections": sections,
        "isAccordionReordered": True,
    }


def _card(kind: str, key: str, section: str, runs: int) -> dict[str, Any]:
    return {
        "uuid": key,
        "type": kind,
        "runsCountToCompare": runs,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": True,
    }


def _bar(metric: str, section: str) -> dict[str, Any]:
    return {**_card("BAR", metric, section, 20), "metricKey": metric, "displayName": metric}


def _line(metric: str, section: str) -> dict[str, Any]:
    return {
        **_card("LINE", metric, section, 10),
        "metricKey": metric,
        "displayName": metric,
        "lineSmoothness": 0,
        "xAxisKey": "step",
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "range": {},
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _section(key: str, name: str, *, columns: int = 3, height_px: int = 360) -> dict[str, Any]:
    size = {"columns": columns, "cardHeight": height_px}
    return {"uuid": key, "name": name, "display": True, "isReordered": True, **size}


def _folded(prefix: str) -> dict[str, Any]:
    """Where the pages put charts of their own for all other metrics of a prefix."""
    return {**_section(prefix, prefix), "display": False}


def _attribute(name: str) -> str:
    return f"attributes.`{name}`"


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _parameter(name: str) -> str:
    return f"params.`{name}`"


def _tag(name: str) -> str:
    return f"tags.`{name}`"


_MODELS = _attribute("Models")
_SOURCE = _attribute("Source")
