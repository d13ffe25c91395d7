"""Groups of similar sentences, found in the sentence vectors and not in a picture of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN

from anticollapse.errors import OptionError
from anticollapse.measures.neighbours import CentredDirections, nearest_drawn
from anticollapse.measures.principal import principal_coordinates
from anticollapse.wording import count

IntArray = NDArray[np.int64]

MOST = 10_000
"""Sentences that are clustered. The time grows with the square of their number and nothing else in the process runs
meanwhile, so of more sentences a sample is clustered, and each other one joins its nearest one there."""

_DIMS = ((5_000, 50), (MOST, 15))
"""Sentences up to which that many principal components are clustered: 9 s for 10,000 × 50, 2 s for 10,000 × 15, on 2
cores."""

_MIN_SAMPLES = 5


@dataclass(frozen=True)
class Clusters:
    """Dense groups of sentences.

    Attributes:
        labels: ``(N,)`` group of each sentence, the largest group being 0; -1 for sentences in no dense group.
        sizes: Sentences of each group.
        dims: Principal components that were clustered.
        kept: Share of the variance that these components keep.
        clustered: Sentences that the groups were found in.
        joined: Sentences that were given to the group of their nearest one among these; the rest has no direction.
    """

    labels: IntArray
    sizes: tuple[int, ...]
    dims: int
    kept: float
    clustered: int
    joined: int = 0

    @property
    def note(self) -> str:
        """How the groups were found, in full sentences; empty where there was nothing to look in."""
        if not self.dims:
            return ""
        text = (
            f"Groups are dense places in the {count(self.dims, 'leading principal component')} of the sentences drawn, "
            f"which {'keeps' if self.dims == 1 else 'keep'} {self.kept:.0%} of their variance."
        )
        if self.joined:
            text += (
                f" They were found in {self.clustered:,} of these sentences; each of the others is in the group of the "
                "nearest of these, or in none like it."
            )
        return text

    @property
    def n(self) -> int:
        """Number of groups."""
        return len(self.sizes)

    @property
    def outside(self) -> float:
        """Share of the sentences that belong to no group."""
        return float((self.labels < 0).mean()) if len(self.labels) else 0.0


def clusters(
    vectors: NDArray[np.floating], *, min_size: int | None = None, most: int = MOST, seed: int = 0
) -> Clusters:
    """HDBSCAN (Campello et al. 2013, https://doi.org/10.1007/978-3-642-37456-2_14) on unit sentence vectors.

    Args:
        vectors: ``(N, d)`` sentence vectors.
        min_size: Smallest group; default 0.5 % of the sentences that are clustered, at least 5.
        most: Sentences that are clustered; of more, a random sample is.
        seed: Seed of that sample; nothing else is random.

    Raises:
        EncoderError: A vector contains NaN or infinity.
        OptionError: ``min_size`` is under 2.
    """
    space = CentredDirections.of(vectors)
    chosen = np.arange(len(space.rows))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(chosen), most, replace=False))
    n = len(chosen)
    least = max(5, n // 200) if min_size is None else min_size
    if least < 2:
        raise OptionError(f"groups of {least} were asked for", remedy="Ask for at least 2 sentences a group")
    labels = np.full(space.n_all, -1, np.int64)
    dims = next((dims for limit, dims in _DIMS if n <= limit), _DIMS[-1][1])
    if n < max(least, _MIN_SAMPLES) + 1:
        return Clusters(labels, (), 0, 1.0, n)
    reduced = principal_coordinates(space.points[chosen], dims)
    if not reduced.kept:  # all vectors are equal: one group, and HDBSCAN would divide by zero
        labels[space.rows] = 0
        return Clusters(labels, (len(space.rows),), 0, 1.0, n)
    found = HDBSCAN(min_cluster_size=least, min_samples=_MIN_SAMPLES, copy=True).fit_predict(reduced.coordinates)
    labels[space.rows[chosen]] = found
    if n < len(space.rows):
        rest = np.delete(space.rows, chosen)
        labels[rest] = labels[space.rows[chosen]][nearest_drawn(space, space.rows[chosen], rest)]
    labels = _by_size(labels)
    sizes = np.bincount(labels[labels >= 0])
    return Clusters(
        labels,
        tuple(int(size) for size in sizes),
        reduced.coordinates.shape[1],
        reduced.kept,
        clustered=n,
        joined=len(space.rows) - n,
    )


def _by_size(found: IntArray) -> IntArray:
    """Numbers groups by size, the largest 0; groups of one size by their first sentence."""
    names, first, counts = np.unique(found[found >= 0], return_index=True, return_counts=True)
    rank = np.empty(len(names), np.int64)
    rank[np.lexsort((first, -counts))] = np.arange(len(names))
    out = np.full(len(found), -1, np.int64)
    out[found >= 0] = rank[np.searchsorted(names, found[found >= 0])]
    return out
