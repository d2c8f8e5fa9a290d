from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core import router
from ml.core.errors import ConfigError
from ml.core.names import CANARY, CHAMPION
from ml.core.router import BASIS_POINTS, assign, key_hash

KEYS = [f"2013{n % 12 + 1:02}01-UA-{n}-EWR" for n in range(20_000)]
weights = st.integers(0, BASIS_POINTS)


def share(salt: str, weight: int) -> float:
    chosen = [assign(key, salt=salt, canary_weight_bp=weight) == CANARY for key in KEYS]
    return sum(chosen) / len(chosen)


@given(st.text(max_size=40), st.text(min_size=1, max_size=60), weights, weights)
def test_a_key_in_the_canary_stays_there_when_the_weight_grows(
    key: str, salt: str, one: int, other: int
) -> None:
    low, high = sorted((one, other))
    if assign(key, salt=salt, canary_weight_bp=low) == CANARY:
        assert assign(key, salt=salt, canary_weight_bp=high) == CANARY


@given(st.text(max_size=40), st.text(max_size=60), weights)
def test_the_same_question_has_the_same_answer(key: str, salt: str, weight: int) -> None:
    first, again = (assign(key, salt=salt, canary_weight_bp=weight) for _ in range(2))
    assert first == again in (CANARY, CHAMPION)


@given(st.text(max_size=40), st.text(max_size=60), weights)
def test_the_log_explains_each_answer(key: str, salt: str, weight: int) -> None:
    """The hash that it holds, as a share of all hashes, is under the weight or is not."""
    place = Fraction(int(key_hash(key, salt=salt), 16), 2**64)
    is_canary = assign(key, salt=salt, canary_weight_bp=weight) == CANARY
    assert is_canary == (place < Fraction(weight, BASIS_POINTS))


@pytest.mark.parametrize(
    ("place", "weight", "alias"),
    [
        ("0" * 16, 0, CHAMPION),  # the lowest place of all
        ("0" * 16, 1, CANARY),
        ("8" + "0" * 15, 5_000, CHAMPION),  # exactly the half
        ("7" + "f" * 15, 5_000, CANARY),
        ("f" * 16, 9_999, CHAMPION),
        ("f" * 16, 10_000, CANARY),
    ],
)
def test_a_place_on_the_border_is_on_one_side(
    place: str, weight: int, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key is known that falls on one, so the hash is given."""
    monkeypatch.setattr(router, "key_hash", lambda key, *, salt: place)
    assert assign("any", salt="s", canary_weight_bp=weight) == alias


@given(st.text(max_size=40), st.text(max_size=60))
def test_no_weight_is_nobody_and_all_the_weight_is_everybody(key: str, salt: str) -> None:
    assert assign(key, salt=salt, canary_weight_bp=0) == CHAMPION
    assert assign(key, salt=salt, canary_weight_bp=BASIS_POINTS) == CANARY


@pytest.mark.parametrize("weight", [1, 100, 500, 1000, 2500, 5000, 9999])
def test_the_share_is_the_weight(weight: int) -> None:
    """Within four standard errors over 20,000 keys."""
    wanted = weight / BASIS_POINTS
    assert abs(share("toy/2", weight) - wanted) < 4 * (wanted * (1 - wanted) / 20_000) ** 0.5 + 1e-9


def test_another_release_draws_another_cohort() -> None:
    """Independent salts: of the first 10 %, a tenth is in the second 10 % too."""
    first, second = (
        {k for k in KEYS if assign(k, salt=salt, canary_weight_bp=1000) == CANARY}
        for salt in ("toy/2", "toy/3")
    )
    assert 0.07 < len(first & second) / len(first) < 0.13


@pytest.mark.parametrize("weight", [-1, 10_001])
def test_a_weight_out_of_range_is_refused(weight: int) -> None:
    with pytest.raises(ConfigError) as caught:
        assign("k", salt="s", canary_weight_bp=weight)
    assert str(caught.value) == f"canary weight {weight}\n  expected: 0 to 10000 basis points"


def test_the_hash_is_fixed_for_good() -> None:
    """The prediction log holds it, so another hash would tear old and new rows apart."""
    assert key_hash("20130701-UA-1545-EWR", salt="flight_delay/2") == "0c5a0ce7141ea79e"


def test_salts_of_the_longest_slug_still_differ() -> None:
    """blake2b takes 64 bytes of key; a slug of 40 and a revision must fit."""
    salts = [f"{'x' * 40}/{revision}" for revision in (1, 99_998, 99_999)]
    assert len({key_hash("k", salt=salt) for salt in salts}) == 3


def test_a_longer_salt_is_cut_and_not_refused() -> None:
    assert key_hash("k", salt="x" * 65) == key_hash("k", salt="x" * 64)
