"""The page of a Dag that nobody wrote says what people look for, in words and for each cadence."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from support import ROOT, small_spec

from ml.core.partitions import Cadence
from ml.core.spec import Coverage, Schedules, UseCase

pytestmark = pytest.mark.xdist_group("airflow")

COVERAGE = {
    Cadence.HOUR: ("2020-01-01T00Z", "2020-12-31T23Z"),
    Cadence.DAY: ("2020-01-01", "2020-12-31"),
    Cadence.WEEK: ("2020-01-06", "2020-12-28"),
    Cadence.MONTH: ("2020-01", "2020-12"),
}


def of(cadence: Cadence, **changes: object) -> UseCase:
    first, last = COVERAGE[cadence]
    coverage = Coverage(first=first, last=last)
    # An hourly cluster is a day, and seven are the least.
    return small_spec(cadence=cadence, coverage=coverage, holdout_partitions=7 * 24, **changes)


@pytest.mark.parametrize(
    ("cadence", "said"),
    [
        (Cadence.HOUR, "every hour: `0 * * * *` (UTC), for the hour that ended before"),
        (Cadence.DAY, "at 00:00: `0 0 * * *` (America/New_York), for the day that ended before"),
        (Cadence.WEEK, "at 00:00, only on Monday: `0 0 * * 1` (America/New_York), for the week"),
        (Cadence.MONTH, "at 00:00, on day 1 of the month: `0 0 1 * *` (America/New_York)"),
    ],
)
def test_the_schedule_is_said_in_words(cadence: Cadence, said: str) -> None:
    from orchestration import pages

    assert f"- **Schedule**: {said}" in pages.partition(of(cadence, zone="America/New_York"))


def test_a_schedule_of_its_own_is_the_one_that_is_said() -> None:
    from orchestration import pages

    spec = of(Cadence.DAY, schedules=Schedules(partition="30 6 * * *", retrain="0 5 1 1 *"))
    assert "at 06:30: `30 6 * * *`" in pages.partition(spec)
    assert "at 05:00, on day 1 of the month, only in January" in pages.retrain(spec)


@pytest.mark.parametrize(
    ("lead", "said"),
    [
        (timedelta(hours=1), "1 hour before the event"),
        (timedelta(minutes=90), "1.5 hours before the event"),
        (timedelta(days=27), "27 days before the event"),
        (timedelta(days=1, hours=12), "36 hours before the event"),
        (timedelta(0), "when the event begins"),
    ],
)
def test_the_page_says_when_somebody_asks(lead: timedelta, said: str) -> None:
    from orchestration import pages

    assert f"- **Asked**: {said}\n" in pages.partition(small_spec(decision_lead=lead))


@pytest.mark.parametrize("tier", [1, 2, 3, 4])
def test_every_page_says_owner_impact_and_runbook(tier: int) -> None:
    from orchestration import pages

    spec = small_spec(impact_tier=tier, decision_lead=timedelta(hours=2))
    for page in (pages.partition(spec), pages.retrain(spec)):
        assert "[team](https://example.com/team)" in page
        assert f"**Impact**: tier {tier}: " in page
        assert "docs/runbooks/toy.md" in page
        assert "**Asked**: 2 hours before the event" in page
    assert "`toy_daily`" in pages.history(spec)


def test_the_runbook_is_a_link_where_the_setting_says_where_runbooks_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from orchestration import pages

    spec = small_spec()
    assert "then `docs/runbooks/toy.md`." in pages.retrain(spec)
    monkeypatch.setenv("MLOPS_NOTIFY_RUNBOOKS", "https://example.com/runbooks/")
    for page in (pages.retrain(spec), pages.task(spec, "score")):
        assert "then [docs/runbooks/toy.md](https://example.com/runbooks/toy.md)." in page


def test_the_page_says_how_to_get_the_report_and_where_it_is() -> None:
    from orchestration import pages

    said = "`flightline report toy` says how good the predictions were, and writes"
    assert f"- **Report**: {said} `reports/toy.html`." in pages.partition(small_spec())


def test_the_words_do_not_depend_on_the_machines_language() -> None:
    """The Dag would get a new version on every machine with another one."""
    code = "from orchestration.pages import in_words; print(in_words('0 6 1 * *'))"
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "LANG": lang, "LC_ALL": lang, "PYTHONPATH": f"{ROOT}/dags:{ROOT}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for lang in ("C.UTF-8", "de_DE.UTF-8")
    }
    assert said == {"at 06:00, on day 1 of the month: `0 6 1 * *`\n"}
