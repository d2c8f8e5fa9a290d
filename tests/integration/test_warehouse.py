"""A build of the warehouse succeeds, or leaves everything as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from support import ROOT, SLUG, copy_home, platform_at

from ml.core.errors import DataError, TransientError
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import transform

pytestmark = pytest.mark.xdist_group("data")
DAY, NEXT = "2013-03-20", "2013-03-21"


@pytest.fixture
def data(data_home: Any, tmp_path: Path, spec: UseCase) -> Platform:
    """A copy of the home with 80 days, to change."""
    return platform_at(copy_home(data_home[0], tmp_path / "home"), spec)


def digest(platform: Platform) -> str:
    path: Path = platform.warehouse.path  # type: ignore[attr-defined]  # the adapter's
    return sha256(path.read_bytes()).hexdigest()


def rename_carrier(platform: Platform, key: str) -> None:
    """Flights of a carrier that nobody knows, behind the contract's back."""
    rows = platform.lake.read("raw", "flights", [key]).drop_columns(["partition_key"])
    position = rows.schema.get_field_index("carrier")
    renamed = rows.set_column(position, "carrier", pa.array(["QQ"] * len(rows)))
    platform.lake.write("raw", "flights", key, renamed)


def test_rows_that_failed_their_tests_do_not_reach_the_next_day(
    data: Platform, spec: UseCase
) -> None:
    before = digest(data)
    rename_carrier(data, DAY)
    with pytest.raises(DataError, match="relationships_fct_flights_carrier"):
        transform.run(data, partitions=[spec.partition(DAY)])
    assert digest(data) == before
    transform.run(data, partitions=[spec.partition(NEXT)])
    for table in ("feat_carrier_hour_arrivals", "feat_carrier_departures"):
        rows = data.lake.read("features", table, [NEXT]).to_pandas()
        assert "QQ" not in set(rows["carrier"])


def test_a_build_that_was_killed_is_undone_by_the_next(data: Platform, spec: UseCase) -> None:
    """Its copy is still there: whatever it left behind goes."""
    path: Path = data.warehouse.path  # type: ignore[attr-defined]  # the adapter's
    path.with_suffix(".before").write_bytes(path.read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute("update int_flights_timed set carrier = 'QQ'")
    transform.run(data, partitions=[spec.partition(NEXT)])
    with duckdb.connect(str(path), read_only=True) as connection:
        query = "select count(*) from int_flights_timed where carrier = 'QQ'"
        assert connection.sql(query).fetchall() == [(0,)]
    assert not path.with_suffix(".before").exists()


def test_a_kill_that_left_no_database_is_undone_too(data: Platform, spec: UseCase) -> None:
    path: Path = data.warehouse.path  # type: ignore[attr-defined]  # the adapter's
    path.rename(path.with_suffix(".before"))
    path.write_bytes(b"half of a file")
    assert transform.run(data, partitions=[spec.partition(NEXT)]).changed == {}


def test_a_warehouse_that_somebody_reads_is_tried_again_later(
    data: Platform, spec: UseCase
) -> None:
    path: Path = data.warehouse.path  # type: ignore[attr-defined]  # the adapter's
    code = f"import duckdb; c = duckdb.connect({str(path)!r}); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout and other.stdout.readline() == "open\n"
        with pytest.raises(TransientError, match="another process has"):
            transform.run(data, partitions=[spec.partition(NEXT)])
        other.communicate("\n")
    assert transform.run(data, partitions=[spec.partition(NEXT)]).changed == {}


def test_a_full_disk_is_tried_again_later_and_nothing_is_lost(data: Platform) -> None:
    """A limit on the size of files does what a full disk does, for every write of a process."""
    path: Path = data.warehouse.path  # type: ignore[attr-defined]  # the adapter's
    home, before = path.parents[1], digest(data)
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 300; exec {sys.executable} -m ml.cli transform {SLUG} {NEXT}"],
        cwd=ROOT,
        env={**os.environ, "MLOPS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 75, done.stderr
    assert "TransientError: no room for" in done.stderr
    assert digest(data) == before
