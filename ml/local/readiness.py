"""Wait until the components of the platform really work, and fail at once when one ends."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from ml.core.errors import ConfigError, FlightlineError, TransientError
from ml.local.airflow_api import AirflowApi
from ml.local.ports import direct_opener, kept_ports, load_ports

if TYPE_CHECKING:
    from ml.settings import Settings

READY_SECONDS = 180.0  # a laptop on battery with a cold disk needs far longer than a warm server
PARSE_SECONDS, PARSE_SECONDS_OF_ONE = 90.0, 0.5
LAST_LINES = 15


def wait(
    settings: Settings,
    children: Mapping[str, subprocess.Popen[bytes]],
    *,
    started_at: float,
    progress: Callable[[str], None],
) -> None:
    """Return when every component is ready.

    Args:
        children: the component's processes.
        started_at: seconds since 1970; a heartbeat from before belongs to the previous start,
            and Airflow calls that healthy for 30 s.

    Raises:
        FlightlineError: naming the component that ended or is not ready, with its last lines.
    """
    waiting = dict(children)
    deadline = started_at + READY_SECONDS
    while waiting:
        for name, child in children.items():
            if child.poll() is not None:
                raise component_ended(name, settings.logs / f"{name}.log")
        for name in sorted(waiting.keys() & _ready(settings, started_at)):
            del waiting[name]
            progress(f"{name} is ready after {time.time() - started_at:.0f} s")
        if waiting and time.time() > deadline:
            name = next(iter(waiting))
            raise _not_ready(name, settings.logs / f"{name}.log")
        time.sleep(0.2)


def prepare_dags(
    settings: Settings, pools: Sequence[str], *, parsed_after: float = 0.0
) -> dict[str, str]:
    """Create the pools and wait until every Dag file, as it is now, was read.

    Args:
        parsed_after: what Airflow read before that belongs to an earlier start.

    Returns:
        Why a Dag file gave no Dag, by its name; the Dags of all others run.
    """
    api = AirflowApi.connect(settings)
    for pool in pools:
        api.ensure_pool(pool, description="the warehouse file has one writer")
    unread = _wait_for_dags(api, settings.dags, parsed_after)
    silent = "no Dag was found in it: see the dag-processor's log; shared code belongs in a folder"
    failures = (f for f in api.import_errors() if (settings.dags / f.file).exists())
    return dict.fromkeys(unread, silent) | {f.file: reason(f.text) for f in failures}


def require_dags(settings: Settings, files: Collection[str]) -> None:
    """Check that Airflow could load these Dag files; others may be broken.

    Raises:
        ConfigError: with the reason of the first one.
    """
    for failure in AirflowApi.connect(settings).import_errors():
        if failure.file in files:
            raise ConfigError(
                f"Airflow cannot load {failure.file}: {reason(failure.text)}",
                repair="mend that, then run this again; all other Dags run",
            )


def reason(stack_trace: str) -> str:
    """What an error says, without where it was raised: the last line at the margin and on."""
    lines = stack_trace.strip().splitlines() or ["no reason was given"]
    first = max(number for number, line in enumerate(lines) if not line.startswith(" "))
    error = re.sub(r"^ml\.core\.errors\.\w+: ", "", lines[first])
    return "\n".join([error, *lines[first + 1 :]])


def component_ended(name: str, log: Path) -> FlightlineError:
    return FlightlineError(
        f"{name} ended during the start; its last lines:\n{_last_lines(log)}",
        expected="it keeps running",
        repair=f"read {log}",
    )


def _not_ready(name: str, log: Path) -> FlightlineError:
    return FlightlineError(
        f"{name} is not ready after {READY_SECONDS:.0f} s; its last lines:\n{_last_lines(log)}",
        expected="a component answers within that time",
        repair=f"read {log}; on a busy machine simply try again",
    )


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join("    " + line for line in lines[-LAST_LINES:])


def _ready(settings: Settings, started_at: float) -> set[str]:
    ports = kept_ports(settings) or load_ports(settings)
    ready = {"mlflow"} if answers(f"{ports.mlflow_url}/health") else set()
    try:
        health = AirflowApi(ports.airflow_url, user="", password="", timeout_s=5).health()
    except (TransientError, ConfigError):  # starting: not listening yet, or a page not found
        return ready
    # What tasks talk to is loaded by its first request, for seconds: better here than in a task.
    if not answers(f"{ports.airflow_url}/execution/health", timeout_s=30):
        return ready
    beats = {
        "scheduler": health["scheduler"]["latest_scheduler_heartbeat"],
        "dag-processor": (health["dag_processor"] or {}).get("latest_dag_processor_heartbeat"),
    }
    return ready | {"api-server"} | {name for name in beats if _is_after(beats[name], started_at)}


def answers(url: str, *, timeout_s: float = 5) -> bool:
    try:
        with direct_opener().open(url, timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):  # the latter: another program, which speaks no HTTP
        return False


def _is_after(heartbeat: str | None, started_at: float) -> bool:
    return bool(heartbeat) and datetime.fromisoformat(str(heartbeat)).timestamp() > started_at


def _wait_for_dags(api: AirflowApi, folder: Path, after: float) -> list[str]:
    """Names of the files that were still not read when they all should have been."""
    number = len(dag_files(folder))
    deadline = time.time() + PARSE_SECONDS + number * PARSE_SECONDS_OF_ONE
    while (waiting := _unparsed(api, folder, after)) and time.time() < deadline:
        time.sleep(min(2.0, 0.3 + 0.01 * number))  # each look asks for all Dags
    return waiting


def _unparsed(api: AirflowApi, folder: Path, after: float) -> list[str]:
    """Dag files that Airflow has not read since they changed, nor since `after`."""
    parsed = [(dag.file, dag.parsed_at.timestamp()) for dag in api.dags() if dag.parsed_at]
    parsed += [(error.file, error.parsed_at.timestamp()) for error in api.import_errors()]
    return sorted(
        name
        for name, changed_at in dag_files(folder).items()
        if not any(file == name and at > max(after, changed_at) for file, at in parsed)
    )


def dag_files(folder: Path) -> dict[str, float]:
    """Files that must give a Dag, with the time of their last change: one file, one Dag.

    The words are the ones by which Airflow itself tells a Dag file from others.
    """
    return {
        path.name: path.stat().st_mtime
        for path in folder.glob("*.py")
        if all(word in path.read_bytes().lower() for word in (b"dag", b"airflow"))
    }
