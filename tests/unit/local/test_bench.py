"""The bench's page: what is on it, also when a part of it cannot be measured."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import SLUG

from ml.core.story import Job, Step
from ml.local.bench import command as bench
from ml.local.bench import page
from ml.local.bench.figures import Figure, Section, ratio, run
from ml.local.bench.story import _returned, _summed
from ml.local.demo import Played
from ml.local.records import TaskInstance
from ml.settings import Settings

MACHINE = {"processor": "abacus", "cores": "2"}


class OnlySuccessReturns:
    def xcom(self, dag_id: str, run_id: str, task_id: str) -> dict:
        assert task_id == "train", "a skipped task returns nothing"
        return {"stage": "train", "seconds": 2.0, "cpu_seconds": 1.0, "peak_mib": 10.0}


def test_a_skipped_task_costs_nothing() -> None:
    """A rejected candidate skips its promotion; the bench goes on."""
    tasks = tuple(
        TaskInstance(name, state, None, None, 1, None)
        for name, state in [("train", "success"), ("promote", "skipped")]
    )
    played = Played(Step(Job.RETRAIN, "t", as_of="2013-06-01"), 1.0, tasks, False)
    costs = _summed(_returned(SLUG, [played], OnlySuccessReturns()))  # type: ignore[arg-type]
    assert {stage: cost.seconds for stage, cost in costs.items()} == {"train": 2.0}


@pytest.mark.parametrize(
    ("value", "verdict"), [(1.0, "met"), (1.01, "missed"), (math.nan, "missed")]
)
def test_what_is_not_within_its_aim_is_missed(value: float, verdict: str) -> None:
    assert Figure("x", value, aim=1.0).verdict == verdict
    assert Figure("x", value).verdict == ""


def test_the_page_has_every_figure_and_what_failed(tmp_path: Path) -> None:
    sections = [
        Section("Sorting", (ratio("sort", 3.0, 2.0, aim=1.25), Figure("rows", 7.0, "rows"))),
        Section("Searching", (Figure("find", 0.5, "CPU s", 1.0),), failure="no needle"),
    ]
    text = page.write(tmp_path, MACHINE, sections).read_text()
    assert "1 of 2 aims are met." in text
    assert "| sort | 1.5 | ≤ 1.25 | missed | 3.00 s over 2.00 s |" in text
    assert "| rows | 7 rows |  |  |  |" in text
    assert "## Searching" in text and "no needle" in text
    assert "| processor | abacus |" in text
    assert f"]({page.PICTURE})" in text
    assert (tmp_path / page.PICTURE).read_bytes().startswith(b"\x89PNG")
    plain = json.loads((tmp_path / "bench.json").read_text())
    assert plain["machine"] == MACHINE
    assert [one["name"] for part in plain["sections"] for one in part["figures"]] == [
        *("sort", "rows", "find")
    ]


def test_a_page_without_an_aim_shows_no_picture(tmp_path: Path) -> None:
    text = page.write(
        tmp_path, MACHINE, [Section("Sorting", failure="it is not sorted")]
    ).read_text()
    assert page.PICTURE not in text and "it is not sorted" in text


def test_a_part_that_fails_keeps_what_it_measured_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The exit code says that the page is not whole."""
    figures = {"story": _breaks, "data": lambda: iter([Figure("rows", 7.0)])}

    class Part:
        def __init__(self, name: str) -> None:
            self.measure = figures[name.rsplit(".", 1)[1]]

    monkeypatch.setattr(bench, "import_module", Part)
    monkeypatch.setattr(bench, "measured", bench._measure)  # in this process
    assert bench.main(["story", "data", "--output", str(tmp_path)]) == 1
    text = (tmp_path / "bench.md").read_text()
    assert "| first | 1 |" in text and "SystemExit: the platform is gone" in text
    assert "| rows | 7 |" in text
    assert bench.main(["data", "--output", str(tmp_path)]) == 0


def _breaks():  # type: ignore[no-untyped-def]  # a generator of figures
    yield Figure("first", 1.0)
    raise SystemExit("the platform is gone")


def test_a_part_keeps_away_from_the_teams_mlflow_and_webhook(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = {
        "MLOPS_TRACKING_URI": "http://mlflow.example.com",
        "MLOPS_NOTIFY_WEBHOOK": "http://hooks.example.com/team",
        "MLOPS_NOTIFY_TIMEOUT_S": "9",
        "MLOPS_DUCKDB_THREADS": "1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code = "import os; print(*sorted(name for name in os.environ if name in os.sys.argv))"

    class Part:
        def __init__(self, name: str) -> None: ...

        def measure(self) -> Iterator[Figure]:
            where = Settings(home=tmp_path)
            yield Figure("own", float(where.tracking_uri is None and where.notify_webhook is None))
            left = run([sys.executable, "-c", code, *given], {}).output.split()
            yield Figure("a command's", float(left == ["MLOPS_DUCKDB_THREADS"]))

    monkeypatch.setattr(bench, "import_module", Part)
    found = bench._measure("data")  # in this process
    assert [(one.name, one.value) for one in found.figures] == [("own", 1), ("a command's", 1)]


def test_a_part_whose_process_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_measure", _die)
    found = bench.measured("start")
    assert found.title == bench.PARTS["start"] and "terminated abruptly" in found.failure


def _die(part: str) -> Section:
    import os

    os._exit(9)


def test_a_part_runs_in_a_process_of_its_own() -> None:
    """What it is to run must be found there: this module has no measurements, which is told."""
    found = bench.measured("figures")
    assert "module 'ml.local.bench.figures' has no attribute 'measure'" in found.failure


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["strat"])
    assert ended.value.code == 2 and "no part 'strat'" in capsys.readouterr().err
