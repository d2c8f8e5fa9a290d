"""The spec: the typed description of a use case, reviewed like code.

Thresholds are written here once; gates, summaries and documents are made from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Self

from pydantic import Field, model_validator

from ml.core.criteria import require_fitting
from ml.core.errors import OutOfCoverage
from ml.core.metric_names import Scope
from ml.core.names import Names, check_slug
from ml.core.partitions import Cadence, Partition, Partitions
from ml.core.plans import (
    Cost,
    CostMatrix,
    CostModel,
    Frozen,
    GatePlan,
    ModelPlan,
    ReleasePlan,
    Share,
    UnitCost,
)
from ml.core.prediction_source import ANSWER_COLUMNS
from ml.core.problems import ProblemType
from ml.core.windows import Windows, training_windows

_COST_OF = {
    ProblemType.BINARY: CostModel,
    ProblemType.MULTICLASS: CostMatrix,
    ProblemType.REGRESSION: UnitCost,
}
EPOCHS = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0, "epoch_ns": 1e-3}
"""Counts since 1970-01-01 UTC, and how many microseconds each unit has."""
_DIRECTIVE = r"%[-_0#]?[.:]*\d?"
_ZONE_NAME = re.compile(rf"{_DIRECTIVE}Z|%\+")
_LITERAL_ZONE = re.compile(
    rf"{_DIRECTIVE}[HIklMSTRXrcfpP][^%A-Za-z]*?((?:UTC|GMT)?[+-]\d\d:?\d\d|Z|UTC|GMT)(?![A-Za-z\d])"
)
MINIMUM_CLUSTERS = 7
"""Below it the bootstrap's interval says nothing: with one cluster it has no width at all."""


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


class Files(Frozen):
    """Where the rows of a table are: a CSV or Parquet file, or a folder of such files.

    Attributes:
        path: absolute, or relative to the package or else to the repository; `$NAME` is taken from
            the environment. Of a folder, all files below it are read, whole and at each ingest,
            whatever partitions are asked for.
        package: Python package that brings the file; it is found and not imported.
        time: column by which a row belongs to a partition; it becomes a timestamp in UTC. Only a
            snapshot does without.
        time_format: `strptime` format where the times are text or numbers other than ISO 8601; or
            one of `EPOCHS` for a count since 1970. An offset is read by `%z`; what names a zone
            otherwise would be skipped, and is refused.
        zone: IANA name of the zone of times without an offset; default: the use case's.
        nulls: texts that mean a missing value in CSV.
    """

    path: str = Field(min_length=1)
    package: str = Field(default="", pattern=r"^([A-Za-z_]\w*)?$")
    time: str = ""
    time_format: str = ""
    zone: str = ""
    nulls: tuple[str, ...] = ("",)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.zone:
            Partitions(Cadence.DAY, self.zone).parse("2000-01-01")  # knows the zone, or raises
        if self.time_format and not ("%" in self.time_format or self.time_format in EPOCHS):
            raise ValueError(
                f"files.time_format {self.time_format!r}; expected a strptime format such as "
                f"'%Y%m%d', or one of {', '.join(EPOCHS)}"
            )
        if name := unread_zone(self.time_format, self.zone):
            raise ValueError(
                f"files.time_format {self.time_format!r}: its {name!r} would be skipped, and the "
                "times shifted; expected %z for an offset such as +0100 (%#z where it may be Z), "
                "no time_format at all for ISO 8601, or zone='UTC' beside a literal Z"
            )
        return self


def unread_zone(time_format: str, zone: str) -> str:
    """What a `strptime` format says of the zone without its being read; empty: nothing.

    >>> unread_zone("%H:%M %Z", "UTC"), unread_zone("%H:%MZ", ""), unread_zone("%H:%MZ", "UTC")
    ('%Z', 'Z', '')
    """
    form = time_format.replace("%%", "  ")
    if found := _ZONE_NAME.search(form):
        return found[0]
    literal = _LITERAL_ZONE.search(form)
    said = literal[1] if literal else ""
    return "" if zone == "UTC" and said in ("Z", "UTC", "GMT") else said


class Table(Frozen):
    """A table of the source.

    Attributes:
        files: where its rows are; None: `read` in the use case's source.py gives them.
        is_snapshot: the whole table belongs to no partition and is replaced at each ingest.
        volume, freshness: what a delivery is compared with; None: not compared.
    """

    name: str
    files: Files | None = None
    is_snapshot: bool = False
    volume: Volume | None = None
    freshness: Freshness | None = None

    @model_validator(mode="after")
    def _in_partitions(self) -> Self:
        if self.files and not self.files.time and not self.is_snapshot:
            raise ValueError(
                f"files of table {self.name} without `time`; expected the column by which a row "
                "belongs to a partition, or is_snapshot=True"
            )
        return self


