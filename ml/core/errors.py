"""Errors, grouped by what to do next.

Each class maps to one exit code of the command line and to one reaction of the orchestrator:

| class            | exit | what to do                                    | orchestrator          |
|------------------|------|-----------------------------------------------|-----------------------|
| `ConfigError`    | 2    | fix the input                                 | fail, no retry        |
| `OutOfCoverage`  | 2    | ask for a partition that the source has       | skip, with the reason |
| `DataError`      | 3    | look at the data; bad rows are quarantined    | fail, no retry        |
| `GateRejected`   | 4    | nothing: it is a decision                     | success, then skip    |
| `TransientError` | 75   | try again                                     | retry                 |
"""

from __future__ import annotations


class FlightlineError(Exception):
    """Base of all errors that a person is meant to read.

    Args:
        seen: what happened, naming the value.
        expected: what would have been right.
        repair: what to do now, as a command where there is one.
        details: the same for programs, such as a sample of failing rows; only what JSON knows.

    >>> print(ConfigError("unknown use case 'x'", expected="one of: a, b", repair="check the slug"))
    unknown use case 'x'
      expected: one of: a, b
      repair: check the slug
    """

    exit_code = 1

    def __init__(
        self, seen: str, *, expected: str = "", repair: str = "", details: object = None
    ) -> None:
        self.seen, self.expected, self.repair, self.details = seen, expected, repair, details
        lines = [seen]
        lines += [f"  expected: {expected}"] if expected else []
        lines += [f"  repair: {repair}"] if repair else []
        super().__init__("\n".join(lines))


class ConfigError(FlightlineError):
    """The input is wrong: fix it; a retry cannot help."""

    exit_code = 2


class OutOfCoverage(ConfigError):
    """The source has no such partition: a calendar that ran past the data, or a typing error."""


class DataError(FlightlineError):
    """The data or the evidence is bad, missing or late; the last good state is untouched."""

    exit_code = 3


class GateRejected(FlightlineError):
    """A candidate did not pass its gates: a decision that is logged and tagged, not a fault."""

    exit_code = 4


class TransientError(FlightlineError):
    """Something outside is away or busy for now: the same call may pass later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h
