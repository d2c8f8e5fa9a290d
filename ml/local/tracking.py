"""Which MLflow the stages of the command line talk to, and where its pages are."""

from __future__ import annotations

import json
import os
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ml.local import supervisor
from ml.local.ports import LOOPBACK, direct_opener, kept_ports
from ml.local.readiness import answers
from ml.use_cases import available

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


def pages(url: str) -> dict[str, str]:
    """The page of each use case's candidates; those that were never trained have none yet.

    Without its query the same page has no column with a metric.
    """
    from ml.adapters.tracking_views import page

    found = {slug: _experiment_id(url, slug) for slug in available()}
    return {slug: page(url, found_id) for slug, found_id in found.items() if found_id}


def _experiment_id(url: str, name: str) -> str:
    """Asked without MLflow's client, whose import takes longer than everything else here."""
    asked = urlencode({"experiment_name": name})
    address = f"{url}/api/2.0/mlflow/experiments/get-by-name?{asked}"
    try:
        with direct_opener().open(address, timeout=_ANSWER_SECONDS) as answer:
            return str(json.load(answer)["experiment"]["experiment_id"])
    except (OSError, HTTPException, ValueError, LookupError):  # no such experiment, no server
        return ""


def _go_past_proxies() -> None:
    """A company's proxy cannot see this machine, and the clients of MLflow ask it first."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        if LOOPBACK not in hosts:
            os.environ[name] = ",".join([LOOPBACK, *hosts])
