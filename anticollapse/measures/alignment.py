"""Alignment and uniformity on unit vectors.

Wang & Isola 2020, "Understanding Contrastive Representation Learning through Alignment and Uniformity on the
Hypersphere", https://arxiv.org/abs/2005.10242.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anticollapse.errors import OptionError
from anticollapse.measures.isotropy import interval_note, too_few
from anticollapse.measures.profile import SAME_FROM
from anticollapse.measures.resampling import (
    bootstrap_note,
    bootstrap_ratio,
    default_resamples,
    jackknife_interval,
    percentile_interval,
)
from anticollapse.measures.result import Definition, Measure
from anticollapse.measures.vectors import SentenceVectors, VectorsLike, as_vectors

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

EXACT_LIMIT = 5_000
_BLOCK = 512

ALIGNMENT = Definition(
    key="alignment",
    name="Alignment",
    unit="squared distance, 0 – 4",
    meaning="How far apart the two sentences of a pair that means the same (label 4 and up) lie on average.",
    reads_as="0 is best, but a collapsed encoder gets it for free: read it together with uniformity",
    counts="pairs",
    better="lower",
)
UNIFORMITY = Definition(
    key="uniformity",
    name="Uniformity",
    unit="log, −8 – 0",
    meaning="How evenly the sentences are spread over the sphere of all directions.",
    reads_as="0 is collapsed to one point; evenly spread is near −4",
    counts="sentences",
    better="lower",
)


def alignment(
    labels: ArrayLike | None, cosines: ArrayLike, *, seed: int = 0, n_resamples: int | None = None
) -> Measure:
    """Mean squared distance of the unit vectors of pairs with label ≥ 4, E ‖ê − ê⁺‖² = E (2 − 2 cos).

    Args:
        labels: (n,) scores on 0–5, or None.
        cosines: (n,) cosines, finite.
        seed: Seed of the resamples.
        n_resamples: Number of resamples; by default 2,000, fewer above 30,000 pairs.

    Returns:
        The measure, n = pairs with label ≥ 4, with a bootstrap interval over them; undefined without such pairs.

    Raises:
        OptionError: If labels and cosines differ in length.
    """
    c = np.asarray(cosines, dtype=np.float64)
    if labels is None:
        return ALIGNMENT.undefined("the pairs have no labels", 0)
    y = np.asarray(labels, dtype=np.float64)
    if y.shape != c.shape:
        raise OptionError(f"{len(y):,} labels do not match {len(c):,} cosines")
    distances = 2 - 2 * c[y >= SAME_FROM]
    n = len(distances)
    if not n:
        return ALIGNMENT.undefined(f"no pair has a label of {SAME_FROM:g} or more", 0)
    if n < 2:
        return ALIGNMENT.measured(float(distances[0]), None, n, {"no_interval": "there is only one pair"})
    resamples = n_resamples or default_resamples(n)
    means = bootstrap_ratio(distances[:, None], np.ones((n, 1)), n_resamples=resamples, seed=seed)
    interval = percentile_interval(means[:, 0])
    details = bootstrap_note(interval, f"{resamples:,} resamples of pairs")
    return ALIGNMENT.measured(float(distances.mean()), interval, n, details)


def uniformity(
    vectors: VectorsLike, *, seed: int = 0, groups: IntArray | None = None, exact_limit: int = EXACT_LIMIT
) -> Measure:
    """Log of the mean Gaussian potential over pairs of different sentences, log E exp(−2 ‖ê_i − ê_j‖²).

    Exact over all pairs up to ``exact_limit`` sentences. Above, the sentences are shuffled and cut into blocks of about
    512, and all pairs within a block are taken: every sentence meets about 511 random others, at matrix-product speed.
    It never is −inf: the potential is at least exp(−8), and a set without a pair is undefined.

    Args:
        vectors: (N, d) vectors of distinct sentences; zero vectors are left out.
        seed: Seed of the shuffle.
        groups: (N,) groups of sentences that are not independent.
        exact_limit: Largest number of sentences for which all pairs are taken.

    Returns:
        The measure; ``details["pairs"]`` says how many pairs were taken and whether that is all of them.
    """
    checked = as_vectors(vectors)
    reason = too_few(checked)
    if reason:
        return UNIFORMITY.undefined(reason, checked.n)
    if checked.n <= exact_limit:
        means, pairs = _potentials_exact(checked), checked.n * (checked.n - 1) // 2
        method = f"all {pairs:,} pairs"
    else:
        means, pairs = _potentials_sampled(checked, seed)
        method = f"{pairs:,} pairs sampled with seed {seed}"
    mean = float(means.mean())
    value = min(float(np.log(mean)), 0.0)
    influence = 2 * (means - mean) / (mean * max(checked.n - 2, 1))
    interval = None
    if checked.n > 2:
        interval = jackknife_interval(value, influence, checked.subgroups(groups), bounds=(-8.0, 0.0))
    return UNIFORMITY.measured(value, interval, checked.n, {"pairs": method} | interval_note(checked, interval, groups))


def _potentials_exact(vectors: SentenceVectors) -> FloatArray:
    """Mean potential (n,) of each sentence with all others."""
    units = _units(vectors, np.arange(vectors.n))
    sums = np.empty(vectors.n)
    for start in range(0, vectors.n, _BLOCK):
        part = np.arange(start, min(start + _BLOCK, vectors.n))
        sums[part] = _potential_sums(units[part], units, part)
    return sums / (vectors.n - 1)


def _potentials_sampled(vectors: SentenceVectors, seed: int) -> tuple[FloatArray, int]:
    """Mean potential (n,) of each sentence with the others of its random block, and the number of pairs."""
    means, pairs = np.empty(vectors.n), 0
    for rows in _random_blocks(vectors.n, seed):
        units = _units(vectors, rows)
        # Blocks differ in size by at most one, so the plain mean over sentences is the mean over pairs to 1 in 512.
        means[rows] = _potential_sums(units, units, np.arange(len(rows))) / (len(rows) - 1)
        pairs += len(rows) * (len(rows) - 1) // 2
    return means, pairs


def _potential_sums(rows: NDArray[np.float32], all_rows: NDArray[np.float32], own: IntArray) -> FloatArray:
    """Sum of exp(4 cos − 4) = exp(−2 ‖difference‖²) of each row with all rows but itself (at column ``own``)."""
    potential = rows @ all_rows.T
    np.minimum(potential, 1.0, out=potential)
    potential -= 1.0
    potential *= 4.0
    np.exp(potential, out=potential)
    potential[np.arange(len(rows)), own] = 0.0
    return np.asarray(potential.sum(axis=1, dtype=np.float64))


def _units(vectors: SentenceVectors, rows: IntArray) -> NDArray[np.float32]:
    """Unit vectors in float32: the potential is then exact to about 1e-6, at half the time."""
    return vectors.take(rows, unit=True).astype(np.float32)


def _random_blocks(n: int, seed: int) -> Iterator[IntArray]:
    shuffled = np.random.default_rng(seed).permutation(n)
    yield from np.array_split(shuffled, max(1, n // _BLOCK))
