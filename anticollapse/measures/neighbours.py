"""Nearest neighbours in the space of the sentence vectors themselves, and how many of them two encoders share.

A picture on a plane cannot keep all neighbourhoods, so neighbours are never read off it. Up to :data:`EXACT_LIMIT`
sentences they are exact: all cosines, in blocks. Above that an index (NN-descent, Dong et al. 2011,
https://doi.org/10.1145/1963405.1963487, as implemented by pynndescent) finds nearly all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from anticollapse.errors import CancelledError, OptionError
from anticollapse.measures.result import Definition, Interval, Measure
from anticollapse.measures.vectors import SentenceVectors

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Progress = Callable[[int, int], None]
Cancelled = Callable[[], bool]

EXACT_LIMIT = 200_000
"""Sentences above which an index replaces the matrix product, whose time grows with their square."""

N_NEIGHBOURS = 10

_BLOCK_ELEMENTS = 1 << 24  # 64 MiB of float32 cosines at once

OVERLAP = Definition(
    key="neighbour_overlap",
    name="Neighbours kept",
    unit="share, 0 to 1",
    meaning="The share of each sentence's nearest neighbours that it also has under the other encoder, on average.",
    reads_as="1: the same neighbourhoods; near 0: other ones",
    counts="sentences",
)


@dataclass(frozen=True)
class Neighbours:
    """The nearest neighbours of q sentences among N, nearest first.

    Attributes:
        indices: ``(q, k)`` positions among the N; -1 where there is none (zero vectors have no direction, and there
            may be fewer than k other sentences).
        cosines: ``(q, k)`` cosine with each; NaN where there is none.
        exact: Whether all cosines were looked at.
    """

    indices: IntArray
    cosines: FloatArray
    exact: bool

    def first(self, k: int) -> Neighbours:
        """The k nearest only."""
        return Neighbours(self.indices[:, :k], self.cosines[:, :k], self.exact)


@dataclass(frozen=True)
class CentredDirections:
    """Unit vectors with their common mean taken off: their distances are those of the unit vectors, in full precision.

    In a collapsed space all cosines are 0.99…, and float32 has few digits left to tell them apart. ‖a − b‖² = 2 − 2 cos
    for unit vectors, and a distance does not change when both points are moved.

    Attributes:
        points: ``(n, d)`` float32, the unit vectors less their mean.
        rows: ``(n,)`` which of the N vectors these are: all but the zero vectors.
        n_all: N.
    """

    points: NDArray[np.float32]
    rows: IntArray
    n_all: int

    @classmethod
    def of(cls, vectors: NDArray[np.floating]) -> CentredDirections:
        """The directions of ``(N, d)`` sentence vectors.

        Raises:
            EncoderError: A vector contains NaN or infinity.
        """
        checked = SentenceVectors.check(vectors)
        mean = checked.unit_sum / max(checked.n, 1)
        points = np.empty((checked.n, checked.dim), np.float32)
        for part, block in checked.blocks(unit=True):
            points[part] = block - mean
        return cls(points, checked.rows, len(checked.values))

    @cached_property
    def half_squares(self) -> NDArray[np.float32]:
        """``(n,)`` half the squared length of each point."""
        half: NDArray[np.float32] = (0.5 * np.einsum("nd,nd->n", self.points, self.points)).astype(np.float32)
        return half

    @cached_property
    def positions(self) -> IntArray:
        """``(N,)`` position of each vector among the points; -1 for a zero vector."""
        found = np.full(self.n_all, -1, np.int64)
        found[self.rows] = np.arange(len(self.rows))
        return found


def nearest_neighbours(
    vectors: NDArray[np.floating] | CentredDirections,
    k: int = N_NEIGHBOURS,
    *,
    queries: IntArray | None = None,
    exact: bool | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Neighbours:
    """The k nearest other sentences by cosine.

    Args:
        vectors: ``(N, d)`` sentence vectors, one row per distinct sentence.
        k: Neighbours of each.
        queries: ``(q,)`` rows whose neighbours are wanted; default all N.
        exact: Whether to look at all cosines; default up to :data:`EXACT_LIMIT` sentences or for few queries.
        seed: Seed of the index.
        progress: Called with (queries done, queries).
        cancelled: Asked between blocks.

    Raises:
        CancelledError: ``cancelled`` said so.
        EncoderError: A vector contains NaN or infinity.
        OptionError: ``k`` is not positive.
    """
    if k < 1:
        raise OptionError(f"{k} neighbours were asked for", remedy="Ask for at least 1")
    space = vectors if isinstance(vectors, CentredDirections) else CentredDirections.of(vectors)
    wanted = np.arange(space.n_all) if queries is None else np.asarray(queries, np.int64)
    inside = space.positions[wanted]
    indices = np.full((len(wanted), k), -1, np.int64)
    cosines = np.full((len(wanted), k), np.nan)
    have = np.flatnonzero(inside >= 0)
    kept = min(k, len(space.rows) - 1)
    if exact is None:
        exact = space.n_all <= EXACT_LIMIT or len(wanted) * space.n_all <= EXACT_LIMIT**2 // 4
    if kept > 0 and len(have):
        search = _search_all if exact else _search_index
        found = search(space, inside[have], kept, seed, progress, cancelled)
        found, near = _sorted_by_cosine(space, inside[have], found)
        indices[have, :kept] = np.where(found >= 0, space.rows[found], -1)
        cosines[have, :kept] = near
    return Neighbours(indices, cosines, exact)


def nearest_drawn(
    space: CentredDirections, drawn: IntArray, rest: IntArray, *, cancelled: Cancelled | None = None
) -> IntArray:
    """For each of some sentences, which of others is nearest to it.

    Args:
        space: All N sentences.
        drawn: ``(n,)`` rows to choose from.
        rest: ``(r,)`` rows to find the nearest one for.
        cancelled: Asked between blocks.

    Returns:
        ``(r,)`` positions in ``drawn``; -1 for a zero vector, or when all drawn ones are.

    Raises:
        CancelledError: ``cancelled`` said so.
    """
    out = np.full(len(rest), -1, np.int64)
    choices = np.flatnonzero(space.positions[drawn] >= 0)
    have = np.flatnonzero(space.positions[rest] >= 0)
    if not len(choices):
        return out
    inside = space.positions[drawn[choices]]
    points, bias = torch.from_numpy(space.points[inside]), torch.from_numpy(-space.half_squares[inside])
    step = max(_BLOCK_ELEMENTS // len(choices), 1)
    for start in range(0, len(have), step):
        _ask(cancelled)
        part = have[start : start + step]
        block = torch.from_numpy(space.points[space.positions[rest[part]]])
        out[part] = choices[torch.addmm(bias, block, points.T).argmax(dim=1).numpy()]
    return out


def overlap(a: Neighbours, b: Neighbours) -> FloatArray:
    """Share of each sentence's neighbours under one encoder that it also has under the other.

    Args:
        a: Neighbours of q sentences.
        b: Neighbours of the same sentences, as many.

    Returns:
        ``(q,)`` from 0 to 1; NaN where a sentence has no neighbours under one of them.

    Raises:
        OptionError: The two were made for different sentences or different k.
    """
    if a.indices.shape != b.indices.shape:
        raise OptionError(
            f"neighbours of shape {a.indices.shape} and {b.indices.shape} cannot be compared",
            remedy="Ask for the same number of neighbours of the same sentences",
        )
    q, k = a.indices.shape
    shared = np.zeros(q)
    step = max(_BLOCK_ELEMENTS // max(k * k, 1), 1)
    for start in range(0, q, step):
        left, right = a.indices[start : start + step], b.indices[start : start + step]
        same = (left[:, :, None] == right[:, None, :]) & (left[:, :, None] >= 0)
        shared[start : start + step] = same.sum(axis=(1, 2))
    size = np.maximum((a.indices >= 0).sum(axis=1), (b.indices >= 0).sum(axis=1))
    return np.where(size > 0, shared / np.maximum(size, 1), np.nan)


def mean_overlap(shares: FloatArray, *, k: int, groups: IntArray | None = None) -> Measure:
    """The mean of :func:`overlap` with its interval.

    Args:
        shares: ``(q,)`` from :func:`overlap`.
        k: How many neighbours were compared.
        groups: ``(q,)`` group of each sentence; only groups count as independent.
    """
    good = np.isfinite(shares)
    if not good.any():
        return OVERLAP.undefined("no sentence has neighbours", 0, {"k": k})
    interval = mean_interval(shares[good], None if groups is None else groups[good])
    return OVERLAP.measured(float(shares[good].mean()), interval, int(good.sum()), {"k": k})


def mean_interval(values: FloatArray, groups: IntArray | None = None) -> Interval | None:
    """95 % interval of a mean, normal approximation, with groups of dependent values counted as one.

    Args:
        values: ``(n,)`` finite values.
        groups: ``(n,)`` group of each; default each its own.
    """
    n = len(values)
    if n < 2:
        return None
    off = values - values.mean()
    sums = off if groups is None else np.bincount(np.unique(groups, return_inverse=True)[1], off)
    if len(sums) < 2:
        return None
    error = 1.96 * float(np.sqrt(np.square(sums).sum() * len(sums) / (len(sums) - 1))) / n
    mean = float(values.mean())
    return mean - error, mean + error


def _search_all(
    space: CentredDirections,
    queries: IntArray,
    k: int,
    seed: int,  # noqa: ARG001  the index needs one
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> IntArray:
    """Largest ⟨a, b⟩ − ‖b‖²/2 first, which is smallest distance first. torch's top-k takes a third of NumPy's time."""
    points = torch.from_numpy(space.points)
    bias = torch.from_numpy(-space.half_squares)
    found = np.empty((len(queries), k), np.int64)
    step = max(_BLOCK_ELEMENTS // max(len(points), 1), 1)
    for start in range(0, len(queries), step):
        _ask(cancelled)
        block = torch.from_numpy(queries[start : start + step])
        scores = torch.addmm(bias, points[block], points.T)
        scores[torch.arange(len(block)), block] = -torch.inf  # a sentence is no neighbour of itself
        found[start : start + step] = torch.topk(scores, k, dim=1, sorted=False).indices.numpy()
        if progress is not None:
            progress(min(start + step, len(queries)), len(queries))
    return found


def _search_index(
    space: CentredDirections,
    queries: IntArray,
    k: int,
    seed: int,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> IntArray:
    from pynndescent import NNDescent  # compiles for seconds when first used

    _ask(cancelled)
    # One more than asked for: the index finds each sentence itself too.
    index = NNDescent(space.points, metric="euclidean", n_neighbors=max(2 * k, 30), random_state=seed)
    near = np.asarray(index.neighbor_graph[0])[queries].astype(np.int64)
    _ask(cancelled)
    near = np.where((near < 0) | (near == queries[:, None]), -1, near)
    # Self and empty places go behind the others, which keep their order.
    order = np.argsort(near < 0, axis=1, kind="stable")[:, :k]
    if progress is not None:
        progress(len(queries), len(queries))
    return np.take_along_axis(near, order, axis=1)


def _sorted_by_cosine(space: CentredDirections, queries: IntArray, found: IntArray) -> tuple[IntArray, FloatArray]:
    """Cosines of the few that were found, in float64, and the order by them; equal ones in the order of the file."""
    cosines = np.empty(found.shape)
    step = max(_BLOCK_ELEMENTS // 8 // max(found.shape[1] * space.points.shape[1], 1), 1)
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        gaps = space.points[found[part]].astype(np.float64) - space.points[queries[part], None, :]
        cosines[part] = 1 - 0.5 * np.einsum("qkd,qkd->qk", gaps, gaps)
    cosines[found < 0] = np.nan
    order = np.lexsort((found, np.where(found < 0, np.inf, -cosines)), axis=1)
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(cosines, order, axis=1)


def _ask(cancelled: Cancelled | None) -> None:
    if cancelled is not None and cancelled():
        raise CancelledError("the search for neighbours was stopped")
