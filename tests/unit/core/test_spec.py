from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from support import reference, small_spec

from ml.core.errors import ConfigError, OutOfCoverage
from ml.core.partitions import Cadence
from ml.core.plans import (
    CostMatrix,
    CostModel,
    Criterion,
    GatePlan,
    ModelPlan,
    ReleasePlan,
    Rule,
    UnitCost,
)
from ml.core.problems import ProblemType
from ml.core.spec import Coverage, Files, Label, Schedules, Table, TimeOuts, UseCase
from ml.use_cases import load_spec

GATES: dict[str, Any] = {
    "criteria": (Criterion(metric="auc", minimum=0.7),),
    "margin": 0.01,
    "minimum_gain": 0.001,
}


def test_a_field_that_nobody_reads_is_refused() -> None:
    """Or a misspelt threshold would be no threshold."""
    with pytest.raises(ValidationError, match="minimum_skil"):
        GatePlan(**GATES, minimum_skil=0.2)
    with pytest.raises(ValidationError, match="holdout_days"):
        small_spec(holdout_days=3)


def test_a_missing_threshold_is_refused() -> None:
    for name in GATES:
        with pytest.raises(ValidationError, match=name):
            GatePlan(**{field: value for field, value in GATES.items() if field != name})
    with pytest.raises(ValidationError, match="criteria"):
        GatePlan(**GATES | {"criteria": ()})


