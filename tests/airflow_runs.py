"""What only tests ask of Airflow: to wait for the end of a run, and to tell it of an asset."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ml.local.airflow_api import AirflowApi
from ml.local.records import Run


def wait_for_run(
    api: AirflowApi, dag_id: str, run_id: str, *, timeout_s: float, poll_s: float = 0.5
) -> Run:
    """Poll until the run has ended, well or not."""
    deadline = time.monotonic() + timeout_s
    while not (run := api.get_run(dag_id, run_id)).is_finished:
        assert time.monotonic() < deadline, f"{run_id} of {dag_id} is still {run.state}"
        time.sleep(poll_s)
    return run


def tell_of_asset(api: AirflowApi, name: str, *, extra: Mapping[str, Any]) -> None:
    """Tell the Dags that wait for an asset that it was updated."""
    found = api._call("GET", f"/assets?name_pattern={name}")["assets"]
    (number,) = [asset["id"] for asset in found if asset["name"] == name]
    api._call("POST", "/assets/events", {"asset_id": number, "extra": dict(extra)})
