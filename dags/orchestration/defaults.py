"""What every Dag has in common: retries, time-outs, tags."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from ml.core.errors import TransientError
from ml.core.spec import UseCase
from orchestration.alarms import Alarms

# Bad data and a rejected model do not get better by waiting; a busy file or a restarting server do.
ONLY_TRANSIENT = ExceptionRetryPolicy(
    default=RetryAction.FAIL,
    rules=[
        RetryRule(
            exception=[TransientError, ConnectionError, TimeoutError],
            action=RetryAction.RETRY,
            retry_delay=timedelta(seconds=10),
            reason="something outside is away or busy for now",
        )
    ],
)


def task_defaults(spec: UseCase) -> dict[str, Any]:
    """`default_args` of a use case's Dags.

    A killed process does not pass through the retry policy, so `retries` covers it.
    """
    return {
        "owner": spec.owner,
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "retry_policy": ONLY_TRANSIENT,
        "execution_timeout": spec.time_outs.task,
        "on_failure_callback": Alarms(spec).task_failed,
        "show_return_value_in_logs": False,  # a stage tells its result in a table
        "pool": spec.names.pool,  # one slot: a DuckDB file has one writer
    }


def tags(spec: UseCase, *stages: str) -> list[str]:
    """Tags by which people filter; `impact/tier_N` is a promise to whoever is on call."""
    stage_tags = [f"stage/{stage}" for stage in stages]
    return [f"use-case/{spec.slug}", f"impact/tier_{spec.impact_tier}", *stage_tags]
