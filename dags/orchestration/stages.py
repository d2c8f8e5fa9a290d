"""A stage as a task: runs it, and translates its errors into what Airflow should do."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ml.core.errors import FlightlineError, GateRejected, OutOfCoverage, TransientError


def run(stage: str, slug: str, **arguments: Any) -> dict[str, Any]:
    """Run a stage in this task's process; the result becomes the task's return value.

    Raises:
        AirflowSkipException: the source has no such partition, or the candidate was rejected.
        AirflowFailException: the input or the data is wrong; another try cannot help.
        TransientError: the retry policy tries again.
    """
    from ml.stages.runner import Arguments, run_stage

    _die_with_parent()
    try:
        # Somebody may be using the command line: that is no reason to fail a run.
        ran = run_stage(stage, slug, Arguments(**arguments), wait_seconds=600).to_plain()
    except (OutOfCoverage, GateRejected) as error:
        print(error)  # Airflow keeps the reason of a skip in a field that a plain log does not show
        raise AirflowSkipException(str(error)) from error
    except TransientError:
        raise
    except FlightlineError as error:
        if error.details:  # a task that fails returns nothing, but this stays readable
            get_current_context()["ti"].xcom_push(key="failure", value=error.details)
        raise AirflowFailException(str(error)) from error
    print(json.dumps(ran, indent=2))
    return ran


def _die_with_parent() -> None:
    """End with the supervisor: Airflow lets an orphan write on beside the second try."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
