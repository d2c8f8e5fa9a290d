from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from ml.adapters.files import file_digest
from ml.adapters.lake import LocalLake
from ml.core.errors import DataError


def rows(*values: int) -> pa.Table:
    return pa.table({"x": pa.array(values, pa.int64())})


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    return LocalLake(tmp_path, "toy")


def test_what_is_written_is_read_with_its_key(lake: LocalLake) -> None:
    lake.write("raw", "events", "2020-01-02", rows(3))
    lake.write("raw", "events", "2020-01-01", rows(1, 2))
    assert lake.keys("raw", "events") == ("2020-01-01", "2020-01-02")
    assert lake.read("raw", "events").to_pydict() == {
        "x": [1, 2, 3],
        "partition_key": ["2020-01-01", "2020-01-01", "2020-01-02"],
    }
    assert lake.read("raw", "events", ["2020-01-02"]).to_pydict()["x"] == [3]


def test_writing_again_replaces_the_partition(lake: LocalLake) -> None:
    first = lake.write("raw", "events", "2020-01-01", rows(1, 2))
    second = lake.write("raw", "events", "2020-01-01", rows(5))
    assert first != second
    assert lake.read("raw", "events").to_pydict()["x"] == [5]
    assert lake.count("raw", "events", "2020-01-01") == 1


def test_the_same_rows_have_the_same_digest_in_another_place(
    lake: LocalLake, tmp_path: Path
) -> None:
    other = LocalLake(tmp_path / "other", "toy")
    digests = [place.write("raw", "events", "k", rows(1, 2)) for place in (lake, other)]
    assert (
        digests[0]
        == digests[1]
        == file_digest(tmp_path / "raw/toy/events/partition_key=k/data.parquet")
    )
    assert lake.digest("raw", "events") == other.digest("raw", "events")


def test_the_digest_of_partitions_depends_on_keys_and_contents(lake: LocalLake) -> None:
    lake.write("raw", "events", "a", rows(1))
    lake.write("raw", "events", "b", rows(1))
    both = lake.digest("raw", "events")
    assert lake.digest("raw", "events", ["a"]) != lake.digest("raw", "events", ["b"]) != both
    lake.write("raw", "events", "b", rows(2))
    assert lake.digest("raw", "events") != both


def test_a_partition_that_is_not_there_is_an_error_with_the_repair(lake: LocalLake) -> None:
    with pytest.raises(DataError, match="no partition 2020-01-01 in raw/toy/events") as caught:
        lake.read("raw", "events", ["2020-01-01"])
    assert "flightline ingest toy 2020-01-01" in str(caught.value)


def test_nothing_there_is_no_rows(lake: LocalLake) -> None:
    assert lake.keys("raw", "events") == () and len(lake.read("raw", "events")) == 0
    assert lake.count("raw", "events", "2020-01-01") == 0


def test_removing_is_fine_twice_and_leaves_no_folder(lake: LocalLake) -> None:
    lake.write("quarantine", "events", "a", rows(1))
    for _ in range(2):
        lake.remove("quarantine", "events", "a")
    assert lake.keys("quarantine", "events") == ()
    assert not (lake.folder("quarantine", "events") / "partition_key=a").exists()


def test_a_snapshot_is_one_file_without_a_key(lake: LocalLake) -> None:
    lake.write("raw", "places", None, rows(1))
    lake.write("raw", "places", None, rows(1, 2))
    assert lake.count("raw", "places", None) == 2 and lake.keys("raw", "places") == ()


def test_two_use_cases_do_not_see_each_other(lake: LocalLake, tmp_path: Path) -> None:
    lake.write("raw", "events", "a", rows(1))
    assert LocalLake(tmp_path, "toy_two").keys("raw", "events") == ()
