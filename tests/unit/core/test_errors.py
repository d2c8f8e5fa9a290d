from __future__ import annotations

from pathlib import Path

import pytest

from ml.core import errors
from ml.core.errors import (
    ConfigError,
    DataError,
    FlightlineError,
    GateRejected,
    OutOfCoverage,
    TransientError,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(ConfigError, 2), (OutOfCoverage, 2), (DataError, 3), (GateRejected, 4), (TransientError, 75)],
)
def test_each_error_says_what_to_do_by_its_exit_code(
    kind: type[FlightlineError], code: int
) -> None:
    assert kind("x").exit_code == code


def test_the_text_holds_what_was_seen_expected_and_the_repair() -> None:
    error = DataError("3 of 9 rows are bad", expected="at most 2 %", repair="run: x")
    assert str(error).splitlines() == [
        "3 of 9 rows are bad",
        "  expected: at most 2 %",
        "  repair: run: x",
    ]
    assert (error.seen, error.expected, error.repair) == (
        "3 of 9 rows are bad",
        "at most 2 %",
        "run: x",
    )


def test_lines_without_content_are_left_out() -> None:
    assert str(ConfigError("only this")) == "only this"


def test_no_other_module_makes_up_an_exit_code() -> None:
    """The documents list those of the classes here; all others inherit them."""
    package = Path(errors.__file__).parents[1]
    given = [path for path in package.rglob("*.py") if "exit_code =" in path.read_text()]
    assert given == [Path(errors.__file__)]


def test_every_error_is_listed_in_the_table_of_the_module() -> None:
    kinds = [v for v in vars(errors).values() if isinstance(v, type)]
    for kind in kinds:
        if issubclass(kind, FlightlineError) and kind is not FlightlineError:
            row = next(
                line for line in (errors.__doc__ or "").splitlines() if kind.__name__ in line
            )
            assert f"| {kind.exit_code} " in row
