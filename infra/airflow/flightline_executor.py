"""Airflow's own executor of one machine, but quiet while there is nothing to do.

The scheduler's pause between two looks is one setting for work and for idleness: a short one makes
tasks follow each other at once, and takes 7 % of a core when nothing runs at all.
"""

from __future__ import annotations

import time

from airflow.executors import local_executor  # noqa: TID251  # a plug-in of Airflow's

BUSY_SECONDS = 10.0
"""So long after the last task the next one is expected at any moment."""
IDLE_PAUSE_SECONDS = 0.8
"""More between two looks when nothing is expected: the first task of a run may wait for it."""


class LocalExecutor(local_executor.LocalExecutor):
    """Pauses the scheduler that beats it. Airflow knows by the name that it is a local one."""

    _busy_until = 0.0

    def heartbeat(self) -> None:
        """Beat as usual, and wait if nothing has been running or queued for a while."""
        super().heartbeat()
        if self.running or self.queued_tasks or self.queued_callbacks:
            self._busy_until = time.monotonic() + BUSY_SECONDS
        elif time.monotonic() > self._busy_until:
            time.sleep(IDLE_PAUSE_SECONDS)
