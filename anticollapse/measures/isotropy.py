"""Is there a common direction? Measures of unit vectors: mean cosine, its per-dimension parts, per-dimension spread.

All are exact over all N(N − 1) ordered pairs of distinct sentences in O(N d): the sum of ⟨ê_i, ê_j⟩ over i ≠ j is
‖Σ ê_i‖² − N.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anticollapse.errors import OptionError
from anticollapse.measures.resampling import jackknife_interval, why_no_interval
from anticollapse.measures.result import Definition, Interval, Measure
from anticollapse.measures.vectors import SentenceVectors, VectorsLike, as_vectors

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TOP_DIMENSIONS = 3

MEAN_UNRELATED_COSINE = Definition(
    key="mean_unrelated_cosine",
    name="Mean cosine of unrelated sentences",
    unit="cosine",
    meaning="The cosine that two sentences picked at random have on average.",
    reads_as="0 is healthy; near 1 all sentences point the same way (collapsed)",
    counts="sentences",
    better="lower",
)
ROGUE_DIMENSIONS = Definition(
    key="rogue_dimensions",
    name="Share of the top 3 dimensions",
    unit="share",
    meaning="How much of the mean cosine comes from just the three dimensions that contribute most to it.",
    reads_as="3/d when all dimensions contribute alike; near 1 a few rogue dimensions decide every cosine",
    counts="sentences",
    better="lower",
)
STD_SQRT_D = Definition(
    key="std_sqrt_d",
    name="Std × √d",
    unit="0 – 1",
    meaning="How much the dimensions of the unit vectors vary from sentence to sentence.",
    reads_as="1 is isotropic, 0 is collapsed",
    counts="sentences",
    better="higher",
)


def mean_unrelated_cosine(vectors: VectorsLike, *, groups: IntArray | None = None) -> Measure:
    """Mean cosine over all ordered pairs of different sentences: (‖Σ ê_i‖² − N) / (N (N − 1)).

    Ethayarajh 2019, https://aclanthology.org/D19-1006. It is a U-statistic, so its leave-one-out jackknife follows
    from each sentence's mean cosine h_i to all others: the estimate without i is (N U − 2 h_i) / (N − 2).

    Args:
        vectors: (N, d) vectors of distinct sentences; zero vectors are left out.
        groups: (N,) groups of sentences that are not independent (:func:`~.resampling.linked_groups`).

    Returns:
        The measure; undefined for fewer than two sentences with a direction. No interval for two.
    """
    checked = as_vectors(vectors)
    reason = too_few(checked)
    if reason:
        return MEAN_UNRELATED_COSINE.undefined(reason, checked.n)
    means = mean_cosine_to_others(checked)
    value = float(np.clip(means.mean(), -1.0, 1.0))
    interval = _u_statistic_interval(value, means, checked.subgroups(groups), (-1.0, 1.0))
    return MEAN_UNRELATED_COSINE.measured(value, interval, checked.n, interval_note(checked, interval, groups))


def mean_cosine_to_others(vectors: VectorsLike) -> FloatArray:
    """Mean cosine (n,) of each sentence to all others, for the n ≥ 2 vectors that are not zero."""
    checked = as_vectors(vectors)
    means = np.empty(checked.n)
    for part, block in checked.blocks(unit=True):
        means[part] = (block @ checked.unit_sum - 1.0) / (checked.n - 1)
    return means


def dimension_contributions(vectors: VectorsLike) -> FloatArray:
    """Contribution (d,) of each dimension to the mean cosine of unrelated sentences; they sum to it.

    Timkey & van Schijndel 2021, https://aclanthology.org/2021.emnlp-main.372, exact over all ordered pairs instead of a
    sample: (S_k² − Σ_i ê_ik²) / (N (N − 1)) with S = Σ ê_i.

    Raises:
        OptionError: For fewer than two sentences with a direction.
    """
    checked = as_vectors(vectors)
    if checked.n < 2:
        raise OptionError(f"Contributions to the mean cosine are undefined because {too_few(checked)}")
    squares = np.zeros(checked.dim)
    for _, block in checked.blocks(unit=True):
        squares += np.einsum("ij,ij->j", block, block)
    return np.asarray((checked.unit_sum**2 - squares) / (checked.n * (checked.n - 1)))


def rogue_dimensions(vectors: VectorsLike, *, groups: IntArray | None = None) -> Measure:
    """Share of the mean cosine that the three most contributing dimensions carry.

    Args:
        vectors: (N, d) vectors of distinct sentences; zero vectors are left out.
        groups: (N,) groups of sentences that are not independent.

    Returns:
        The measure, with ``details["dimensions"]`` and ``details["shares"]`` (top 3, descending). Undefined when the
        mean cosine is not clearly above zero: there is no common direction to be explained, and shares of nothing
        explode. The interval takes the three dimensions as given.
    """
    checked = as_vectors(vectors)
    common = mean_unrelated_cosine(checked, groups=groups)
    if common.value is None:
        return ROGUE_DIMENSIONS.undefined(too_few(checked), checked.n)
    floor = common.interval[0] if common.interval else common.value
    if floor <= 1e-12:
        reason = (
            "the mean cosine of unrelated sentences is not clearly above 0, so there is no common direction to explain"
        )
        return ROGUE_DIMENSIONS.undefined(reason, checked.n)
    contributions = dimension_contributions(checked)
    top = np.argsort(-contributions, kind="stable")[:TOP_DIMENSIONS]
    shares = contributions[top] / common.value
    value = float(shares.sum())
    part = np.empty(checked.n)
    for rows, block in checked.blocks(unit=True):
        chosen = block[:, top]
        part[rows] = (chosen @ checked.unit_sum[top] - np.square(chosen).sum(axis=1)) / (checked.n - 1)
    influence = 2 * (part - value * mean_cosine_to_others(checked)) / (common.value * checked.n)
    interval = jackknife_interval(value, influence, checked.subgroups(groups)) if checked.n > 2 else None
    details = {"dimensions": top.tolist(), "shares": shares.tolist()}
    return ROGUE_DIMENSIONS.measured(value, interval, checked.n, details | interval_note(checked, interval, groups))


def std_sqrt_d(vectors: VectorsLike, *, groups: IntArray | None = None) -> Measure:
    """Mean over dimensions of the standard deviation of the unit vectors, × √d.

    Chen & He 2021 (SimSiam), https://arxiv.org/abs/2011.10566. The deviation divides by N, so that the value lies in
    [0, 1]: Σ_k var_k = 1 − ‖mean ê‖².

    Args:
        vectors: (N, d) vectors of distinct sentences; zero vectors are left out.
        groups: (N,) groups of sentences that are not independent.

    Returns:
        The measure; undefined for fewer than two sentences with a direction.
    """
    checked = as_vectors(vectors)
    reason = too_few(checked)
    if reason:
        return STD_SQRT_D.undefined(reason, checked.n)
    mean = checked.unit_sum / checked.n
    variance = np.zeros(checked.dim)
    for _, block in checked.blocks(unit=True):
        variance += np.square(block - mean).sum(axis=0) / checked.n
    std = np.sqrt(variance)
    scale = np.sqrt(checked.dim) / checked.dim
    slope = np.divide(0.5, std, out=np.zeros_like(std), where=std > 0)
    influence = np.empty(checked.n)
    for part, block in checked.blocks(unit=True):
        influence[part] = scale / checked.n * ((np.square(block - mean) - variance) @ slope)
    value = float(min(scale * std.sum(), 1.0))
    interval = jackknife_interval(value, influence, checked.subgroups(groups), bounds=(0.0, 1.0))
    return STD_SQRT_D.measured(value, interval, checked.n, interval_note(checked, interval, groups))


def sample_unrelated_cosines(vectors: VectorsLike, *, n_pairs: int = 100_000, seed: int = 0) -> FloatArray:
    """Cosines of random pairs of different sentences, for a histogram.

    Args:
        vectors: (N, d) vectors of distinct sentences; zero vectors are left out.
        n_pairs: Number of pairs; all of them once instead when there are no more than that.
        seed: Seed.

    Returns:
        Cosines, empty for fewer than two sentences.
    """
    checked = as_vectors(vectors)
    if checked.n < 2:
        return np.empty(0)
    if checked.n * (checked.n - 1) // 2 <= n_pairs:
        first, second = np.triu_indices(checked.n, k=1)
    else:
        rng = np.random.default_rng(seed)
        first = rng.integers(0, checked.n, n_pairs)
        second = (first + rng.integers(1, checked.n, n_pairs)) % checked.n
    cosines = np.empty(len(first))
    step = max(1, (1 << 21) // checked.dim)
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        left, right = checked.take(first[part], unit=True), checked.take(second[part], unit=True)
        cosines[part] = np.clip(np.einsum("ij,ij->i", left, right), -1.0, 1.0)
    return cosines


def too_few(vectors: SentenceVectors) -> str:
    """Why a measure over pairs of sentences is undefined; empty when there are two or more with a direction."""
    if vectors.n >= 2:
        return ""
    zero = f" (and {vectors.n_zero:,} zero vectors, which have no direction)" if vectors.n_zero else ""
    return f"it needs at least two sentences and there {'is' if vectors.n == 1 else 'are'} {vectors.n}{zero}"


def interval_note(vectors: SentenceVectors, interval: Interval | None, groups: IntArray | None) -> dict[str, object]:
    """How a jackknife interval was made, or why there is none, for ``Measure.details``."""
    if interval is None:
        reason = why_no_interval(vectors.n, vectors.subgroups(groups))
        return {"no_interval": reason or f"{vectors.n} sentences are too few to leave one out"}
    unit = "sentences" if groups is None else f"{len(np.unique(groups)):,} groups of sentences linked by pairs"
    return {"interval": f"jackknife over {unit}"}


def _u_statistic_interval(
    value: float, means: FloatArray, groups: IntArray | None, bounds: Interval
) -> Interval | None:
    """Jackknife interval of a mean over pairs, from each sentence's mean with all others."""
    n = len(means)
    if n < 3:
        return None
    return jackknife_interval(value, 2 * (means - value) / (n - 2), groups, bounds=bounds)
