"""What people read about runs and versions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from math import nan
from typing import Any

import pytest
from support import SLUG
from toy_training import trend_spec

from ml.core.statistics import Estimate
from ml.stages import notes
from ml.use_cases import load_spec

SPEC = load_spec(SLUG)
COMPETITORS = {"rule": 0.5, "logistic": 0.46, "lightgbm": 0.4}


def training(**changes: Any) -> str:
    fields: dict[str, Any] = {
        "windows": SPEC.windows(SPEC.as_of("2013-06-01")),
        "competitors": COMPETITORS,
        "chosen": "lightgbm",
        "metrics": {"auc": Estimate(0.78, 0.77, 0.79, 12_345, 14)},
        "rows": {"fit": 100_000, "select": 12_345},
        "trials": 20,
    }
    return plain(notes.training_notes(SPEC, **fields | changes))


def plain(text: str) -> str:
    return text.replace("&emsp;", "").replace("&nbsp;", " ")


def test_the_first_sentence_says_what_was_found() -> None:
    first = training().splitlines()[0]
    assert first == (
        "LightGBM is the best of 3 on the select window: log loss 0.4000, 20.0% under the rule."
    )


def test_the_rest_says_on_what_and_how_sure() -> None:
    text = training()
    assert "| **LightGBM** | 0.4000 | -20.0% |" in text and "| the rule | 0.5000 |  |" in text
    assert "| select | 2013-04-19 | 2013-05-02 | 12,345 |" in text
    assert "| holdout | 2013-05-03 | 2013-05-30 | not read |" in text
    assert "| auc | 0.7800 | 0.7700 to 0.7900 | area under the ROC curve |" in text
    assert "tried 20 sets of parameters" in text


def test_a_rule_that_wins_is_not_compared_with_itself() -> None:
    text = training(chosen="rule", competitors={"rule": 0.3, "lightgbm": 0.4}, trials=0)
    assert text.startswith("The rule is the best of 2 on the select window: log loss 0.3000.\n")
    assert "sets of parameters" not in text


def test_what_is_particular_to_a_value_is_said() -> None:
    text = plain(
        notes.training_notes(
            trend_spec(),
            windows=SPEC.windows(SPEC.as_of("2013-06-01")),
            competitors={"linear": 2.0, "persistence": 3.0, "rule": 4.0, "seasonal_naive": nan},
            chosen="linear",
            metrics={},
            rows={},
            trials=0,
            left_out={"fit": 1_200, "select": 0},
        )
    )
    assert text.startswith("Ridge regression is the best of 4 on the select window")
    assert "as a difference from `last`. Rows without that column are left out: 1,200 of" in text
    assert "holds 80% of the select window's labels: only the holdout says" in text
    assert text.index("| the rule |") < text.index("| the seasonal naive forecast | nan |")


def test_nothing_of_that_is_said_of_a_class() -> None:
    assert "difference from" not in training() and "interval is widened" not in training()


ESTIMATE = {"value": 0.75, "lower": 0.74, "upper": 0.76, "rows": 900, "clusters": 28}
EVIDENCE = {
    "decision": "accepted",
    "champion": None,
    "sha256": "ab" * 32,
    "holdout": {"first": "2013-05-03", "last": "2013-05-30", "rows": 27_000},
    "plan": {"segments": {"minimum_rows": 500, "minimum_positives": 50}},
    "facts": {
        "segments": [
            {"column": "carrier", "value": "UA", "rows": 5_000, "positives": 900},
            {"column": "carrier", "value": "HA", "rows": 28, "positives": 3},
        ]
    },
    "gates": [
        {
            "name": "auc",
            "verdict": "PASS",
            "threshold": ">= 0.7",
            "reason": "the lower bound reaches it",
            "estimate": ESTIMATE,
        }
    ],
}


def rejected() -> dict[str, Any]:
    evidence: dict[str, Any] = copy.deepcopy(EVIDENCE)
    nothing = dict.fromkeys(ESTIMATE)
    fault = {"name": "better", "verdict": "FAIL", "threshold": "< 0.002", "reason": "a | b\nc"}
    evidence["gates"].append({**fault, "estimate": nothing})
    return evidence | {"decision": "rejected", "champion": 3}


def judged(evidence: Mapping[str, Any]) -> str:
    return plain(notes.verdict_notes(evidence))


def test_an_accepted_version_says_so_in_one_plain_sentence() -> None:
    text = judged(EVIDENCE)
    assert text.splitlines()[0] == "Accepted: the one gate passes."
    assert "27,000 rows of 2013-05-03 to 2013-05-30, against the rule" in text
    assert (
        "| auc | PASS | >= 0.7 | 0.7500 | 0.7400 to 0.7600 | the lower bound reaches it |" in text
    )


def test_a_rejected_one_says_which_gate() -> None:
    text = judged(rejected())
    assert text.splitlines()[0] == "Rejected: better FAIL; 1 of 2 gates pass."
    assert "against version 3" in text
    assert "| better | **FAIL** | < 0.002 |  |  | a \\| b c |" in text  # the table stays whole


def test_small_segments_are_named() -> None:
    assert "too small to be evaluated: carrier HA (28 rows)." in judged(EVIDENCE)
    without = {**EVIDENCE, "plan": {"segments": None}}
    assert "too small" not in judged(without)


@pytest.mark.parametrize("estimate", [None, dict.fromkeys(ESTIMATE)])
def test_a_gate_without_figures_has_empty_cells(estimate: Any) -> None:
    gate = {**EVIDENCE["gates"][0], "estimate": estimate}
    assert "| auc | PASS | >= 0.7 |  |  |" in judged({**EVIDENCE, "gates": [gate]})
