"""What the Dags of every use case must be; tests/dags holds the rules over all Dags."""

from __future__ import annotations

from typing import Any

from conformance.slices import require
from support import ROOT

from ml.core.spec import UseCase


def test_its_dags_are_there_and_its_own(spec: UseCase) -> None:
    """Three files of a few lines: a partition, a range of them, a training."""
    builders = {spec.cadence.job: "partition", "history": "history", "retrain": "retrain"}
    findings = []
    for job, builder in builders.items():
        path = ROOT / "dags" / f"{spec.names.dag(job)}.py"
        if not path.is_file():
            findings.append(f"no dags/{path.name}: it calls build_{builder}({spec.slug!r})")
            continue
        findings += [f"dags/{path.name}: {one}" for one in _faults(path, spec)]
    require(findings, "dags/flight_delay_*.py show how a Dag file looks")


def _faults(path: Any, spec: UseCase) -> list[str]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(path), safe_mode=True)
    if bag.import_errors:
        return [text.strip().splitlines()[-1] for text in bag.import_errors.values()]
    if list(bag.dags) != [path.stem]:
        seen = f"it makes the Dags {list(bag.dags)}, expected {path.stem}"
        return [f"{seen}: Airflow skips files without the words airflow and dag"]
    dag: Any = bag.dags[path.stem]
    tags = {f"use-case/{spec.slug}", f"impact/tier_{spec.impact_tier}"}
    pools = {task.pool for task in dag.tasks}
    checks = {
        f"its owner is {dag.owner}, expected {spec.owner}": dag.owner == spec.owner,
        f"its tags are {sorted(dag.tags)}, expected {sorted(tags)} among them": tags <= dag.tags,
        f"its tasks run in {sorted(pools)}, expected {spec.names.pool}": pools == {spec.names.pool},
        "it has no page: doc_md is empty": bool(dag.doc_md),
        "it is not paused when it is first seen": dag.is_paused_upon_creation is True,
    }
    return [text for text, good in checks.items() if not good]
