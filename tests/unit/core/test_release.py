from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.errors import ConfigError
from ml.core.names import CANARY, CHAMPION, PREVIOUS
from ml.core.release import (
    REASON_MAX_LENGTH,
    ROLLED_BACK,
    SUPERSEDED,
    Release,
    Standing,
    crown,
    end_canary,
    first_champion,
    in_force_at,
    is_rollback,
    opponent_of,
    restore,
    standings,
    start_canary,
    step_back,
)
from ml.core.router import key_hash

JUNE, JULY, AUGUST = (datetime(2013, month, 1, 4, tzinfo=UTC) for month in (6, 7, 8))
# Written out, not made by the functions under test.
FIRST = Release("toy", 1, JUNE, champion=1, salt="toy/1")
SECOND = Release("toy", 2, JULY, champion=1, canary=2, canary_weight_bp=1000, salt="toy/2")
THIRD = Release("toy", 3, AUGUST, champion=1, canary=3, canary_weight_bp=2500, salt="toy/3")
CROWNED = Release("toy", 3, AUGUST, champion=2, previous=1, salt="toy/3")
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
    reason=st.text(max_size=REASON_MAX_LENGTH),
)


@given(releases)
def test_json_round_trips_and_fits_a_registry_tag(release: Release) -> None:
    text = release.to_json()
    assert Release.from_json(text) == release
    assert len(text) < 2000
    assert Release.from_json(text).to_json() == text, "canonical"


def test_each_step_makes_the_next_revision() -> None:
    assert first_champion("toy", 1, JUNE) == FIRST
    assert start_canary(FIRST, 2, JULY, weight_bp=1000) == SECOND
    assert start_canary(SECOND, 3, AUGUST, weight_bp=2500) == THIRD
    assert crown(SECOND, AUGUST) == CROWNED
    assert end_canary(SECOND, AUGUST) == replace(
        FIRST, revision=3, in_force_from=AUGUST, salt="toy/3"
    )
    assert restore(CROWNED, AUGUST) == replace(
        FIRST, revision=4, in_force_from=AUGUST, salt="toy/4"
    )


def test_the_first_champion_takes_everything() -> None:
    assert (FIRST.revision, FIRST.champion, FIRST.canary) == (1, 1, None)
    assert (FIRST.traffic_pct(1), FIRST.traffic_pct(2)) == (100.0, 0.0)
    assert {FIRST.assign(str(n)) for n in range(200)} == {CHAMPION}


def test_a_canary_takes_its_share_and_the_champion_stays() -> None:
    assert (SECOND.revision, SECOND.champion, SECOND.canary) == (2, 1, 2)
    assert (SECOND.traffic_pct(1), SECOND.traffic_pct(2)) == (90.0, 10.0)
    assert {SECOND.assign(str(n)) for n in range(200)} == {CHAMPION, CANARY}


def test_a_share_without_a_canary_goes_to_the_champion() -> None:
    """Whatever a record says: nobody would answer."""
    release = replace(FIRST, canary_weight_bp=10_000)
    assert release.assign("any") == CHAMPION
    assert (release.traffic_pct(1), release.traffic_pct(2)) == (100, 0)
    first = next(key for key in map(str, range(100_000)) if _place(key) < 1)
    assert release.assign(first) == CHAMPION, "not even the first in ten thousand"


def _place(key: str) -> float:
    """Where the router puts a key, in basis points."""
    return int(key_hash(key, salt=FIRST.salt), 16) / 2**64 * 10_000


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


def test_a_release_of_before_there_were_reasons_is_the_same_text() -> None:
    """Or publishing it again would look like another release."""
    assert "reason" not in FIRST.to_json()
    assert end_canary(SECOND, AUGUST, reason="slow").to_json().count('"reason": "slow"') == 1


def test_a_canary_is_crowned_and_the_champion_before_is_the_way_back() -> None:
    assert (CROWNED.champion, CROWNED.canary, CROWNED.previous) == (2, None, 1)
    assert (CROWNED.revision, CROWNED.traffic_pct(2), CROWNED.traffic_pct(1)) == (3, 100.0, 0.0)
    assert {CROWNED.assign(str(n)) for n in range(200)} == {CHAMPION}


