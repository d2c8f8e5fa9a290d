from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.errors import ConfigError
from ml.core.names import SLUG_MAX_LENGTH, Names, check_slug


@pytest.mark.parametrize("slug", ["flight_delay", "a", "a1_2b", "x" * SLUG_MAX_LENGTH])
def test_good_slugs_are_returned_unchanged(slug: str) -> None:
    assert check_slug(slug) == slug


@pytest.mark.parametrize(
    "slug",
    ["", "A", "1a", "_a", "a_", "a__b", "a-b", "a b", "a.b", "../a", "a\n", "é", "x" * 41],
)
def test_bad_slugs_are_refused_with_the_value_and_what_was_expected(slug: str) -> None:
    with pytest.raises(ConfigError, match="lower snake case") as caught:
        check_slug(slug)
    assert repr(slug) in str(caught.value)


def test_names_cannot_be_made_of_a_bad_slug() -> None:
    with pytest.raises(ConfigError):
        Names("Flight-Delay")


@given(st.text(max_size=60))
def test_whatever_passes_is_a_safe_file_module_and_table_name(slug: str) -> None:
    try:
        check_slug(slug)
    except ConfigError:
        return
    assert slug.isidentifier() and slug.isascii() and slug == slug.lower()
    assert re.fullmatch(r"[a-z0-9_]{1,40}", slug) and "__" not in slug


def test_every_name_is_derived_as_the_conventions_say() -> None:
    names = Names("flight_delay")
    assert names.dag("retrain") == "flight_delay_retrain"
    assert names.asset("features") == "flight_delay__features"
    assert names.retrain_request == "flight_delay__retrain_requested"
    assert names.run("train", "2013-06-01") == "train-2013-06-01"
    assert {names.pool, names.experiment, names.registered_model} == {"flight_delay"}


def test_a_double_underscore_keeps_the_assets_of_two_use_cases_apart() -> None:
    """No slug can hold `__`, so `a` with noun `b_c` is not `a_b` with noun `c`."""
    assert Names("a").asset("b_c") != Names("a_b").asset("c")


def test_the_runbook_of_a_use_case_is_a_page_of_the_repository() -> None:
    assert Names("flight_delay").runbook == "docs/runbooks/flight_delay.md"