@pytest.mark.parametrize(
    "change",
    [
        {"max_quarantine_share": 1.5},
        {"max_quarantine_share": float("nan")},
        {"impact_tier": 5},
        {"holdout_partitions": 6},
        {"select_partitions": 0},
        {"problem": "ranking"},
        {"cadence": "fortnight"},
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        small_spec(**change)


@pytest.mark.parametrize("weight", [0, 10_000, 0.1])
def test_a_canary_has_some_traffic_but_not_all(weight: float) -> None:
    with pytest.raises(ValidationError):
        ReleasePlan(canary_weight_bp=weight)


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["margin", "minimum_gain", "maximum_cost_increase", "minimum"])
def test_a_threshold_is_a_number(name: str, threshold: float) -> None:
    """`upper < inf` and `lower < nan` are gates that cannot fail."""
    made: Any = Criterion if name == "minimum" else GatePlan
    fields = {"metric": "auc"} if name == "minimum" else GATES
    with pytest.raises(ValidationError, match=name):
        made(**fields | {name: threshold})


def test_a_bad_slug_is_refused() -> None:
    with pytest.raises(ConfigError, match="Bad-Slug"):
        small_spec(slug="Bad-Slug")


def test_a_bad_zone_is_refused() -> None:
    with pytest.raises(ConfigError, match="Mars"):
        small_spec(zone="Mars")


def test_the_coverage_must_be_a_range_of_partitions() -> None:
    with pytest.raises(ConfigError, match="empty range"):
        small_spec(coverage=Coverage(first="2020-02-01", last="2020-01-01"))
    with pytest.raises(ConfigError, match="bad partition key"):
        small_spec(cadence=Cadence.MONTH)


def test_a_partition_that_the_source_has_not_is_told_apart_from_a_typing_error() -> None:
    spec = small_spec()
    assert spec.partition("2020-12-31").key == "2020-12-31"
    for key in ("2019-12-31", "2021-01-01"):
        with pytest.raises(OutOfCoverage, match="2020-01-01 to 2020-12-31"):
            spec.partition(key)
    with pytest.raises(ConfigError) as caught:
        spec.partition("2020-1-1")
    assert not isinstance(caught.value, OutOfCoverage)


def test_a_range_that_leaves_the_coverage_on_either_side_is_outside() -> None:
    for first, last in (("2019-12-30", "2020-01-02"), ("2020-12-30", "2021-01-02")):
        with pytest.raises(OutOfCoverage):
            small_spec().partitions(first, last)


def test_a_spec_cannot_be_changed_by_hand() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        small_spec().owner = "somebody"  # type: ignore[misc]  # that is the test
    with pytest.raises(ValidationError, match="frozen"):
        small_spec().label.column = "z"  # type: ignore[misc]  # that is the test


def test_as_of_is_the_start_of_a_partition() -> None:
    spec = small_spec(zone="America/New_York")
    assert spec.as_of("2020-06-01") == datetime(2020, 6, 1, 4, tzinfo=UTC)


def test_windows_use_the_lengths_of_the_spec() -> None:
    windows = small_spec().windows(datetime(2020, 3, 1, tzinfo=UTC))
    assert (len(windows.select), len(windows.holdout)) == (3, 7)
    assert windows.fit[0].key == "2020-01-01"
    assert windows.holdout[-1].key == "2020-02-28", "the 29th closes at 08:00"


def test_a_spec_is_written_to_json_and_back() -> None:
    spec = small_spec()
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec
    assert Label.model_validate(spec.label.model_dump(mode="json")) == spec.label


@pytest.mark.parametrize("key", ["2012-12-01", "2014-06-01"])
def test_a_training_time_outside_the_source_is_refused_at_once(key: str) -> None:
    with pytest.raises(OutOfCoverage, match=f"as of {key} is outside the source"):
        load_spec(reference()).as_of(key)


CLASSES = ("low", "middle", "high")


def label(*classes: str) -> Label:
    return small_spec().label.model_copy(update={"classes": classes})


def plan(**changes: Any) -> ModelPlan:
    return small_spec().model.model_copy(update=changes)


ONES = CostMatrix(costs=((0, 1, 1), (1, 0, 1), (1, 1, 0)))
MULTICLASS: dict[str, Any] = {"problem": ProblemType.MULTICLASS, "label": label(*CLASSES)}
REGRESSION: dict[str, Any] = {"problem": ProblemType.REGRESSION}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"problem": ProblemType.MULTICLASS}, "label.classes of a multiclass problem"),
        (MULTICLASS | {"label": label("a", "b")}, "expected three names or more"),
        ({"label": label(*CLASSES)}, "label.classes of a binary problem"),
        (REGRESSION | {"label": label(*CLASSES)}, "label.classes of a regression problem"),
        ({"model": plan(naive={"persistence": "x"})}, "model.naive of a binary problem"),
        ({"model": plan(interval=0.9)}, "model.interval of a binary problem"),
        ({"model": plan(difference_from="x")}, "model.difference_from of a binary problem"),
        (MULTICLASS | {"model": plan(interval=0.9)}, "model.interval of a multiclass problem"),
        ({"cost": ONES}, "cost of a binary problem; expected a CostModel"),
        ({"cost": UnitCost(over=1, under=1)}, "cost of a binary problem; expected a CostModel"),
        (MULTICLASS | {"cost": CostModel(missed=2)}, "expected a CostMatrix"),
        (REGRESSION | {"cost": CostModel(missed=2)}, "expected a UnitCost"),
        (MULTICLASS | {"cost": CostMatrix(costs=((0, 1), (1, 0)))}, "costs of another size"),
    ],
)
def test_what_belongs_to_another_problem_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        small_spec(**changes)


def test_a_class_is_named_as_a_metric_is() -> None:
    with pytest.raises(ConfigError, match="Very High"):
        small_spec(**MULTICLASS | {"label": label("low", "middle", "Very High")})


@pytest.mark.parametrize(
    "changes",
    [
        MULTICLASS | {"cost": ONES},
        REGRESSION | {"cost": UnitCost(over=1, under=2)},
        REGRESSION | {"model": plan(naive={"persistence": "x"}, interval=0.9)},
        {"cost": CostModel(missed=2)},
    ],
)
def test_what_belongs_to_the_problem_is_in_its_scope(changes: dict[str, Any]) -> None:
    spec = small_spec(**changes)
    assert spec.scope.has_cost is ("cost" in changes)
    assert spec.scope.classes == spec.label.classes
    assert spec.scope.has_interval is bool(spec.scope.naive) is ("model" in changes)


