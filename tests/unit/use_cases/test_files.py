"""The generic source: what a spec says of files is what is read, and nothing is guessed."""

from __future__ import annotations

import gzip
import re
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import small_spec

from ml.core.errors import ConfigError, DataError
from ml.core.partitions import Cadence, Partitions
from ml.core.spec import Coverage, Files, Table, UseCase
from ml.use_cases import files
from ml.use_cases.times import partition_keys

NEW_YORK = "America/New_York"
FIRST = {
    Cadence.HOUR: ("2013-01-01T00Z", "2013-12-31T23Z"),
    Cadence.DAY: ("2013-01-01", "2013-12-31"),
    Cadence.WEEK: ("2012-12-31", "2013-12-30"),
    Cadence.MONTH: ("2013-01", "2013-12"),
}


def spec_of(table: Table, cadence: Cadence = Cadence.DAY, zone: str = "UTC") -> UseCase:
    first, last = FIRST[cadence]
    coverage = Coverage(first=first, last=last)
    holdout = {"holdout_partitions": 168} if cadence is Cadence.HOUR else {}
    return small_spec(
        tables=(table, Table(name="others")),
        cadence=cadence,
        zone=zone,
        coverage=coverage,
        **holdout,
    )


def read(
    path: Path,
    *keys: str,
    cadence: Cadence = Cadence.DAY,
    zone: str = "UTC",
    snapshot: bool = False,
    **said: Any,
) -> pl.DataFrame:
    """The rows of the partitions from the first to the last key; without keys, of the year."""
    said = {"time": "at", "zone": said.pop("own_zone", "")} | said
    table = Table(name="events", files=Files(path=str(path), **said), is_snapshot=snapshot)
    spec = spec_of(table, cadence, zone)
    first, last = (keys[0], keys[-1]) if keys else FIRST[cadence]
    return files.read(spec, table, spec.partitions(first, last))


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    def write(*times: object, name: str = "events.csv") -> Path:
        lines = [f"{at},{number}" for number, at in enumerate(times)]
        (path := tmp_path / name).write_text("\n".join(["at,x", *lines, ""]))
        return path

    return write


def times(rows: pl.DataFrame, column: str = "at") -> list[str]:
    return [f"{at:%Y-%m-%d %H:%M:%S}" for at in rows[column]]


# What a time may look like.


@pytest.mark.parametrize(
    ("text", "form", "utc"),
    [
        ("2013-06-01T06:00:00Z", "", "2013-06-01 06:00:00"),
        ("2013-06-01 06:00:00.250+02:00", "", "2013-06-01 04:00:00"),
        ("2013-06-01T06:00-0130", "", "2013-06-01 07:30:00"),
        ("2013-06-01 06:00", "", "2013-06-01 10:00:00"),  # of New York
        ("2013-06-01", "", "2013-06-01 04:00:00"),
        ("2013-06", "", "2013-06-01 04:00:00"),
        ("2013", "", "2013-01-01 05:00:00"),
        (" 2013-06-01 ", "", "2013-06-01 04:00:00"),
        ("20130601", "%Y%m%d", "2013-06-01 04:00:00"),
        ("06/2013", "%m/%Y", "2013-06-01 04:00:00"),
        ("01.06.2013 06:05", "%d.%m.%Y %H:%M", "2013-06-01 10:05:00"),
        ("01.06.2013 06h", "%d.%m.%Y %Hh", "2013-06-01 10:00:00"),
        ("01.06.2013 06:05 +0200", "%d.%m.%Y %H:%M %z", "2013-06-01 04:05:00"),
        ("20130601T060500Z", "%Y%m%dT%H%M%S%#z", "2013-06-01 06:05:00"),
        ("06:05 1 Z 6.2013", "%H:%M %d Z %m.%Y", "2013-06-01 10:05:00"),  # no zone after a time
        ("1370066400", "epoch_s", "2013-06-01 06:00:00"),
        ("1370066400.5", "epoch_s", "2013-06-01 06:00:00"),
        ("1370066400000", "epoch_ms", "2013-06-01 06:00:00"),
        ("1370066400000000000", "epoch_ns", "2013-06-01 06:00:00"),
    ],
)
def test_a_time_becomes_utc(csv: Any, text: str, form: str, utc: str) -> None:
    rows = read(csv(text), zone=NEW_YORK, time_format=form)
    assert times(rows) == [utc]
    assert rows.schema["at"] == pl.Datetime("us", "UTC")


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([datetime(2013, 6, 1, 4)], ""),
        ([datetime(2013, 6, 1, 4, tzinfo=UTC)], ""),
        ([date(2013, 6, 1)], ""),
        (["2013-06-01T04:00:00Z"], ""),
        ([20130601], "%Y%m%d"),
        ([20130601.0], "%Y%m%d"),
        ([1370059200], "epoch_s"),
        ([1370059200.0], "epoch_s"),
    ],
    ids=["naive", "aware", "date", "text", "number", "float", "seconds", "float seconds"],
)
def test_parquet_keeps_its_types(tmp_path: Path, values: list[Any], form: str) -> None:
    path = tmp_path / "events.parquet"
    pl.DataFrame({"at": values, "kind": ["a"]}, schema_overrides={"kind": pl.Categorical}).cast(
        {pl.Datetime("us"): pl.Datetime("ns")}
    ).write_parquet(path)
    rows = read(path, zone="UTC", time_format=form)
    assert rows["partition_key"].to_list() == ["2013-06-01"]
    assert rows.schema["kind"] == pl.String


