"""Which MLflow the stages of the command line talk to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ml.local import supervisor
from ml.local.ports import LOOPBACK, kept_ports
from ml.local.readiness import answers

if TYPE_CHECKING:
    from ml.settings import Settings

_ANSWER_SECONDS = 1.0


def with_server(where: Settings) -> Settings:
    """The settings, with the MLflow server of this home's platform if all of it is up.

    Through the server, results carry links to its pages; without it, stages use its database file.
    """
    ports = kept_ports(where)
    if where.tracking_uri or ports is None:
        return where
    url = ports.mlflow_url
    # A closed port is told at once, all processes of the machine take a while: the port first.
    if (
        not answers(f"{url}/health", timeout_s=_ANSWER_SECONDS)
        or not supervisor.status(where).is_up
    ):
        return where
    _go_past_proxies()
    return where.model_copy(update={"tracking_uri": url})


def _go_past_proxies() -> None:
    """A company's proxy cannot see this machine, and the clients of MLflow ask it first."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        if LOOPBACK not in hosts:
            os.environ[name] = ",".join([LOOPBACK, *hosts])