def shared(**changes: Any) -> UseCase:
    gates = small_spec().gates.model_copy(
        update={"cluster_partitions": changes.pop("shared", None)}
    )
    return small_spec(gates=gates, **changes)


HOURS: dict[str, Any] = {
    "cadence": Cadence.HOUR,
    "coverage": Coverage(first="2020-01-01T03Z", last="2020-12-31T22Z"),
    "holdout_partitions": 24 * 7,
}
WEEKS: dict[str, Any] = {
    "cadence": Cadence.WEEK,
    "coverage": Coverage(first="2020-01-06", last="2020-12-28"),
}
MONTHS: dict[str, Any] = {
    "cadence": Cadence.MONTH,
    "coverage": Coverage(first="2015-11", last="2020-12"),
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({**HOURS, "holdout_partitions": 24 * 7 - 1}, "167 are 6 clusters of 24"),
        ({"shared": 2, "holdout_partitions": 13}, "13 are 6 clusters of 2"),
        ({**WEEKS, "shared": 4, "holdout_partitions": 27}, "27 are 6 clusters of 4"),
    ],
)
def test_a_holdout_of_too_few_clusters_is_refused(changes: dict[str, Any], said: str) -> None:
    """No gate could ever pass on it."""
    with pytest.raises(ValidationError, match=said):
        shared(**changes)


CLUSTERS: list[tuple[dict[str, Any], list[str], list[int]]] = [
    # An hour's day is counted from the first hour of the source, whichever zone that is in.
    (HOURS, ["2020-01-01T03Z", "2020-01-02T02Z", "2020-01-02T03Z", "2020-01-01T05Z"], [0, 0, 1, 0]),
    ({**HOURS, "shared": 2}, ["2020-01-01T03Z", "2020-01-01T04Z", "2020-01-01T05Z"], [0, 0, 1]),
    ({**HOURS, "shared": 1}, ["2020-01-01T03Z", "2020-01-01T04Z"], [0, 1]),
    ({}, ["2020-03-08", "2020-03-09", "2020-03-08"], [0, 1, 0]),
    # The clock goes forward on 8 March: that day is a day like others.
    (
        {"shared": 7, "zone": "America/New_York", "holdout_partitions": 49},
        ["2020-03-04", "2020-03-08", "2020-03-10", "2020-03-11"],
        [0, 0, 0, 1],
    ),
    (WEEKS, ["2020-01-06", "2020-01-13"], [0, 1]),
    (
        {**WEEKS, "shared": 4, "holdout_partitions": 28},
        ["2020-01-06", "2020-01-27", "2020-02-03"],
        [0, 0, 1],
    ),
    (MONTHS, ["2015-12", "2016-01", "2015-12"], [0, 1, 0]),
    (
        {**MONTHS, "shared": 3, "holdout_partitions": 21},
        ["2015-11", "2016-01", "2016-02", "2016-04", "2016-05"],
        [0, 0, 1, 1, 2],
    ),
]


@pytest.mark.parametrize(("changes", "keys", "expected"), CLUSTERS)
def test_clusters_are_stretches_of_partitions_that_share_a_shock(
    changes: dict[str, Any], keys: list[str], expected: list[int]
) -> None:
    names = shared(**changes).clusters(keys)
    order = {name: number for number, name in enumerate(dict.fromkeys(sorted(names)))}
    assert [order[name] for name in names] == expected


def test_clusters_are_taken_from_any_rows_also_from_none() -> None:
    spec = shared(**HOURS)
    keys = (key for key in ["2020-01-01T03Z"] * 3)
    assert len(spec.clusters(keys)) == 3 and spec.clusters([]) == []


