"""`flightline alerts`: what the notifier told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ml.adapters.notify import told_alerts
from ml.render import console
from ml.settings import settings


def show(slug: str = "", *, lines: int, as_json: bool = False) -> None:
    """The last alerts, the newest last; of one use case or of all."""
    told = told_alerts(settings().alerts)
    kept = [alert for alert in told if slug in ("", alert.get("use_case"))]
    kept = kept[-lines:] if lines else []
    if as_json:
        print(json.dumps(kept, indent=2))
    elif kept:
        console().print(_table(kept))
    else:
        console().print(f"no alerts in {settings().alerts}", markup=False, soft_wrap=True)


def _table(told: Sequence[dict[str, Any]]) -> Table:
    table = Table("at (UTC)", "alert", "what failed", "seen, and the repair", "runbook", box=None)
    for alert in told:
        where = f"{alert['task']} of {alert['dag']}" if alert["task"] else alert["dag"]
        cells = (
            alert["at"][:19].replace("T", " "),
            alert["kind"].replace("_", " "),
            f"{where}, {alert['partition'] or alert['run']}",
            alert["seen"] + (f"\nrepair: {alert['repair']}" if alert.get("repair") else ""),
            alert["runbook"],
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table
