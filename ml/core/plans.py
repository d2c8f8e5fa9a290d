"""The parts of a spec that say how a model is made, judged, priced and released."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
BUILT_IN = ("contract", "better", "segments", "cost", "latency")
"""Gates that every plan has; a criterion has another name."""
BasisPoints = Annotated[int, Field(ge=1, le=9_999)]
Value = float | int | str | bool


class Frozen(BaseModel):
    """What every part of a spec is: immutable, without fields that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FloatRange(Frozen):
    """A parameter that is searched between two numbers, both included.

    Attributes:
        log: whether the search is even in the logarithm.
    """

    kind: Literal["float"] = "float"
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _require_range(self.low, self.high, log=self.log)
        return self


class IntRange(Frozen):
    """A parameter that is searched between two whole numbers, both included."""

    kind: Literal["int"] = "int"
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _require_range(self.low, self.high, log=self.log)
        return self


class Choice(Frozen):
    """A parameter that is one of a few values."""

    kind: Literal["choice"] = "choice"
    options: tuple[Value, ...] = Field(min_length=2)


def _require_range(low: float, high: float, *, log: bool) -> None:
    if low >= high or (log and low <= 0):
        raise ValueError(
            f"a range from {low:g} to {high:g}; expected low below high"
            + (", both positive on a logarithmic scale" if log else "")
        )


Dimension = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


class SearchPlan(Frozen):
    """What is tried out on the select window.

    Attributes:
        space: LightGBM parameter to what it may be; the others stay as in `ModelPlan.parameters`.
        trials: how many points of the space are tried.
    """

    space: dict[str, Dimension] = Field(min_length=1)
    trials: int = Field(default=20, ge=1)


Naive = Literal["persistence", "seasonal_naive"]


class Rule(Frozen):
    """What people would use without a model: the mean label of rows that are alike.

    With classes it is the share of each; with `difference_from`, the mean difference.

    Attributes:
        by: columns of the mart that say what is alike; empty: all rows are, so the rule is the
            base rate.
        smoothing: how many rows of the overall mean are mixed into each group's.
    """

    by: tuple[str, ...] = ()
    smoothing: float = Field(default=50.0, ge=0)


class ModelPlan(Frozen):
    """How the candidate is trained; parameters go to LightGBM unchanged.

    Attributes:
        rule: the competitor that needs no learning; skill is measured against it.
        search: what is tried out; None: the parameters are taken as they stand.
        difference_from: column of the model's input from which the label is learned as a
            difference, and to which the answer is added: trees know no level that they have not
            seen. Regression only.
        naive: forecasts that cost nothing, each a column of the model's input: competitors, too.
            Regression only.
        interval: share of the labels that an interval around the answer should hold; its ends are
            learned by two quantile models. None: no interval. Regression only.
    """

    parameters: dict[str, Value]
    max_rounds: int = Field(gt=0)
    early_stopping_rounds: int = Field(gt=0)
    rule: Rule = Rule()
    search: SearchPlan | None = None
    difference_from: str = ""
    naive: dict[Naive, str] = {}
    interval: float | None = Field(default=None, ge=0.5, lt=1)
    seed: int = 7

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        space = self.search.space if self.search else {}
        if twice := sorted(set(self.parameters) & set(space)):
            raise ValueError(
                f"{', '.join(twice)} both fixed and searched; expected in one of `parameters` "
                "and `search.space`"
            )
        return self


class CostModel(Frozen):
    """What a decision costs, in units of one action (binary problems).

    Acting costs 1 whatever happens; not acting costs `missed` where the label is 1. So it pays to
    act where the predicted probability is above `1 / missed`.
    """

    missed: float = Field(gt=1)

    @property
    def threshold(self) -> float:
        """Probability above which to act."""
        return 1 / self.missed


