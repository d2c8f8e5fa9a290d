"""How errors of a stage become what Airflow should do, and which ones it tries again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ml.core.errors import (
    ConfigError,
    DataError,
    GateRejected,
    OutOfCoverage,
    TransientError,
)
from ml.core.gates import GateResult, Verdict
from ml.core.statistics import Estimate

pytestmark = pytest.mark.xdist_group("airflow")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`orchestration.stages.run` over a stage that does what the test says."""
    import ml.stages.runner
    from ml.stages.runner import StageRun
    from orchestration import stages

    # It would tie the test process to its parent for good.
    monkeypatch.setattr(stages, "_die_with_parent", lambda: None)

    asked: list[Any] = []

    def run(outcome: Any, **arguments: Any) -> Any:
        def fake(name: str, slug: str, given: Any, *, wait_seconds: float) -> Any:
            assert wait_seconds > 60, "a short command line session is no reason to fail a run"
            if isinstance(outcome, BaseException):
                raise outcome
            asked.append((name, slug, given))
            if callable(outcome):
                outcome()
            return StageRun(name, outcome, 1.0, 1.0, 100.0, {"MLflow run": "http://there"})

        monkeypatch.setattr(ml.stages.runner, "run_stage", fake)
        return stages.run("ingest", "toy", **arguments), asked

    return run


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (OutOfCoverage("no such day"), "AirflowSkipException"),
        (GateRejected("not accepted"), "AirflowSkipException"),
        (ConfigError("bad key"), "AirflowFailException"),
        (DataError("bad rows", repair="mend them"), "AirflowFailException"),
        (TransientError("busy"), "TransientError"),
        (ConnectionError("reset"), "ConnectionError"),
        (ValueError("a bug"), "ValueError"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_error_becomes_what_airflow_should_do(
    stage: Callable[..., Any], error: Exception, becomes: str
) -> None:
    with pytest.raises(type(error).__mro__[-2]) as caught:  # any Exception; its name is the claim
        stage(error, first="2013-01-01")
    assert type(caught.value).__name__ == becomes
    assert str(error) in str(caught.value), "with the whole text: the task's log ends with it"


@dataclass(frozen=True)
class Result:
    version: int
    decision: str
    gates: tuple[GateResult, ...]


SKILL = GateResult(
    "skill", Verdict.PASS, ">= 0.05", "it reaches 0.05", Estimate(0.1, 0.06, 0.14, 25_231, 28)
)
BETTER = GateResult(
    "better",
    Verdict.INSUFFICIENT,
    "upper bound < 0.002 and mean <= -0.0005",
    "not shown to be better: mean -0.00010, bounds -0.00210 to +0.00190",
    Estimate(-0.0001, -0.0021, 0.0019, 25_231, 28),
)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "flightline")
    return caplog


def test_the_result_is_returned_and_told(
    stage: Callable[..., Any], log: pytest.LogCaptureFixture
) -> None:
    ran, asked = stage(Result(3, "accepted", ()), first="2013-01-01", source="replay")
    ((name, slug, given),) = asked
    assert (ran["seconds"], ran["result"]["version"]) == (1.0, 3)
    assert (name, slug, given.first, given.source) == ("ingest", "toy", "2013-01-01", "replay")
    assert "  decision  accepted" in log.messages
    assert log.messages[-1] == "  MLflow run: http://there"


def test_the_log_of_a_validation_is_a_table_to_read(
    stage: Callable[..., Any], log: pytest.LogCaptureFixture
) -> None:
    """Each gate with its estimate, bounds, rows, verdict and reason, without colour codes."""
    stage(Result(3, "rejected", (SKILL, BETTER)), version=3)
    [skill] = [line.split() for line in log.messages if line.startswith("skill")]
    figures = ["+0.1000", "+0.0600", "+0.1400", "25,231"]
    assert skill == ["skill", ">=", "0.05", *figures, "PASS", "it", "reaches", "0.05"]
    assert "INSUFFICIENT not shown to be better:" in " ".join(" ".join(log.messages).split())
    assert not any("\x1b" in line or "\n" in line for line in log.messages)
    assert max(map(len, log.messages)) <= 120


