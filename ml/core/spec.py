"""The spec: the typed description of a use case, reviewed like code.

Thresholds are written here once; gates, summaries and documents are made from it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml.core.errors import OutOfCoverage
from ml.core.names import Names, check_slug
from ml.core.partitions import Cadence, Partition, Partitions
from ml.core.problems import ProblemType
from ml.core.windows import Windows, training_windows

Share = Annotated[float, Field(ge=0, le=1)]
BasisPoints = Annotated[int, Field(ge=1, le=9_999)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Coverage(_Frozen):
    """First and last partition key that the source can give."""

    first: str
    last: str


class Volume(_Frozen):
    """How many rows a delivery should have, as a ratio to the source's own history.

    A partition is compared with the median of the partitions before it, a snapshot with the one
    that it replaces.

    Attributes:
        blocks: whether a breach stops the partition; otherwise it is a warning.
    """

    lower: float = Field(gt=0, le=1)
    upper: float = Field(ge=1)
    blocks: bool = True


class Freshness(_Frozen):
    """How long before its end a partition's newest row may lie, against the source's history.

    Attributes:
        column: timestamp column of the raw table.
        tolerance: by how much the lag may exceed the median lag of the partitions before.
        blocks: whether a breach stops the partition; otherwise it is a warning.
    """

    column: str
    tolerance: timedelta = Field(ge=timedelta(0))
    blocks: bool = True


class Table(_Frozen):
    """A table of the source.

    Attributes:
        is_snapshot: the whole table belongs to no partition and is replaced at each ingest.
        volume, freshness: what a delivery is compared with; None: not compared.
    """

    name: str
    is_snapshot: bool = False
    volume: Volume | None = None
    freshness: Freshness | None = None


class Label(_Frozen):
    """What is predicted.

    Attributes:
        table: dbt model with one row for each event and the same key as the mart.
        column: of that table; 0 or 1, a class index, or a value.
        known_at: timestamp column of that table: when the row's outcome was known.
        maturity: how long after a partition's end its labels are complete.
        lookback_partitions: how many partitions before its own a transformation brings up to
            date: labels close later than features.
    """

    table: str
    column: str
    known_at: str
    maturity: timedelta
    lookback_partitions: int = Field(default=0, ge=0)


class Features(_Frozen):
    """What the model sees.

    Attributes:
        service: Feast feature service, the contract between training and serving.
        tables: dbt models that are exported for Feast; each is a feature view of the same name.
        lookback: how far back the features of a partition read; what was ingested anew in that
            stretch makes the partition stale.
        on_request: columns of the mart that whoever asks for a prediction already knows.
    """

    service: str
    tables: tuple[str, ...]
    lookback: timedelta = Field(default=timedelta(0), ge=timedelta(0))
    on_request: tuple[str, ...] = ()


class ModelPlan(_Frozen):
    """How the candidate is trained; parameters go to LightGBM unchanged."""

    parameters: dict[str, float | int | str | bool]
    max_rounds: int = Field(gt=0)
    early_stopping_rounds: int = Field(gt=0)
    seed: int = 7


class GatePlan(_Frozen):
    """Thresholds of the gates.

    Attributes:
        minimum_skill: share of the base rate's loss that the model must save.
        maximum_auc: above it, the features must have seen the outcome (binary problems).
        margin: see `ml.core.gates.better_gate`; in units of the loss.
        minimum_gain: the same.
        replicates: of the bootstrap over clusters.
    """

    minimum_skill: float
    maximum_auc: Share
    margin: float = Field(ge=0)
    minimum_gain: float = Field(gt=0)
    replicates: int = Field(default=2_000, ge=200)
    seed: int = 7


class ReleasePlan(_Frozen):
    """How a new version gets its first traffic; weights in basis points."""

    canary_weight_bp: BasisPoints


class Schedules(_Frozen):
    """Cron expressions in the use case's zone.

    Attributes:
        partition: default: when a partition of the cadence has closed.
    """

    partition: str | None = None
    retrain: str = "0 6 1 * *"


class DemoPlan(_Frozen):
    """The story that the demo plays on real data.

    Attributes:
        first_as_of: the first model is trained as of this partition's start.
        retrain_as_of: the challenger is trained as of this partition's start.
        single_runs: how many partitions before `retrain_as_of` run one by one.
    """

    first_as_of: str
    retrain_as_of: str
    single_runs: int = Field(gt=0)


class UseCase(_Frozen):
    """A prediction problem: everything the platform must know about it.

    Attributes:
        zone: IANA name of the time zone of the business date.
        decision_lead: how long before the event the prediction is asked for.
        mart: dbt model with one row for each event: key, decision time, entities, label.
        key: column of the mart that identifies a row; also the routing key.
        decided_at: timestamp column of the mart, UTC: features are taken as of this instant.
        max_quarantine_share: more bad rows than this stop a partition.
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
    model: ModelPlan
    gates: GatePlan
    release: ReleasePlan
    schedules: Schedules = Schedules()
    demo: DemoPlan | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_slug(self.slug)
        self.calendar.between(self.coverage.first, self.coverage.last)
        return self

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
