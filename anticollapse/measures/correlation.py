"""Spearman and Pearson correlation of labels and cosines, ×100, with bootstrap intervals.

The Spearman bootstrap is exact: the ranks are computed anew in every resample, with average ranks for ties. It needs no
sorting: with the values sorted once, the rank of a distinct value in a resample follows from the cumulative sum of the
resample's counts, so a resample costs O(n).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from anticollapse.errors import OptionError
from anticollapse.measures.ranks import Ranks, standardised, variance
from anticollapse.measures.resampling import CONFIDENCE, MIN_VALID, bootstrap_note, default_resamples, resample_counts
from anticollapse.measures.result import Definition, Interval, Measure

FloatArray = NDArray[np.float64]
Kind = Literal["spearman", "pearson"]

MIN_PAIRS = 3
_SAME = 1e-12  # cosines that differ by less are equal up to rounding, and have no order

SPEARMAN = Definition(
    key="spearman",
    name="Spearman",
    unit="×100",
    meaning="How well the encoder's order of the pairs, from least to most similar, matches the order by people.",
    reads_as="100 is the same order, 0 is no relation",
    counts="pairs",
    better="higher",
)
PEARSON = Definition(
    key="pearson",
    name="Pearson",
    unit="×100",
    meaning="How close the cosines are to a straight line in the scores that people gave.",
    reads_as="100 is a straight line, 0 is no relation",
    counts="pairs",
    better="higher",
)
DEFINITIONS: dict[Kind, Definition] = {"spearman": SPEARMAN, "pearson": PEARSON}


def correlation(
    labels: ArrayLike | None,
    cosines: ArrayLike,
    *,
    kind: Kind = "spearman",
    seed: int = 0,
    n_resamples: int | None = None,
) -> Measure:
    """Correlation of labels and cosines, ×100, with a 95 % bootstrap interval over pairs.

    Args:
        labels: (n,) scores, or None.
        cosines: (n,) cosines.
        kind: "spearman" or "pearson".
        seed: Seed of the resamples.
        n_resamples: Number of resamples; by default 2,000, fewer above 30,000 pairs.

    Returns:
        The measure; undefined for no labels, fewer than 3 pairs, equal labels, equal cosines or NaN.

    Raises:
        OptionError: If labels and cosines differ in length.
    """
    y, c = _columns(labels, cosines)
    definition = DEFINITIONS[kind]
    reason = why_undefined(y, c)
    if y is None or reason:
        return definition.undefined(reason, len(c))
    resamples = n_resamples or default_resamples(len(c))
    samples = bootstrap_correlations(y, c[None], kind=kind, seed=seed, n_resamples=resamples)[:, 0]
    value = correlation_of(y, c, kind)
    interval = fisher_interval(value, samples, len(c))
    note = bootstrap_note(interval, f"{resamples:,} resamples of pairs, Student's t on Fisher's scale")
    return definition.measured(100 * value, interval, len(c), note)


def fisher_interval(value: float, samples: FloatArray, n: int) -> Interval | None:
    """95 % interval (×100) of a correlation from its bootstrap distribution, on Fisher's scale z = artanh ρ.

    There the distribution is nearly normal whatever the correlation (Fisher 1921), so its standard deviation says all.

    Args:
        value: The correlation in [−1, 1].
        samples: (B,) correlations of resamples.
        n: Number of pairs.

    Returns:
        z ± Student's t × the standard error, mapped back; None when too many resamples were degenerate.
    """
    valid = samples[np.isfinite(samples)]
    if len(valid) < max(2.0, MIN_VALID * len(samples)):
        return None
    # A resample of few pairs can be perfect. On this scale that is infinitely far, so it counts as what lies half-way
    # between perfect and the best imperfect order of n pairs.
    nearly = 1 - 6 / max(n**3 - n, 12)
    error = np.arctanh(np.clip(valid, -nearly, nearly)).std(ddof=1) * np.sqrt(n / (n - 1))
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * error
    with np.errstate(divide="ignore"):
        z = np.arctanh(np.clip(value, -1.0, 1.0))
    return float(100 * np.tanh(z - reach)), float(100 * np.tanh(z + reach))


def spearman(labels: ArrayLike | None, cosines: ArrayLike, *, seed: int = 0, n_resamples: int | None = None) -> Measure:
    """Spearman's rank correlation ×100: see :func:`correlation`."""
    return correlation(labels, cosines, kind="spearman", seed=seed, n_resamples=n_resamples)


def pearson(labels: ArrayLike | None, cosines: ArrayLike, *, seed: int = 0, n_resamples: int | None = None) -> Measure:
    """Pearson's correlation ×100: see :func:`correlation`."""
    return correlation(labels, cosines, kind="pearson", seed=seed, n_resamples=n_resamples)


