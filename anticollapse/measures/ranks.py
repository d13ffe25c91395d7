"""Ranks and moments of any bootstrap resample, from its counts: no sorting, O(n) a resample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Ranks:
    """Average ranks of one array in any resample of it, from the resample's counts."""

    def __init__(self, values: FloatArray) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        self.starts = np.flatnonzero(new)
        self.sorted = bool(np.all(self.order == np.arange(len(values))))

    def sums(self, weights: FloatArray) -> FloatArray:
        """Sums (b, G) of weights (b, n) over each of the G groups of equal values, ascending."""
        ordered = weights if self.sorted else weights[:, self.order]
        if len(self.starts) == ordered.shape[1]:
            return ordered
        return np.asarray(np.add.reduceat(ordered, self.starts, axis=1))

    def centred(self, group_counts: FloatArray) -> FloatArray:
        """Average rank (b, G) of each distinct value minus the mean rank, for counts (b, G) of each distinct value.

        With C the counts up to and with a value and m its own, its m copies hold the ranks C − m + 1 ... C: on average
        C − (m − 1) / 2. The mean rank is (n + 1) / 2 whatever the resample.
        """
        ranks = np.cumsum(group_counts, axis=1)
        n = ranks[:, -1:].copy()
        ranks -= 0.5 * group_counts
        ranks -= 0.5 * n
        return ranks

    def spread(self, values: FloatArray, n: int) -> FloatArray:
        """Values (b, G) of the groups as values (b, n) of the items."""
        out = values if len(self.starts) == n else np.repeat(values, np.diff(np.append(self.starts, n)), axis=1)
        if self.sorted:
            return out
        spread = np.empty_like(out)
        spread[:, self.order] = out
        return spread


def standardised(values: FloatArray) -> FloatArray:
    """Values with mean 0 and variance 1, so that one-pass sums of squares do not cancel."""
    return np.asarray((values - values.mean()) / values.std())


def variance(squares: FloatArray, mean: FloatArray) -> FloatArray:
    """Variance of standardised values; exactly 0 where only rounding error is left (a resample of one value)."""
    variance = squares - mean**2
    return np.where(variance > 1e-10 * np.maximum(squares, 1e-300), variance, 0.0)
