"""What a model answers, for each kind of problem, in the shape in which it is logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.core.errors import DataError
from ml.core.losses import Floats
from ml.core.ports import Model
from ml.core.problems import ProblemType
from ml.core.spec import UseCase


@dataclass(frozen=True)
class Answer:
    """What one model says of some rows.

    Attributes:
        score: shape (n,): probability of class 1, value, or index of the likeliest class; NaN
            where any part of the row's answer is not a finite number.
        probabilities: shape (n, classes); multiclass only.
        interval: shape (n, 2), lower and upper end; of a model that has learned one.
    """

    score: Floats
    probabilities: Floats | None = None
    interval: Floats | None = None

    @property
    def is_finite(self) -> np.ndarray:
        """Which rows have an answer; shape (n,)."""
        found: np.ndarray = np.isfinite(self.score)
        return found


def ask(spec: UseCase, model: Model, rows: pd.DataFrame) -> Answer:
    """What a model says of these rows.

    Raises:
        DataError: if it answers in another shape than the spec's problem has.
    """
    said = np.asarray(model.predict(rows), dtype=np.float64)
    classes = spec.label.classes
    _require_shape(spec, said, (len(rows), len(classes)) if classes else (len(rows),))
    interval = model.interval(rows) if spec.problem is ProblemType.REGRESSION else None
    parts = [said.reshape(len(rows), -1)]
    if interval is not None:
        interval = np.asarray(interval, dtype=np.float64)
        _require_shape(spec, interval, (len(rows), 2))
        parts.append(interval)
    finite = np.isfinite(np.hstack(parts)).all(axis=1)
    score = said.argmax(axis=1).astype(np.float64) if classes else said
    return Answer(np.where(finite, score, np.nan), said if classes else None, interval)


def _require_shape(spec: UseCase, said: Floats, shape: tuple[int, ...]) -> None:
    if said.shape != shape:
        classes = spec.label.classes
        each = f": a probability for each of {', '.join(classes)}" if classes else ""
        raise DataError(
            f"a model of {spec.slug} gave answers of shape {said.shape}",
            expected=f"shape {shape}{each}",
            repair="train again if the problem or label.classes of the spec changed since",
        )


def no_answer(
    spec: UseCase, version: int, rows: pd.DataFrame, answer: Answer, *, kind: str = ""
) -> DataError:
    """What to say where the champion gave no finite answer to some of the rows.

    Args:
        kind: of the champion; a naive forecast answers with a column.
    """
    silent = rows[~answer.is_finite]
    seen = f"champion version {version} gave no finite answer to {_share(len(silent), len(rows))}"
    plan, keys = spec.model, _stretch(rows["partition_key"])
    needed = dict.fromkeys([plan.difference_from, *(c for n, c in plan.naive.items() if n == kind)])
    for column in filter(None, needed):
        missing = int(silent[column].isna().sum())
        if missing:
            return DataError(
                f"{seen}: {column}, which the answer is made from, is missing in "
                f"{_share(missing, len(rows))}",
                expected=f"a value of {column} in every row of {spec.mart}",
                repair=f"let the SQL of {column} look further back, or keep rows without it out of "
                f"{spec.mart}; then: flightline transform {spec.slug} {keys} && "
                f"flightline score {spec.slug} {keys}",
            )
    return DataError(
        seen,
        expected="numbers for every row",
        repair=f"look at the features of {keys}, and at the model",
    )


def class_shares(classes: Sequence[str], score: pd.Series) -> dict[str, float]:
    """Share of each class among indices, the most frequent first; those without a row are left out.

    >>> class_shares(("low", "middle", "high"), pd.Series([2.0, 0.0, 2.0, 2.0]))
    {'high': 0.75, 'low': 0.25}
    """
    if not classes:
        return {}
    named = np.array(classes, dtype=object)[score.dropna().to_numpy("int64")]
    return shares_of(pd.Series(named))


def shares_of(names: pd.Series) -> dict[str, float]:
    """Share of each name, the most frequent first."""
    found = names.value_counts(normalize=True)
    return {str(name): float(share) for name, share in found.items()}


_MOST_CLASSES = 5


def told_shares(shares: Mapping[str, float]) -> str:
    """Shares of classes in words; of many, the largest.

    >>> told_shares({"high": 0.75, "low": 0.25})
    'high 75.0%, low 25.0%'
    """
    found = [f"{name} {share:.1%}" for name, share in shares.items()]
    more = len(found) - _MOST_CLASSES
    return ", ".join(found[:_MOST_CLASSES]) + (f" and {more} more" if more > 0 else "")


def amount(value: float) -> str:
    """A figure in units of the label or of cost: as many places as say something.

    >>> amount(0.52), amount(371.24049), amount(123456.7), amount(0.000123), amount(float("nan"))
    ('0.520', '371.240', '123,457', '0.00012', 'nan')
    """
    return f"{value:,.{places(value)}f}"


def places(value: float) -> int:
    """How many decimal places say something of a figure of this size.

    >>> places(0.5), places(12_000.0), places(0.0004)
    (3, 1, 5)
    """
    if not np.isfinite(value) or value == 0:
        return 3
    size = int(np.floor(np.log10(abs(value))))
    return max(3, 1 - size) if size < 3 else max(5 - size, 0)  # a thousand has two, and so on


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} rows ({part / whole:.1%})"


def _stretch(keys: Sequence[str] | pd.Series) -> str:
    return " ".join(dict.fromkeys([min(keys), max(keys)]))
