"""What every lake must do: a class of tests that each implementation inherits.

A file of tests calls `pytest.register_assert_rewrite("lake_conformance")` before it imports this.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.adapters.lake import ParquetLake, open_lake
from ml.core.errors import DataError, FlightlineError

FILE = "raw/toy/events/partition_key=a/data.parquet"


def rows(*values: int) -> pa.Table:
    return pa.table({"x": pa.array(values, pa.int64())})


def stored(lake: ParquetLake, name: str = FILE) -> bytes:
    (content,) = lake.objects.read([name])
    assert content is not None
    return content


class LakeConformance:
    """Inherit it, and give a fixture `opened`: a lake of an empty place by slug.

    Attributes:
        while_replaced: errors that a reader may get at the moment in which a partition is
            replaced, if the server of the test is not as strict as its interface demands.
    """

    while_replaced: tuple[type[FlightlineError], ...] = ()

    @pytest.fixture
    def lake(self, opened: Callable[[str], ParquetLake]) -> ParquetLake:
        return opened("toy")

    def test_what_is_written_is_read_with_its_key(self, lake: ParquetLake) -> None:
        lake.write("raw", "events", "2020-01-02", rows(3))
        lake.write("raw", "events", "2020-01-01", rows(1, 2))
        assert lake.keys("raw", "events") == ("2020-01-01", "2020-01-02")
        assert lake.read("raw", "events").to_pydict() == {
            "x": [1, 2, 3],
            "partition_key": ["2020-01-01", "2020-01-01", "2020-01-02"],
        }
        assert lake.read("raw", "events", ["2020-01-02"]).to_pydict()["x"] == [3]

    def test_types_nulls_and_empty_tables_come_back_as_they_were(self, lake: ParquetLake) -> None:
        schema = {
            "at": pa.timestamp("us", tz="UTC"),
            "flags": pa.list_(pa.string()),
            "share": pa.float64(),
            "is_late": pa.bool_(),
        }
        full = pa.table(
            {
                "at": [datetime(2020, 1, 1, 12, 0, 0, 123456, tzinfo=UTC), None],
                "flags": [["a", "ö"], []],
                "share": [float("inf"), None],
                "is_late": [None, True],
            },
            pa.schema(schema),
        )
        for table in (full, full.slice(0, 0)):
            lake.write("raw", "events", "a", table)
            assert lake.read("raw", "events").drop_columns(["partition_key"]).equals(table)
            assert lake.count("raw", "events", "a") == len(table)

    def test_tables_are_those_that_hold_anything(self, lake: ParquetLake) -> None:
        assert lake.tables("raw") == ()
        lake.write("raw", "places", None, rows(1))
        lake.write("raw", "events", "2020-01-01", rows(1))
        lake.write("marts", "fct_events", "2020-01-01", rows(1))
        assert lake.tables("raw") == ("events", "places")
        lake.remove("raw", "places", None)
        assert lake.tables("raw") == ("events",)

    def test_writing_again_replaces_the_partition(self, lake: ParquetLake) -> None:
        first = lake.write("raw", "events", "a", rows(1, 2), {"stamp": "1"})
        second = lake.write("raw", "events", "a", rows(5))
        assert first != second
        assert lake.read("raw", "events").to_pydict()["x"] == [5]
        assert lake.count("raw", "events", "a") == 1 and lake.metadata("raw", "events", "a") == {}

    def test_the_digest_is_that_of_the_same_rows_in_local_files(
        self, lake: ParquetLake, tmp_path: Path
    ) -> None:
        local = open_lake(str(tmp_path / "other"), "toy")
        one, two = (place.write("raw", "events", "a", rows(1, 2)) for place in (lake, local))
        assert one == two and len(one) == 64
        assert stored(lake) == (tmp_path / "other" / FILE).read_bytes()
        assert lake.digest("raw", "events") == local.digest("raw", "events")

    def test_the_digest_of_partitions_depends_on_keys_and_contents(self, lake: ParquetLake) -> None:
        lake.write("raw", "events", "a", rows(1))
        lake.write("raw", "events", "b", rows(1))
        both = lake.digest("raw", "events")
        assert lake.digest("raw", "events", ["a"]) != lake.digest("raw", "events", ["b"]) != both
        lake.write("raw", "events", "b", rows(2))
        assert lake.digest("raw", "events") != both

    def test_a_partition_that_is_not_there_is_an_error_with_the_repair(
        self, lake: ParquetLake
    ) -> None:
        lake.write("raw", "events", "2020-01-02", rows(1))
        for ask in (lake.read, lake.digest):
            with pytest.raises(DataError, match="no partition 2020-01-01 in raw/toy/eve") as caught:
                ask("raw", "events", ["2020-01-02", "2020-01-01"])
            assert "flightline ingest toy 2020-01-01" in str(caught.value)
            assert lake.address("raw", "events", "2020-01-01") in str(caught.value)
        with pytest.raises(DataError, match="flightline transform toy 2020-01-01"):
            lake.read("marts", "fct_events", ["2020-01-01"])
        with pytest.raises(DataError, match="no raw/toy/places"):
            lake.read("raw", "places", [None])

    def test_nothing_there_is_no_rows(self, lake: ParquetLake) -> None:
        assert lake.keys("raw", "events") == () and len(lake.read("raw", "events")) == 0
        assert lake.count("raw", "events", "a") == 0 and lake.metadata("raw", "events", "a") == {}

    def test_removing_is_fine_twice_and_spares_the_others(self, lake: ParquetLake) -> None:
        for key in ("a", "b"):
            lake.write("quarantine", "events", key, rows(1))
        for _ in range(2):
            lake.remove("quarantine", "events", "a")
        assert lake.keys("quarantine", "events") == ("b",)
        assert lake.count("quarantine", "events", "b") == 1
        lake.remove("quarantine", "never", None)

    def test_a_snapshot_is_one_file_without_a_key(self, lake: ParquetLake) -> None:
        lake.write("raw", "places", None, rows(1))
        lake.write("raw", "places", None, rows(1, 2), {"stamp": "2"})
        assert lake.count("raw", "places", None) == 2 and lake.keys("raw", "places") == ()
        assert lake.metadata("raw", "places", None) == {"stamp": "2"}
        found = lake.read("raw", "places", [None])
        assert found.to_pydict() == {"x": [1, 2], "partition_key": [None, None]}
        assert found.schema.field("partition_key").type == pa.string()
        assert len(lake.digest("raw", "places", [None])) == 64

    def test_rows_that_have_a_partition_key_keep_it(self, lake: ParquetLake) -> None:
        """A training set is one file with rows of many partitions."""
        mixed = rows(1, 2).append_column("partition_key", pa.array(["a", "b"]))
        lake.write("training_sets", "0123", None, mixed)
        assert lake.read("training_sets", "0123", [None]).equals(mixed)

    def test_metadata_belongs_to_the_file_and_not_to_the_rows(self, lake: ParquetLake) -> None:
        own = {"stamp.models": '{"a": "1"}', "ö": "ü", "empty": ""}
        lake.write("marts", "events", "a", rows(1), own)
        lake.write("marts", "events", "b", rows(1))
        assert lake.metadata("marts", "events", "a") == own
        found = lake.read("marts", "events")
        assert found.schema.metadata is None
        lake.write("marts", "copy", "a", found)
        assert lake.metadata("marts", "copy", "a") == {}

    def test_the_digest_covers_the_metadata(self, lake: ParquetLake) -> None:
        lake.write("marts", "events", "a", rows(1), {"stamp": "1"})
        before = lake.digest("marts", "events")
        lake.write("marts", "events", "a", rows(1), {"stamp": "2"})
        assert lake.digest("marts", "events") != before

    def test_pandas_finds_its_own_types_again(self, lake: ParquetLake) -> None:
        frame = rows(1, 2).to_pandas().assign(kind=["a", "b"]).astype({"kind": "category"})
        lake.write("marts", "events", "a", pa.Table.from_pandas(frame, preserve_index=False))
        assert lake.metadata("marts", "events", "a") == {}
        assert lake.read("marts", "events").to_pandas()[["x", "kind"]].equals(frame)

    @pytest.mark.parametrize("size", [1, 10_000, 30_000, 200_000])
    def test_a_footer_of_any_size_is_read(self, lake: ParquetLake, size: int) -> None:
        lake.write("marts", "events", "a", rows(*range(5000)), {"stamp": "x" * size})
        assert lake.count("marts", "events", "a") == 5000
        assert lake.metadata("marts", "events", "a") == {"stamp": "x" * size}

    def test_keys_are_in_order_and_nothing_else_is_a_partition(self, lake: ParquetLake) -> None:
        for number in (7, 1, 12, 3):
            lake.write("raw", "events", f"{number:03d}", rows(number))
        for stray in (
            "raw/toy/events/data.parquet",
            "raw/toy/events/partition_key=x/.data.parquet.1a2b",
            "raw/toy/events/other=x/data.parquet",
            "raw/toy/events_two/partition_key=x/data.parquet",
        ):
            lake.objects.write(stray, b"not ours")
        assert lake.keys("raw", "events") == ("001", "003", "007", "012")

    def test_two_use_cases_do_not_see_each_other(
        self, opened: Callable[[str], ParquetLake]
    ) -> None:
        opened("toy").write("raw", "events", "a", rows(1))
        assert opened("toy_two").keys("raw", "events") == ()
        assert opened("to").keys("raw", "events") == ()

    @pytest.mark.parametrize(
        "broken",
        [
            lambda content: b"",
            lambda content: b"PAR1",
            lambda content: content[: len(content) // 2],
            lambda content: content[:-1],
            lambda content: b"this is no Parquet file" * 1000,
        ],
        ids=["empty", "four bytes", "half", "one byte short", "text"],
    )
    def test_a_file_that_is_not_whole_is_named_with_the_repair(
        self, lake: ParquetLake, broken: Callable[[bytes], bytes]
    ) -> None:
        lake.write("raw", "events", "a", rows(*range(5000)))
        lake.objects.write(FILE, broken(stored(lake)))
        for ask in (
            lambda: lake.read("raw", "events"),
            lambda: lake.count("raw", "events", "a"),
            lambda: lake.metadata("raw", "events", "a"),
        ):
            with pytest.raises(DataError, match="cannot be read: ") as caught:
                ask()
            assert lake.address("raw", "events", "a") in caught.value.seen
            assert "delete it" in caught.value.repair
            assert "flightline ingest toy a" in caught.value.repair
        lake.write("raw", "events", "a", rows(1))
        assert len(lake.read("raw", "events")) == 1

    def test_a_byte_that_was_turned_over_is_found(self, lake: ParquetLake) -> None:
        lake.write("raw", "events", "a", rows(*range(5000)))
        content = bytearray(stored(lake))
        page = pq.read_metadata(pa.BufferReader(content)).row_group(0).column(0)
        content[page.data_page_offset + page.total_compressed_size // 2] ^= 1
        lake.objects.write(FILE, bytes(content))
        with pytest.raises(DataError, match="cannot be read: "):
            lake.read("raw", "events")

    def test_partitions_with_other_columns_are_not_mixed(self, lake: ParquetLake) -> None:
        lake.write("raw", "events", "a", rows(1))
        lake.write("raw", "events", "b", pa.table({"y": ["1"]}))
        with pytest.raises(DataError, match="raw/toy/events have different columns"):
            lake.read("raw", "events")

    def test_a_reader_sees_the_old_rows_or_the_new_ones(self, lake: ParquetLake) -> None:
        versions = [rows(*range(20_000)), rows(*range(30_000, 80_000))]

        def write(number: int) -> None:
            lake.write("raw", "events", "a", versions[number % 2], {"number": str(number)})

        write(0)
        seen: set[Any] = set()
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(lambda: [write(number) for number in range(60)])
            while not writing.done():
                with suppress(*self.while_replaced):
                    found = lake.read("raw", "events", ["a"])["x"]
                    assert found.equals(versions[found[0].as_py() > 0]["x"])
                    seen.add(len(found))
                    assert lake.count("raw", "events", "a") in (20_000, 50_000)
            writing.result()
        assert seen == {20_000, 50_000}, "the reader looked while it was being written"
