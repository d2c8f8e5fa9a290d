"""What the command line says about the quarantine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ml.core.errors import ConfigError
from ml.render import console
from ml.settings import settings
from ml.use_cases import load_spec

if TYPE_CHECKING:
    from ml.core.ports import Platform

_SHOWN_ROWS, _REASON_LENGTH = 20, 100
_URGENT = ("stopped", "rejected", "nulled")  # outcomes, by what waits for a person
_SNAPSHOT = "snapshot"  # what the list says where there is no key


def show_list(slug: str) -> None:
    """`flightline quarantine list`: a line for each partition and outcome."""
    platform = _platform(slug)
    from ml.stages import quarantine

    entries, out = quarantine.listing(platform), console()
    if not entries:
        out.print("the quarantine is empty")
        return
    table = Table("table", "partition", "outcome", "rows", "reasons", box=None)
    for entry in entries:
        reasons = ", ".join(f"{_short(name)} {count}" for name, count in entry.reasons.items())
        key = entry.key or _SNAPSHOT
        table.add_row(entry.table, key, entry.outcome, f"{entry.rows:,}", Text(reasons))
    out.print(table)
    first = min(entries, key=lambda entry: _URGENT.index(entry.outcome))
    which = " ".join(filter(None, (slug, first.table, first.key)))
    out.print(f"look at rows: flightline quarantine show {which}")
    out.print(f"after a fix:  flightline quarantine replay {which}")
    if first.outcome == _URGENT[0]:
        accept = f"flightline ingest {slug} {first.key or 'KEY'} --accept-anomalies"
        out.print(f"if only volume or freshness is unusual, and right: {accept}", soft_wrap=True)


def _short(reason: str) -> str:
    return reason if len(reason) <= _REASON_LENGTH else reason[: _REASON_LENGTH - 1] + "…"


def show_rows(slug: str, table: str, key: str, output: Path | None) -> None:
    """`flightline quarantine show`: rows with their reasons, on the screen or in a file."""
    platform = _platform(slug)
    from ml.stages import quarantine

    key = "" if key == _SNAPSHOT else key
    if table not in {one.name for one in platform.spec.tables if one.is_snapshot} and not key:
        raise ConfigError(
            f"no partition of {table} is named",
            repair=f"see which there are: flightline quarantine list {slug}",
        )
    out = console()
    if output:
        rows = quarantine.save(platform, table, key or None, output)
        out.print(f"wrote {rows:,} rows to {output}; mend them there, then:", markup=False)
        which = " ".join(filter(None, (slug, table, key)))
        out.print(f"flightline quarantine replay {which} --rows {output}", markup=False)
        out.print("  with --revision TIME (ISO 8601) if they became known later than the others")
        return
    found = quarantine.rows(platform, table, key or None)
    found = found.sort("outcome", maintain_order=True)  # what broke a rule before what waits
    for row in found.head(_SHOWN_ROWS).iter_rows(named=True):
        reasons = ", ".join(row.pop("reasons"))
        out.print(Text.assemble((row.pop("outcome"), "bold"), f"  {reasons}"))
        values = "  ".join(f"{name}={value}" for name, value in row.items())
        out.print(f"  {values}", markup=False, style="dim")
    if len(found) > _SHOWN_ROWS:
        out.print(f"… {len(found):,} in all; write them to a file with --output")


def _platform(slug: str) -> Platform:
    load_spec(slug)  # a typing error should not wait for the libraries below
    from ml.adapters.connect import connect

    return connect(slug, settings())
