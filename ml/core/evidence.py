"""What the verdicts on a version rest on: plain figures, so that anyone can judge them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ml.core.problems import ProblemType
from ml.core.statistics import Estimate


@dataclass(frozen=True)
class ContractEvidence:
    """Whether the model sees what it has learned from.

    Attributes:
        recorded: SHA-256 of the model's contract (columns, order, categories) as training noted it.
        found: the same of the model's files.
        missing_columns: that the model needs and the features do not offer.
        expected_labels: rows of the holdout that should have a label.
        known_labels: how many of them had it when labels closed.
        late_features: rows with a feature that became known only after the decision.
    """

    recorded: str
    found: str
    missing_columns: tuple[str, ...]
    expected_labels: int
    known_labels: int
    late_features: int


@dataclass(frozen=True)
class SegmentEvidence:
    """A group of the holdout's rows.

    Attributes:
        column, value: which rows: those whose column has this value.
        positives: rows from which a loss can be learned: of class 1; of several classes, all but
            the commonest one's; of a value, all.
        difference: mean loss minus the opponent's on the same rows.
    """

    column: str
    value: str
    rows: int
    positives: int
    difference: Estimate


@dataclass(frozen=True)
class Evidence:
    """Everything that gates look at.

    Attributes:
        opponent: `champion 3`, or `rule` for the first model ever.
        opponent_fault: why there is no fair comparison with the champion; empty if there is one.
        metrics: of the candidate, by name.
        difference: mean loss minus the champion's; None for the first model ever.
        cost_difference: cost units a row, against the champion, or for the first model against
            deciding without one (`ml.core.metrics.constant_cost`); None without a cost model.
        segments: against the opponent.
        latency_us: CPU time a row, microseconds, of the answer and its interval, as measured in
            training; None if it was not.
        gaps: what the holdout lacks, in words: why a figure may be no number.
    """

    rows: int
    positives: int
    opponent: str
    opponent_fault: str
    contract: ContractEvidence
    metrics: Mapping[str, Estimate]
    difference: Estimate | None
    cost_difference: Estimate | None
    segments: tuple[SegmentEvidence, ...]
    latency_us: float | None
    opponent_latency_us: float | None
    problem: ProblemType = ProblemType.BINARY
    gaps: tuple[str, ...] = ()

    @property
    def has_champion(self) -> bool:
        return self.opponent != "rule"

    def to_plain(self) -> dict[str, Any]:
        """For JSON, which has no NaN: what is not a number becomes None."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Evidence:
        """The reverse of `to_plain`."""
        contract = {**plain["contract"]}
        contract["missing_columns"] = tuple(contract["missing_columns"])
        segments = tuple(
            SegmentEvidence(**{**segment, "difference": _estimate(segment["difference"])})
            for segment in plain["segments"]
        )
        return cls(
            **{
                **plain,
                "contract": ContractEvidence(**contract),
                "metrics": {name: _estimate(found) for name, found in plain["metrics"].items()},
                "difference": _optional(plain["difference"]),
                "cost_difference": _optional(plain["cost_difference"]),
                "segments": segments,
                "problem": ProblemType(plain.get("problem", ProblemType.BINARY)),
                "gaps": tuple(plain.get("gaps", ())),
            }
        )


def _optional(plain: Mapping[str, Any] | None) -> Estimate | None:
    return None if plain is None else _estimate(plain)


def _estimate(plain: Mapping[str, Any]) -> Estimate:
    values: dict[str, Any] = {name: np.nan if v is None else v for name, v in plain.items()}
    return Estimate(**values)


def _finite(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {name: _finite(value) for name, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_finite(value) for value in plain]
    if isinstance(plain, float):
        return float(plain) if np.isfinite(plain) else None
    return plain