def test_the_files_own_zone_wins_over_the_use_cases(csv: Any) -> None:
    rows = read(csv("2013-06-01 06:00"), zone=NEW_YORK, own_zone="Asia/Tokyo")
    assert times(rows) == ["2013-05-31 21:00:00"]


# Which partition it lies in.


@given(
    st.datetimes(datetime(1950, 1, 1), datetime(2060, 1, 1)),
    st.sampled_from(Cadence),
    st.sampled_from(["UTC", NEW_YORK, "Asia/Kathmandu", "Pacific/Apia", "America/Sao_Paulo"]),
)
def test_a_row_has_the_key_of_the_calendars_partition(
    at: datetime, cadence: Cadence, zone: str
) -> None:
    calendar = Partitions(cadence, zone)
    found = partition_keys(pl.Series([at]).dt.replace_time_zone("UTC"), calendar)
    assert found.to_list() == [calendar.containing(at.replace(tzinfo=UTC)).key]


def test_only_the_asked_partitions_are_given(csv: Any) -> None:
    path = csv(*(f"2013-06-{day:02d} {hour:02d}:30" for day in (1, 2, 3) for hour in (0, 12, 23)))
    found = read(path, "2013-06-02", zone=NEW_YORK)
    assert found["x"].to_list() == [3, 4, 5]
    assert set(found["partition_key"]) == {"2013-06-02"}
    assert read(path, "2013-06-05").is_empty()


def test_a_snapshot_is_read_whole_and_has_no_partition(csv: Any) -> None:
    rows = read(csv("2010-01-01", "anything"), snapshot=True, time="")
    assert rows.columns == ["at", "x"] and len(rows) == 2


def test_a_day_that_begins_at_one_begins_there(csv: Any) -> None:
    """São Paulo's clock goes from 00:00 to 01:00 on 2013-10-20."""
    rows = read(csv("2013-10-20"), zone="America/Sao_Paulo")
    assert times(rows) == ["2013-10-20 03:00:00"]
    assert rows["partition_key"].to_list() == ["2013-10-20"]


# Times that say no instant.


