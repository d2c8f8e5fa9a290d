"""Airflow's own executor of one machine, but quiet while there is nothing to do.

The scheduler's pause between two looks is one setting for work and for idleness: a short one makes
tasks follow each other at once, and takes 7 % of a core when nothing runs at all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow.executors import local_executor  # noqa: TID251  # a plug-in of Airflow's

BUSY_SECONDS = 10.0
"""So long after the last task the next one is expected at any moment."""
IDLE_PAUSE_SECONDS = 0.8
"""More between two looks when nothing is expected: the first task of a run may wait for it."""


class LocalExecutor(local_executor.LocalExecutor):
    """Pauses the scheduler that beats it. Airflow knows by the name that it is a local one.

    What is at work is counted here: the executor above keeps no record of it. A worker that is
    killed never says that its task has ended, so until the next start there are no pauses.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._at_work: set[Any] = set()
        self._busy_until = 0.0

    def heartbeat(self) -> None:
        """Beat as usual, and wait if nothing has been at work for a while."""
        super().heartbeat()
        if self._at_work:
            self._busy_until = time.monotonic() + BUSY_SECONDS
        elif time.monotonic() > self._busy_until:
            time.sleep(IDLE_PAUSE_SECONDS)

    def _process_workloads(self, workload_list: Sequence[Any]) -> None:
        self._at_work.update(workload.key for workload in workload_list)
        super()._process_workloads(workload_list)

    def change_state(self, key: Any, state: Any, *args: Any, **kwargs: Any) -> None:
        """Take what a worker says of a task: that it runs, or how it ended."""
        super().change_state(key, state, *args, **kwargs)
        if str(state) != "running":
            self._at_work.discard(key)
            self._busy_until = time.monotonic() + BUSY_SECONDS
