"""Interval estimates for rows that share a shock.

Rows of one day are not independent, so whole clusters (days) are resampled, never rows: on the
reference data a row bootstrap is overconfident by a factor of 1.5 to 7.
Source: Cameron, Gelbach & Miller (2008), "Bootstrap-based improvements for inference with clustered
errors", section II (pairs cluster bootstrap), here with multinomial weights on the clusters.
Every figure is written as sums over clusters, so that a replicate costs a product of small matrices
and not a pass over the rows.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.core.losses import Floats


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: point estimate.
        lower, upper: one-sided 95 % bounds, so together a 90 % interval.
        rows: how many rows it rests on.
        clusters: how many clusters (days) it rests on. None at all of some rows: what the figure
            is about, as a class, does not occur among them, and the value is not a number.
    """

    value: float
    lower: float
    upper: float
    rows: int
    clusters: int

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite([self.value, self.lower, self.upper]).all())


MISSING = Estimate(np.nan, np.nan, np.nan, rows=0, clusters=0)
"""What stands where a figure could not be computed; no gate passes on it."""

_CHUNK = 64  # replicates that are computed at once


class Resampling:
    """The clusters of some rows, and how often each cluster is drawn in each replicate.

    Every method takes arrays of shape (n,) in the order of the rows.

    Args:
        cluster: shape (n,), the key of each row's cluster.
        replicates: of the bootstrap.

    >>> days = Resampling(np.array(["a", "a", "b", "b"]), replicates=50, seed=1)
    >>> days.mean(np.ones(4)).upper
    1.0
    >>> days.ratio(np.ones(4), np.full(4, 4.0)).value
    0.25
    """

    def __init__(self, cluster: NDArray[np.str_], *, replicates: int, seed: int) -> None:
        names, self._index = np.unique(cluster, return_inverse=True)
        count = len(names)
        shares = np.full(max(count, 1), 1 / max(count, 1))  # without rows, of one empty cluster
        draws = np.random.default_rng(seed).multinomial(count, shares, size=replicates)
        self._weights: Floats = draws.astype(np.float64)

    def among(self, mask: NDArray[np.bool_]) -> Resampling:
        """The same draws for a part of the rows."""
        part = copy(self)
        part._index = self._index[mask]
        return part

    @property
    def rows(self) -> int:
        return len(self._index)

    @property
    def clusters(self) -> int:
        """How many clusters have a row."""
        return len(np.unique(self._index))

    def clusters_of(self, mask: NDArray[np.bool_]) -> int:
        """How many clusters have a row in the mask."""
        return len(np.unique(self._index[mask]))

    def mean(self, values: Floats) -> Estimate:
        return self.ratio(values, np.ones_like(values))

    def ratio(self, numerator: Floats, denominator: Floats) -> Estimate:
        """Ratio of two sums."""
        if not self.rows:
            return MISSING
        return self.estimate(share(self.totals(numerator), self.totals(denominator)))

    def distance(self, values: Floats) -> Estimate:
        """Absolute value of the mean.

        Noise alone moves it up, so a limit on the upper bound errs on the safe side.

        >>> days = Resampling(np.array(["a", "b"]), replicates=9, seed=1)
        >>> days.distance(np.array([-3.0, 1.0])).value
        1.0
        """
        if not self.rows:
            return MISSING
        means = share(self.totals(values), self.totals(np.ones_like(values)))
        return self.estimate(np.abs(means))

    def auc(self, label: Floats, score: Floats) -> Estimate:
        """Area under the ROC curve: the Mann-Whitney statistic, where ties count one half.

        It rests on the clusters of the rarer label only: a label that occurs on two days says
        nothing of the others, however many there are.

        Args:
            label: 0 or 1.
            score: higher means more likely 1.

        >>> days = Resampling(np.array(["a", "a", "b", "b"]), replicates=9, seed=1)
        >>> days.auc(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.9, 0.2, 0.8])).value
        1.0
        """
        if not self.rows or not np.isfinite(score).all():
            return MISSING
        clusters = min(self.clusters_of(label == value) for value in (0, 1))
        return self.estimate(self.aucs(label, score), clusters=clusters)

    def aucs(self, label: Floats, score: Floats) -> Floats:
        """What `auc` is, as `totals` gives it: by wins of one cluster over another."""
        count = self._weights.shape[1]
        # A sort would rank NaN as the highest score, and the figure would look like one.
        if not np.isfinite(score).all():
            return np.full(len(self._weights) + 1, np.nan)
        is_positive = label == 1
        levels, rank = np.unique(score[is_positive], return_inverse=True)
        home, rest = self._index[is_positive], np.flatnonzero(~is_positive)
        rest = rest[np.argsort(self._index[rest], kind="stable")]
        borders = np.searchsorted(self._index[rest], np.arange(1, count))
        wins = np.zeros((count, count))
        for cluster, negatives in enumerate(np.split(score[rest], borders)):
            under = np.searchsorted(levels, negatives, side="right")  # of levels above it
            level = np.searchsorted(levels, negatives, side="left")  # of levels as high, or above
            seen = np.bincount(np.r_[under, level], minlength=len(levels) + 1)
            beaten = np.cumsum(seen)[rank] / 2  # by each positive, ties one half
            wins[:, cluster] = np.bincount(home, weights=beaten, minlength=count)
        drawn = self._drawn()
        pairs = (drawn @ self._sums(label)) * (drawn @ self._sums(1 - label))
        return share(((drawn @ wins) * drawn).sum(axis=1), pairs)

    def average_precision(self, label: Floats, score: Floats) -> Estimate:
        """Area under precision against recall, as a sum over steps of the recall.

        It rests on the clusters that have a 1.

        >>> days = Resampling(np.array(["a", "a", "b", "b"]), replicates=9, seed=1)
        >>> days.average_precision(np.array([0.0, 1, 0, 1]), np.array([0.1, 0.9, 0.2, 0.8])).value
        1.0
        """
        if not self.rows or not np.isfinite(score).all():
            return MISSING
        clusters = self.clusters_of(label == 1)
        order = np.argsort(-score, kind="stable")
        index, label = self._index[order], label[order]
        last = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])  # of each run of ties
        drawn = self._drawn()
        values = np.empty(len(drawn))
        for start in range(0, len(drawn), _CHUNK):  # all at once would take gigabytes
            weight = drawn[start : start + _CHUNK][:, index]
            seen = np.cumsum(weight, axis=1)[:, last]
            found = np.cumsum(weight * label, axis=1)[:, last]
            steps = np.diff(found, axis=1, prepend=0)
            with np.errstate(invalid="ignore"):
                precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
                values[start : start + _CHUNK] = (steps * precision).sum(axis=1) / found[:, -1]
        return self.estimate(values, clusters=clusters)

    def calibration_error(self, label: Floats, prediction: Floats, *, bins: int = 15) -> Estimate:
        """Mean distance of predicted from observed share, in bins of equally many rows.

        The bins stay as they are in each replicate. Noise alone moves the distance up, so the
        bounds lie a little high: a limit on the upper one errs on the safe side, and the lower one
        is often the value itself.

        >>> days = Resampling(np.array(["a", "b"]), replicates=9, seed=1)
        >>> days.calibration_error(np.array([0.0, 1.0]), np.array([0.25, 0.75]), bins=2).value
        0.25
        """
        if not self.rows:
            return MISSING
        return self.estimate(self.calibration_errors(label, prediction, bins=bins))

    def calibration_errors(self, label: Floats, prediction: Floats, *, bins: int = 15) -> Floats:
        """What `calibration_error` is, as `totals` gives it."""
        count = self._weights.shape[1]
        if not np.isfinite(prediction).all():
            return np.full(len(self._weights) + 1, np.nan)
        cell = self._index * bins + equal_bins(prediction, bins)
        gaps = np.bincount(cell, weights=prediction - label, minlength=count * bins)
        drawn, rows = self._drawn(), self._sums(np.ones(self.rows))
        return share(np.abs(drawn @ gaps.reshape(count, bins)).sum(axis=1), drawn @ rows)

    def totals(self, values: Floats) -> Floats:
        """The sum over the rows, and after it that of each replicate; shape (1 + replicates,)."""
        sums = self._sums(values)
        with np.errstate(invalid="ignore"):  # of an infinite sum that a replicate does not draw
            return np.concatenate([[sums.sum()], self._weights @ sums])

    def estimate(
        self, values: Floats, *, rows: int | None = None, clusters: int | None = None
    ) -> Estimate:
        """The figure and its bounds, which hold it: noise moves the replicates of some figures up.

        Args:
            values: shape (1 + replicates,), as `totals` gives it: the figure, then the replicates.
            rows, clusters: what it rests on; default: all of them.
        """
        value, replicates = float(values[0]), values[1:]
        # A replicate that draws none of a part's clusters says nothing of it; where the figure
        # itself is not a number, neither are its bounds.
        defined = replicates[~np.isnan(replicates)] if np.isfinite(value) else replicates[:0]
        lower, upper = np.quantile(defined, [0.05, 0.95]) if len(defined) else (np.nan, np.nan)
        return Estimate(
            *(value, float(np.minimum(lower, value)), float(np.maximum(upper, value))),
            rows=self.rows if rows is None else rows,
            clusters=self.clusters if clusters is None else clusters,
        )

    def _drawn(self) -> Floats:
        """How often each cluster counts: once, then as drawn; shape (1 + replicates, clusters)."""
        return np.vstack([np.ones(self._weights.shape[1]), self._weights])

    def _sums(self, values: Floats) -> Floats:
        count = self._weights.shape[1]
        return np.bincount(self._index, weights=values, minlength=count).astype(np.float64)


def equal_bins(values: Floats, bins: int) -> NDArray[np.int64]:
    """Which bin of equally many rows each row is in, by its rank; shape (n,).

    Rows that tie are in one bin, that of their mean rank: the order of the rows says nothing.

    >>> equal_bins(np.array([0.1, 0.4, 0.2, 0.3]), 2)
    array([0, 1, 0, 1])
    >>> equal_bins(np.array([0.1, 0.2, 0.2, 0.2]), 2)
    array([0, 1, 1, 1])
    """
    _, level, rows = np.unique(values, return_inverse=True, return_counts=True)
    twice_rank = 2 * np.cumsum(rows) - rows - 1  # twice the mean, counted from 0: whole numbers
    found: NDArray[np.int64] = (twice_rank * bins // (2 * max(len(values), 1)))[level]
    return found


def share(part: Floats, whole: Floats) -> Floats:
    """One divided by the other; not finite where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = part / whole
    return found
