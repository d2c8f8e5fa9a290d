"""Whole jobs in one process, without the orchestrator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ml.core.errors import GateRejected
from ml.core.prediction_source import Source
from ml.core.story import Job, Step
from ml.settings import Settings
from ml.stages.runner import Arguments, StageRun, run_stage


def run_step(slug: str, step: Step, *, where: Settings | None = None) -> Iterator[StageRun]:
    """Run the stages of one step, yielding each as it ends.

    A rejected candidate ends a retraining without an error: it is a decision.

    Raises:
        FlightlineError: from the stage that failed; what ran before it stays.
    """
    source = Source.REPLAY if step.job is Job.HISTORY else Source.SCORE
    arguments = Arguments(first=step.first, last=step.last, as_of=step.as_of, source=source.value)
    for stage in step.job.stages:
        try:
            ran = run_stage(stage, slug, arguments, where=where)
        except GateRejected:
            return
        if stage == "train":
            arguments = replace(arguments, version=ran.result.version)
        yield ran
