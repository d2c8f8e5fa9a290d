"""The spec: the typed description of a use case, reviewed like code.

Thresholds are written here once; gates, summaries and documents are made from it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from pydantic import Field, model_validator

from ml.core.errors import OutOfCoverage
from ml.core.names import Names, check_slug
from ml.core.partitions import Cadence, Partition, Partitions
from ml.core.plans import CostModel, Frozen, GatePlan, ModelPlan, ReleasePlan, Share
from ml.core.problems import ProblemType
from ml.core.windows import Windows, training_windows


class Coverage(Frozen):
    """First and last partition key that the source can give."""

    first: str
    last: str


class Volume(Frozen):
    """How many rows a delivery should have, as a ratio to the source's own history.

    A partition is compared with the median of the partitions before it, a snapshot with the one
    that it replaces.

    Attributes:
        blocks: whether a breach stops the partition; otherwise it is a warning.
    """

    lower: float = Field(gt=0, le=1)
    upper: float = Field(ge=1)
    blocks: bool = True


class Freshness(Frozen):
    """How long before its end a partition's newest row may lie, against the source's history.

    Attributes:
        column: timestamp column of the raw table.
        tolerance: by how much the lag may exceed the median lag of the partitions before.
        blocks: whether a breach stops the partition; otherwise it is a warning.
    """

    column: str
    tolerance: timedelta = Field(ge=timedelta(0))
    blocks: bool = True


class Table(Frozen):
    """A table of the source.

    Attributes:
        is_snapshot: the whole table belongs to no partition and is replaced at each ingest.
        volume, freshness: what a delivery is compared with; None: not compared.
    """

    name: str
    is_snapshot: bool = False
    volume: Volume | None = None
    freshness: Freshness | None = None


class Label(Frozen):
    """What is predicted.

    Attributes:
        table: dbt model with one row for each event and the same key as the mart.
        column: of that table; 0 or 1, a class index, or a value.
        known_at: timestamp column of that table: when the row's outcome was known.
        maturity: how long after a partition's end its labels are complete.
        expected: boolean column of that table, whether a row should get a label; empty: all rows.
        lookback_partitions: how many partitions before its own a transformation brings up to
            date: labels close later than features.
    """

    table: str
    column: str
    known_at: str
    maturity: timedelta
    expected: str = ""
    lookback_partitions: int = Field(default=0, ge=0)


class Features(Frozen):
    """What the model sees.

    Attributes:
        service: Feast feature service, the contract between training and serving.
        tables: dbt models that are exported for Feast; each is a feature view of the same name.
        lookback: how far back the features of a partition read; what was ingested anew in that
            stretch makes the partition stale.
        on_request: numbers in the mart that whoever asks for a prediction already knows.
        categorical: the same for text; the model learns what its values mean.
    """

    service: str
    tables: tuple[str, ...]
    lookback: timedelta = Field(default=timedelta(0), ge=timedelta(0))
    on_request: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()


class Schedules(Frozen):
    """Cron expressions in the use case's zone.

    Attributes:
        partition: default: when a partition of the cadence has closed.
    """

    partition: str | None = None
    retrain: str = "0 6 1 * *"


class DemoPlan(Frozen):
    """The story that the demo plays on real data.

    Attributes:
        first_as_of: the first model is trained as of this partition's start.
        retrain_as_of: the challenger is trained as of this partition's start.
        single_runs: how many partitions before `retrain_as_of` run one by one.
    """

    first_as_of: str
    retrain_as_of: str
    single_runs: int = Field(gt=0)


class UseCase(Frozen):
    """A prediction problem: everything the platform must know about it.

    Attributes:
        zone: IANA name of the time zone of the business date.
        decision_lead: how long before the event the prediction is asked for.
        mart: dbt model with one row for each event: key, decision time, entities, label.
        key: column of the mart that identifies a row; also the routing key.
        decided_at: timestamp column of the mart, UTC: features are taken as of this instant.
        max_quarantine_share: more bad rows than this stop a partition.
        segments: columns of the mart by whose values quality is looked at separately.
        select_partitions, holdout_partitions: lengths of the windows.
    """

    slug: str
    title: str
    description: str
    owner: str
    contact: str
    impact_tier: int = Field(ge=1, le=4)
    problem: ProblemType
    cadence: Cadence
    zone: str
    coverage: Coverage
    tables: tuple[Table, ...]
    max_quarantine_share: Share
    mart: str
    key: str
    decided_at: str
    decision_lead: timedelta
    label: Label
    features: Features
    select_partitions: int = Field(gt=0)
    holdout_partitions: int = Field(ge=7)
    segments: tuple[str, ...] = ()
    cost: CostModel | None = None
    model: ModelPlan
    gates: GatePlan
    release: ReleasePlan
    schedules: Schedules = Schedules()
    demo: DemoPlan | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_slug(self.slug)
        self.calendar.between(self.coverage.first, self.coverage.last)
        self.gates.require_fitting(self.problem, has_cost=self.cost is not None)
        if self.gates.segments and not self.segments:
            raise ValueError("gates.segments without segments; expected columns of the mart")
        return self

    @property
    def context(self) -> tuple[str, ...]:
        """Columns of the mart that quality and the rule are looked at by, each once."""
        return tuple(dict.fromkeys((*self.segments, *self.model.rule.by)))

    @property
    def names(self) -> Names:
        return Names(self.slug)

    @property
    def partition_cron(self) -> str:
        """When the job of a partition runs."""
        return self.schedules.partition or self.cadence.cron

    @property
    def calendar(self) -> Partitions:
        return Partitions(self.cadence, self.zone)

    def partition(self, key: str) -> Partition:
        """The partition with this key, if the source has it.

        Raises:
            ConfigError: if the key is malformed.
            OutOfCoverage: if the source has no such partition.
        """
        return self.partitions(key, key)[0]

    def partitions(self, first: str, last: str) -> tuple[Partition, ...]:
        """All partitions from `first` to `last`, both included, if the source has them."""
        found = self.calendar.between(first, last)
        for partition in (found[0], found[-1]):
            if not self._first <= partition <= self._last:
                raise OutOfCoverage(
                    f"partition {partition.key} is outside the source of {self.slug}",
                    expected=f"{self.coverage.first} to {self.coverage.last}",
                    repair="choose a partition in that range",
                )
        return found

    @property
    def _first(self) -> Partition:
        return self.calendar.parse(self.coverage.first)

    @property
    def _last(self) -> Partition:
        return self.calendar.parse(self.coverage.last)

    def as_of(self, key: str) -> datetime:
        """The start of the partition `key`, UTC: the instant as of which a model is trained.

        Raises:
            ConfigError: if the key is malformed.
            OutOfCoverage: if the source ends before.
        """
        start = self.calendar.parse(key).start
        if not self._first.end <= start <= self._last.end:
            raise OutOfCoverage(
                f"as of {key} is outside the source of {self.slug}",
                expected=f"after {self.coverage.first}, at most the end of {self.coverage.last}",
                repair="choose a partition in that range",
            )
        return start

    def windows(self, as_of: datetime) -> Windows:
        """Fit, select and holdout of a training as of an instant."""
        return training_windows(
            self.calendar,
            first=self.coverage.first,
            as_of=as_of,
            label_maturity=self.label.maturity,
            select=self.select_partitions,
            holdout=self.holdout_partitions,
        )
