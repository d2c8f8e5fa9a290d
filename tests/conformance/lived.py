"""One life of a use case, as short as its windows allow: the data, the tables, one training."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from support import ROOT, platform_at

from ml.adapters.warehouse import DuckDBWarehouse
from ml.core.errors import ConfigError
from ml.core.partitions import Partition
from ml.core.ports import Platform
from ml.core.spec import Table, UseCase
from ml.settings import Settings
from ml.stages import ingest, materialize, train, transform
from ml.stages.examples import model_columns, read_examples
from ml.use_cases import load_module
from ml.use_cases.contracts import Contract

TRIALS, ROUNDS, REPLICATES = 2, 60, 500


def shortened(spec: UseCase) -> UseCase:
    """The same problem with a search of two trials: whether it is right, not how good it is."""
    plan = spec.model
    search = plan.search.model_copy(update={"trials": TRIALS}) if plan.search else None
    rounds = {"max_rounds": min(ROUNDS, plan.max_rounds), "search": search}
    gates = spec.gates.model_copy(update={"replicates": REPLICATES})
    return spec.model_copy(update={"model": plan.model_copy(update=rounds), "gates": gates})


def first_as_of(spec: UseCase) -> Partition:
    """The first partition as of whose start a training has its windows."""
    partition = spec.partition(spec.coverage.first)
    for _ in range(spec.select_partitions + 2 * spec.holdout_partitions):
        partition = spec.calendar.after(partition)
    while True:
        try:
            spec.windows(partition.start)
        except ConfigError:
            partition = spec.calendar.after(partition)
        else:
            return partition


@dataclass(frozen=True)
class Lived:
    """A home in which everything up to a training has happened once.

    Attributes:
        files: of the model, as they were handed to tracking.
    """

    home: Path
    platform: Platform
    as_of: Partition
    partitions: tuple[Partition, ...]
    trained: Any = None
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def spec(self) -> UseCase:
        return self.platform.spec

    def training_set(self) -> pd.DataFrame:
        """What the model has learned from and was chosen by."""
        name = self.trained.dataset_digest[:32]
        rows: pd.DataFrame = self.platform.lake.read("training_sets", name, [None]).to_pandas()
        return rows


def live(spec: UseCase, folder: Path) -> Lived:
    """Ingest, transform, materialize and train in a home below `folder`."""
    spec = shortened(spec)
    as_of = first_as_of(spec)
    partitions = spec.partitions(spec.coverage.first, spec.calendar.before(as_of).key)
    platform = platform_at(folder / "home", spec)
    ingest.run(platform, partitions=partitions, accept_anomalies=True)
    transform.run(platform, partitions=partitions)
    materialize.run(platform, partitions=partitions[-1:])
    recorder: Any = _Recorder(platform.tracking)
    trained = train.run(replace(platform, tracking=recorder), as_of=as_of.start)
    return Lived(folder / "home", platform, as_of, partitions, trained, recorder.files)


class _Recorder:
    """Tracking that also keeps the files of the model that it was given."""

    def __init__(self, real: Any) -> None:
        self._real, self.files = real, dict[str, bytes]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def log_training(self, run: Any) -> Any:
        self.files.update(run.model)
        return self._real.log_training(run)


# --- the same training again ---

_AGAIN = """
import json, sys
from hashlib import sha256
from pathlib import Path
from conformance.lived import shortened
from support import platform_at
from ml.adapters.model_files import NATIVE
from ml.core.digests import frame_digest
from ml.stages.examples import model_columns
from ml.stages.training.contest import compete
from ml.stages.training.material import Material
from ml.stages.training_set import read_training_set
from ml.use_cases import load_spec
slug, home, as_of = sys.argv[1:]
spec = shortened(load_spec(slug))
platform = platform_at(Path(home), spec)
rows = read_training_set(platform, spec.windows(spec.as_of(as_of)))
contest = compete(Material(spec, rows, tuple(model_columns(platform))))
model = sha256(contest.chosen.files[NATIVE[contest.chosen.kind]]).hexdigest()
losses = {f"loss of {kind}": f"{loss:.9g}" for kind, loss in contest.losses.items()}
print(json.dumps({"training set": frame_digest(rows), "model": model, **losses}))
"""


def train_elsewhere(lived: Lived, folder: Path) -> dict[str, str]:
    """What a second training gives, in another process and in a home with the same tables.

    The losses tell of those that were not chosen, too.
    """
    home = folder / "again"
    for area in ("marts", "features"):
        shutil.copytree(lived.home / "lake" / area, home / "lake" / area)
    path = os.pathsep.join(str(ROOT / name) for name in ("", "tests"))
    done = subprocess.run(
        [sys.executable, "-c", _AGAIN, lived.spec.slug, str(home), lived.as_of.key],
        env={**os.environ, "PYTHONPATH": path, "MLOPS_HOME": str(home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"the second training failed:\n{done.stderr[-2000:]}")
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- a past in which the future has not happened yet ---


def decisions(lived: Lived, partitions: Sequence[Partition]) -> pd.DataFrame:
    """What the model sees of the decisions in these partitions, by the event's key."""
    spec = lived.spec
    rows = read_examples(lived.platform, partitions)
    columns = [spec.decided_at, *model_columns(lived.platform), *spec.context]
    return rows.set_index(spec.key)[list(dict.fromkeys(columns))]


