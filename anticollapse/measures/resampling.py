"""Intervals: the bootstrap over pairs, and the jackknife over sentences.

Pairs are resampled as *counts*: a resample of n pairs with replacement is a vector of n counts that sum to n, and every
statistic here is computed from the counts, so that a block of resamples is a few matrix operations.

Statistics of *sentences* (a mean over all N(N-1) pairs of them, or a function of their covariance) are too expensive to
resample: 2,000 resamples of 100,000 × 768 vectors are 10^14 operations. Their interval is the (infinitesimal) jackknife
(Efron & Stein 1981, https://doi.org/10.1214/aos/1176345462): each sentence's influence on the statistic is known in
closed form, and the influences' sum of squares is the variance. The sentences of one pair resemble each other, so
influences are first summed within groups of sentences that are linked by pairs: only groups count as independent.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from anticollapse.measures.result import Interval

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CONFIDENCE = 0.95
N_RESAMPLES = 2000
N_FOLDS = 20

_BLOCK_ELEMENTS = 1 << 18  # a block's temporaries stay within the processor's cache
_MAX_WORK = 60_000_000  # resamples × pairs; 2,000 resamples up to 30,000 pairs
_MIN_RESAMPLES = 500
_MIN_VALID = 0.95  # below that share of usable resamples, their quantiles describe another population


def default_resamples(n: int) -> int:
    """Number of resamples for n pairs: 2,000, and fewer (down to 500) above 30,000 pairs to bound the time."""
    return int(min(N_RESAMPLES, max(_MIN_RESAMPLES, _MAX_WORK // max(n, 1))))


def resample_counts(n: int, n_resamples: int, seed: int) -> Iterator[FloatArray]:
    """Bootstrap resamples as counts, in blocks.

    Args:
        n: Number of observations.
        n_resamples: Number of resamples.
        seed: Seed; the same seed gives the same resamples for the same n.

    Yields:
        Counts (b, n), float64, each row summing to n.
    """
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_ELEMENTS // max(n, 1))
    for start in range(0, n_resamples, block):
        size = min(block, n_resamples - start)
        drawn = rng.integers(0, n, size=(size, n))
        drawn += np.arange(size)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def bootstrap_ratio(
    numerator: FloatArray, denominator: FloatArray, *, n_resamples: int | None = None, seed: int = 0
) -> FloatArray:
    """Bootstrap distribution of sum(numerator) / sum(denominator), for example of a mean over a subset.

    Args:
        numerator: (n, k), one column per ratio.
        denominator: (n, k).
        n_resamples: Number of resamples; by default :func:`default_resamples`.
        seed: Seed.

    Returns:
        Ratios (B, k); NaN where a resample's denominator is zero.
    """
    n = len(numerator)
    parts = []
    for counts in resample_counts(n, n_resamples or default_resamples(n), seed):
        below = counts @ denominator
        above = counts @ numerator
        parts.append(np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0))
    return np.concatenate(parts)


def percentile_interval(samples: FloatArray, confidence: float = CONFIDENCE) -> Interval | None:
    """Percentile interval of a bootstrap distribution, or None when too many resamples were degenerate."""
    valid = samples[np.isfinite(samples)]
    if not len(valid) or len(valid) < _MIN_VALID * len(samples):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(valid, [tail, 1 - tail])
    return float(low), float(high)


def jackknife_interval(
    value: float,
    influence: FloatArray,
    groups: IntArray | None,
    *,
    confidence: float = CONFIDENCE,
    bounds: Interval = (-np.inf, np.inf),
) -> Interval | None:
    """Interval from each sentence's influence on a statistic.

    Args:
        value: The statistic.
        influence: (N,) derivative of the statistic by each sentence's weight; sums to 0 for a statistic that does not
            depend on the weights' sum.
        groups: (N,) group of each sentence, or None when every sentence stands alone.
        confidence: Confidence.
        bounds: Range of the statistic; the interval is cut to it.

    Returns:
        The interval (Student's t with groups − 1 degrees of freedom), or None for fewer than two groups.
    """
    sums = influence if groups is None else np.bincount(groups, weights=influence)
    count = len(sums)
    if count < 2:
        return None
    error = np.sqrt(count / (count - 1) * np.sum((sums - sums.mean()) ** 2))
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1) * error)
    return max(value - reach, bounds[0]), min(value + reach, bounds[1])


def jackknife_folds(n: int, groups: IntArray | None, n_folds: int = N_FOLDS) -> list[IntArray]:
    """Random folds of nearly equal size that split no group, for the delete-a-fold jackknife.

    Args:
        n: Number of sentences.
        groups: (n,) group numbers 0 ... G − 1, or None when every sentence stands alone.
        n_folds: Number of folds; no more than there are groups.

    Returns:
        Positions of each fold's sentences, ascending.
    """
    numbers = np.arange(n) if groups is None else groups
    sizes = np.bincount(numbers)
    shuffled = np.random.default_rng(0).permutation(len(sizes))
    before = np.cumsum(sizes[shuffled]) - sizes[shuffled]
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    fold_of_group[shuffled] = before * min(n_folds, len(sizes)) // max(n, 1)
    fold = fold_of_group[numbers]
    return [np.flatnonzero(fold == number) for number in np.unique(fold)]


def fold_jackknife_interval(
    value: float, replicates: FloatArray, *, confidence: float = CONFIDENCE, bounds: Interval = (-np.inf, np.inf)
) -> Interval | None:
    """Interval from the values (folds,) of a statistic without each fold; None for fewer than two folds."""
    count = len(replicates)
    if count < 2:
        return None
    error = np.sqrt((count - 1) / count * np.sum((replicates - replicates.mean()) ** 2))
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1) * error)
    return max(value - reach, bounds[0]), min(value + reach, bounds[1])


def linked_groups(n: int, index1: IntArray, index2: IntArray) -> IntArray:
    """Group of each sentence: sentences that are linked by pairs, directly or through others, share a group.

    Args:
        n: Number of sentences.
        index1: (P,) sentence number of each pair's first sentence.
        index2: (P,) of its second one.

    Returns:
        (N,) group numbers 0 ... G − 1.
    """
    links = sparse.coo_array((np.ones(len(index1), dtype=np.int8), (index1, index2)), shape=(n, n))
    _, labels = sparse.csgraph.connected_components(links, directed=False)
    return np.asarray(labels, dtype=np.int64)
