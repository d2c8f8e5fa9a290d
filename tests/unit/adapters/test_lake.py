from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.register_assert_rewrite("lake_conformance")
from lake_conformance import FILE, LakeConformance, rows, stored  # noqa: E402  # after the line above

from ml.adapters.lake import ParquetLake, open_lake  # noqa: E402  # as above
from ml.adapters.objects import LocalObjects, S3Objects  # noqa: E402  # as above
from ml.core.errors import ConfigError, DataError  # noqa: E402  # as above


class TestLocalLake(LakeConformance):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Callable[[str], ParquetLake]:
        return lambda slug: open_lake(str(tmp_path / "lake"), slug)

    def test_removing_leaves_no_empty_folder(self, lake: ParquetLake) -> None:
        for key in ("a", "b"):
            lake.write("raw", "events", key, rows(1))
        folder = Path(lake.address("raw", "events", "a")).parent
        lake.remove("raw", "events", "a")
        assert not folder.exists() and folder.parent.exists()
        lake.remove("raw", "events", "b")
        assert not folder.parent.parent.exists()

    def test_other_tools_read_the_file_at_its_address(self, lake: ParquetLake) -> None:
        lake.write("raw", "events", "a", rows(1, 2), {"stamp": "1"})
        path = lake.address("raw", "events", "a")
        assert duckdb.sql(f"select sum(x), any_value(partition_key) from '{path}'").fetchall() == [
            (3, "a")
        ]
        kept = duckdb.sql(f"select value from parquet_kv_metadata('{path}') where key = 'stamp'")
        assert kept.fetchall() == [(b"1",)]


_WHOLE = rows(*range(300)).append_column("s", pa.array(["ab", "c", None] * 100))


@given(cut=st.integers(0, 4000), place=st.integers(0, 4000), flip=st.integers(0, 255))
def test_whatever_happens_to_a_file_is_an_error_to_read_or_none(
    tmp_path_factory: pytest.TempPathFactory, cut: int, place: int, flip: int
) -> None:
    """A cut is always found; a bit that was turned over in the footer may say something else."""
    lake = open_lake(str(tmp_path_factory.getbasetemp() / "broken"), "toy")
    lake.write("raw", "events", "a", _WHOLE)
    content = bytearray(stored(lake))
    content[place % len(content)] ^= flip
    is_cut = cut % len(content) > 0
    lake.objects.write(FILE, bytes(content[: len(content) - cut % len(content)]))
    for ask in (lambda: lake.count("raw", "events", "a"), lambda: lake.read("raw", "events")):
        with pytest.raises(DataError) if is_cut else suppress(DataError):
            ask()


def test_a_year_is_read_in_the_order_of_its_days(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path), "toy")
    for day in reversed(range(365)):
        lake.write("raw", "events", f"{day:03d}", rows(day))
    assert lake.read("raw", "events").to_pydict()["x"] == list(range(365))


def test_a_lake_is_opened_by_its_url() -> None:
    assert open_lake("/data/lake", "toy").objects == LocalObjects(Path("/data/lake"))
    assert open_lake("s3://lake", "toy").objects == S3Objects("lake")
    deep = open_lake("s3://lake/team/one/", "toy")
    assert deep.objects == S3Objects("lake", "team/one")
    assert deep.address("raw", "places", None) == "s3://lake/team/one/raw/toy/places/data.parquet"


@pytest.mark.parametrize("url", ["s3:///prefix", "gs://bucket/prefix", "https://host/bucket"])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=f"no lake at '{url}'"):
        open_lake(url, "toy")


def test_local_files_do_not_load_boto3() -> None:
    code = (
        "import sys; from ml.adapters.lake import open_lake; open_lake('s3://lake', 'toy');"
        "sys.exit(any(name.split('.')[0] in ('boto3', 'botocore') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- a disk that is full or closed ---

_CHILD = """
import json, os, resource, subprocess, sys
from pathlib import Path
import pyarrow as pa
from ml.adapters.lake import open_lake
from ml.core.errors import FlightlineError

root, how = Path(sys.argv[1]), sys.argv[2]
lake = open_lake(str(root), "toy")
lake.write("raw", "events", "a", pa.table({"x": [1, 2]}))
if how == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
if how == "closed":
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
large, told = pa.table({"x": [os.urandom(1_000_000)]}), []
calls = [lambda key=key: lake.write("raw", "events", key, large) for key in ("a", "b")]
calls += [lambda: lake.remove("raw", "events", "a")] if how == "closed" else []
for call in calls:
    try:
        call()
    except FlightlineError as error:
        told.append([type(error).__name__, error.exit_code, str(error)])
left = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
rows = lake.read("raw", "events").to_pydict()["x"]
print(json.dumps({"told": told, "left": left, "rows": rows}))
"""


def _child(root: Path, how: str, *before: str) -> dict[str, Any]:
    command = [*before, sys.executable, "-c", _CHILD, str(root), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _own_disk(root: Path) -> list[str]:
    """Starts a program that sees a disk of 512 KiB at `root`; it is gone with the program."""
    own_names = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
    mount = 'mount -t tmpfs -o size=512k tmpfs "$0" && exec "$@"'
    command = [*own_names, "sh", "-c", mount, str(root)]
    try:
        probe = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("NOT TESTED: a full disk; this machine has no unshare")
    if probe.returncode:
        pytest.skip(f"NOT TESTED: a full disk; none can be mounted here: {probe.stderr.strip()}")
    return command


def _expect_full(found: dict[str, Any], root: Path) -> None:
    assert [(name, code) for name, code, _ in found["told"]] == [("TransientError", 75)] * 2
    for key, (*_, text) in zip("ab", found["told"], strict=True):
        assert f"no room for {root}/raw/toy/events/partition_key={key}/data.parquet" in text
        assert "free space" in text
    assert (found["left"], found["rows"]) == ([FILE], [1, 2])


def test_a_file_size_limit_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    _expect_full(_child(tmp_path, "limit"), tmp_path)
    assert [p.name for p in (tmp_path / "raw/toy/events").iterdir()] == ["partition_key=a"]


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    _expect_full(_child(tmp_path, "full", *_own_disk(tmp_path)), tmp_path)


def test_a_disk_that_is_read_only_is_not_tried_again(tmp_path: Path) -> None:
    found = _child(tmp_path, "closed", *_own_disk(tmp_path))
    assert [(name, code) for name, code, _ in found["told"]] == [("ConfigError", 2)] * 3
    for *_, text in found["told"]:
        assert f"no access to {tmp_path}/raw" in text and "repair: mend owner" in text
    assert (found["left"], found["rows"]) == ([FILE], [1, 2])
