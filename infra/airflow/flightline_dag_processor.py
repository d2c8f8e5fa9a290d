"""Airflow's dag-processor, where no callback waits until its Dag file is read for another reason.

Airflow 3.3 takes a file off its queue while that file is at work, also if it was queued for a
callback: the second of two runs of a file that fail within seconds is told at the file's next read.
Files are read when they change here, so that is an hour later.
"""

from __future__ import annotations

import sys

from airflow.__main__ import main  # noqa: TID251  # a plug-in of Airflow's
from airflow.callbacks.callback_requests import CallbackRequest  # noqa: TID251
from airflow.cli.commands import dag_processor_command  # noqa: TID251
from airflow.dag_processing.manager import DagFileProcessorManager  # noqa: TID251


class Manager(DagFileProcessorManager):
    """Airflow's own, but for what it forgets."""

    def fetch_callbacks(self) -> list[CallbackRequest]:
        """The new ones, once in each round; files of those that wait are queued again."""
        self._add_files_to_queue([*self._callback_to_execute], mode="front")
        return super().fetch_callbacks()


if __name__ == "__main__":
    dag_processor_command.DagFileProcessorManager = Manager
    sys.argv[1:] = ["dag-processor"]
    main()
