"""What the spec of every use case must say."""

from __future__ import annotations

import re

import pytest
from conformance.slices import fault_of, require
from support import ROOT

from ml.core.spec import UseCase
from ml.core.story import story
from ml.stages.training.parameters import check_plan
from ml.use_cases import load_spec


def test_the_spec_can_be_read(slug: str) -> None:
    """It is its folder's, and its validators check names, thresholds, windows and problem type."""
    require(filter(None, [fault_of(lambda: load_spec(slug))]))


def test_the_spec_is_the_same_after_json(spec: UseCase) -> None:
    """The identity of a run is a hash of it."""
    again = UseCase.model_validate_json(spec.model_dump_json())
    fields = type(spec).model_fields
    require(
        [f"{n} is another after JSON" for n in fields if getattr(again, n) != getattr(spec, n)],
        "make it by UseCase(...), whose fields are checked; model_copy checks nothing",
    )


def test_people_know_whom_to_ask(spec: UseCase) -> None:
    empty = [name for name in ("title", "description", "owner") if not getattr(spec, name).strip()]
    findings = [f"{name} is empty" for name in empty]
    if spec.owner == "airflow":
        findings.append("the owner is airflow, which is nobody")
    if not re.match(r"(https?://|mailto:)", spec.contact):
        findings.append(f"the contact {spec.contact!r} is no address: Airflow links to it")
    require(findings, "name the team that is called, and its page or mailto: address, in the spec")


def test_gates_can_fail(spec: UseCase) -> None:
    """A model that knows nothing must miss a bound, and one that knows everything another."""
    criteria, findings = spec.gates.criteria, []
    asked = [c.minimum for c in criteria if c.metric.startswith("skill")]
    if not any(minimum is not None and minimum >= 0 for minimum in asked):
        findings.append(
            "no gate asks for skill: add Criterion(metric='skill', minimum=0.0) or more: "
            "a model that is no better than the rule must not pass"
        )
    if not any(c.too_good is not None for c in criteria):
        findings.append(
            "no gate is for what cannot be true: add a Criterion with `too_good`, beyond which "
            "the model must have seen the outcome"
        )
    require(findings)


def test_the_search_is_long_enough_to_find_something(spec: UseCase) -> None:
    trials = spec.model.search.trials if spec.model.search else 20
    require(
        [f"model.search has {trials} trials"] if trials < 20 else [],
        "leave `trials` at 20 or more, or drop `search` and fix the parameters",
    )


def test_parameters_are_lightgbms_own(spec: UseCase) -> None:
    require(filter(None, [fault_of(lambda: check_plan(spec.problem, spec.model))]))


def test_there_is_data_for_the_windows(spec: UseCase) -> None:
    last = spec.partition(spec.coverage.last)
    as_of = last.end + spec.label.maturity
    if fault := fault_of(lambda: spec.windows(as_of)):
        require([f"coverage is too short for one training: {fault}"], "or shorten the windows")
    newest = spec.windows(as_of).holdout[-1].key
    require([f"the newest holdout ends at {newest}"] if newest != last.key else [])


def test_the_demo_fits_into_the_coverage(spec: UseCase) -> None:
    if spec.demo is None:
        pytest.skip("no demo: a use case may do without")

    def play() -> None:
        for step in story(spec):
            for key in filter(None, (step.first, step.last, step.as_of)):
                spec.partition(key)
        spec.windows(spec.as_of(spec.demo.first_as_of))  # type: ignore[union-attr]  # see above

    require(
        [f"the demo cannot be played: {fault}"] if (fault := fault_of(play)) else [],
        "mend `demo` in the spec: its times lie after the first windows and in the coverage",
    )


def test_the_runbook_tells_what_to_do(spec: UseCase) -> None:
    """Whoever is on call opens it from the Dag's page."""
    path = ROOT / spec.names.runbook
    repair = (
        "write it: what the use case is, who is called, what is lost when it fails, and for each "
        "alert what to look at and what to run (docs/how-to/add-a-use-case.md)"
    )
    if not path.is_file():
        require([f"there is no {spec.names.runbook}"], repair)
    text = path.read_text()
    lines = [line for line in text.splitlines() if line.strip()]
    findings = [f"{spec.names.runbook} has {len(lines)} lines"] if len(lines) < 8 else []
    if spec.owner not in text and spec.contact not in text:
        findings.append(f"{spec.names.runbook} names neither {spec.owner} nor {spec.contact}")
    if "flightline " not in text:
        findings.append(f"{spec.names.runbook} names no command")
    require(findings, repair)
