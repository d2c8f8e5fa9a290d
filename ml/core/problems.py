"""Problem types. Light: every Dag file reads it through the spec at each parse."""

from __future__ import annotations

from enum import StrEnum


class ProblemType(StrEnum):
    """What kind of thing is predicted; it fixes the loss and the shape of a prediction."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"

    @property
    def loss_name(self) -> str:
        return "squared_error" if self is ProblemType.REGRESSION else "log_loss"
