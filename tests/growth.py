"""Whether days of a long life cost more at its end than at its start, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

COMPARED = 6
"""Days at each end whose costs are compared, by their medians."""
MOST = 1.7
"""So much more may a late day cost: less than a doubling, more than the noise of a busy machine."""


def grown(days: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Stages whose cost has grown, with what was seen.

    The sum over all stages would hide the doubling of one that costs little.

    Args:
        days: CPU seconds by stage, the oldest day first; at least twice as many as are compared.
    """
    assert len(days) >= 2 * COMPARED, f"{len(days)} days are too few to compare"
    found = {}
    for stage in days[0]:
        early, late = (
            median(day[stage] for day in part) for part in (days[:COMPARED], days[-COMPARED:])
        )
        if late > MOST * early:
            found[stage] = f"{late:.2f} CPU s a day at the end, {early:.2f} at first"
    return found