def test_airflows_warnings_about_itself_are_not_ours(
    stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that looks a name up in all modules makes hundreds of them."""
    from orchestration import stages

    def looks_around() -> None:
        warnings.warn("The `airflow.utils.timezone.agm` attribute is deprecated.", stacklevel=1)
        warnings.warn("ours", stacklevel=1)

    monkeypatch.setattr(stages, "_tell", lambda _: None)
    with pytest.warns(UserWarning, match="ours") as caught:
        stage(looks_around)
    assert [str(one.message) for one in caught] == ["ours"]


def test_an_argument_that_no_stage_knows_is_an_error(stage: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="partition"):
        stage(None, partition="2013-01-01")


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (TransientError("busy"), "RETRY"),
        (ConnectionResetError("gone"), "RETRY"),
        (TimeoutError("slow"), "RETRY"),
        (DataError("bad"), "FAIL"),
        (ConfigError("bad"), "FAIL"),
        (OutOfCoverage("bad"), "FAIL"),
        (GateRejected("no"), "FAIL"),
        (ValueError("a bug"), "FAIL"),
        (MemoryError(), "FAIL"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_only_what_may_pass_by_waiting_is_tried_again(error: Exception, action: str) -> None:
    from airflow.sdk import RetryAction

    from orchestration.defaults import ONLY_TRANSIENT

    decision = ONLY_TRANSIENT.evaluate(error, try_number=1, max_tries=2)
    assert decision.action is RetryAction[action]


def test_the_policy_survives_serialization() -> None:
    """The scheduler works with the serialized one: rules hold classes by their paths."""
    from airflow.sdk import ExceptionRetryPolicy, RetryAction

    from orchestration.defaults import ONLY_TRANSIENT

    text = json.dumps(ONLY_TRANSIENT.serialize())
    again = ExceptionRetryPolicy.deserialize(json.loads(text))
    assert again.evaluate(TransientError("busy"), 1, 2).action is RetryAction.RETRY
    assert again.evaluate(DataError("bad"), 1, 2).action is RetryAction.FAIL


def test_a_run_without_a_partition_key_fails_with_the_repair() -> None:
    from airflow.sdk.exceptions import AirflowFailException
    from support import SLUG

    from orchestration.builders import build_partition

    ingest = build_partition(SLUG).get_task("ingest_partition")
    with pytest.raises(AirflowFailException, match=r"trigger .* with a key like"):
        ingest.python_callable(
            partition_key=None, params={"revision": "2013-07-01"}, outlet_events={}
        )


def test_the_newest_request_says_as_of_what_to_train() -> None:
    from orchestration.builders import _requested

    events = [
        SimpleNamespace(timestamp=2, extra={"as_of": "2013-07-01"}),
        SimpleNamespace(timestamp=1, extra={"as_of": "2013-06-01"}),
    ]
    assert _requested({"asset": events}) == {"as_of": "2013-07-01"}
    assert _requested(None) == {} and _requested({"asset": []}) == {}
    assert _requested({"asset": [SimpleNamespace(timestamp=1, extra=None)]}) == {}


CADENCES = {
    "hour": ("2020-01-01T00Z", "2020-12-31T23Z", "30 * * * *"),
    "day": ("2020-01-01", "2020-12-31", "0 0 * * *"),
    "week": ("2020-01-06", "2020-12-28", "0 0 * * 1"),
    "month": ("2020-01", "2020-12", "0 0 1 * *"),
}


@pytest.mark.parametrize(
    ("cadence", "zone"),
    [(cadence, zone) for cadence in CADENCES for zone in ("UTC", "America/New_York")],
)
def test_every_cadence_gets_a_calendar_with_its_own_keys(
    monkeypatch: pytest.MonkeyPatch, cadence: str, zone: str
) -> None:
    """A run just after a partition has closed is for that partition, also where clocks change."""
    import pendulum
    from airflow.serialization.serialized_objects import DagSerialization
    from support import small_spec

    from ml.core.partitions import Cadence
    from ml.core.spec import Coverage, Schedules
    from orchestration import builders

    first, last, cron = CADENCES[cadence]
    spec = small_spec(
        cadence=Cadence(cadence),
        zone=zone,
        coverage=Coverage(first=first, last=last),
        schedules=Schedules(partition=cron),
        holdout_partitions=7 * 24,  # seven clusters of an hourly use case
    )
    monkeypatch.setattr(builders, "load_spec", lambda _: spec)
    built = DagSerialization.serialize_dag(builders.build_partition("toy"))
    timetable: Any = DagSerialization.deserialize_dag(built).timetable
    run, wrong = pendulum.datetime(2020, 2, 20, tz="UTC"), []
    for _ in range(60):
        run = timetable._get_next(run)
        _, key = timetable._get_partition_info(run_date=run)
        closed = spec.calendar.before(spec.calendar.containing(run))
        if key != closed.key:
            wrong.append((str(run), key, closed.key))
    assert wrong == []


def test_a_failure_leaves_its_details_to_be_read(
    stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that fails returns nothing: the sample of failing rows is pushed by itself."""
    from airflow.sdk.exceptions import AirflowFailException

    from orchestration import stages

    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))
    monkeypatch.setattr(stages, "get_current_context", lambda: {"ti": ti})
    details = [{"test": "unique", "rows": 2, "sample": [{"flight_id": "a"}]}]
    with pytest.raises(AirflowFailException):
        stage(DataError("dbt: unique: 2 rows", details=details), first="2013-01-01")
    assert pushed == {"failure": details}