def sampled_instants(lived: Lived) -> Iterator[tuple[Partition, pd.Timestamp]]:
    """Two decision times: in the middle of the newest partition with decisions, and of one before.

    At the decision's own time: a look ahead by a second reaches over it.
    """
    spec = lived.spec
    wanted, numbers = 2, [0.5, 0.75]
    for partition in lived.partitions[::-1]:
        rows = lived.platform.lake.read("marts", spec.mart, [partition.key]).to_pandas()
        times = rows[spec.decided_at].sort_values(ignore_index=True)
        if len(times):
            wanted -= 1
            yield partition, times[int(len(times) * numbers[wanted])]
        if not wanted:
            return


def without_future(lived: Lived, last: Partition, known_by: datetime, folder: Path) -> Lived:
    """A home with what was known at an instant, built anew as far back as its features read.

    Args:
        last: the partition that holds the instant.
    """
    spec = lived.spec
    platform = platform_at(folder / "home", spec)
    first = spec.calendar.containing(last.start - spec.features.lookback - _longest_ttl(lived))
    read = tuple(p for p in lived.partitions if first <= p <= last)
    for table in spec.tables:
        keys: list[Any] = [None] if table.is_snapshot else [p.key for p in read]
        contract = load_module(spec.slug, "contract").CONTRACTS[table.name]
        for key in keys:
            rows = pl.from_arrow(lived.platform.lake.read("raw", table.name, [key]))
            assert isinstance(rows, pl.DataFrame)
            if not table.is_snapshot:
                rows = _known(rows, table, contract, known_by)
            platform.lake.write("raw", table.name, key, rows.drop("partition_key").to_arrow())
    untested = replace(platform, warehouse=_Untested(spec, Settings(home=folder / "home")))
    transform.run(untested, partitions=read)
    return Lived(folder / "home", platform, lived.as_of, read)


def _longest_ttl(lived: Lived) -> timedelta:
    views = lived.platform.features._definitions.views  # type: ignore[attr-defined]  # of Feast
    return max((view.ttl for view in views if view.ttl), default=timedelta(0))


def _known(
    rows: pl.DataFrame, table: Table, contract: Contract, known_by: datetime
) -> pl.DataFrame:
    """The rows that were known by then, without the cells that were not."""
    column = (table.files.time if table.files else "") or (
        table.freshness.column if table.freshness else ""
    )
    at = contract.known_at if contract.known_at is not None else pl.col(column) if column else None
    if at is not None:
        rows = rows.filter((at <= known_by).fill_null(True))
    later = {
        name: (expr > known_by).fill_null(False) for name, expr in contract.cells_known_at.items()
    }
    return rows.with_columns(
        pl.when(~is_later).then(pl.col(name)).alias(name) for name, is_later in later.items()
    )


@dataclass(frozen=True)
class _Untested(DuckDBWarehouse):
    """A warehouse whose data tests are left out: half a partition may well break them."""

    def invoke(self, arguments: Sequence[str]) -> Any:
        return super().invoke([*arguments, "--exclude-resource-type", "test"])


def differences(before: pd.DataFrame, now: pd.DataFrame) -> dict[str, int]:
    """In how many rows each column differs; numbers may differ by their last digits."""
    found = {}
    for name in before.columns:
        one, other = before[name], now[name]
        if one.dtype.kind == "f":
            same = np.isclose(one, other.astype("float64"), rtol=1e-9, atol=1e-12, equal_nan=True)
        else:
            same = ((one == other) | (one.isna() & other.isna())).to_numpy()
        if not same.all():
            found[str(name)] = int((~same).sum())
    return found
