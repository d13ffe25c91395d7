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

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from anticollapse.measures.result import Interval

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CONFIDENCE = 0.95
N_RESAMPLES = 2000
N_FOLDS = 20

MIN_EFFECTIVE_GROUPS = 2.0
"""Below that, Student's t would have less than one degree of freedom."""

_BLOCK_ELEMENTS = 1 << 18  # a block's temporaries stay within the processor's cache
_MAX_WORK = 60_000_000  # resamples × pairs; 2,000 resamples up to 30,000 pairs
_MIN_RESAMPLES = 500
MIN_VALID = 0.95  # below that share of usable resamples, their quantiles describe another population


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
    if not len(valid) or len(valid) < MIN_VALID * len(samples):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(valid, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_note(interval: Interval | None, how: str) -> dict[str, object]:
    """How a percentile interval was made, or why there is none, for ``Measure.details``."""
    if interval is None:
        return {"no_interval": "too many resamples have no value (all labels are equal in them, for instance)"}
    return {"interval": f"bootstrap, {how}"}


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
        The interval (Student's t with :func:`effective_groups` − 1 degrees of freedom), or None where
        :func:`why_no_interval` gives a reason.
    """
    if why_no_interval(len(influence), groups):
        return None
    sizes = np.ones(len(influence)) if groups is None else np.bincount(groups).astype(np.float64)
    shares = sizes / sizes.sum()
    sums = influence if groups is None else np.bincount(groups, weights=influence)
    # A group pulls the statistic towards itself, so its own deviation is too small by its share.
    error = np.sqrt(np.sum((sums - shares * sums.sum()) ** 2 / (1 - shares)))
    reach = float(stats.t.ppf((1 + confidence) / 2, effective_groups(sizes) - 1) * error)
    return max(value - reach, bounds[0]), min(value + reach, bounds[1])


def effective_groups(sizes: FloatArray | IntArray) -> float:
    """How many groups of equal size carry as much information as groups of these sizes (G,): (Σ n_g)² / Σ n_g².

    Less one, these are Satterthwaite's degrees of freedom (1946, https://doi.org/10.2307/3002019) for a sum of squares
    to which each group contributes in proportion to its size.
    """
    numbers = np.asarray(sizes, dtype=np.float64)
    return float(numbers.sum() ** 2 / np.sum(numbers**2))


def why_no_interval(n: int, groups: IntArray | None) -> str:
    """Why the jackknife gives no interval for n sentences in these groups (n,); empty when it does.

    The reason completes the sentence "no interval because ...".
    """
    if n < 2:
        return "there is only one sentence"
    if groups is None:
        return ""
    sizes = np.bincount(groups)
    sizes = sizes[sizes > 0]
    if len(sizes) == 1:
        return f"all {n:,} sentences are linked by pairs into one group, and only groups count as independent"
    if effective_groups(sizes) < MIN_EFFECTIVE_GROUPS:
        return f"{sizes.max():,} of the {n:,} sentences are linked by pairs into one group, too many to judge chance"
    return ""


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
    value: float,
    replicates: FloatArray,
    *,
    sizes: Sequence[int] | None = None,
    confidence: float = CONFIDENCE,
    bounds: Interval = (-np.inf, np.inf),
) -> Interval | None:
    """Interval from the values of a statistic without each fold.

    Args:
        value: The statistic of all sentences.
        replicates: (folds,) its values without one fold each.
        sizes: Sentences in each fold; by default all alike. For unequal folds see Busing, Meijer & van der Leeden 1999
            (https://doi.org/10.1023/A:1008800423698).
        confidence: Confidence.
        bounds: Range of the statistic; the interval is cut to it.

    Returns:
        The interval, or None for fewer than two effective folds.
    """
    numbers = np.ones(len(replicates)) if sizes is None else np.asarray(sizes, dtype=np.float64)
    if len(replicates) < 2 or effective_groups(numbers) < MIN_EFFECTIVE_GROUPS:
        return None
    inverse = numbers.sum() / numbers  # h: how many folds of this size there would be
    pseudo = inverse * value - (inverse - 1) * replicates
    centre = len(replicates) * value - np.sum((1 - 1 / inverse) * replicates)
    error = np.sqrt(np.mean((pseudo - centre) ** 2 / (inverse - 1)))
    reach = float(stats.t.ppf((1 + confidence) / 2, effective_groups(numbers) - 1) * error)
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