def test_a_validation_that_cannot_decide_shows_its_gates(
    stage: Callable[..., Any], log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task fails and returns nothing: its log has the table all the same."""
    from airflow.sdk.exceptions import AirflowFailException

    from orchestration import stages

    ti = SimpleNamespace(xcom_push=lambda key, value: json.dumps(value))
    monkeypatch.setattr(stages, "get_current_context", lambda: {"ti": ti})
    gates = [asdict(SKILL), {**asdict(BETTER), "verdict": "INVALID", "reason": "no champion"}]
    with pytest.raises(AirflowFailException, match="cannot be judged"):
        stage(DataError("version 3 cannot be judged", details={"gates": gates}), version=3)
    [better] = [line for line in log.messages if line.startswith("better")]
    assert better.split()[-3:] == ["INVALID", "no", "champion"]
    assert any(line.startswith("skill") and "PASS" in line for line in log.messages)


def test_an_asset_event_says_rows_changes_and_warnings() -> None:
    from orchestration.builders import _told

    result = {"rows": {"fct": 3}, "changed": {}, "warnings": [{"test": "late"}], "digests": {}}
    told = _told({"seconds": 1.23456, "result": result})
    assert told == {"seconds": 1.235, "rows": {"fct": 3}, "warnings": [{"test": "late"}]}


def test_a_delivery_is_dated_by_the_run_or_by_the_try() -> None:
    from orchestration.builders import _revision

    ti = SimpleNamespace(start_date=datetime(2026, 1, 2, tzinfo=UTC))
    assert _revision({"revision": None}, ti) == "2026-01-02T00:00:00+00:00"
    assert _revision({"revision": "2013-07-01T12:00:00+00:00"}, ti).startswith("2013-07-01")


def test_what_training_says_of_its_progress_is_in_the_log_of_the_task() -> None:
    """Airflow shows what passes through the root's handlers; ours has none of its own."""
    import logging

    logger = logging.getLogger("flightline")
    assert logger.propagate and not logger.handlers and not logger.disabled