@pytest.mark.parametrize(
    ("values", "said", "seen"),
    [
        (["2013-03-10 02:30"], {}, "'2013-03-10 02:30' in row 1 .*clock skips"),
        (["2013-11-03 00:30", "2013-11-03 01:30"], {}, "in row 2 of .*clock shows twice"),
        (["2013-06-01", "soon", "late"], {}, "'soon' in row 2 .*and 2 of 3 are like it"),
        (["2013-06-31"], {}, "'2013-06-31' in row 1"),
        (["20130601"], {}, "'20130601' in row 1"),
        (["1370066400"], {}, "'1370066400' in row 1"),
        (["2013-06-01"], {"time_format": "%d.%m.%Y"}, "'2013-06-01'"),
        (["2013-06-01"], {"time_format": "epoch_s"}, "'2013-06-01'"),
        (["2013-06-01", ""], {}, "at is None in row 2"),
        (["2013-06-01 01:00Z", "2013-06-01 02:00"], {}, "row 2 .*others have an offset"),
        (["2013-06-01 01:00Z", "2013-06-01"], {}, "'2013-06-01' in row 2 .*others have an offset"),
        (["2013-06", "2013-06-01 01:00+02:00"], {}, "'2013-06' in row 1 .*others have an offset"),
    ],
)
def test_a_time_that_says_no_instant_is_named(
    csv: Any, values: list[str], said: dict[str, str], seen: str
) -> None:
    with pytest.raises(DataError, match=seen) as told:
        read(csv(*values), zone=NEW_YORK, **said)
    assert told.value.expected and told.value.repair


def test_dates_stand_beside_offsets_if_their_zone_is_utc(csv: Any) -> None:
    rows = read(csv("2013-06-01", "2013-06-01 06:00+02:00"), zone=NEW_YORK, own_zone="UTC")
    assert times(rows) == ["2013-06-01 00:00:00", "2013-06-01 04:00:00"]
    rows = read(csv("2013-06-01", "2013-06-01 06:00"), zone=NEW_YORK)  # no offset, no doubt
    assert times(rows) == ["2013-06-01 04:00:00", "2013-06-01 10:00:00"]


def test_a_literal_z_is_right_if_the_zone_is_utc(csv: Any) -> None:
    form = "%Y%m%dT%H%M%SZ"
    rows = read(csv("20130601T060500Z"), zone=NEW_YORK, own_zone="UTC", time_format=form)
    assert times(rows) == ["2013-06-01 06:05:00"]


def test_what_the_clock_shows_twice_elsewhere_stops_nothing(csv: Any) -> None:
    rows = read(csv("2013-11-03 01:30", "2013-06-01 01:30"), "2013-06-01", zone=NEW_YORK)
    assert rows["x"].to_list() == [1]


def test_an_hour_cannot_be_told_from_a_date(csv: Any) -> None:
    with pytest.raises(DataError, match="'2013-06-01' in row 1") as told:
        read(csv("2013-06-01"), cadence=Cadence.HOUR)
    assert "a time of day" in told.value.expected


# Which files, and what is in them.


def test_a_folder_is_all_its_files_whatever_the_order_of_their_columns(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.csv").write_text("at,x,y\n2013-06-01,1,\n")
    (tmp_path / "2.CSV").write_text("y,x,at\n7,2.5,2013-06-02\n")
    (tmp_path / "3.csv.gz").write_bytes(gzip.compress(b"x,y,at\n,8,2013-06-03\n"))
    with ZipFile(tmp_path / "4.csv.zip", "w") as archive:
        archive.writestr("4.csv", "at,x,y\n2013-06-04,4,9\n")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "README.md").touch()
    (tmp_path / ".5.csv").write_text("half of a fi")
    rows = read(tmp_path).sort("at")
    assert rows["x"].to_list() == [1, 2.5, None, 4] and rows["y"].to_list() == [None, 7, 8, 9]


