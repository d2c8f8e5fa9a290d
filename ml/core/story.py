"""The demo's story, from the spec: the same steps by the orchestrator or in one process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ml.core.errors import ConfigError
from ml.core.spec import UseCase


class Job(StrEnum):
    """A chain of stages; each is a Dag."""

    HISTORY = "history"
    PARTITION = "partition"
    RETRAIN = "retrain"

    @property
    def stages(self) -> tuple[str, ...]:
        if self is Job.RETRAIN:
            return ("train", "validate", "promote")
        return ("ingest", "transform", "materialize", "score")

    def dag_id(self, spec: UseCase) -> str:
        """The Dag that does it; that of single partitions is named after their cadence."""
        return spec.names.dag(spec.cadence.job if self is Job.PARTITION else self.value)


@dataclass(frozen=True)
class Step:
    """One run of a job.

    Attributes:
        first, last: partition keys of a history or a single partition, both included.
        as_of: partition key of a retraining.
    """

    job: Job
    title: str
    first: str = ""
    last: str = ""
    as_of: str = ""

    @property
    def run_id(self) -> str:
        """Stable name of the run, so that finished work is found again."""
        return "__".join(filter(None, ["demo", self.job, self.as_of or self.first, self.last]))


def story(spec: UseCase) -> tuple[Step, ...]:
    """History, first model, more history, single partitions, a challenger, and the next partition.

    Raises:
        ConfigError: if the spec has no demo.
    """
    if spec.demo is None:
        raise ConfigError(
            f"{spec.slug} has no demo", expected="a DemoPlan in its spec", repair="add one"
        )
    first_as_of, retrain_as_of = spec.demo.first_as_of, spec.demo.retrain_as_of
    later = spec.calendar.between(first_as_of, retrain_as_of)[:-1]
    bulk, single = later[: -spec.demo.single_runs], later[-spec.demo.single_runs :]
    before = spec.calendar.before(spec.calendar.parse(first_as_of)).key
    start = spec.coverage.first
    more = []
    if bulk:
        first, last = bulk[0].key, bulk[-1].key
        more = [Step(Job.HISTORY, f"history {first} to {last}", first, last)]
    return (
        Step(Job.HISTORY, f"history {start} to {before}", start, before),
        Step(Job.RETRAIN, f"first model as of {first_as_of}", as_of=first_as_of),
        *more,
        *(Step(Job.PARTITION, f"partition {p.key}", p.key) for p in single),
        Step(Job.RETRAIN, f"challenger as of {retrain_as_of}", as_of=retrain_as_of),
        Step(Job.PARTITION, f"partition {retrain_as_of}", retrain_as_of),
    )
