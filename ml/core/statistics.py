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
        clusters: how many clusters (days) it rests on.
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

    def mean(self, values: Floats) -> Estimate:
        return self.ratio(values, np.ones_like(values))

    def ratio(self, numerator: Floats, denominator: Floats) -> Estimate:
        """Ratio of two sums."""
        if not self.rows:
            return MISSING
        top, bottom = self._sums(numerator), self._sums(denominator)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = top.sum() / bottom.sum()
            return self._estimate(value, (self._weights @ top) / (self._weights @ bottom))

    def auc(self, label: Floats, score: Floats) -> Estimate:
        """Area under the ROC curve: the Mann-Whitney statistic, where ties count one half.

        Args:
            label: 0 or 1.
            score: higher means more likely 1.

        >>> days = Resampling(np.array(["a", "a", "b", "b"]), replicates=9, seed=1)
        >>> days.auc(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.9, 0.2, 0.8])).value
        1.0
        """
        # A sort would rank NaN as the highest score, and the figure would look like one.
        if not self.rows or not np.isfinite(score).all():
            return MISSING
        return self._estimate(*self._auc(label, score))

    def _auc(self, label: Floats, score: Floats) -> tuple[float, Floats]:
        """By wins of the positives of one cluster over the negatives of another."""
        _, rank = np.unique(score, return_inverse=True)
        is_positive, count = label == 1, self._weights.shape[1]
        wins = np.zeros((count, count))
        for cluster in range(count):
            here = rank[~is_positive & (self._index == cluster)]
            negatives = np.bincount(here, minlength=rank.max() + 1)
            below = np.cumsum(negatives) - negatives / 2
            wins[:, cluster] = np.bincount(
                self._index[is_positive], weights=below[rank[is_positive]], minlength=count
            )
        drawn = np.vstack([np.ones(count), self._weights])
        with np.errstate(invalid="ignore"):
            pairs = (drawn @ self._sums(label)) * (drawn @ self._sums(1 - label))
            values = ((drawn @ wins) * drawn).sum(axis=1) / pairs
        return float(values[0]), values[1:]

    def average_precision(self, label: Floats, score: Floats) -> Estimate:
        """Area under precision against recall, as a sum over steps of the recall.

        >>> days = Resampling(np.array(["a", "a", "b", "b"]), replicates=9, seed=1)
        >>> days.average_precision(np.array([0.0, 1, 0, 1]), np.array([0.1, 0.9, 0.2, 0.8])).value
        1.0
        """
        if not self.rows or not np.isfinite(score).all():
            return MISSING
        order = np.argsort(-score, kind="stable")
        index, label = self._index[order], label[order]
        last = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])  # of each run of ties
        drawn = np.vstack([np.ones(self._weights.shape[1]), self._weights])
        values = np.empty(len(drawn))
        for start in range(0, len(drawn), _CHUNK):  # all at once would take gigabytes
            weight = drawn[start : start + _CHUNK][:, index]
            seen = np.cumsum(weight, axis=1)[:, last]
            found = np.cumsum(weight * label, axis=1)[:, last]
            steps = np.diff(found, axis=1, prepend=0)
            with np.errstate(invalid="ignore"):
                precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
                values[start : start + _CHUNK] = (steps * precision).sum(axis=1) / found[:, -1]
        return self._estimate(values[0], values[1:])

    def calibration_error(self, label: Floats, prediction: Floats, *, bins: int = 15) -> Estimate:
        """Mean distance of predicted from observed share, in bins of equally many rows.

        The bins stay as they are in each replicate. Noise alone moves the distance up, so the
        bounds lie a little high: a limit on the upper one errs on the safe side.

        >>> days = Resampling(np.array(["a", "b"]), replicates=9, seed=1)
        >>> days.calibration_error(np.array([0.0, 1.0]), np.array([0.25, 0.75]), bins=2).value
        0.25
        """
        if not self.rows or not np.isfinite(prediction).all():
            return MISSING
        count = self._weights.shape[1]
        rank = np.argsort(np.argsort(prediction, kind="stable"), kind="stable")
        cell = self._index * bins + rank * bins // self.rows
        gaps = np.bincount(cell, weights=prediction - label, minlength=count * bins)
        rows = self._sums(np.ones(self.rows))
        drawn = np.vstack([np.ones(count), self._weights])
        with np.errstate(invalid="ignore"):
            errors = np.abs(drawn @ gaps.reshape(count, bins)).sum(axis=1) / (drawn @ rows)
        return self._estimate(errors[0], errors[1:])

    def _sums(self, values: Floats) -> Floats:
        count = self._weights.shape[1]
        return np.bincount(self._index, weights=values, minlength=count).astype(np.float64)

    def _estimate(self, value: float, replicates: Floats) -> Estimate:
        # A replicate that draws none of a part's clusters says nothing of it; where the figure
        # itself is not a number, neither are its bounds.
        defined = replicates[~np.isnan(replicates)] if np.isfinite(value) else replicates[:0]
        lower, upper = np.quantile(defined, [0.05, 0.95]) if len(defined) else (np.nan, np.nan)
        return Estimate(float(value), float(lower), float(upper), self.rows, self.clusters)