def test_what_the_contract_calls_text_stays_text(csv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataframely as dy

    from ml.use_cases.contracts import Contract

    class Rows(dy.Schema):
        x = dy.String()

    module = type(sys)("contract")
    module.CONTRACTS = {"events": Contract(rows=Rows)}  # type: ignore[attr-defined]
    monkeypatch.setattr(files, "_has_contract", lambda slug: True)
    monkeypatch.setattr(files, "load_module", lambda slug, part: module)
    path = csv()
    path.write_text("at,x\n2013-06-01,007\n")
    assert read(path)["x"].to_list() == ["007"]


def test_text_may_have_lines_however_long_the_file(tmp_path: Path) -> None:
    """Beyond a megabyte the file is read in pieces, which must not end within a text."""
    lines = "".join(f'2013-01-01T00:00:00Z,"line {i}\nand more of it"\n' for i in range(60_000))
    (tmp_path / "notes.csv").write_text(f"at,text\n{lines}")
    found = read(tmp_path / "notes.csv", "2013-01-01")
    assert len(found) == 60_000 and found["text"][-1] == "line 59999\nand more of it"


def test_a_quote_within_a_value_is_one(tmp_path: Path) -> None:
    long = "b" * 200_000  # longer than what Python's reader takes unless told
    (tmp_path / "a.csv").write_text(f'at,x\n2013-06-01,a 5" pipe\n2013-06-02,{long}')
    rows = read(tmp_path / "a.csv")
    assert rows["x"].to_list() == ['a 5" pipe', long]


def test_nulls_are_those_of_the_spec(csv: Any) -> None:
    path = csv("2013-06-01")
    path.write_text("at,x,name\n2013-06-01,-99,NA\n2013-06-01,3,-\n")
    rows = read(path, nulls=("-99", "-"))
    assert rows["x"].to_list() == [None, 3] and rows["name"].to_list() == ["NA", None]


def test_a_path_may_begin_in_the_environment_or_in_a_package(
    csv: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    csv("2013-06-01", name="landing.csv")
    monkeypatch.setenv("LANDING", str(tmp_path))
    assert len(read(Path("$LANDING/landing.csv"))) == len(read(Path("${LANDING}/landing.csv"))) == 1
    package = tmp_path / "imported_never"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError")
    (package / "data.csv").write_text("at\n2013-06-01\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert len(read(Path("data.csv"), package="imported_never")) == 1


@pytest.mark.parametrize(
    ("path", "said", "error", "seen"),
    [
        ("$NOT_SET/x.csv", {}, ConfigError, "the environment has no NOT_SET"),
        ("x.csv", {"package": "no_such_thing"}, ConfigError, "no such package: no_such_thing"),
        ("pyproject.toml", {}, ConfigError, "pyproject.toml is of no known kind"),
        ("no/such/place", {}, DataError, "neither file nor folder: .*no/such/place"),
        ("docs/adr", {}, DataError, "no such file in .*docs/adr"),
    ],
)
def test_what_is_not_there_is_named(
    path: str, said: dict[str, str], error: type[ConfigError], seen: str
) -> None:
    with pytest.raises(error, match=seen) as told:
        read(Path(path), **said)
    assert told.value.expected and "Files of table events" in told.value.repair


@pytest.mark.parametrize(
    ("name", "content", "seen"),
    [
        ("a.csv", b"", "cannot read .*a.csv: .*Empty CSV"),
        ("a.csv", b"at,x\n2013-06-01,1,2\n", "cannot read .*a.csv: .*Expected 2 columns, got 3"),
        ("a.csv", "at,x\n2013-06-01,é\n".encode("latin-1"), "byte 16 is not UTF-8"),
        ("a.csv", b"at,at\n2013-06-01,1\n", "cannot read .*a.csv: Duplicate"),
        ("a.csv", b"at;x\n2013-06-01;1\n", "a.csv has no column at; it has at;x"),
        ("a.csv", b"time,x\n2013-06-01,1\n", "a.csv has no column at; it has time, x"),
        ("a.csv", b"at,partition_key\n2013-06-01,1\n", "a.csv has a column partition_key"),
        (
            "a.csv",
            b'at,x\n2013-06-01,1\n2013-06-02,"2\n2013-06-03,3\n',
            "quote in line 3 does not",
        ),
        ("a.csv", b'at,x\n2013-06-01,5" a\n2013-06-02,"2\n2013-06-03,3\n', "quote in line 3 does"),
        ("a.csv.gz", b"not packed", "cannot read .*a.csv.gz: BadGzipFile"),
        ("a.csv.zip", b"not packed", "cannot read .*a.csv.zip: BadZipFile"),
        ("a.parquet", b"PAR1", "cannot read .*a.parquet"),
        ("a.parquet", b"", "cannot read .*a.parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes, seen: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=seen) as told:
        read(tmp_path / name)
    assert told.value.expected and told.value.repair


@pytest.mark.parametrize(
    ("contents", "seen"),
    [
        ({"1.csv": "at,x\n", "2.csv": "at\n"}, "2.csv has no column x, and .*1.csv has"),
        ({"1.csv": "at\n", "2.csv": "at,x\n"}, "1.csv has no column x, and .*2.csv has"),
        ({"1.csv": "at\n", "2.parquet": ""}, "1.csv and .*2.parquet"),
        (
            {"1.csv": "at,x\n2013-06-01,1\n", "2.csv": "at,x\n2013-06-01,2013-06-01\n"},
            "column x is Int64 in .*1.csv, Date in .*2.csv",
        ),
    ],
)
def test_files_of_a_folder_must_agree(tmp_path: Path, contents: dict[str, str], seen: str) -> None:
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=seen):
        read(tmp_path)


def test_an_archive_holds_one_csv(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("1.csv", "at\n")
        archive.writestr("2.csv", "at\n")
    with pytest.raises(DataError, match="2 CSV files in the archive"):
        read(tmp_path / "a.csv.zip")


def test_a_header_without_rows_is_no_rows(csv: Any) -> None:
    assert read(csv()).is_empty()


# What a spec may not say.


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ({"path": "x.csv"}, "without `time`"),
        ({"path": ""}, "at least 1 character"),
        ({"path": "x.csv", "time": "at", "package": "a.b"}, "match pattern"),
        ({"path": "x.csv", "time": "at", "time_format": "iso"}, "time_format 'iso'"),
    ],
)
def test_a_spec_that_cannot_be_followed_is_refused(said: dict[str, str], seen: str) -> None:
    with pytest.raises(ValueError, match=seen):
        Table(name="events", files=Files(**said))


@pytest.mark.parametrize(
    ("form", "zone", "seen"),
    [
        ("%Y-%m-%d %H:%M %Z", "UTC", "%Z"),
        ("%Y-%m-%dT%H:%M:%SZ", "", "Z"),
        ("%Y-%m-%dT%H:%M:%S%.3fZ", NEW_YORK, "Z"),
        ("%Y-%m-%dT%H:%M:%S.000Z", "", "Z"),
        ("%I:%M %p UTC, %d.%m.%Y", "", "UTC"),
        ("%Y-%m-%d %H:%M:%S+00:00", "UTC", "+00:00"),
        ("%Y-%m-%d %H:%M GMT-0500", "UTC", "GMT-0500"),
        ("%+", "", "%+"),
    ],
)
def test_a_zone_that_would_be_skipped_is_refused(form: str, zone: str, seen: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"its {seen!r} would be skipped")) as told:
        Files(path="x.csv", time="at", time_format=form, zone=zone)
    assert "%z" in str(told.value) and "no time_format" in str(told.value)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown time zone 'Mars'"):
        Files(path="x.csv", zone="Mars")


# Speed.


def test_a_year_of_hours_is_read_within_a_second(tmp_path: Path) -> None:
    start = datetime(2013, 1, 1, 5, tzinfo=UTC)
    hours = pl.Series("at", [start + timedelta(hours=n // 3) for n in range(26_000)])
    frame = pl.DataFrame({"at": hours.dt.strftime("%Y-%m-%dT%H:%M:%SZ"), "x": range(26_000)})
    frame.write_csv(tmp_path / "a.csv")
    read(tmp_path / "a.csv", zone=NEW_YORK)  # imports
    began = time.process_time()
    rows = read(tmp_path / "a.csv", zone=NEW_YORK)
    assert len(rows) == 26_000 and time.process_time() - began < 1