def test_a_canary_is_withdrawn_and_the_champion_keeps_all() -> None:
    found = end_canary(SECOND, AUGUST, reason="slow")
    assert (found.champion, found.canary, found.previous) == (1, None, None)
    assert (found.revision, found.traffic_pct(1), found.reason) == (3, 100.0, "slow")


def test_the_previous_champion_comes_back_once() -> None:
    found = restore(CROWNED, AUGUST, reason="worse")
    assert (found.champion, found.canary, found.previous) == (1, None, None)
    assert (found.revision, found.salt, found.reason) == (4, "toy/4", "worse")
    with pytest.raises(ConfigError, match="nothing to roll back to: version 1 is the champion"):
        restore(found, AUGUST)


def test_a_reason_belongs_to_one_revision() -> None:
    back = end_canary(SECOND, AUGUST, reason="slow")
    assert start_canary(back, 3, AUGUST, weight_bp=1000).reason == ""


@pytest.mark.parametrize("step", [crown, end_canary])
def test_without_a_canary_there_is_nothing_to_crown_or_withdraw(step: Any) -> None:
    with pytest.raises(ConfigError, match="release 1 has no canary: version 1 takes all"):
        step(FIRST, AUGUST)


@pytest.mark.parametrize("step", [crown, end_canary, step_back])
def test_no_step_reaches_into_the_past(step: Any) -> None:
    with pytest.raises(ConfigError, match="not before the current one"):
        step(SECOND, JUNE)


def test_a_canary_goes_before_the_champion_does() -> None:
    """With a canary beside a champion that has a way back, one step is the canary's alone."""
    both = start_canary(CROWNED, 3, AUGUST, weight_bp=1000)
    once = step_back(both, AUGUST)
    twice = step_back(once, AUGUST)
    assert [(found.champion, found.canary) for found in (both, once, twice)] == [
        (2, 3),
        (2, None),
        (1, None),
    ]


def test_what_became_of_each_version() -> None:
    fourth = start_canary(CROWNED, 3, AUGUST, weight_bp=1000)
    fifth = start_canary(fourth, 4, AUGUST, weight_bp=2500)
    history = [FIRST, SECOND, CROWNED, fourth, fifth]
    assert standings(history) == {
        1: Standing(PREVIOUS, left=2),
        2: Standing(CHAMPION, 75.0),
        3: Standing(SUPERSEDED, left=4),
        4: Standing(CANARY, 25.0),
    }
    sixth = end_canary(fifth, AUGUST, reason="slow")
    seventh = restore(sixth, AUGUST, reason="worse")
    assert standings([*history, sixth, seventh]) == {
        1: Standing(CHAMPION, 100.0),
        2: Standing(ROLLED_BACK, left=6, reason="worse"),
        3: Standing(SUPERSEDED, left=4),
        4: Standing(ROLLED_BACK, left=5, reason="slow"),
    }


def test_nothing_became_of_nothing() -> None:
    assert standings([]) == {}


STEPS = {
    "start": lambda now, version: start_canary(now, version, JULY, weight_bp=1000),
    "crown": lambda now, _: crown(now, JULY),
    "back": lambda now, _: step_back(now, JULY),
}


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=30))
def test_whatever_happens_one_champion_answers_and_nothing_rolled_back_returns(
    steps: list[str],
) -> None:
    history, gone = [FIRST], set[int]()
    for version, step in enumerate(steps, start=2):
        try:
            history.append(STEPS[step](history[-1], version))
        except ConfigError:
            continue  # nothing to crown, or nothing to go back to
        assert is_rollback(history[-2], history[-1]) == (step == "back")
        found = standings(history)
        shares = [one.traffic_pct for one in found.values()]
        assert sum(shares) == 100.0 and all(
            (one.left is None) == (one.traffic_pct > 0) for one in found.values()
        )
        assert [v for v, one in found.items() if one.status == CHAMPION] == [history[-1].champion]
        now = {v for v, one in found.items() if one.status == ROLLED_BACK}
        assert gone <= now
        gone = now
    assert [release.revision for release in history] == list(range(1, len(history) + 1))


