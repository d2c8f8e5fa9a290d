from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.errors import ConfigError
from ml.core.names import CANARY, CHAMPION
from ml.core.release import Release, first_champion, in_force_at, opponent_of, start_canary

JUNE, JULY, AUGUST = (datetime(2013, month, 1, 4, tzinfo=UTC) for month in (6, 7, 8))
FIRST = first_champion("toy", 1, JUNE)
SECOND = start_canary(FIRST, 2, JULY, weight_bp=1000)
THIRD = start_canary(SECOND, 3, AUGUST, weight_bp=2500)
ALL = (FIRST, SECOND, THIRD)

releases = st.builds(
    Release,
    slug=st.from_regex(r"[a-z][a-z0-9]{0,39}", fullmatch=True),
    revision=st.integers(1, 10**6),
    in_force_from=st.datetimes(timezones=st.just(UTC)),
    champion=st.integers(1, 10**6),
    canary=st.none() | st.integers(1, 10**6),
    canary_weight_bp=st.integers(0, 10_000),
    salt=st.text(max_size=60),
    previous=st.none() | st.integers(1, 10**6),
)


@given(releases)
def test_json_round_trips_and_fits_a_registry_tag(release: Release) -> None:
    text = release.to_json()
    assert Release.from_json(text) == release
    assert len(text) < 2000
    assert Release.from_json(text).to_json() == text, "canonical"


def test_the_first_champion_takes_everything() -> None:
    assert (FIRST.revision, FIRST.champion, FIRST.canary) == (1, 1, None)
    assert (FIRST.traffic_pct(1), FIRST.traffic_pct(2)) == (100.0, 0.0)
    assert {FIRST.assign(str(n)) for n in range(200)} == {CHAMPION}


def test_a_canary_takes_its_share_and_the_champion_stays() -> None:
    assert (SECOND.revision, SECOND.champion, SECOND.canary) == (2, 1, 2)
    assert (SECOND.traffic_pct(1), SECOND.traffic_pct(2)) == (90.0, 10.0)
    assert {SECOND.assign(str(n)) for n in range(200)} == {CHAMPION, CANARY}


def test_a_new_canary_replaces_the_undecided_one_with_a_new_cohort() -> None:
    assert (THIRD.revision, THIRD.champion, THIRD.canary) == (3, 1, 3)
    assert THIRD.traffic_pct(2) == 0.0
    assert len({release.salt for release in ALL}) == 3


def test_a_release_is_never_changed_in_place() -> None:
    assert (FIRST.canary, FIRST.revision) == (None, 1)


def test_the_champion_cannot_be_its_own_canary() -> None:
    with pytest.raises(ConfigError, match="version 1 is the champion"):
        start_canary(SECOND, 1, AUGUST, weight_bp=1000)


def test_data_time_does_not_run_backwards() -> None:
    with pytest.raises(ConfigError, match="not before the current one") as caught:
        start_canary(SECOND, 3, JULY - timedelta(seconds=1), weight_bp=1000)
    assert "2013-07-01" in str(caught.value)


def test_two_releases_may_begin_at_the_same_time() -> None:
    assert start_canary(SECOND, 3, JULY, weight_bp=1000).in_force_from == JULY


@pytest.mark.parametrize(
    ("time", "revision"),
    [
        (JUNE - timedelta(seconds=1), None),
        (JUNE, 1),
        (JULY - timedelta(microseconds=1), 1),
        (JULY, 2),
        (AUGUST + timedelta(days=400), 3),
    ],
)
def test_a_time_is_answered_by_the_release_that_was_in_force(
    time: datetime, revision: int | None
) -> None:
    for order in (ALL, ALL[::-1]):
        found = in_force_at(order, time)
        assert (found.revision if found else None) == revision


def test_of_two_releases_of_one_instant_the_later_revision_answers() -> None:
    again = start_canary(SECOND, 3, JULY, weight_bp=1000)
    assert in_force_at([again, SECOND, FIRST], JULY) == again


def test_nothing_was_ever_released() -> None:
    assert in_force_at([], JUNE) is None and opponent_of([], 1) is None


@pytest.mark.parametrize(("version", "opponent"), [(1, None), (2, 1), (3, 2), (4, 3)])
def test_a_version_is_compared_with_what_it_replaced(version: int, opponent: int | None) -> None:
    """Also after it was released itself: validating again gives the same verdict."""
    for order in (ALL, ALL[::-1]):
        found = opponent_of(order, version)
        assert (found.revision if found else None) == opponent
