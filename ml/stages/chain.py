"""Whole jobs in one process, without the orchestrator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    yield from _run_stages(step.job.stages, slug, arguments, where)


def run_range(
    slug: str, first: str, last: str = "", *, as_of: str = "", where: Settings | None = None
) -> Iterator[StageRun]:
    """A range from its source to predictions, by a model that was trained on the way.

    Scoring comes last: before the first promotion there is nothing that could answer.

    Raises:
        FlightlineError: from the stage that failed; what ran before it stays.
    """
    *prepare, score = Job.HISTORY.stages
    arguments = Arguments(first=first, last=last, as_of=as_of, source=Source.REPLAY.value)
    yield from _run_stages((*prepare, *Job.RETRAIN.stages, score), slug, arguments, where)


def _run_stages(
    stages: Sequence[str], slug: str, arguments: Arguments, where: Settings | None
) -> Iterator[StageRun]:
    for stage in stages:
        try:
            ran = run_stage(stage, slug, arguments, where=where)
        except GateRejected:  # the validation before has told it
            continue
        if stage == "train":
            arguments = replace(arguments, version=ran.result.version)
        yield ran
