"""What tests of releases share: evidence to order, the registry as it is, kills at any write."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mlflow import MlflowClient

from ml.core.digests import json_digest
from ml.core.evidence import Evidence
from ml.core.gates import decide, judge
from ml.core.plans import GatePlan
from ml.core.ports import Platform
from ml.core.release import opponent_of
from ml.core.statistics import Estimate

# Of a metric or a difference: a value, and where its bounds lie.
BAD = {"skill": Estimate(-0.2, -0.3, -0.1, 9_000, 14), "auc": Estimate(0.5, 0.45, 0.55, 9_000, 14)}
WORSE = Estimate(0.05, 0.02, 0.08, 9_000, 14)
BETTER = Estimate(-0.05, -0.08, -0.02, 9_000, 14)


def store_evidence(platform: Platform, version: int, content: Mapping[str, Any]) -> None:
    """Store evidence as `validate` does, with a digest that holds."""
    found = platform.registry.version(version)
    whole = {name: value for name, value in content.items() if name != "sha256"}
    digest = json_digest(whole)
    platform.tracking.log_validation(found.run_id, {**whole, "sha256": digest}, {})
    tags = {"release.evidence_sha256": digest, "release.decision": whole["decision"]}
    platform.registry.tag(version, tags)


def judged(platform: Platform, version: int, **facts: Any) -> dict[str, Any]:
    """Evidence on a version that looks like that on version 2, but for some facts.

    Args:
        facts: fields of `Evidence`; metrics replace those of the same name.
    """
    found = platform.registry.version(version)
    opponent = opponent_of(platform.registry.releases(), version)
    like = platform.tracking.evidence(platform.registry.version(2).run_id)
    assert like is not None
    plan, evidence = GatePlan.model_validate(like["plan"]), Evidence.from_plain(like["facts"])
    metrics = {**evidence.metrics, **facts.pop("metrics", {})}
    evidence = replace(evidence, **{"metrics": metrics, "difference": BETTER, **facts})
    gates = judge(plan, evidence)
    return {
        **like,
        "version": version,
        "run_id": found.run_id,
        "model_sha256": found.tags["model.sha256"],
        "champion": opponent.champion if opponent else None,
        "facts": evidence.to_plain(),
        "gates": [{"name": gate.name, "verdict": gate.verdict.value} for gate in gates],
        "decision": decide(gates).value,
    }


def accept(platform: Platform, version: int) -> None:
    """Give a version the verdict that it may be released."""
    content = judged(platform, version)
    assert content["decision"] == "accepted", content["gates"]
    store_evidence(platform, version, content)


def reject(platform: Platform, version: int, **facts: Any) -> None:
    """Give a version a verdict against it."""
    content = judged(platform, version, **facts)
    assert content["decision"] == "rejected", content["gates"]
    store_evidence(platform, version, content)


TABLES = {
    "registered_model_aliases": "alias, version",
    "registered_model_tags": "key, value",
    "model_version_tags": "version, key, value",
}


def database(platform: Platform) -> Path:
    path: Path = platform.warehouse.settings.mlflow_database  # type: ignore[attr-defined]  # the adapter's
    return path


def state(platform: Platform) -> dict[str, Any]:
    """Aliases and tags of the model and of all its versions."""
    with closing(sqlite3.connect(database(platform))) as connection:
        return {
            table: connection.execute(
                f"select {columns} from {table} order by {columns}"
            ).fetchall()
            for table, columns in TABLES.items()
        }


def change(platform: Platform, sql: str) -> None:
    with closing(sqlite3.connect(database(platform))) as connection, connection:
        connection.execute(sql)


@contextmanager
def kept(platform: Platform) -> Iterator[Callable[[], None]]:
    """A function that puts aliases and tags back as they are now."""
    with closing(sqlite3.connect(database(platform))) as connection:
        rows = {t: connection.execute(f"select * from {t}").fetchall() for t in TABLES}

    def put_back() -> None:
        with closing(sqlite3.connect(database(platform))) as connection, connection:
            for table, found in rows.items():
                connection.execute(f"delete from {table}")
                places = ", ".join("?" * len(found[0])) if found else ""
                connection.executemany(f"insert into {table} values ({places})", found)

    yield put_back


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


_WRITES = (
    "set_registered_model_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_model_version_tag",
)


@contextmanager
def killed_after(writes: int) -> Iterator[None]:
    """The process dies before it writes to the registry once more than this."""
    left = [writes]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return real(*args, **kwargs)

        return write

    with ExitStack() as stack:
        for name in _WRITES:
            real = getattr(MlflowClient, name)
            stack.enter_context(patch.object(MlflowClient, name, dying(real)))
        yield


def unrepaired(platform: Platform, step: Callable[[], Any]) -> tuple[int, list[int]]:
    """Kill a step before each of its writes, and take it again.

    Returns:
        How many writes it has, and those after which taking it again ended otherwise.
    """
    with kept(platform) as put_back:
        step()
        whole, wrong = state(platform), []
        for writes in range(100):
            put_back()
            try:
                with killed_after(writes):
                    step()
            except Killed:
                step()
                wrong += [writes] if state(platform) != whole else []
            else:
                return writes, wrong
    raise AssertionError("it never ended")
