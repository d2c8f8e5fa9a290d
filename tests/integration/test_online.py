"""The online store: what it holds after any story, and what it may say of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support import ROOT
from toy_features import (
    ALL,
    DAY,
    DAY_BEFORE,
    DEFINITIONS,
    OLD_DAY,
    T0,
    Toy,
    entities,
    hours,
    one,
    two_days,
)

from ml.adapters.features import FeastFeatures
from ml.core.errors import ConfigError, DataError
from ml.core.online import OnlineStatus

pytestmark = pytest.mark.xdist_group("toy")

FRESH, EXPIRED, FUTURE, MISSING, UNKNOWN = OnlineStatus
SECOND = timedelta(seconds=1)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    return two_days(tmp_path, monkeypatch)


# --- what may be used ---


def test_each_view_says_whether_its_row_may_be_used(toy: Toy) -> None:
    found = toy.materialize(DAY).online(ALL, T0)
    assert found.status["ticks"].tolist() == [FRESH, FRESH, MISSING, FRESH, UNKNOWN, UNKNOWN]
    assert found.status["routes"].tolist() == [FRESH, FRESH, UNKNOWN, MISSING, UNKNOWN, UNKNOWN]
    assert found.status["numbers"].tolist() == [FRESH, FRESH, UNKNOWN, UNKNOWN, FRESH, UNKNOWN]
    expected = {
        "ticks__count": [3, 4, None, 3, None, None],
        "ticks__delay": [3.5, None, None, 3.5, None, None],
        "routes__share": [0.25, 0.5, None, None, None, None],
        "numbers__count": [12, 11, None, None, 13, None],
    }
    pd.testing.assert_frame_equal(found.values, pd.DataFrame(expected, dtype="float64"))


@pytest.mark.parametrize(
    ("at", "status"),
    [
        (hours(-0.5) - SECOND, FUTURE),
        (hours(-0.5), FRESH),
        (hours(1.5), FRESH),
        (hours(1.5) + SECOND, EXPIRED),
        (hours(1000), EXPIRED),
        (hours(-1000), FUTURE),
    ],
)
def test_a_row_counts_from_its_event_to_the_end_of_its_time_to_live(
    toy: Toy, at: datetime, status: OnlineStatus
) -> None:
    found = one(toy.materialize(DAY), ("JFK",), at)
    assert found["ticks"] == status
    assert found["ticks__count"] == (3 if status == FRESH else None)


def test_columns_and_rows_come_as_they_were_asked_for(toy: Toy) -> None:
    features = toy.materialize(DAY)
    asked = ALL.sample(frac=1, random_state=3)[["number", "carrier", "destination", "origin"]]
    found = features.online(asked.assign(ignored=1), T0)
    assert tuple(found.values.columns) == features.columns
    assert list(found.status.columns) == ["ticks", "routes", "numbers"]
    pd.testing.assert_frame_equal(found.values, features.online(ALL, T0).values.loc[asked.index])
    pd.testing.assert_frame_equal(found.status, features.online(ALL, T0).status.loc[asked.index])


def test_a_batch_is_its_single_questions(toy: Toy) -> None:
    features = toy.materialize(DAY)
    batch = features.online(pd.concat([ALL, ALL]), T0)
    single = [features.online(ALL.iloc[[i % 6]], T0) for i in range(12)]
    pd.testing.assert_frame_equal(batch.values, pd.concat([s.values for s in single]))
    pd.testing.assert_frame_equal(batch.status, pd.concat([s.status for s in single]))


def test_no_questions_have_no_answers(toy: Toy) -> None:
    features = toy.materialize(DAY)
    found = features.online(ALL.iloc[:0], T0)
    assert found.values.shape == (0, 4) and found.status.shape == (0, 3)
    assert tuple(found.values.columns) == features.columns
    past = features.historical(ALL.iloc[:0].assign(at=pd.Series(dtype="datetime64[us, UTC]")), "at")
    assert past.shape == (0, 10) and (past[list(features.columns)].dtypes == "float64").all()


@pytest.mark.parametrize(
    "bad",
    [
        (None, None, None, None),
        (7, b"BOS", 1.5, "1"),
        (float("nan"), pd.NA, pd.NaT, float("nan")),
        ("\ud800", ["BOS"], {}, 2**70),
        (True, object(), (), True),
        ("", "", "", 1.5),
        ("jfk", "bos", "aa", float("inf")),
    ],
    ids=["none", "others", "missing", "odd", "objects", "empty", "lower case"],
)
def test_what_cannot_be_a_key_is_unknown_and_leaves_the_others(
    toy: Toy, bad: tuple[Any, ...]
) -> None:
    features = toy.materialize(DAY)
    found = features.online(entities(*ALL.itertuples(index=False), bad), T0)
    assert set(found.status.iloc[-1]) == {UNKNOWN} and found.values.iloc[-1].isna().all()
    alone = features.online(ALL, T0)
    pd.testing.assert_frame_equal(found.values.iloc[:-1], alone.values)
    pd.testing.assert_frame_equal(found.status.iloc[:-1], alone.status)


@pytest.mark.parametrize("number", [1, 1.0, np.int32(1), np.float64(1)])
def test_a_number_is_a_key_in_any_of_its_types(toy: Toy, number: Any) -> None:
    assert one(toy.materialize(DAY), ("JFK", "BOS", "AA", number))["numbers__count"] == 12


def test_a_missing_key_column_or_a_time_without_zone_is_refused(toy: Toy) -> None:
    features = toy.materialize(DAY)
    with pytest.raises(ConfigError, match="no column number"):
        features.online(ALL.drop(columns="number"), T0)
    with pytest.raises(ConfigError, match="no zone"):
        features.online(ALL, T0.replace(tzinfo=None))


def test_before_the_first_materialization_there_is_a_repair(toy: Toy) -> None:
    with pytest.raises(DataError, match="flightline materialize"):
        toy.features().online(ALL, T0)
    features = toy.features()
    features.apply()
    assert set(features.online(ALL, T0).status.to_numpy().ravel()) == {UNKNOWN}
    toy.change("share=Float64", "share=Float64, count=Int64")
    with pytest.raises(DataError, match="flightline materialize"):
        toy.features().online(ALL, T0)


def test_online_is_offline_at_the_newest_watermark(toy: Toy) -> None:
    """What is older than its time to live is missing in both."""
    features = toy.materialize(DAY_BEFORE, DAY)
    online = features.online(ALL, T0).values
    offline = features.historical(ALL.assign(at=T0), "at")[list(features.columns)]
    pd.testing.assert_frame_equal(online, offline)
    assert online.notna().sum().sum() == 10


def test_a_correction_that_came_later_is_online_and_not_yet_in_the_past(toy: Toy) -> None:
    toy.export(
        "ticks", DAY, [("JFK", 3, 3.5, hours(-0.5)), ("JFK", 30, 3.5, hours(-0.5), hours(9))]
    )
    features = toy.materialize(DAY)
    assert one(features, ("JFK",))["ticks__count"] == 30
    events = ALL.assign(at=[T0, *[hours(9)] * 5])
    assert features.historical(events, "at")["ticks__count"][0] == 3


# --- stories ---


def test_an_old_day_run_again_leaves_newer_values(toy: Toy) -> None:
    toy.export("ticks", OLD_DAY, [("JFK", 100, 0.0, hours(-200))])
    before = toy.materialize(DAY).online(ALL, T0)
    for key in (OLD_DAY, DAY_BEFORE, DAY):
        after = toy.materialize(key).online(ALL, T0)
        pd.testing.assert_frame_equal(after.values, before.values)
        pd.testing.assert_frame_equal(after.status, before.status)


def test_a_correction_of_an_old_day_with_the_same_event_time_arrives(toy: Toy) -> None:
    toy.materialize(DAY)
    toy.export(
        "routes",
        DAY_BEFORE,
        [("JFK", "BOS", 0.25, hours(-39)), ("JFK", "BOS", 0.75, hours(-39), hours(50))],
    )
    assert one(toy.materialize(DAY_BEFORE), ("JFK", "BOS"))["routes__share"] == 0.75


def test_a_late_row_arrives_and_an_overtaken_one_does_not(toy: Toy) -> None:
    toy.materialize(DAY)
    late = [("SFO", "BOS", 0.125, hours(-30)), ("LGA", "BOS", 0.875, hours(-30))]
    toy.export("routes", DAY_BEFORE, [("JFK", "BOS", 0.25, hours(-39)), *late])
    features = toy.materialize(DAY_BEFORE)
    assert one(features, ("SFO", "BOS"))["routes__share"] == 0.125
    assert one(features, ("LGA", "BOS"))["routes__share"] == 0.5


def test_a_feature_that_is_added_is_filled_back_over_its_time_to_live(toy: Toy) -> None:
    """Also for keys whose last row came before the run; whichever day that is of."""
    toy.materialize(DAY_BEFORE, DAY)
    toy.change("share=Float64", "share=Float64, count=Int64")
    toy.features()  # definitions that were only looked at change nothing
    toy.export("routes", DAY_BEFORE, [("JFK", "BOS", 0.25, 7, hours(-39))], "count")
    toy.export("routes", DAY, [("LGA", "BOS", 0.5, 8, hours(-15))], "count")
    toy.export("ticks", OLD_DAY, [])
    features = toy.features()
    features.historical(ALL.assign(at=T0), "at")  # registers the new definitions
    assert np.isnan(features.online(ALL, T0).values["routes__count"][0])
    toy.materialize(OLD_DAY)
    found = toy.materialize(OLD_DAY).online(ALL, T0).values
    assert found["routes__count"].tolist()[:2] == [7, 8]
    assert found["routes__share"].tolist()[:2] == [0.25, 0.5]


def test_a_view_that_is_added_is_filled_back_to_the_newest_watermark(toy: Toy) -> None:
    toy.materialize(DAY_BEFORE, DAY)
    toy.change("toy_v1 =", 'fresh = view("fresh", [origin], 72, level=Float64)\n\ntoy_v1 =')
    toy.change("routes, numbers]", "routes, numbers, fresh]")
    rows = [("JFK", 1.0, hours(-70)), ("LGA", 2.0, hours(-73)), ("LGA", 3.0, hours(1))]
    toy.export("fresh", DAY_BEFORE, rows, "level", level=pa.float64())
    features = toy.materialize(OLD_DAY)
    assert one(features, ("JFK",))["fresh__level"] == 1.0
    assert one(features, ("LGA",))["fresh"] == UNKNOWN, (
        "older than it lives, or after the watermark"
    )


def test_a_removed_feature_does_not_make_its_keys_old(toy: Toy) -> None:
    """Its rows stay, with their old time; Feast's own store lends it to the whole key."""
    toy.change("delay=Float64)", "delay=Float64, zeal=Int64)")
    toy.change("[ticks, routes", '[ticks[["count", "delay"]], routes')
    toy.export("ticks", DAY_BEFORE, [("JFK", 1, 1.5, 5, hours(-26))], "zeal", zeal=pa.int64())
    toy.path("ticks", DAY).unlink()
    toy.materialize(DAY_BEFORE)
    toy.change(", zeal=Int64", "")
    toy.export("ticks", DAY, [("JFK", 3, 3.5, hours(-0.5))])
    found = one(toy.materialize(DAY), ("JFK",))
    assert (found["ticks"], found["ticks__count"]) == (FRESH, 3)