class CostMatrix(Frozen):
    """What a decision costs among classes (multiclass problems); it pays to decide for the least.

    Attributes:
        costs: `costs[truth][decision]`, in any unit; being right may cost something, too.
    """

    costs: tuple[tuple[Annotated[float, Field(ge=0)], ...], ...]

    @model_validator(mode="after")
    def _square(self) -> Self:
        if any(len(row) != len(self.costs) for row in self.costs):
            raise ValueError("costs of another shape; expected a row and a column for each class")
        return self


class UnitCost(Frozen):
    """What one label unit of error costs (regression): the answer is what people act upon.

    Attributes:
        over, under: of an answer that is too high, and of one that is too low.
    """

    over: float = Field(gt=0)
    under: float = Field(gt=0)


Cost = CostModel | CostMatrix | UnitCost


class Criterion(Frozen):
    """A bound on a metric of the holdout; exactly one of the three is given.

    Attributes:
        metric: a name in `ml.core.metric_names.METRICS`; of a metric by class, `<name>_<class>`.
        name: of the gate; default: the metric's.
        minimum: for a metric where higher is better.
        maximum: for a metric where lower is better.
        too_good: beyond it the model must have seen the outcome.
    """

    metric: str
    name: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")
    minimum: float | None = None
    maximum: float | None = None
    too_good: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if sum(bound is not None for bound in (self.minimum, self.maximum, self.too_good)) != 1:
            raise ValueError(
                f"criterion on {self.metric!r}: expected one of minimum, maximum and too_good"
            )
        return self

    @property
    def gate(self) -> str:
        """Name of the gate."""
        return self.name or self.metric

    @property
    def bound(self) -> float:
        """The one of the three that is given."""
        return next(b for b in (self.minimum, self.maximum, self.too_good) if b is not None)


class SegmentPlan(Frozen):
    """No group of rows may pay for the others.

    Attributes:
        minimum_rows, minimum_positives: smaller segments are listed, and do not block.
        minimum_coverage: share of the rows that the evaluated segments of each column hold.
        maximum_loss_increase: by how much a segment's mean loss may exceed the opponent's.
    """

    minimum_rows: int = Field(default=500, gt=0)
    minimum_positives: int = Field(default=50, ge=0)
    minimum_coverage: float = Field(default=0.9, gt=0, le=1)
    maximum_loss_increase: float = Field(gt=0)


class GatePlan(Frozen):
    """Thresholds of the gates, each compared with a clustered one-sided 95 % bound.

    Attributes:
        criteria: bounds on metrics of the candidate alone.
        margin, minimum_gain: see `ml.core.gates.better_gate`; in units of the loss.
        segments: None: no gate on segments.
        maximum_cost_increase: in cost units a row, against the champion; the first model must cost
            no more than deciding without a model. None: no gate on cost.
        maximum_latency_ratio: CPU time a row, as a ratio to the champion's; None: no gate.
        latency_floor_us: CPU time a row, microseconds, that is never too long. A rule or a naive
            forecast takes less than one, so that by the ratio alone no model could follow it.
        minimum_label_coverage: share of the holdout's outcomes that were known when labels closed.
        cluster_partitions: how many partitions in a row are one cluster of the bootstrap, because
            they share a shock; default: 24 of an hourly cadence, else one.
        replicates: of the bootstrap over clusters.
    """

    criteria: tuple[Criterion, ...] = Field(min_length=1)
    margin: float = Field(ge=0)
    minimum_gain: float = Field(gt=0)
    segments: SegmentPlan | None = None
    maximum_cost_increase: float | None = Field(default=None, ge=0)
    maximum_latency_ratio: float | None = Field(default=None, gt=1)
    latency_floor_us: float = Field(default=50.0, ge=0)
    minimum_label_coverage: Share = 0.99
    cluster_partitions: int | None = Field(default=None, ge=1)
    replicates: int = Field(default=2_000, ge=200)
    seed: int = 7

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [*BUILT_IN, *(criterion.gate for criterion in self.criteria)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two gates named {', '.join(twice)}; expected one name each")
        return self


class ReleasePlan(Frozen):
    """How a new version gets its first traffic; weights in basis points."""

    canary_weight_bp: BasisPoints
