"""Time windows of a training: fit, select, holdout, and what was known when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ml.core.errors import ConfigError
from ml.core.partitions import Partition, Partitions


@dataclass(frozen=True)
class Windows:
    """Three consecutive stretches of closed partitions before `as_of`.

    Attributes:
        as_of: nothing that became known after this instant is used.
        fit: the model learns from these.
        select: early stopping (and later the search) looks at these.
        holdout: read once, by the validation, and unseen by the champion too.
    """

    as_of: datetime
    fit: tuple[Partition, ...]
    select: tuple[Partition, ...]
    holdout: tuple[Partition, ...]


def training_windows(
    calendar: Partitions,
    *,
    first: str,
    as_of: datetime,
    label_maturity: timedelta,
    select: int,
    holdout: int,
) -> Windows:
    """Cut the windows so that every label in them is closed at `as_of`.

    Args:
        first: key of the first partition that the source has.
        label_maturity: how long after a partition's end its labels are complete.
        select, holdout: lengths in partitions.

    Raises:
        ConfigError: if there is not at least as much to fit as to hold out.

    >>> from datetime import UTC
    >>> from ml.core.partitions import Cadence
    >>> w = training_windows(Partitions(Cadence.DAY, "UTC"), first="2013-01-01",
    ...     as_of=datetime(2013, 3, 1, tzinfo=UTC), label_maturity=timedelta(hours=12),
    ...     select=7, holdout=14)
    >>> w.fit[-1].key, w.select[0].key, w.holdout[0].key, w.holdout[-1].key
    ('2013-02-06', '2013-02-07', '2013-02-14', '2013-02-27')
    """
    newest = calendar.before(calendar.containing(as_of))
    while newest.end + label_maturity > as_of:
        newest = calendar.before(newest)
    start = calendar.parse(first)
    closed = calendar.between(first, newest.key) if start <= newest else ()
    if len(closed) < select + 2 * holdout:
        raise ConfigError(
            f"only {len(closed)} partitions with closed labels before {as_of:%Y-%m-%d %H:%M} UTC",
            expected=f"at least {select + 2 * holdout} (select {select}, holdout {holdout}, "
            f"and as much to fit)",
            repair="train as of a later time",
        )
    return Windows(
        as_of,
        fit=closed[: -select - holdout],
        select=closed[-select - holdout : -holdout],
        holdout=closed[-holdout:],
    )