def test_two_homes_in_one_process_have_their_own_watermarks(toy: Toy, tmp_path: Path) -> None:
    """Feast's `apply` writes a registry's watermarks into the definitions that it is given."""
    first = toy.materialize(DAY)
    first.apply()
    toy.home = tmp_path / "other"
    toy.define(DEFINITIONS)
    for view, row in (
        ("ticks", ("JFK", 1, 1.5)),
        ("routes", ("JFK", "BOS", 0.5)),
        ("numbers", ("AA", 1, 1)),
    ):
        toy.export(view, OLD_DAY, [(*row, hours(-192.5))])
    other = FeastFeatures(first.spec, first.settings.model_copy(update={"home": toy.home}))
    other.apply()
    other.materialize(toy.partitions(OLD_DAY))
    marks = {end for _, end in other._store.get_feature_view("ticks").materialization_intervals}
    assert {mark.isoformat()[:10] for mark in marks} == {"2020-03-02"}


# --- kill ---

DIES = """
import os, signal, sys
from pathlib import Path
from toy_features import Toy
from ml.adapters.online_store import ExactSqliteOnlineStore

write, batches = ExactSqliteOnlineStore.online_write_batch, []

def write_or_die(self, *args, **kwargs):
    batches.append(1)
    if len(batches) > int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, *args, **kwargs)

ExactSqliteOnlineStore.online_write_batch = write_or_die
Toy(Path(sys.argv[1])).materialize("2020-03-09")
"""


@pytest.mark.parametrize(("batches", "dead"), [(1, "numbers"), (4, "ticks")])
def test_a_kill_between_two_batches_moves_no_watermark_and_a_rerun_mends(
    toy: Toy, tmp_path: Path, batches: int, dead: str
) -> None:
    before = toy.materialize(DAY_BEFORE)._store.get_feature_view(dead).materialization_intervals
    many = [("AA", number, number + 5000, hours(-15)) for number in range(2500)]
    toy.export("numbers", DAY, many)
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    killed = subprocess.run(
        [sys.executable, "-c", DIES, str(tmp_path), str(batches)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    features = toy.features()
    assert features._store.get_feature_view(dead).materialization_intervals == before
    assert one(features, ("LGA", "BOS", "AA", 11))["numbers__count"] in (11, 5011), (
        "it still serves"
    )
    features = toy.materialize(DAY)
    asked = entities(*(("LGA", "BOS", "AA", number) for number in range(2500)))
    found = features.online(asked, T0).values
    assert found["numbers__count"].tolist() == [number + 5000 for number in range(2500)]