def test_time_outs_are_no_part_of_a_models_identity() -> None:
    """More patience with a slow machine is no reason to train again."""
    patient = small_spec(time_outs=TimeOuts(task=timedelta(hours=1), run=timedelta(hours=9)))
    assert patient.time_outs.run == timedelta(hours=9)
    assert patient.model_dump(mode="json") == small_spec().model_dump(mode="json")


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": timedelta(hours=3)},
        {"task": timedelta(hours=1), "run": timedelta(minutes=59)},
        {"task": timedelta(0)},
        {"run": timedelta(seconds=-1)},
    ],
)
def test_time_outs_that_cannot_be_kept_are_refused(wrong: dict[str, timedelta]) -> None:
    with pytest.raises(ValidationError):
        TimeOuts(**wrong)


# --- files, schedules, and what is derived ---


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"time_format": "YYYYMMDD"}, "expected a strptime format such as '%Y%m%d', or one of"),
        ({"time_format": "%H:%M %Z"}, "its '%Z' would be skipped, and the times shifted"),
        ({"time_format": "%H:%MZ"}, "its 'Z' would be skipped, and the times shifted"),
        ({"zone": "Mars/Olympus"}, "unknown time zone"),
    ],
)
def test_files_whose_times_would_be_read_wrongly_are_refused(
    fields: dict[str, str], said: str
) -> None:
    with pytest.raises((ValidationError, ConfigError)) as caught:
        Files(path="x.csv", time="at", **fields)
    assert said in str(caught.value)


def test_files_whose_times_are_told_are_taken() -> None:
    for fields in ({"time_format": "%Y%m%d", "zone": "Asia/Tokyo"}, {"time_format": "%H:%M%z"}, {}):
        assert Files(path="x.csv", time="at", **fields).time == "at"


def test_rows_of_files_belong_to_a_partition_or_to_a_snapshot() -> None:
    with pytest.raises(ValidationError, match="files of table places without `time`"):
        Table(name="places", files=Files(path="x.csv"))
    assert Table(name="places", files=Files(path="x.csv"), is_snapshot=True).files
    assert Table(name="places", files=Files(path="x.csv", time="at")).files


def test_a_partition_runs_when_it_has_closed_unless_the_spec_says_when() -> None:
    assert small_spec().partition_cron == "0 0 * * *"
    assert (
        small_spec(cadence=Cadence.DAY, schedules=Schedules(partition="30 8 * * *")).partition_cron
        == "30 8 * * *"
    )


def test_each_column_that_is_looked_at_is_looked_at_once() -> None:
    model = ModelPlan(
        parameters={}, max_rounds=5, early_stopping_rounds=2, rule=Rule(by=("origin", "hour"))
    )
    assert small_spec(segments=("carrier", "origin"), model=model).context == (
        "carrier",
        "origin",
        "hour",
    )


def test_names_are_those_of_the_slug() -> None:
    assert small_spec().names.dag("daily") == "toy_daily"


@pytest.mark.parametrize("tables", [(), (Table(name="places", is_snapshot=True),)])
def test_a_use_case_needs_a_table_with_partitions(tables: tuple[Table, ...]) -> None:
    """Or nothing could be late, stale or missing."""
    with pytest.raises(ValidationError, match="snapshots only"):
        small_spec(tables=tables)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": "request_id"}, "key request_id"),
        ({"decided_at": "source"}, "decided_at source"),
        ({"segments": ("shop", "source")}, "segments source"),
        ({"label": label().model_copy(update={"column": "score"})}, "label score"),
        ({"model": plan(rule=Rule(by=("served",)))}, "model.rule.by served"),
        (
            {"problem": ProblemType.REGRESSION, "model": plan(difference_from="score")},
            "model.difference_from score",
        ),
    ],
)
def test_an_event_has_other_columns_than_its_prediction(change: dict[str, Any], said: str) -> None:
    """A label called `score` would be compared with itself."""
    with pytest.raises(ValidationError, match=f"{said}: predictions have it, too"):
        small_spec(**change)
