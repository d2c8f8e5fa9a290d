"""Every feature of a flight, recomputed from the raw files with NumPy: no dbt SQL, no Feast.

Each rule is stated once more, in other words than in the models: what had happened, and was known,
at the newest tick before the decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from ml.core.ports import Platform

HOUR, MINUTE, DAY = (pd.Timedelta(1, unit) for unit in ("h", "min", "D"))
ZONES = {"BQN": "America/Puerto_Rico", "SJU": "America/Puerto_Rico"}
ZONES |= {"PSE": "America/Puerto_Rico", "STT": "America/St_Thomas"}
HOLIDAYS = ["01-01", "01-21", "02-18", "05-27", "07-04"]
HOLIDAYS += ["09-02", "10-14", "11-11", "11-28", "12-25"]
HOLIDAY_DATES = pd.to_datetime([f"2013-{day}" for day in HOLIDAYS] + ["2014-01-01"])
PRIOR_FLIGHTS = {"route_arrivals": 30, "flight_number_arrivals": 10, "carrier_hour_arrivals": 50}


@dataclass(frozen=True)
class Expected:
    """What a view must say of a flight: its keys, the time of its row, and all of its columns."""

    view: str
    keys: dict[str, Any]
    event_at: pd.Timestamp
    values: dict[str, float]


class Oracle:
    """Raw flights and weather of a lake, with the times that count."""

    def __init__(self, platform: Platform) -> None:
        flights = platform.lake.read("raw", "flights").to_pandas()
        airports = platform.lake.read("raw", "airports", [None]).to_pandas()
        zones = dict(zip(airports["faa"], airports["tzone"], strict=True)) | ZONES
        self.flights = with_times(flights, zones)
        self.weather = with_windows(platform.lake.read("raw", "weather").to_pandas())
        self._groups: dict[tuple[str, ...], dict[Any, pd.DataFrame]] = {}

    def of(self, flight_id: str) -> pd.Series:
        return self.flights.loc[flight_id]

    def _where(self, row: pd.Series, *names: str) -> pd.DataFrame:
        if names not in self._groups:
            groups = self.flights.groupby(list(names))
            self._groups[names] = dict(iter(groups))
        return self._groups[names][tuple(row[name] for name in names)]

    def expect(self, row: pd.Series) -> Iterator[Expected]:
        """All views of one flight, as of its decision two hours before the schedule."""
        yield from self._states(row)
        yield from self._histories(row)
        if weather := self._weather(row):
            yield weather
        yield self._schedule(row)

    def _states(self, row: pd.Series) -> Iterator[Expected]:
        tick = row["decided_at"].floor("15min")
        here, carrier = (self._where(row, *names) for names in (["origin"], ["origin", "carrier"]))
        there = self._where(row, "destination")
        yield Expected(
            "origin_departures",
            {"origin": row["origin"]},
            tick,
            window(here, "departed_at", "dep_delay", tick, (1, 2, 6), "departure"),
        )
        yield Expected("origin_overdue", {"origin": row["origin"]}, tick, overdue(here, tick))
        yield Expected(
            "carrier_departures",
            {"origin": row["origin"], "carrier": row["carrier"]},
            tick,
            window(carrier, "departed_at", "dep_delay", tick, (2, 6, 24), "departure"),
        )
        yield Expected(
            "destination_arrivals",
            {"destination": row["destination"]},
            tick,
            window(there, "arrived_at", "arr_delay", tick, (3, 12), "arrival"),
        )

    def _histories(self, row: pd.Series) -> Iterator[Expected]:
        decided_at = row["decided_at"]
        newest = (decided_at - 9 * HOUR).floor("D") + 9 * HOUR
        keys = {
            "route_arrivals": ("origin", "destination"),
            "flight_number_arrivals": ("carrier", "flight_number"),
            "carrier_hour_arrivals": ("carrier", "scheduled_hour"),
        }
        for view, names in keys.items():
            for snapshot in (newest - n * DAY for n in range(4)):
                if snapshot < decided_at - 3 * DAY:
                    break  # older than the view's time to live
                if values := self._history(row, view, names, snapshot):
                    yield Expected(view, {name: row[name] for name in names}, snapshot, values)
                    break

    def _history(
        self, row: pd.Series, view: str, names: tuple[str, ...], snapshot: pd.Timestamp
    ) -> dict[str, float]:
        def delays(rows: pd.DataFrame) -> np.ndarray:
            arrived = rows["arrived_at"]
            found = rows.loc[(arrived > snapshot - 28 * DAY) & (arrived <= snapshot), "arr_delay"]
            return found.to_numpy()

        mine = delays(self._where(row, *names))
        if not len(mine):
            return {}
        share = (delays(self.flights) >= 15).mean()
        prior = PRIOR_FLIGHTS[view]
        return {
            "arrival_count_28d": len(mine),
            "arrival_delay_mean_28d_min": mine.mean(),
            "arrival_late_share_28d": ((mine >= 15).sum() + prior * share) / (len(mine) + prior),
        }

    def _weather(self, row: pd.Series) -> Expected | None:
        known = self.weather[self.weather["origin"] == row["origin"]]
        at = known["available_at"]
        known = known[(at <= row["decided_at"]) & (at >= row["decided_at"] - 4 * HOUR)]
        if known.empty:
            return None
        newest = known.loc[known["available_at"].idxmax()]
        values = newest.drop(["origin", "available_at"]).astype(float).to_dict()
        return Expected("origin_weather", {"origin": row["origin"]}, newest["available_at"], values)

    def _schedule(self, row: pd.Series) -> Expected:
        day = self._where(row, "origin", "partition_key")
        apart = (day["scheduled_at"] - row["scheduled_at"]) / MINUTE
        date = pd.Timestamp(row["partition_key"])
        values = {
            "scheduled_minute": row["scheduled_minute"],
            "scheduled_hour": row["scheduled_hour"],
            "day_of_week": date.isoweekday(),
            "distance_miles": row["distance"],
            "scheduled_block_min": (row["scheduled_arrival_at"] - row["scheduled_at"]) / MINUTE,
            "scheduled_count_prev_60min": ((apart >= -60) & (apart <= -1)).sum(),
            "scheduled_count_near_15min": (apart.abs() <= 15).sum(),
            "scheduled_count_next_60min": ((apart >= 0) & (apart <= 60)).sum(),
            "scheduled_count_day": len(day),
            "scheduled_count_day_carrier": (day["carrier"] == row["carrier"]).sum(),
            "days_to_holiday": abs((HOLIDAY_DATES - date) / DAY).min(),
        }
        published = row["scheduled_at"] - 36 * HOUR
        return Expected("flight_schedule", {"flight_id": row.name}, published, values)


def with_times(rows: pd.DataFrame, zones: dict[str, str]) -> pd.DataFrame:
    """Raw flights by flight id, with schedule, departure and arrival in UTC."""
    found = rows.rename(columns={"dest": "destination", "flight": "flight_number"})
    found["scheduled_hour"] = rows["hour"]
    found["scheduled_minute"] = rows["hour"] * 60 + rows["minute"]
    found["scheduled_at"] = rows["time_hour"] + pd.to_timedelta(rows["minute"], unit="min")
    found["decided_at"] = found["scheduled_at"] - 2 * HOUR
    found["departed_at"] = found["scheduled_at"] + pd.to_timedelta(rows["dep_delay"], unit="min")
    clock = rows["sched_arr_time"]
    time = pd.to_timedelta(clock // 100 * 60 + clock % 100, unit="min")
    for zone, some in found.groupby(rows["dest"].map(zones)):
        found.loc[some.index, "scheduled_arrival_at"] = first_after(
            some["scheduled_at"], time[some.index], str(zone)
        )
    found["arrived_at"] = found["scheduled_arrival_at"] + pd.to_timedelta(
        rows["arr_delay"], unit="min"
    )
    ids = rows["partition_key"].str.replace("-", "") + "-" + rows["carrier"] + "-"
    return found.set_index(ids + rows["flight"].astype(str) + "-" + rows["origin"])


def first_after(start: pd.Series, time: pd.Series, zone: str) -> pd.Series:
    """The first instant after `start` at which clocks in `zone` show `time`."""
    midnight = start.dt.tz_convert(zone).dt.tz_localize(None).dt.normalize()

    def on(day: pd.Series) -> pd.Series:
        local = (day + time).dt.tz_localize(zone, ambiguous=True, nonexistent=timedelta(hours=1))
        return local.dt.tz_convert("UTC")

    return on(midnight).where(on(midnight) > start, on(midnight + DAY))


def window(
    rows: pd.DataFrame, time: str, delay: str, tick: pd.Timestamp, hours: tuple[int, ...], what: str
) -> dict[str, float]:
    """Count, mean delay and late share of what happened in (tick - w, tick]."""
    values: dict[str, float] = {}
    for width in hours:
        inside = (rows[time] > tick - width * HOUR) & (rows[time] <= tick)
        delays = rows.loc[inside, delay].to_numpy()
        is_some = bool(len(delays))
        values[f"{what}_count_{width}h"] = len(delays)
        values[f"{what}_delay_mean_{width}h_min"] = delays.mean() if is_some else np.nan
        values[f"{what}_late_share_{width}h"] = (delays >= 15).mean() if is_some else np.nan
    return values


def overdue(rows: pd.DataFrame, tick: pd.Timestamp) -> dict[str, float]:
    """Flights that should have left, and those that had not 15 minutes after their time."""
    scheduled = rows["scheduled_at"]
    is_due = (scheduled > tick - 6 * HOUR) & (scheduled <= tick - 15 * MINUTE)
    is_waiting = (scheduled <= tick - 15 * MINUTE) & ~(rows["departed_at"] <= tick)
    values = {"due_count_6h": float(is_due.sum())}
    for width in (2, 6):
        overdue_now = is_waiting & (scheduled > tick - width * HOUR)
        values[f"overdue_count_{width}h"] = float(overdue_now.sum())
    return values


def with_windows(rows: pd.DataFrame) -> pd.DataFrame:
    """Observations with the time at which they were known, an hour after theirs."""
    direction = np.deg2rad(rows["wind_dir"].astype(float))
    found = pd.DataFrame(
        {
            "origin": rows["origin"],
            "available_at": rows["time_hour"] + HOUR,
            "temperature_f": rows["temp"],
            "dew_point_f": rows["dewp"],
            "humidity_pct": rows["humid"],
            "wind_direction_deg": rows["wind_dir"],
            "wind_speed_mph": rows["wind_speed"],
            "wind_gust_mph": rows["wind_gust"].fillna(0),
            "wind_east_mph": -rows["wind_speed"] * np.sin(direction),
            "wind_north_mph": -rows["wind_speed"] * np.cos(direction),
            "precipitation_in": rows["precip"],
            "pressure_mbar": rows["pressure"],
            "visibility_mi": rows["visib"],
        }
    ).sort_values(["origin", "available_at"], ignore_index=True)
    pieces = []
    for _, some in found.groupby("origin"):
        last = some.set_index("available_at")[["precipitation_in", "visibility_mi"]].rolling("6h")
        first = [
            next(iter(some.loc[inside(some, at), "pressure_mbar"].dropna()), np.nan)
            for at in some["available_at"]
        ]
        pieces.append(
            some.assign(
                precipitation_sum_6h_in=last["precipitation_in"].sum().to_numpy(),
                visibility_min_6h_mi=last["visibility_mi"].min().to_numpy(),
                pressure_trend_6h_mbar=some["pressure_mbar"].to_numpy() - np.array(first),
            )
        )
    return pd.concat(pieces)


def inside(rows: pd.DataFrame, at: pd.Timestamp) -> pd.Series:
    return (rows["available_at"] > at - 6 * HOUR) & (rows["available_at"] <= at)
