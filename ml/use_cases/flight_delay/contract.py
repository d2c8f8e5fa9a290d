"""What a flight must look like to enter the lake; rows that do not go to the quarantine.

Cancelled and diverted flights, arrivals at 24:00 and the repeated hour in November are right.
"""

from __future__ import annotations

import dataframely as dy
import polars as pl

NEW_YORK = ("EWR", "JFK", "LGA")


class Flights(dy.Schema):
    """One row per scheduled flight, as the source gives it."""

    year = dy.Int64(primary_key=True)
    month = dy.Int64(primary_key=True, min=1, max=12)
    day = dy.Int64(primary_key=True, min=1, max=31)
    carrier = dy.String(primary_key=True, regex=r"^[A-Z0-9]{2}$")
    flight = dy.Int64(primary_key=True, min=1)
    origin = dy.String(primary_key=True)
    dest = dy.String(nullable=False, regex=r"^[A-Z]{3}$")
    time_hour = dy.Datetime(nullable=False, time_zone="UTC", time_unit="ms")
    hour = dy.Int64(nullable=False, min=0, max=23)
    minute = dy.Int64(nullable=False, min=0, max=59)
    distance = dy.Int64(nullable=False, min=1, max=10_000)
    sched_dep_time = dy.Int64(nullable=False, min=0, max=2359)
    sched_arr_time = dy.Int64(nullable=False, min=0, max=2359)
    dep_time = dy.Int64(nullable=True, min=1, max=2400)
    arr_time = dy.Int64(nullable=True, min=1, max=2400)
    dep_delay = dy.Int64(nullable=True, min=-120, max=2880)
    arr_delay = dy.Int64(nullable=True, min=-180, max=2880)
    air_time = dy.Int64(nullable=True, min=1)
    tailnum = dy.String(nullable=True)
    partition_key = dy.String(nullable=False)

    @dy.rule()
    def origin_is_in_new_york(cls) -> pl.Expr:
        return pl.col("origin").is_in(NEW_YORK)

    @dy.rule()
    def leaves_new_york(cls) -> pl.Expr:
        return ~pl.col("dest").is_in(NEW_YORK)

    @dy.rule()
    def arrived_only_if_departed(cls) -> pl.Expr:
        return pl.col("arr_delay").is_null() | pl.col("dep_delay").is_not_null()


CONTRACTS = {"flights": Flights}
