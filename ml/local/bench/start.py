"""What a command costs before it does what it is for."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from statistics import median
from subprocess import CalledProcessError

from ml.local.bench.figures import FLIGHTLINE, REPEATS, Figure, run
from ml.use_cases import demo_slug, load_spec

_HELP_AIM, _AIM = 0.4, 1.5


def measure() -> Iterator[Figure]:
    """In an empty home, and at last in one with models; of a stage, not what it does itself."""
    slug = demo_slug()
    first = load_spec(slug).coverage.first
    with tempfile.TemporaryDirectory(prefix="flightline-bench-") as home:
        where = {"MLOPS_HOME": home}
        bare = _median([sys.executable, "-c", "pass"], where)
        for arguments in (["--help"], ["list"], ["status"], ["status", slug]):
            spent = _median([FLIGHTLINE, *arguments], where)
            aim = _HELP_AIM if arguments == ["--help"] else _AIM
            yield _figure(" ".join(arguments), spent, bare, aim)
        for stage in ("ingest", "transform"):
            spent = _median([FLIGHTLINE, stage, slug, first, "--json"], where)
            yield _figure(f"{stage} a partition, around the stage", spent, bare, _AIM)
        with suppress(CalledProcessError):  # there is no such version, but now MLflow has tables
            run([FLIGHTLINE, "validate", slug, "1"], where)
        spent = _median([FLIGHTLINE, "status", slug], where)
        yield _figure(f"status {slug}, with MLflow", spent, bare, _AIM)


def _figure(name: str, spent: float, bare: float, aim: float) -> Figure:
    note = f"{spent:.2f} CPU s, {bare:.2f} of them Python's own start"
    return Figure(f"flightline {name}", spent - bare, "CPU s", aim, note)


def _median(command: list[str], environment: Mapping[str, str]) -> float:
    """CPU seconds of a command, without those that it tells as its stage's."""
    run(command, environment)  # once for compiled code and the disk's cache
    return median(_once(command, environment) for _ in range(REPEATS))


def _once(command: list[str], environment: Mapping[str, str]) -> float:
    ran = run(command, environment)
    stage = json.loads(ran.output)["cpu_seconds"] if "--json" in command else 0.0
    return ran.cpu_seconds - float(stage)
