from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from support import small_spec

from ml.core.errors import ConfigError, OutOfCoverage
from ml.core.partitions import Cadence
from ml.core.plans import Criterion, GatePlan, ReleasePlan
from ml.core.spec import Coverage, Label
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
        load_spec("flight_delay").as_of(key)
