from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ml.core.alerts import (
    Alert,
    Contact,
    Kind,
    Message,
    Place,
    of_error,
    of_lost_task,
    of_run,
    of_timed_out_task,
)
from ml.core.errors import DataError

CONTACT = Contact("toy", "team", "https://example.com/team", 2, "docs/runbooks/toy.md")
PLACE = Place(
    "toy_daily", "run-1", "ingest", "2020-01-01", 3, page="http://a/run-1", log="http://a/log"
)
ALERT = Alert(
    Kind.TASK_FAILED,
    datetime(2020, 1, 2, tzinfo=UTC),
    PLACE,
    Message("3 of 9 rows are bad", "at most 2 %", "mend the source"),
    CONTACT,
)


def test_the_text_holds_all_that_somebody_on_call_needs() -> None:
    assert ALERT.text.splitlines() == [
        "[tier 2] toy: ingest of toy_daily failed (2020-01-01)",
        "3 of 9 rows are bad",
        "  expected: at most 2 %",
        "  repair: mend the source",
        "  run: run-1, try 3",
        "  owner: team, https://example.com/team",
        "  runbook: docs/runbooks/toy.md",
        "  page: http://a/run-1",
        "  log: http://a/log",
    ]


def test_what_is_not_known_has_no_line() -> None:
    bare = replace(ALERT, place=Place("toy_daily", "run-1"), message=Message("it failed"))
    assert bare.text.splitlines()[0] == "[tier 2] toy: a run of toy_daily failed (run-1)"
    assert "expected" not in bare.text and "log:" not in bare.text and "try" not in bare.text


def test_programs_get_the_same_as_people() -> None:
    plain = json.loads(json.dumps(ALERT.to_plain()))
    assert plain["kind"] == "task_failed" and plain["at"] == "2020-01-02T00:00:00+00:00"
    for value in ("toy", "toy_daily", "ingest", "2020-01-01", "team", 2, 3, "mend the source"):
        assert value in plain.values()


def test_every_kind_has_a_headline() -> None:
    headlines = {replace(ALERT, kind=kind).headline for kind in Kind}
    # A task and a run that fail do so in the same words.
    assert len(headlines) == len(Kind) - 2


def test_a_very_long_reason_is_cut_in_the_text_only() -> None:
    long = replace(ALERT, message=Message("x" * 10_000))
    assert len(long.text) < 3_000 and len(long.to_plain()["seen"]) == 10_000


def test_the_parts_come_from_the_error_that_has_them() -> None:
    """Airflow's own exception is raised from ours."""
    ours = DataError("seen", expected="expected", repair="repair")
    outer = RuntimeError("wrapped")
    outer.__cause__ = ours
    assert of_error(outer) == of_error(ours) == Message("seen", "expected", "repair")
    assert of_error(RuntimeError("a bug")) == Message("RuntimeError: a bug")


def test_a_time_out_says_the_limit_where_it_is_known() -> None:
    limit = timedelta(minutes=30)
    assert "0:30:00" in of_timed_out_task(limit).expected
    assert "0:30:00" in of_run(Kind.RUN_TIMED_OUT, limit, "ingest").expected
    assert "ingest" in of_run(Kind.RUN_TIMED_OUT, limit, "ingest").seen
    assert of_timed_out_task(None).expected == of_run(Kind.RUN_TIMED_OUT, None, "").expected == ""


@pytest.mark.parametrize("kind", [Kind.RUN_TIMED_OUT, Kind.RUN_STUCK])
def test_what_no_exception_explains_has_a_repair(kind: Kind) -> None:
    assert of_run(kind, timedelta(hours=2), "").repair and of_lost_task().repair


def test_a_failed_run_names_the_task_if_it_is_known() -> None:
    assert of_run(Kind.RUN_FAILED, None, "ingest").seen == "ingest failed"
    assert of_run(Kind.RUN_FAILED, None, "").seen == "one of its tasks failed"


def test_an_alert_that_was_not_delivered_is_about_the_same_place() -> None:
    lost = ALERT.undelivered("http://host: status 500")
    assert lost.kind is Kind.NOT_DELIVERED and lost.identity == ALERT.identity
    assert "status 500" in lost.message.seen and "MLOPS_NOTIFY_WEBHOOK" in lost.message.repair
