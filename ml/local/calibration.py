"""How the gates would have decided: train and judge at dates spread over the use case's data.

Thresholds are chosen by it: a bound that a healthy candidate misses is too tight for this much
data, and one that is never near is no gate. Every candidate that passes becomes the champion, so
each is judged against the one that would have served. Nothing of the platform's own models is
touched: models live in a folder that is thrown away, the lake is only read.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ml.adapters.connect import connect
from ml.core.errors import ConfigError, DataError
from ml.core.gates import Decision
from ml.core.ports import Platform
from ml.core.release import crown
from ml.render import console
from ml.settings import Settings
from ml.stages import promote, train, validate

_READ = ("raw", "marts", "features")


@dataclass(frozen=True)
class Dated:
    """The verdicts as of one date.

    Attributes:
        version: 0 if there was not enough to train.
        gates: by name: threshold, verdict, reason, estimate.
        chosen: the competitor that was judged; empty if there was not enough to train.
        champion: version that it was compared with; None for the first.
    """

    as_of: str
    version: int
    chosen: str
    champion: int | None
    decision: str
    gates: tuple[dict[str, Any], ...]


def dates(platform: Platform) -> list[str]:
    """Partition keys one holdout apart, the last at the end of the ingested data."""
    spec = platform.spec
    newest = spec.calendar.containing(platform.data_time())
    ingested = spec.calendar.between(spec.coverage.first, newest.key)
    found = []
    for partition in ingested[:: -spec.holdout_partitions]:
        try:
            spec.windows(partition.start)
        except ConfigError:  # not enough before it
            break
        found.append(partition.key)
    return found[::-1]


def calibrate(slug: str, where: Settings, keys: Sequence[str]) -> Iterator[Dated]:
    """Train, judge and, where it passes, promote as of each date; yields each as it is judged."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "lake").mkdir()
        for area in _READ:
            (home / "lake" / area).symlink_to(where.home.resolve() / "lake" / area)
        platform = connect(slug, where.model_copy(update={"home": home, "tracking_uri": None}))
        platform.features.apply()
        for key in keys:
            yield _judged(platform, key)


def _judged(platform: Platform, key: str) -> Dated:
    try:
        found = train.run(platform, as_of=platform.spec.as_of(key), requested_by="calibration")
    except DataError as error:  # a class that is not there yet, say: the later dates go on
        return Dated(key, 0, "", None, f"not trained: {error.seen}", ())
    version = found.version
    with suppress(DataError):  # its verdicts are recorded all the same
        validate.run(platform, version=version)
    run_id = platform.registry.version(version).run_id
    evidence = platform.tracking.evidence(run_id) or {"decision": "invalid", "gates": []}
    if evidence["decision"] == Decision.ACCEPTED:
        promote.run(platform, version=version)
        current = platform.registry.releases()[-1]
        if current.canary:
            platform.registry.publish(crown(current, current.in_force_from))
    return Dated(
        *(key, version, found.chosen, evidence.get("champion"), evidence["decision"]),
        gates=tuple(evidence["gates"]),
    )


def show(slug: str, where: Settings, keys: Sequence[str], output: Path | None) -> None:
    """Print each decision as it falls, then the range of each gate; perhaps write them as JSON."""
    _require_file(output)
    out, found = console(), []
    keys = keys or dates(connect(slug, where))
    if not keys:
        raise DataError(
            f"not enough data of {slug} for one decision",
            repair=f"ingest and transform more: flightline status {slug}",
        )
    for number, dated in enumerate(calibrate(slug, where, keys), 1):
        found.append(dated)
        missed = [f"{g['name']} {g['verdict']}" for g in dated.gates if g["verdict"] != "PASS"]
        told = ": " + (", ".join(missed) or "all pass") if dated.gates else ""
        chosen = f"{dated.chosen} " if dated.chosen else ""
        line = f"{number}/{len(keys)}  as of {dated.as_of}  {chosen}{dated.decision}{told}"
        out.print(line, markup=False)
        if output:
            output.write_text(json.dumps([asdict(dated) for dated in found], indent=2))
    out.print(_summary(found))


def _require_file(output: Path | None) -> None:
    """Before the first training: it takes minutes."""
    is_file = output and output.suffix == ".json" and not output.is_dir()
    if output and not (is_file and output.resolve().parent.is_dir()):
        expected = "a .json file in a folder that exists"
        raise ConfigError(f"cannot write {output}", expected=expected)


def _summary(found: Sequence[Dated]) -> Table:
    """For each gate how often it passed, and the outermost bounds."""
    table = Table("gate", "threshold", "passed", "lowest bound", "highest bound", box=None)
    for name in dict.fromkeys(gate["name"] for dated in found for gate in dated.gates):
        gates = [gate for dated in found for gate in dated.gates if gate["name"] == name]
        passed = sum(gate["verdict"] == "PASS" for gate in gates)
        lows = [g["estimate"]["lower"] for g in gates if g["estimate"]["lower"] is not None]
        highs = [g["estimate"]["upper"] for g in gates if g["estimate"]["upper"] is not None]
        table.add_row(
            name,
            Text(gates[0]["threshold"]),
            f"{passed} of {len(gates)}",
            f"{min(lows):+.4f}" if lows else "-",
            f"{max(highs):+.4f}" if highs else "-",
        )
    return table
