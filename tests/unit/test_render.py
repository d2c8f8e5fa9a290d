"""Results as people read them: what is left out, what is put in words, and that it fits."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from ml.core.ports import ModelVersion
from ml.render import gate_table, stage_run, summary
from ml.stages.summary import Summary, TableSummary, VersionSummary


def text(shown: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=160, soft_wrap=True).print(shown)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def gate(name: str, verdict: str, threshold: str = ">= 0.05") -> dict[str, Any]:
    estimate = {"value": -0.1234, "lower": -0.2345, "upper": None}
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


def ran(**result: Any) -> Any:
    plain = {"result": result}
    return SimpleNamespace(stage="promote", seconds=1.0, peak_mib=1.0, to_plain=lambda: plain)


def test_a_stage_leaves_out_what_is_empty() -> None:
    shown = text(stage_run(ran(skipped=[], url="", digests={}, champion=None, rows=0)))
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["champion", "none"],
        ["rows", "0"],
    ]


def test_a_share_is_a_percentage() -> None:
    assert "  traffic  90 %" in text(stage_run(ran(traffic_pct=90.0)))


EVIDENCE = {"release.evidence_sha256": "4f51a2b2469741" + "0" * 50}


def shown_version(*aliases: str, **tags: str) -> list[str]:
    tags = {f"release.{name}": value for name, value in tags.items()} | EVIDENCE
    version = VersionSummary(ModelVersion(1, "run", tags, aliases), None)
    found = Summary("toy", "2013-01-01", (), (), (), (version,), release=None, predictions=None)
    return text(summary(found)).splitlines()[-2:]


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


def test_an_accepted_version_waits_for_its_release() -> None:
    head, line = shown_version(decision="accepted")
    assert head.endswith("no alias")
    assert line == "  accepted, evidence 4f51a2b2469741"


def test_a_table_without_rows_is_no_snapshot() -> None:
    tables = (TableSummary("events", 0, 0), TableSummary("things", 0, 0, is_snapshot=True))
    found = Summary("toy", "2013-01-01", tables, (), (), (), release=None, predictions=None)
    lines = text(summary(found)).splitlines()
    assert [line.split()[3] for line in lines[1:3]] == ["-", "snapshot"]
    assert lines[-1] == "no data yet: flightline ingest toy 2013-01-01"