@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 3)), max_size=20))
def test_what_was_said_of_the_past_stays_true(steps: list[tuple[str, int]]) -> None:
    """Or scoring an old partition, or validating an old version, would give another result."""
    history, answers, opponents = [FIRST], {JUNE: FIRST}, dict[int, Release | None]({1: None})
    for version, (step, days) in enumerate(steps, start=2):
        now, time = history[-1], history[-1].in_force_from + timedelta(days=days)
        try:
            history.append(TIMED_STEPS[step](now, version, time))
        except ConfigError:
            continue  # nothing to crown, or nothing to go back to
        if step == "start":
            opponents[version] = now
        # Of one instant the newest answers; a later revision never reaches back.
        answers[time] = history[-1]
        assert {at: in_force_at(history, at) for at in answers} == answers
        assert {one: opponent_of(history, one) for one in opponents} == opponents
    assert len({release.salt for release in history}) == len(history), "a cohort for each"
    assert [Release.from_json(release.to_json()) for release in history] == history


TIMED_STEPS = {
    "start": lambda now, version, time: start_canary(now, version, time, weight_bp=1000),
    "crown": lambda now, _, time: crown(now, time),
    "back": lambda now, _, time: step_back(now, time),
}


@given(releases.filter(lambda found: found.canary != found.champion), st.text(max_size=30))
def test_only_a_version_that_is_there_answers(release: Release, key: str) -> None:
    """Whatever weight a revision holds: without a canary the champion answers all."""
    alias = release.assign(key)
    version = release.champion if alias == CHAMPION else release.canary
    assert version is not None and release.traffic_pct(version) > 0
    assert release.canary is not None or alias == CHAMPION


# --- what people and other programs read ---


def test_the_text_of_a_release_is_fixed_for_good() -> None:
    """It is a tag of the registry, compared as text: written otherwise it is another release."""
    assert end_canary(SECOND, AUGUST, reason="2 µs too slow").to_json() == (
        '{"canary": null, "canary_weight_bp": 0, "champion": 1, '
        '"in_force_from": "2013-08-01T04:00:00+00:00", "previous": null, '
        '"reason": "2 µs too slow", "revision": 3, "salt": "toy/3", "slug": "toy"}'
    )


REFUSED: list[tuple[Any, str]] = [
    (
        lambda: start_canary(SECOND, 1, AUGUST, weight_bp=1000),
        "version 1 is the champion\n  expected: another version as canary",
    ),
    (
        lambda: crown(FIRST, AUGUST),
        (
            "release 1 has no canary: version 1 takes all the traffic\n"
            "  expected: a canary beside the champion"
        ),
    ),
    (
        lambda: restore(FIRST, AUGUST),
        (
            "nothing to roll back to: version 1 is the champion with all the traffic (release 1), "
            "and none before it is left\n"
            "  expected: a canary, or a previous champion\n"
            "  repair: train a better one: flightline train toy"
        ),
    ),
    (
        lambda: crown(SECOND, JUNE),
        (
            "a release in force from 2013-06-01\n"
            "  expected: not before the current one, in force from 2013-07-01\n"
            "  repair: promote a version that was trained as of a later time"
        ),
    ),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_a_step_that_cannot_be_taken_says_what_to_do(case: int) -> None:
    step, text = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        step()
    assert str(caught.value) == text


def test_a_step_back_carries_its_reason_either_way() -> None:
    assert step_back(SECOND, AUGUST, reason="slow").reason == "slow"
    assert step_back(CROWNED, AUGUST, reason="worse").reason == "worse"
    assert step_back(SECOND, AUGUST).reason == "", "nobody said one"
    assert crown(SECOND, AUGUST).salt == "toy/3" and crown(SECOND, AUGUST).in_force_from == AUGUST


def test_a_canary_that_replaces_another_is_no_step_back() -> None:
    assert not is_rollback(SECOND, THIRD) and not is_rollback(SECOND, CROWNED)
    assert is_rollback(SECOND, end_canary(SECOND, AUGUST))
    assert is_rollback(CROWNED, restore(CROWNED, AUGUST))
