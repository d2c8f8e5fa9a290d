"""What the feature views of every use case must be, and what they must not hold."""

from __future__ import annotations

import re
from typing import Any

from conformance.slices import Slice, fault_of, require


def test_the_definitions_can_be_read(found: Slice) -> None:
    require(filter(None, [fault_of(found.definitions.check_services)]))


def test_the_feature_service_has_the_views_of_the_spec(found: Slice, definitions: Any) -> None:
    name, tables = found.spec.features.service, set(found.spec.features.tables)
    file = f"feature_repo/{found.slug}/features.py"
    findings = []
    if not re.fullmatch(rf"{found.slug}_v\d+", name):
        findings.append(f"the service {name!r} is not called {found.slug}_v1, _v2, …")
    service = next((one for one in definitions.services if one.name == name), None)
    if service is None:
        require([f"{file} defines no service {name!r}"], "define it, or mend features.service")
    views = {f"feat_{projection.name}" for projection in service.feature_view_projections}
    findings += [f"{table} is in the spec, and not in {name}" for table in sorted(tables - views)]
    findings += [f"{table} is in {name}, and not in the spec" for table in sorted(views - tables)]
    require(findings, f"let features.tables of the spec and {name} in {file} say the same")


def test_feature_views_are_fit_for_serving(definitions: Any) -> None:
    findings = []
    for view in definitions.views:
        if not view.ttl:
            findings.append(f"{view.name} has no ttl: a feature without an age is served for ever")
        if not (view.batch_source and view.batch_source.created_timestamp_column):
            findings.append(f"{view.name} has no created time: read it by sources.exported()")
        names = [view.name, *(field.name for field in view.features)]
        findings += [
            f"{name} in {view.name}: expected lower snake case, one _ at a time"
            for name in names
            if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
        ]
    require(findings)


def test_the_mart_knows_nothing_of_the_outcome(found: Slice) -> None:
    """It is read for decisions: what is known only later stands in the table of labels."""
    label, mart = found.spec.label, found.model(found.spec.mart)
    if label.table == found.spec.mart:
        require(["the labels are in the mart"], "give them a model of their own: label.table")
    seen = [name for name in (label.column, label.known_at) if name in mart.columns]
    require(
        [f"{mart.name} has the column {name}" for name in seen],
        f"leave it out of the mart; {label.table} is where outcomes belong",
    )


def test_no_feature_is_called_like_an_outcome(found: Slice, definitions: Any) -> None:
    """The label and what stands beside it become known after the decision."""
    spec = found.spec
    mart, labels = found.model(spec.mart).columns, found.model(spec.label.table).columns
    outcomes = {name for name in labels if name not in mart} - {"corrected_at", spec.key}
    outcomes |= {spec.label.column}
    service = definitions.service(spec.features.service)
    seen = [
        f"{p.name}: {f.name}"
        for p in service.feature_view_projections
        for f in p.features
        if f.name in outcomes
    ]
    asked = (*spec.features.on_request, *spec.features.categorical)
    seen += [f"the spec: {name}" for name in asked if name in outcomes]
    require(
        [f"{one} is a column of {spec.label.table}, too" for one in seen],
        "take it out of the features if it is the outcome; give it another name if it is not",
    )
