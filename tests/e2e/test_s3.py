"""The lake on a real S3 server, and an ingest that loses it in the middle."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

pytest.register_assert_rewrite("lake_conformance")
from lake_conformance import FILE, LakeConformance, rows, stored  # noqa: E402  # after the line above
from s3_server import S3Server  # noqa: E402  # as above
from support import SLUG, platform_at, short_spec  # noqa: E402  # as above

from ml.adapters.lake import ParquetLake, open_lake  # noqa: E402  # as above
from ml.adapters.objects import S3Objects  # noqa: E402  # as above
from ml.core.errors import ConfigError, DataError, TransientError  # noqa: E402  # as above
from ml.core.ports import Platform  # noqa: E402  # as above
from ml.stages import ingest  # noqa: E402  # as above

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("s3")]


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("s3") / "buckets"
    (folder / "lake").mkdir(parents=True)
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, and an environment in which it is the S3 that there is."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in _server.environment().items():
        monkeypatch.setenv(name, value)
    return _server


@pytest.fixture
def url(server: S3Server) -> str:
    """An empty place on the server."""
    return f"s3://lake/{uuid4().hex}"


class TestS3Lake(LakeConformance):
    # S3 gives the old object or the new one. While rclone replaces a file it may answer 500, or
    # with the start of the one and the length of the other, which must not pass as rows.
    while_replaced = (DataError, TransientError)

    @pytest.fixture
    def opened(self, url: str) -> Callable[[str], ParquetLake]:
        return lambda slug: open_lake(url, slug)

    def test_the_layout_is_that_of_local_files(
        self, lake: ParquetLake, url: str, server: S3Server
    ) -> None:
        lake.write("raw", "events", "a", rows(1))
        assert lake.address("raw", "events", "a") == f"{url}/{FILE}"
        assert [p for p in (server.folder / url[5:]).rglob("*") if p.is_file()] == [
            server.folder / url[5:] / FILE
        ]

    def test_more_partitions_than_a_page_of_the_list(self, lake: ParquetLake) -> None:
        names = [f"raw/toy/events/partition_key={n:04d}/data.parquet" for n in range(1005)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: lake.objects.write(name, b"1"), names))
        assert lake.keys("raw", "events") == tuple(f"{n:04d}" for n in range(1005))
        assert list(lake.objects.read(names)) == [b"1"] * 1005

    def test_a_large_partition_goes_up_in_parts(self, url: str) -> None:
        whole, parts = (S3Objects("lake", url[10:], part_bytes=mib << 20) for mib in (64, 5))
        table = rows(1).append_column("blob", [[os.urandom(12 << 20)]])
        digests = []
        for objects in (whole, parts):
            lake = ParquetLake(objects, "toy")
            digests.append(lake.write("raw", "events", "a", table))
            assert lake.read("raw", "events")["blob"] == table["blob"]
            assert len(stored(lake)) > 12 << 20 and lake.count("raw", "events", "a") == 1
        assert digests[0] == digests[1]


@pytest.mark.parametrize("area", ["raw", "marts"])
def test_without_a_prefix_the_areas_lie_in_the_bucket(server: S3Server, area: str) -> None:
    lake = open_lake("s3://lake", f"slug_{area}")
    lake.write(area, "events", "a", rows(1))
    assert lake.keys(area, "events") == ("a",)
    assert (server.folder / "lake" / area / f"slug_{area}").is_dir()


CALLS: tuple[Callable[[ParquetLake], Any], ...] = (
    lambda lake: lake.write("raw", "events", "a", rows(1)),
    lambda lake: lake.read("raw", "events", ["a"]),
    lambda lake: lake.keys("raw", "events"),
    lambda lake: lake.count("raw", "events", "a"),
    lambda lake: lake.digest("raw", "events", ["a"]),
    lambda lake: lake.remove("raw", "events", "a"),
)


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "nobody", "InvalidAccessKeyId"),
    ],
)
def test_a_wrong_key_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, code: str
) -> None:
    open_lake(url, "toy").write("raw", "events", "a", rows(1))
    monkeypatch.setenv(variable, value)
    for call in CALLS:
        with pytest.raises(ConfigError, match=f"403 {code}") as caught:
            call(open_lake(url, "toy"))
        assert variable in caught.value.repair


def test_a_bucket_that_does_not_exist_is_named(server: S3Server) -> None:
    for call in CALLS:
        with pytest.raises(ConfigError, match="404 NoSuchBucket") as caught:
            call(open_lake("s3://none/prefix", "toy"))
        assert "create bucket none" in caught.value.repair


_CHILD = """
import os, sys
from ml.adapters.objects import S3Objects
objects = S3Objects("lake", sys.argv[1], part_bytes=5 << 20)
print("writing", flush=True)
while True:
    objects.write("a", os.urandom(20 << 20))
"""


@pytest.mark.parametrize("seconds", [0.4, 0.6])
def test_kill_9_in_an_upload_leaves_a_whole_object(url: str, seconds: float) -> None:
    objects = S3Objects("lake", url[10:])
    objects.write("a", b"old")
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, url[10:]], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == "writing\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(seconds)
    finally:
        child.kill()
        child.wait(10)
    (content,) = objects.read(["a"])
    assert content is not None and len(content) in (3, 20 << 20)


# --- ingest ---

DAYS = ("2013-01-01", "2013-01-03")


def on_s3(platform: Platform, url: str) -> Platform:
    return dataclasses.replace(platform, lake=open_lake(url, SLUG))


def run(platform: Platform) -> Any:
    return ingest.run(platform, partitions=platform.spec.partitions(*DAYS))


@pytest.fixture
def local(tmp_path: Path) -> Platform:
    return platform_at(tmp_path / "home", short_spec())


def test_ingest_writes_the_same_files_to_s3_as_to_local_files(
    local: Platform, url: str, tmp_path: Path, server: S3Server
) -> None:
    platform = on_s3(local, url)
    first, expected = run(platform), run(local)
    assert first.digests == expected.digests and first.rows == expected.rows
    again = run(platform)
    assert again.digests == first.digests
    here, there = tmp_path / "home" / "lake", server.folder / url[5:]
    names = sorted(path.relative_to(here) for path in (here / "raw").rglob("*.parquet"))
    assert len(names) > 6
    for name in names:
        assert (here / name).read_bytes() == (there / name).read_bytes()


class _Losing:
    """A lake whose server is killed at a certain write."""

    def __init__(self, real: Any, server: S3Server, at: int) -> None:
        self._real, self._server, self._left = real, server, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def write(self, *arguments: Any, **options: Any) -> str:
        self._left -= 1
        if not self._left:
            self._server.stop()
        digest: str = self._real.write(*arguments, **options)
        return digest


@pytest.mark.parametrize("at", [1, 3, 6])
def test_an_ingest_that_loses_the_server_is_completed_by_the_next_one(
    local: Platform, url: str, server: S3Server, at: int
) -> None:
    platform = on_s3(local, url)
    losing: Any = _Losing(platform.lake, server, at)
    try:
        with pytest.raises(TransientError, match="s3://lake/") as caught:
            run(dataclasses.replace(platform, lake=losing))
        assert caught.value.exit_code == 75
        with pytest.raises(TransientError):
            platform.lake.keys("raw", "flights")
    finally:
        server.stop()
        server.start()
    assert run(platform).digests == run(local).digests
    assert run(platform).digests == run(local).digests
