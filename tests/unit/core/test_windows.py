from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.errors import ConfigError
from ml.core.partitions import Cadence, Partitions
from ml.core.windows import Windows, training_windows

DAYS = Partitions(Cadence.DAY, "America/New_York")


def cut(as_of: datetime, *, maturity_h: float = 8, select: int = 7, holdout: int = 14) -> Windows:
    return training_windows(
        DAYS,
        first="2013-01-01",
        as_of=as_of,
        label_maturity=timedelta(hours=maturity_h),
        select=select,
        holdout=holdout,
    )


@given(
    st.integers(1370000000, 1388000000),
    st.floats(0, 100),
    st.integers(1, 20),
    st.integers(7, 40),
)
def test_windows_are_closed_adjacent_and_in_order(
    second: int, maturity_h: float, select: int, holdout: int
) -> None:
    as_of = datetime.fromtimestamp(second, UTC)
    windows = cut(as_of, maturity_h=maturity_h, select=select, holdout=holdout)
    everything = [*windows.fit, *windows.select, *windows.holdout]
    for earlier, later in pairwise(everything):
        assert earlier.end == later.start
    assert everything[0].key == "2013-01-01"
    assert (len(windows.select), len(windows.holdout)) == (select, holdout)
    assert len(windows.fit) >= holdout
    maturity = timedelta(hours=maturity_h)
    newest = everything[-1]
    assert newest.end + maturity <= as_of, "every label is closed"
    assert DAYS.after(newest).end + maturity > as_of, "and no closed partition is left out"


def test_a_partition_whose_labels_close_exactly_now_is_used() -> None:
    day = DAYS.parse("2013-06-01")
    assert cut(day.end + timedelta(hours=8)).holdout[-1] == day
    earlier = cut(day.end + timedelta(hours=8) - timedelta(seconds=1))
    assert earlier.holdout[-1] == DAYS.before(day)


def test_too_little_data_says_how_much_there_is_and_how_much_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"only 9 partitions.*\n.*at least 35"):
        cut(datetime(2013, 1, 11, 4, tzinfo=UTC))


def test_a_time_before_all_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="only 0 partitions"):
        cut(datetime(2012, 1, 11, tzinfo=UTC))


@pytest.mark.parametrize("closed", [34, 35])
def test_there_is_as_much_to_fit_as_to_hold_out(closed: int) -> None:
    as_of = DAYS.between("2013-01-01", "2013-03-01")[closed - 1].end
    if closed < 35:
        with pytest.raises(ConfigError):
            cut(as_of, maturity_h=0)
    else:
        assert len(cut(as_of, maturity_h=0).fit) == 14
