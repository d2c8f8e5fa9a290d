"""Results as people read them: what is left out, what is put in words, and that it fits."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from ml.core.ports import ModelVersion
from ml.render import cell_table, gate_table, stage_run, summary
from ml.stages.summary import Summary, TableSummary, VersionSummary


def text(shown: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=160, soft_wrap=True).print(shown)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def gate(
    name: str, verdict: str, threshold: str = ">= 0.05", *, clusters: int = 28
) -> dict[str, Any]:
    figures = {"value": -0.1234, "lower": -0.2345, "upper": None}
    estimate = figures | {"rows": 25_231, "clusters": clusters}
    reason = f"why {name}"
    return {
        "name": name,
        "threshold": threshold,
        "verdict": verdict,
        "reason": reason,
        "estimate": estimate,
    }


def test_a_gate_has_a_reason_only_if_it_did_not_pass() -> None:
    better = gate("better", "INSUFFICIENT", "upper bound < 0.0025 and mean <= -0.0005")
    lines = text(gate_table([gate("skill", "PASS"), better])).splitlines()
    assert lines[-1] == "  better: why better"
    assert "why skill" not in "\n".join(lines)
    assert max(map(len, lines)) <= 80


LONGEST = (
    gate("contract", "PASS", "as trained, labels >= 99.5%", clusters=0),
    gate("calibration", "INSUFFICIENT", "calibration_error <= 0.09"),
    gate("better", "INSUFFICIENT", "upper bound < 0.0025 and mean <= -0.0005"),
    gate("cost", "FAIL", "cost over always or never acting <= 0"),
)


@pytest.mark.parametrize(("is_wide", "width"), [(False, 80), (True, 120)])
def test_the_longest_gates_fit(is_wide: bool, width: int) -> None:
    out = io.StringIO()
    Console(file=out, width=width).print(gate_table(LONGEST, is_wide=is_wide))
    lines = out.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    words = [line.split() for line in lines]
    assert any(line[:1] == ["better"] and "25,231" in line for line in words)
    assert sum("INSUFFICIENT" in line for line in words) == 2, "no verdict is broken in two"


def test_a_wide_table_tells_every_reason() -> None:
    shown = text(gate_table([gate("skill", "PASS")], is_wide=True))
    assert "why skill" in shown.splitlines()[1]


def test_one_figure_has_no_bounds() -> None:
    """The contract and the latency are no means over days."""
    _, line = text(gate_table([gate("contract", "PASS", clusters=0)])).splitlines()
    assert line.split() == ["contract", ">=", "0.05", "-0.1234", "25,231", "PASS"]


def test_brackets_in_data_are_no_markup() -> None:
    shown = text(gate_table([gate("[red]skill", "PASS", "[bold]")]))
    assert "[red]skill" in shown and "[bold]" in shown
    assert "[bold]" in text(cell_table(["name"], [["[bold]"]]))


def test_cells_of_data_are_short() -> None:
    time = datetime(2013, 7, 1, 9, 30, tzinfo=UTC)
    rows = [["UA", 0.123456, None, time, 7, ["a", "b"]], ["B6", None, 1, None, 12, []]]
    lines = text(cell_table(["carrier", "score", "late", "at", "n", "flags"], rows)).splitlines()
    assert lines[1].split() == ["UA", "0.1235", "2013-07-01", "09:30", "7", "a,", "b"]
    assert lines[2].split() == ["B6", "1", "12"]
    assert text(cell_table(["carrier"], [])).split() == ["carrier"]


def ran(**result: Any) -> Any:
    plain = {"result": result}
    return SimpleNamespace(stage="promote", seconds=1.0, peak_mib=1.0, to_plain=lambda: plain)


def test_a_stage_leaves_out_what_is_empty() -> None:
    shown = text(stage_run(ran(skipped=[], url="", digests={}, champion=None, rows=0)))
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["champion", "none"],
        ["rows", "0"],
    ]


def test_an_experiment_has_no_version() -> None:
    assert "version" not in text(stage_run(ran(version=0, chosen="rule")))


def test_a_share_is_a_percentage() -> None:
    assert "  traffic  90 %" in text(stage_run(ran(traffic_pct=90.0)))


EVIDENCE = {"release.evidence_sha256": "4f51a2b2469741" + "0" * 50}


def test_a_stage_names_its_pages() -> None:
    found = ran(version=3, url="http://run")
    found.to_plain = lambda: {"result": {"version": 3, "url": "x"}, "links": {"MLflow run": "x"}}
    assert text(stage_run(found)).splitlines()[1:] == ["  version  3", "  MLflow run: x"]


def shown_version(*aliases: str, **tags: str) -> list[str]:
    tags = {f"release.{name}": value for name, value in tags.items()} | EVIDENCE
    return summary_of(VersionSummary(ModelVersion(1, "run", tags, aliases), None))[-2:]


def summary_of(*versions: VersionSummary) -> list[str]:
    found = Summary("toy", "2013-01-01", (), (), (), versions, release=None, predictions=None)
    return text(summary(found)).splitlines()


def test_a_released_version_tells_its_share() -> None:
    tags = {"status": "champion", "revision": "2", "traffic_pct": "90", "gate.skill": "PASS"}
    head, line = shown_version("champion", **tags)
    assert head.endswith("champion")
    assert line == "  release 2, 90 % of the traffic, evidence 4f51a2b2469741"


@pytest.mark.parametrize("status", ["rejected", "superseded", "invalid"])
def test_a_version_that_serves_nothing_tells_why(status: str) -> None:
    head, line = shown_version(status=status, revision="2", traffic_pct="0")
    assert head.endswith(status)
    assert line == f"  {status}, evidence 4f51a2b2469741"


@pytest.mark.parametrize(
    ("tags", "end", "told"),
    [
        ({"status": "pending", "decision": "pending"}, "pending", "pending"),
        ({"status": "invalid", "decision": "invalid"}, "invalid", "invalid"),
        (
            {"status": "champion", "revision": "2", "traffic_pct": "90", "decision": "invalid"},
            "no alias",
            "release 2, 90 % of the traffic",
        ),
    ],
)
def test_without_evidence_a_version_says_so(tags: dict[str, str], end: str, told: str) -> None:
    found = {f"release.{name}": value for name, value in tags.items()}
    version = ModelVersion(1, "run", {**found, "release.evidence_sha256": ""})
    head, line = summary_of(VersionSummary(version, None))[-2:]
    assert head.endswith(end)
    assert line == f"  {told}, no evidence that holds"


def test_a_version_that_was_rolled_back_tells_why() -> None:
    why = {"rolled_back_reason": "too slow", "rolled_back_from_revision": "3"}
    head, line = shown_version(status="rolled_back", revision="2", traffic_pct="0", **why)
    assert head.endswith("rolled back")
    assert line == "  rolled back out of release 3: too slow, evidence 4f51a2b2469741"


def test_the_kind_of_a_model_is_told() -> None:
    version = ModelVersion(1, "run", {"model.kind": "lightgbm", "as_of": "2013-06-01"})
    assert summary_of(VersionSummary(version, None))[-1] == (
        "version 1  lightgbm, trained as of 2013-06-01  no alias"
    )


def test_only_the_newest_verdicts_are_told_in_full() -> None:
    """Each table takes a dozen lines, and there is a version every month."""
    gates = [gate("skill", "PASS"), gate("better", "FAIL")]
    evidence = {"gates": gates, "champion": 1}
    rows = [VersionSummary(ModelVersion(n, "run", {}), evidence) for n in (1, 2)]
    lines = summary_of(*rows, VersionSummary(ModelVersion(3, "run", {}), None))
    assert lines.count("  gates: better FAIL, 1 PASS") == 1
    assert sum(line.startswith("skill") for line in lines) == 1
    assert lines.index("  gates: better FAIL, 1 PASS") < lines.index("  better: why better")


def test_versions_that_are_left_out_are_counted() -> None:
    version = VersionSummary(ModelVersion(9, "run", {}), None)
    found = Summary("toy", "2013-01-01", (), (), (), (version,), None, None, older_versions=8)
    assert "8 older version(s), all in MLflow" in text(summary(found))


def test_an_accepted_version_waits_for_its_release() -> None:
    head, line = shown_version(decision="accepted", status="accepted")
    assert head.endswith("no alias")
    assert line == "  accepted, evidence 4f51a2b2469741"


def test_a_table_without_rows_is_no_snapshot() -> None:
    tables = (TableSummary("events", 0, 0), TableSummary("things", 0, 0, is_snapshot=True))
    found = Summary("toy", "2013-01-01", tables, (), (), (), release=None, predictions=None)
    lines = text(summary(found)).splitlines()
    assert [line.split()[3] for line in lines[1:3]] == ["-", "snapshot"]
    assert lines[-1] == "no data yet: flightline ingest toy 2013-01-01"


def test_a_column_of_any_name_is_shown_as_it_is() -> None:
    """A query may call its columns anything."""
    assert "n[i][/b]" in text(cell_table(["n[i][/b]"], [["[i]"]]))