class Label(Frozen):
    """What is predicted.

    Attributes:
        table: dbt model with one row for each event and the same key as the mart.
        column: of that table; 0 or 1, a class index, or a value.
        classes: names of the classes, lower snake case, in the order of their index; multiclass
            only.
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
    classes: tuple[str, ...] = ()
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


class TimeOuts(Frozen):
    """How long work may take before Airflow ends it and its owner is told.

    Attributes:
        task: of one stage.
        run: of a whole run of a Dag, waiting for tasks to start included.
    """

    task: timedelta = Field(default=timedelta(minutes=30), gt=timedelta(0))
    run: timedelta = Field(default=timedelta(hours=2), gt=timedelta(0))

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.task > self.run:
            raise ValueError(f"time_outs.task {self.task}; expected at most those of a run")
        return self


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
        key: text column of the mart that identifies a row; also the routing key.
        decided_at: timestamp column of the mart, UTC: features are taken as of this instant.
        max_quarantine_share: more bad rows than this stop a partition.
        segments: columns of the mart by whose values quality is looked at separately.
        select_partitions, holdout_partitions: lengths of the windows.
        time_outs: no part of a model's identity: more patience is no reason to train again.
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
    cost: Cost | None = None
    model: ModelPlan
    gates: GatePlan
    release: ReleasePlan
    schedules: Schedules = Schedules()
    time_outs: TimeOuts = Field(default=TimeOuts(), exclude=True)
    demo: DemoPlan | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_slug(self.slug)
        self.calendar.between(self.coverage.first, self.coverage.last)
        if all(table.is_snapshot for table in self.tables):
            raise ValueError("tables are snapshots only; expected one whose rows have partitions")
        self._require_fitting_parts()
        require_fitting(self.gates, self.scope)
        if self.gates.segments and not self.segments:
            raise ValueError("gates.segments without segments; expected columns of the mart")
        self._require_other_names_than_answers()
        return self

    def _require_other_names_than_answers(self) -> None:
        """Or a prediction would be compared with itself where it is read beside its event."""
        label, model = self.label, self.model
        named = {"key": (self.key,), "decided_at": (self.decided_at,), "segments": self.segments}
        named["label"] = (label.column, label.known_at, label.expected)
        named |= {"model.rule.by": model.rule.by, "model.naive": tuple(model.naive.values())}
        named["model.difference_from"] = (model.difference_from,)
        for field, columns in named.items():
            if taken := sorted({*columns} & ANSWER_COLUMNS - {field}):
                raise ValueError(f"{field} {taken[0]}: predictions have it, too; expected another")

    def _require_fitting_parts(self) -> None:
        """What is for one problem type only is for this one."""
        classes, model = self.label.classes, self.model
        if self.problem is ProblemType.MULTICLASS and len(classes) < 3:
            raise ValueError("label.classes of a multiclass problem; expected three names or more")
        if classes and self.problem is not ProblemType.MULTICLASS:
            raise ValueError(f"label.classes of a {self.problem} problem; expected none")
        for name in classes:
            check_slug(name)
        if self.problem is not ProblemType.REGRESSION:
            for field in ("difference_from", "naive", "interval"):
                if getattr(model, field):
                    raise ValueError(f"model.{field} of a {self.problem} problem; expected none")
        kind = _COST_OF[self.problem]
        if self.cost is not None and not isinstance(self.cost, kind):
            raise ValueError(f"cost of a {self.problem} problem; expected a {kind.__name__}")
        if isinstance(self.cost, CostMatrix) and len(self.cost.costs) != len(classes):
            raise ValueError("cost.costs of another size; expected a row for each of label.classes")
        clusters = self.holdout_partitions // self.cluster_partitions
        if clusters < MINIMUM_CLUSTERS:
            raise ValueError(
                f"holdout_partitions {self.holdout_partitions} are {clusters} clusters of "
                f"{self.cluster_partitions}; expected at least {MINIMUM_CLUSTERS}: with fewer, "
                "bounds say nothing and no gate can pass"
            )

    @property
    def scope(self) -> Scope:
        """What its evaluations are about."""
        return Scope(
            problem=self.problem,
            classes=self.label.classes,
            naive=tuple(self.model.naive),
            has_cost=self.cost is not None,
            has_interval=self.model.interval is not None,
        )

    @property
    def cluster_partitions(self) -> int:
        """How many partitions in a row share a shock: a cluster of the bootstrap."""
        return self.gates.cluster_partitions or (24 if self.cadence is Cadence.HOUR else 1)

    def clusters(self, keys: Iterable[str]) -> list[str]:
        """The cluster of the bootstrap that each partition key belongs to."""
        length = self.cluster_partitions
        if length == 1:
            return list(keys)
        cluster: dict[str, str] = {}
        for key in (kept := list(keys)):
            if key not in cluster:
                number = self.calendar.position(key) - self.calendar.position(self.coverage.first)
                cluster[key] = f"{number // length:06d}"
        return [cluster[key] for key in kept]

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
            first, last = (self.calendar.containing(p.end) for p in (self._first, self._last))
            raise OutOfCoverage(
                f"as of {key} is outside the source of {self.slug}",
                expected=f"{first.key} to {last.key}: what was known when it began",
                repair="choose a key in that range",
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
