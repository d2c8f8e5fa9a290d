"""Buttons on a task that lead to its run and to its version in MLflow.

A task pushes the addresses that it knows; Airflow asks the links for them in the same process when
the task ends, however that was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseOperatorLink


class _PushedLink(BaseOperatorLink):
    """A link whose address the task has pushed; without one, the button leads nowhere."""

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002  # Airflow's signature
        from airflow.sdk.execution_time.xcom import XCom

        return str(XCom.get_value(ti_key=ti_key, key=_key(str(self.name))) or "")


class MlflowRunLink(_PushedLink):
    """The training's run, with metrics and pictures."""

    name = "MLflow run"


class ModelVersionLink(_PushedLink):
    """The registered version, with verdicts and aliases."""

    name = "Model version"


LINKS = (MlflowRunLink(), ModelVersionLink())


def push(ti: Any, links: Mapping[str, str]) -> None:
    """Keep the addresses for the buttons; before the work, so that a failed task has them too."""
    for link in LINKS:
        if address := links.get(link.name):
            ti.xcom_push(key=_key(link.name), value=address)


def _key(name: str) -> str:
    return "link_" + name.lower().replace(" ", "_")
