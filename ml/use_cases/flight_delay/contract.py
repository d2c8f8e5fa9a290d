"""What the tables must look like to enter the lake; rows that do not go to the quarantine.

Right, however odd they look: cancelled flights without any time, diverted flights without an
arrival, departures and arrivals at 24:00, and the hour that New York has twice in November.
A rule over several tables or rows is not for a contract: it is a test of a dbt model.
"""

from __future__ import annotations

import dataframely as dy
import polars as pl

from ml.use_cases.contracts import Contract

NEW_YORK = ("EWR", "JFK", "LGA")
_CARRIER = r"^[A-Z0-9]{2}$"
_AIRPORT = r"^[A-Z0-9]{3}$"
_TAIL_NUMBER = r"^N[0-9][0-9A-Z]{1,4}$"


class Flights(dy.Schema):
    """One row per scheduled flight, as the source gives it; clock times are local."""

    year = dy.Int64(primary_key=True)
    month = dy.Int64(primary_key=True, min=1, max=12)
    day = dy.Int64(primary_key=True, min=1, max=31)
    dep_time = dy.Int64(nullable=True, min=1, max=2400)
    sched_dep_time = dy.Int64(nullable=False, min=0, max=2359)
    dep_delay = dy.Int64(nullable=True, min=-120, max=2880)
    arr_time = dy.Int64(nullable=True, min=1, max=2400)
    sched_arr_time = dy.Int64(nullable=False, min=0, max=2359)
    arr_delay = dy.Int64(nullable=True, min=-180, max=2880)
    carrier = dy.String(primary_key=True, regex=_CARRIER)
    flight = dy.Int64(primary_key=True, min=1)
    tailnum = dy.String(nullable=True)
    origin = dy.String(primary_key=True)
    dest = dy.String(nullable=False, regex=_AIRPORT)
    air_time = dy.Int64(nullable=True, min=1)
    distance = dy.Int64(nullable=False, min=1, max=10_000)
    hour = dy.Int64(nullable=False, min=0, max=23)
    minute = dy.Int64(nullable=False, min=0, max=59)
    time_hour = dy.Datetime(nullable=False, time_zone="UTC", time_unit="ms")

    @dy.rule()
    def origin_is_in_new_york(cls) -> pl.Expr:
        return pl.col("origin").is_in(NEW_YORK)

    @dy.rule()
    def leaves_new_york(cls) -> pl.Expr:
        return ~pl.col("dest").is_in(NEW_YORK)

    @dy.rule()
    def arrived_only_if_departed(cls) -> pl.Expr:
        return pl.col("arr_delay").is_null() | pl.col("dep_delay").is_not_null()


class Weather(dy.Schema):
    """One row per airport and hour, observed within the hour."""

    origin = dy.String(primary_key=True)
    year = dy.Int64(nullable=False)
    month = dy.Int64(nullable=False, min=1, max=12)
    day = dy.Int64(nullable=False, min=1, max=31)
    hour = dy.Int64(nullable=False, min=0, max=23)
    temp = dy.Float64(nullable=True, min=-60, max=130)
    dewp = dy.Float64(nullable=True, min=-80, max=100)
    humid = dy.Float64(nullable=True, min=0, max=100)
    wind_dir = dy.Int64(nullable=True, min=0, max=360)
    wind_speed = dy.Float64(nullable=True, min=0)
    wind_gust = dy.Float64(nullable=True, min=0, max=250)
    precip = dy.Float64(nullable=True, min=0, max=20)
    pressure = dy.Float64(nullable=True, min=850, max=1100)
    visib = dy.Float64(nullable=True, min=0, max=100)
    time_hour = dy.Datetime(primary_key=True, time_zone="UTC", time_unit="ms")

    @dy.rule()
    def origin_is_in_new_york(cls) -> pl.Expr:
        return pl.col("origin").is_in(NEW_YORK)


class Planes(dy.Schema):
    """One row per tail number, as registered when the source was made."""

    tailnum = dy.String(primary_key=True, regex=_TAIL_NUMBER)
    year = dy.Int64(nullable=True, min=1900, max=2100)
    type = dy.String(nullable=False)
    manufacturer = dy.String(nullable=False)
    model = dy.String(nullable=False)
    engines = dy.Int64(nullable=False, min=1)
    # Fewer are private aircraft that got an airliner's tail number later.
    seats = dy.Int64(nullable=False, min=10)
    speed = dy.Int64(nullable=True, min=1)
    engine = dy.String(nullable=False)


class Airports(dy.Schema):
    """One row per airport."""

    faa = dy.String(primary_key=True, regex=_AIRPORT)
    name = dy.String(nullable=False)
    lat = dy.Float64(nullable=False, min=-90, max=90)
    lon = dy.Float64(nullable=False, min=-180, max=180)
    alt = dy.Int64(nullable=False)
    tz = dy.Int64(nullable=False, min=-12, max=14)
    dst = dy.String(nullable=False)
    tzone = dy.String(nullable=True)


class Airlines(dy.Schema):
    """One row per carrier."""

    carrier = dy.String(primary_key=True, regex=_CARRIER)
    name = dy.String(nullable=False)


_DEPARTED = pl.col("time_hour") + pl.duration(minutes=pl.col("minute") + pl.col("dep_delay"))
_LANDED = _DEPARTED + pl.duration(minutes=pl.col("air_time"))  # and at the gate a little later
_OBSERVED = pl.col("time_hour") + pl.duration(hours=1)

CONTRACTS = {
    "flights": Contract(
        rows=Flights,
        # The row is the schedule, published long before; what became of the flight comes later.
        known_at=pl.col("time_hour") - pl.duration(days=3),
        cells_known_at=dict.fromkeys(("dep_time", "dep_delay"), _DEPARTED)
        | dict.fromkeys(("arr_time", "arr_delay", "air_time"), _LANDED),
        flags={
            "departed_over_1000_min_late": pl.col("dep_delay") > 1000,
            "faster_than_650_mph": pl.col("distance") * 60 > pl.col("air_time") * 650,
            "malformed_tail_number": ~pl.col("tailnum").str.contains(_TAIL_NUMBER),
        },
    ),
    "weather": Contract(
        rows=Weather,
        known_at=_OBSERVED,
        # A bad sensor is no reason to lose the hour's other values.
        cells={"wind_speed_over_150_mph": ("wind_speed", pl.col("wind_speed") > 150)},
        flags={
            "no_observation": pl.all_horizontal(pl.col("temp", "dewp", "humid").is_null()),
        },
    ),
    "planes": Contract(rows=Planes),
    "airports": Contract(
        rows=Airports,
        # Two airports in the United States stand in a zone of China.
        flags={
            "no_usable_time_zone": ~pl.col("tzone")
            .str.contains("^(America|Pacific)/")
            .fill_null(False),
        },
    ),
    "airlines": Contract(rows=Airlines),
}
