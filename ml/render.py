"""Results as people read them in a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ml.core.errors import FlightlineError

if TYPE_CHECKING:  # `flightline doctor` must run where what stages import does not
    from ml.stages.runner import StageRun
    from ml.stages.summary import PredictionSummary, Summary, VersionSummary

_COLOURS = {
    "PASS": "green",
    "FAIL": "red",
    "INVALID": "red",
    "INSUFFICIENT": "yellow",
    "champion": "green",
    "canary": "cyan",
    "rejected": "red",
    "invalid": "red",
    "superseded": "yellow",
    "rolled_back": "red",
    "previous": "yellow",
    "success": "green",
    "failed": "red",
    "running": "cyan",
    "skipped": "yellow",
}


_TOLD_ELSEWHERE = ("gates", "warnings", "digests", "url")
_NOT_RELEASED = ("pending", "rejected", "invalid", "superseded", "rolled_back")


def colour(word: str) -> Text:
    """The word in the colour of what it means."""
    return Text(word, style=_COLOURS.get(word, ""))


def stage_run(ran: StageRun, *, is_wide: bool = False) -> RenderableType:
    """A stage's result: a line with its cost, then a line for each thing that it says.

    Args:
        is_wide: for some 120 columns: gates tell their reasons in the table.
    """
    plain = ran.to_plain()
    result = plain["result"]
    title = f"[bold]{ran.stage}[/]  {ran.seconds:.1f} s, peak {ran.peak_mib:,.0f} MiB"
    results = result if isinstance(result, list) else [result]
    told = [_result(one, is_wide=is_wide) for one in results] or [Text("  nothing to do")]
    links = [Text(f"  {name}: {url}") for name, url in plain.get("links", {}).items()]
    return Group(Text.from_markup(title), *told, *links)


def _result(plain: Mapping[str, Any], *, is_wide: bool) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, value in plain.items():
        if name in _TOLD_ELSEWHERE or value in ("", [], {}) or (name == "version" and not value):
            continue
        shown = f"{value:g} %" if name.endswith("_pct") else _short(value)
        table.add_row(f"  {name.removesuffix('_pct').replace('_', ' ')}", Text(shown))
    parts: list[RenderableType] = [table, *map(_warning, plain.get("warnings", []))]
    if "gates" in plain:
        parts.append(gate_table(plain["gates"], is_wide=is_wide))
    return Group(*parts)


def _warning(found: str | Mapping[str, Any]) -> RenderableType:
    """What does not stop anything: a sentence, or a data test with a sample of its rows."""
    if isinstance(found, str):
        return Text(f"  warning: {found}", style="yellow")
    head = f"  warning: {found['test']} of {found['model']}: {found['rows']} row(s)"
    rows = [f"    {one_line(row)}" for row in found["sample"]]
    return Group(Text(head, style="yellow"), *(Text(row, style="dim") for row in rows))


def one_line(row: Mapping[str, Any]) -> str:
    """A row of data, cut where a line gets too long to be read."""
    cells = [f"{name}={value}" for name, value in row.items()]
    return ", ".join(cells[:8]) + (" …" if len(cells) > 8 else "")


def rejection(ran: StageRun) -> str:
    """A line for a validation that turned its candidate down; empty for everything else."""
    if ran.stage != "validate" or ran.result.decision != "rejected":
        return ""
    failed = [f"{gate.name} {gate.verdict}" for gate in ran.result.gates if gate.verdict != "PASS"]
    reasons = ", ".join(failed)
    return f"version {ran.result.version} was rejected ({reasons}): what is released stays as it is"


def _short(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        items = [f"{key} {_short(item)}" for key, item in value.items()]
        shown = ", ".join(items[:6])
        return f"{shown}, … {len(items)} in all" if len(items) > 6 else shown or "none"
    if isinstance(value, list):
        shown = ", ".join(map(str, value[:3]))
        return f"{shown}, … {len(value)} in all" if len(value) > 3 else shown or "none"
    if isinstance(value, str) and len(value) == 64:
        return value[:16]
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if type(value) is int else str(value)


def gate_table(gates: Sequence[Mapping[str, Any]], *, is_wide: bool = False) -> RenderableType:
    """One row for each gate: threshold, value with its bounds, rows, verdict and reason.

    It fits a terminal of 80 columns; there, only gates that did not pass tell their reason, below.

    Args:
        is_wide: for some 120 columns, with a column for the reasons.
    """
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("gate", no_wrap=True)
    table.add_column("threshold", max_width=21)
    for name in ("value", "95 % bounds", "rows"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if is_wide:
        table.add_column("reason")
    for gate in gates:
        table.add_row(*_gate(gate), *([Text(str(gate["reason"]))] if is_wide else []))
    failed = [gate for gate in gates if gate["verdict"] != "PASS" and not is_wide]
    return Group(table, *(Text(f"  {gate['name']}: {gate['reason']}") for gate in failed))


def failed_gates(error: FlightlineError, *, is_wide: bool = False) -> RenderableType | None:
    """The verdicts that an error comes with, as a table; None if it comes without."""
    gates = error.details.get("gates") if isinstance(error.details, Mapping) else None
    return gate_table(gates, is_wide=is_wide) if gates else None


def _gate(gate: Mapping[str, Any]) -> tuple[Text, ...]:
    estimate = gate["estimate"]
    value, lower, upper = (_signed(estimate[name]) for name in ("value", "lower", "upper"))
    is_interval = estimate.get("clusters", 1) > 0  # else it is one figure, not a mean over days
    return (
        Text(gate["name"]),
        Text(gate["threshold"].replace(" and ", "\nand ")),
        Text(value),
        Text(f"{lower} {upper}" if is_interval else ""),
        Text(f"{estimate.get('rows', 0):,}"),
        colour(str(gate["verdict"])),
    )


def _signed(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:+.4f}"


def cell_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Rows of any data; numbers to the right, what is missing left out."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    for name, values in zip(names, columns, strict=True):
        is_number = any(map(_is_number, values))
        table.add_column(Text(name), justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _is_number(value: Any) -> bool:
    text = isinstance(value, str) and re.fullmatch(r"[+-]?[\d,]+(\.\d+)?", value)
    return bool(text) or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, float):
        return Text(f"{value:.4f}")
    if isinstance(value, datetime):
        return Text(f"{value:%Y-%m-%d %H:%M}")
    return Text(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def summary(found: Summary) -> RenderableType:
    """Data, versions with gates, predictions."""
    parts: list[RenderableType] = [_tables(found), *_stale(found)]
    if found.older_versions:
        parts += [Text(""), Text(f"{found.older_versions} older version(s), all in MLflow")]
    judged = [row for row in found.versions if row.evidence]
    for row in found.versions:
        parts += [Text(""), _version(row, is_newest=row in judged[-1:])]
    if not (found.versions or any(row.rows for row in found.tables)):
        first = f"flightline ingest {found.slug} {found.coverage_first}"
        parts.append(Text(f"\nno data yet: {first}"))
    elif not found.versions:
        parts.append(Text("\nno model yet: flightline train " + found.slug))
    if found.predictions:
        parts += [Text(""), _predictions(found.predictions)]
    return Group(*parts)


def _stale(found: Summary) -> list[RenderableType]:
    """What is missing or stale: a line for each reason, and the command that mends it."""
    lines: list[RenderableType] = []
    if found.missing:
        shown = ", ".join(found.missing[:5]) + (" …" if len(found.missing) > 5 else "")
        lines.append(Text(f"not ingested: {shown}", style="yellow"))
    reasons = dict.fromkeys(one.reason for one in found.stale)
    for reason in reasons:
        keys = [one.partition.key for one in found.stale if one.reason == reason]
        stretch = keys[0] + (f" to {keys[-1]}" if len(keys) > 1 else "")
        lines.append(Text(f"stale: {len(keys)} partition(s), {stretch}: {reason}", style="yellow"))
    if reasons:
        lines.append(Text(f"  build them: flightline transform {found.slug} --stale"))
    return lines


def _tables(found: Summary) -> Table:
    table = Table("table", "rows", "quarantined", "from", "to", box=None, title_justify="left")
    for row in found.tables:
        first = "snapshot" if row.is_snapshot else row.first or "-"
        table.add_row(row.name, f"{row.rows:,}", f"{row.quarantined:,}", first, row.last)
    return table


def _version(row: VersionSummary, *, is_newest: bool) -> RenderableType:
    """A line, what became of it, and its verdicts: those of the newest as a table."""
    version, tags = row.version, row.version.tags
    status = tags.get("release.status", "")
    left = status if status in _NOT_RELEASED else "no alias"
    alias = ", ".join(version.aliases) or left
    kind = f"{tags['model.kind']}, " if "model.kind" in tags else ""
    line = Text.assemble(
        (f"version {version.version}", "bold"),
        f"  {kind}trained as of {tags.get('as_of', '?')[:10]}  ",
        (alias.replace("_", " "), _COLOURS.get(alias, "")),
    )
    parts: list[RenderableType] = [line]
    if told := _release_line(tags):
        parts.append(Text(f"  {told}", style="dim"))
    if row.evidence:
        parts.append(_verdicts(row.evidence, in_full=is_newest))
        if row.evidence["champion"] is None:
            parts.append(Text("  the first model: there was no champion to compare it with"))
    return Group(*parts)


def _verdicts(evidence: Mapping[str, Any], *, in_full: bool) -> RenderableType:
    gates = evidence["gates"]
    if in_full:
        return gate_table(gates)
    failed = [f"{gate['name']} {gate['verdict']}" for gate in gates if gate["verdict"] != "PASS"]
    passed = len(gates) - len(failed)
    return Text("  gates: " + ", ".join([*failed, *([f"{passed} PASS"] if passed else [])]))


def _release_line(tags: Mapping[str, str]) -> str:
    """What became of a version that was judged, and by which evidence."""
    if "release.evidence_sha256" not in tags:
        return ""
    status = tags.get("release.status") or tags.get("release.decision", "judged")
    if status == "rolled_back":
        left = tags.get("release.rolled_back_from_revision", "?")
        why = tags.get("release.rolled_back_reason", "?")
        status = f"rolled back out of release {left}: {why}"
    elif "release.revision" in tags and status not in _NOT_RELEASED:
        traffic = tags.get("release.traffic_pct", "0")
        status = f"release {tags['release.revision']}, {traffic} % of the traffic"
    digest = tags["release.evidence_sha256"][:14]
    return f"{status}, evidence {digest}" if digest else f"{status}, no evidence that holds"


def _predictions(found: PredictionSummary) -> RenderableType:
    served = ", ".join(f"{count:,} by the {alias}" for alias, count in found.served.items())
    return Text(f"predictions of {found.key} (release {found.revision}): {served}; {found.answers}")


def console() -> Console:
    """Standard output; plain and wide where it is not a terminal."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
