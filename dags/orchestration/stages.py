"""A stage as a task: runs it, and translates its errors into what Airflow should do."""

from __future__ import annotations

import ctypes
import io
import logging
import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ml.core.errors import FlightlineError, GateRejected, OutOfCoverage, TransientError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ml.stages.runner import StageRun

LOG_WIDTH = 120
LOG = logging.getLogger("flightline")


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
        with warnings.catch_warnings():
            # What looks a name up in all modules makes Airflow warn for each of its own old ones.
            warnings.filterwarnings("ignore", message=r"The `airflow\.")
            ran = run_stage(stage, slug, Arguments(**arguments), wait_seconds=600)
    except (OutOfCoverage, GateRejected) as error:
        print(error)  # Airflow keeps the reason of a skip in a field that a plain log does not show
        raise AirflowSkipException(str(error)) from error
    except TransientError:
        raise
    except FlightlineError as error:
        if error.details:  # a task that fails returns nothing, but this stays readable
            get_current_context()["ti"].xcom_push(key="failure", value=error.details)
            _tell_gates(error)
        raise AirflowFailException(str(error)) from error
    _tell(ran)
    return ran.to_plain()


def _tell(ran: StageRun) -> None:
    """The result as people read it; the return value has all of it for programs."""
    from ml.render import stage_run

    _print(stage_run(ran, is_wide=True))


def _tell_gates(error: FlightlineError) -> None:
    """Of a validation that cannot decide: what each gate said, and why."""
    from ml.render import failed_gates

    if table := failed_gates(error, is_wide=True):
        _print(table)


def _print(told: RenderableType) -> None:
    from rich.console import Console

    text = io.StringIO()
    out = Console(file=text, width=LOG_WIDTH, color_system=None, highlight=False)
    out.print(told)
    for line in text.getvalue().splitlines():  # printed, Airflow's own lines come in between
        LOG.info("%s", line.rstrip())


def _die_with_parent() -> None:
    """End with the supervisor: Airflow lets an orphan write on beside the second try."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