def correlation_of(labels: FloatArray, cosines: FloatArray, kind: Kind) -> float:
    """The plain correlation in [−1, 1] of two arrays for which it is defined."""
    result = stats.spearmanr(labels, cosines) if kind == "spearman" else stats.pearsonr(labels, cosines)
    return float(result.statistic)


def why_undefined(labels: FloatArray | None, cosines: FloatArray) -> str:
    """Why the correlation is undefined, to complete "undefined because ..."; empty when it is defined."""
    if labels is None:
        return "the pairs have no labels"
    n = len(cosines)
    checks = (
        (n < MIN_PAIRS, f"it needs at least {MIN_PAIRS} pairs and there {'is' if n == 1 else 'are'} {n}"),
        (not np.isfinite(labels).all(), f"{np.sum(~np.isfinite(labels)):,} labels are not numbers"),
        (not np.isfinite(cosines).all(), f"{np.sum(~np.isfinite(cosines)):,} cosines are not numbers"),
        (n > 0 and np.ptp(labels) == 0, "all labels are equal"),
        (n > 0 and np.ptp(cosines) <= _SAME, "the cosine is the same for every pair"),
    )
    return next((reason for applies, reason in checks if applies), "")


def bootstrap_correlations(
    labels: FloatArray, cosines: FloatArray, *, kind: Kind, seed: int = 0, n_resamples: int | None = None
) -> FloatArray:
    """Bootstrap distribution of the correlation of one label array with k cosine arrays, on the same resamples.

    Args:
        labels: (n,).
        cosines: (k, n), one row per encoder.
        kind: "spearman" or "pearson".
        seed: Seed; the same for the same resamples.
        n_resamples: Number of resamples; by default :func:`default_resamples`.

    Returns:
        (B, k) correlations in [−1, 1]; NaN where a resample has equal labels or equal cosines.
    """
    n = len(labels)
    # Sorted by label, the labels' ranks need no gather, whatever the resample.
    order = np.argsort(labels, kind="stable")
    labels, cosines = labels[order], cosines[:, order]
    statistic = _SpearmanOfCounts(labels, cosines) if kind == "spearman" else _PearsonOfCounts(labels, cosines)
    blocks = resample_counts(n, n_resamples or default_resamples(n), seed)
    # The counts belong to positions in the caller's order, so that arrays of one length share their resamples.
    return np.concatenate([statistic(counts[:, order]) for counts in blocks])


class _SpearmanOfCounts:
    """Spearman's correlations (b, k) for counts (b, n)."""

    def __init__(self, labels: FloatArray, cosines: FloatArray) -> None:
        self.y = Ranks(labels)
        self.x = [Ranks(row) for row in cosines]

    def __call__(self, counts: FloatArray) -> FloatArray:
        label_counts = self.y.sums(counts)
        label_ranks = self.y.centred(label_counts)
        label_squares = np.einsum("bg,bg,bg->b", label_counts, label_ranks, label_ranks)
        weighted = self.y.spread(label_ranks, counts.shape[1]) * counts
        columns = []
        for x in self.x:
            groups = x.sums(counts)
            ranks = x.centred(groups)
            squares = np.einsum("bg,bg,bg->b", groups, ranks, ranks)
            columns.append(_ratio(np.einsum("bg,bg->b", x.sums(weighted), ranks), label_squares * squares))
        return np.stack(columns, axis=1)


class _PearsonOfCounts:
    """Pearson's correlations (b, k) for counts (b, n)."""

    def __init__(self, labels: FloatArray, cosines: FloatArray) -> None:
        self.y = standardised(labels)
        self.x = [standardised(row) for row in cosines]

    def __call__(self, counts: FloatArray) -> FloatArray:
        n = counts.shape[1]
        label_mean = counts @ self.y / n
        label_variance = variance(counts @ self.y**2 / n, label_mean)
        columns = []
        for x in self.x:
            mean = counts @ x / n
            covariance = counts @ (x * self.y) / n - mean * label_mean
            columns.append(_ratio(covariance, label_variance * variance(counts @ x**2 / n, mean)))
        return np.stack(columns, axis=1)


def _ratio(covariance: FloatArray, squared: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(squared > 0, np.clip(covariance / np.sqrt(squared), -1.0, 1.0), np.nan)


def _columns(labels: ArrayLike | None, cosines: ArrayLike) -> tuple[FloatArray | None, FloatArray]:
    c = np.asarray(cosines, dtype=np.float64)
    if c.ndim != 1:
        raise OptionError(f"Cosines must be one-dimensional, not of shape {c.shape}")
    if labels is None:
        return None, c
    y = np.asarray(labels, dtype=np.float64)
    if y.shape != c.shape:
        raise OptionError(f"{len(y):,} labels do not match {len(c):,} cosines")
    return y, c
