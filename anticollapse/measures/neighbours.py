"""Nearest neighbours in the space of the sentence vectors themselves, and how many of them two encoders share.

A picture on a plane cannot keep all neighbourhoods, so neighbours are never read off it. Up to :data:`EXACT_LIMIT`
sentences, and for few sentences among more, they are exact: all cosines, in blocks. Above that an index (NN-descent,
Dong et al. 2011, https://doi.org/10.1145/1963405.1963487, as implemented by pynndescent) finds nearly all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
_TILE = 1 << 14  # sentences compared with at once, so that a block of many still holds many queries
_FEW = 64  # queries up to which equal points are not looked for
_SPARE = 32  # candidates beyond k, which float32 may rank wrongly and float64 puts in order

_PARALLEL = threading.Lock()

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
        constant: Whether all vectors are equal: then no sentence is nearer than another, and these are the first of
            the file.
    """

    indices: IntArray
    cosines: FloatArray
    exact: bool
    constant: bool = False

    def first(self, k: int) -> Neighbours:
        """The k nearest only."""
        return Neighbours(self.indices[:, :k], self.cosines[:, :k], self.exact, self.constant)


@dataclass(frozen=True)
class CentredDirections:
    """Unit vectors with their common mean taken off: their distances are those of the unit vectors, in full precision.

    In a collapsed space all cosines are 0.99…, and float32 has few digits left to tell them apart. ‖a − b‖² = 2 − 2 cos
    for unit vectors, and a distance does not change when both points are moved.

    Attributes:
        points: ``(n, d)`` float32, the unit vectors less their mean; zeros where all of them are equal.
        rows: ``(n,)`` which of the N vectors these are: all but the zero vectors.
        n_all: N.
        constant: Whether nothing is left but rounding error, because all directions are equal. Then there is no
            nearer and no farther.
    """

    points: NDArray[np.float32]
    rows: IntArray
    n_all: int
    constant: bool = False

    @classmethod
    def of(cls, vectors: NDArray[np.floating]) -> CentredDirections:
        """The directions of ``(N, d)`` sentence vectors.

        Raises:
            EncoderError: A vector contains NaN or infinity.
        """
        checked = SentenceVectors.check(vectors)
        mean = checked.unit_sum / max(checked.n, 1)
        points = np.empty((checked.n, checked.dim), np.float32)
        squares = 0.0
        for part, block in checked.blocks(unit=True):
            centred = block - mean
            squares += float(np.square(centred).sum())
            points[part] = centred
        # The limit of Decomposition.constant, for vectors of length 1.
        constant = checked.n > 1 and squares <= (8 * float(np.finfo(checked.values.dtype).eps)) ** 2 * checked.n
        if constant:
            points[:] = 0
        return cls(points, checked.rows, len(checked.values), constant)

    @cached_property
    def half_squares(self) -> NDArray[np.float32]:
        """``(n,)`` half the squared length of each point."""
        half: NDArray[np.float32] = (0.5 * np.einsum("nd,nd->n", self.points, self.points)).astype(np.float32)
        return half

    @cached_property
    def equals_before(self) -> IntArray:
        """``(n,)`` how many equal points come before each."""
        n, width = self.points.shape
        if self.constant or not width:
            return np.arange(n)
        whole = np.ascontiguousarray(self.points).view(np.dtype((np.void, width * self.points.itemsize))).ravel()
        group = np.unique(whole, return_inverse=True)[1].ravel()
        order = np.argsort(group, kind="stable")
        before = np.empty(n, np.int64)
        before[order] = np.arange(n) - np.searchsorted(group[order], group[order])
        return before

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
    """The k nearest other sentences by cosine; equal cosines in the order of the rows.

    Args:
        vectors: ``(N, d)`` sentence vectors, one row per distinct sentence.
        k: Neighbours of each.
        queries: ``(q,)`` rows whose neighbours are wanted; default all N.
        exact: Whether to look at all cosines; default up to :data:`EXACT_LIMIT` sentences, or where queries times
            sentences are no more than a quarter of its square (10,000 queries among 1,000,000).
        seed: Seed of the index.
        progress: Called with (queries done, queries); before and after an index is built.
        cancelled: Asked as often; building an index cannot be interrupted.

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
        found, near = search(space, inside[have], kept, seed, progress, cancelled)
        indices[have, :kept] = np.where(found >= 0, space.rows[found], -1)
        cosines[have, :kept] = near
    return Neighbours(indices, cosines, exact, space.constant)


def nearest_drawn(
    space: CentredDirections,
    drawn: IntArray,
    rest: IntArray,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> IntArray:
    """For each of some sentences, which of others is nearest to it.

    Args:
        space: All N sentences.
        drawn: ``(n,)`` rows to choose from.
        rest: ``(r,)`` rows to find the nearest one for.
        progress: Called with (rows done, rows).
        cancelled: Asked as often.

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
    for part in _parts(len(have), len(choices)):
        block = torch.from_numpy(space.points[space.positions[rest[have[part]]]])
        best, where = torch.full((len(block),), -torch.inf), torch.zeros(len(block), dtype=torch.int64)
        for tile in _tiles(part, len(have), len(choices), progress, cancelled):
            score, at = torch.addmm(bias[tile], block, points[tile].T).max(dim=1)
            better = score > best
            where[better] = at[better] + tile.start
            best[better] = score[better]
        out[have[part]] = choices[where.numpy()]
    return out


def overlap(a: Neighbours, b: Neighbours) -> FloatArray:
    """Share of each sentence's neighbours under one encoder that it also has under the other.

    Args:
        a: Neighbours of q sentences.
        b: Neighbours of the same sentences, as many.

    Returns:
        ``(q,)`` from 0 to 1; NaN where a sentence has no neighbours under one of them, or all vectors are equal.

    Raises:
        OptionError: The two were made for different sentences or different k.
    """
    if a.indices.shape != b.indices.shape:
        raise OptionError(
            f"neighbours of shape {a.indices.shape} and {b.indices.shape} cannot be compared",
            remedy="Ask for the same number of neighbours of the same sentences",
        )
    q, k = a.indices.shape
    if a.constant or b.constant:
        return np.full(q, np.nan)
    shared = np.zeros(q)
    step = max(_BLOCK_ELEMENTS // max(k * k, 1), 1)
    for start in range(0, q, step):
        left, right = a.indices[start : start + step], b.indices[start : start + step]
        same = (left[:, :, None] == right[:, None, :]) & (left[:, :, None] >= 0)
        shared[start : start + step] = same.sum(axis=(1, 2))
    size = np.maximum((a.indices >= 0).sum(axis=1), (b.indices >= 0).sum(axis=1))
    return np.where(size > 0, shared / np.maximum(size, 1), np.nan)


def mean_overlap(
    shares: FloatArray, *, k: int, groups: IntArray | None = None, undefined: str = "no sentence has neighbours"
) -> Measure:
    """The mean of :func:`overlap` with its interval.

    Args:
        shares: ``(q,)`` from :func:`overlap`.
        k: How many neighbours were compared.
        groups: ``(q,)`` group of each sentence; only groups count as independent.
        undefined: Why there is no share, should there be none; completes "undefined because ...".
    """
    good = np.isfinite(shares)
    if not good.any():
        return OVERLAP.undefined(undefined, 0, {"k": k})
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


@contextmanager
def alone(waiting: Callable[[], None]) -> Iterator[None]:
    """Parallel numba code of one map at a time: its workqueue layer aborts the process when two threads enter it.

    Args:
        waiting: Called now and then while others are at it; may raise, to stop waiting.
    """
    while not _PARALLEL.acquire(timeout=0.2):
        waiting()
    try:
        yield
    finally:
        _PARALLEL.release()


def _search_all(
    space: CentredDirections,
    queries: IntArray,
    k: int,
    seed: int,  # noqa: ARG001  the index needs one
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> tuple[IntArray, FloatArray]:
    """Positions of the k nearest and their cosines.

    Largest ⟨a, b⟩ − ‖b‖²/2 first, which is smallest distance first. torch's top-k takes a third of NumPy's time, but
    picks any of equal values: more candidates than k are ranked again in float64, and where they may not be enough,
    all points that float32 cannot tell from the k-th are.
    """
    base = _base(space, queries, k)
    whole = len(base) == len(space.points)
    points = torch.from_numpy(space.points if whole else space.points[base])
    bias = torch.from_numpy(-space.half_squares[base])
    at = np.full(len(space.points), -1, np.int64)
    at[base] = np.arange(len(base))
    wanted = min(k + max(_SPARE, k), len(base))
    indices, cosines = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    for part in _parts(len(queries), len(base)):
        mine = queries[part]
        block, own = torch.from_numpy(space.points[mine]), torch.from_numpy(at[mine])
        best, where = torch.empty((len(mine), 0)), torch.empty((len(mine), 0), dtype=torch.int64)
        for tile in _tiles(part, len(queries), len(base), progress, cancelled):
            scores = torch.addmm(bias[tile], block, points[tile].T)
            inside = torch.nonzero((own >= tile.start) & (own < tile.stop)).ravel()
            scores[inside, own[inside] - tile.start] = -torch.inf  # a sentence is no neighbour of itself
            top = torch.topk(scores, min(wanted, scores.shape[1]), dim=1, sorted=False)
            best, where = torch.cat([best, top.values], dim=1), torch.cat([where, top.indices + tile.start], dim=1)
            if best.shape[1] > wanted:
                best, order = torch.topk(best, wanted, dim=1, sorted=False)
                where = where.gather(1, order)
        candidates = np.where(np.isfinite(best.numpy()), base[where.numpy()], -1)
        found, near = _sorted_by_cosine(space, mine, candidates)
        found, near = found[:, :k], near[:, :k]
        if wanted < len(base):
            least = _least_score(space, mine, near[:, -1])
            # A point that is no candidate may be as near as the k-th: float32 cannot tell them apart.
            for i in np.flatnonzero(best.amin(dim=1).numpy() >= least):
                _ask(cancelled)
                maybe = torch.addmv(bias, points, block[i]).numpy() >= least[i]
                found[i], near[i] = _rank(space, base[maybe] if maybe.sum() > k else base, int(mine[i]), k)
        indices[part], cosines[part] = found, near
    return indices, cosines


def _parts(queries: int, points: int) -> Iterator[slice]:
    """Blocks of queries that fit into memory with a tile of points."""
    step = max(_BLOCK_ELEMENTS // max(min(points, _TILE), 1), 1)
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


def _tiles(
    part: slice, queries: int, points: int, progress: Progress | None, cancelled: Cancelled | None
) -> Iterator[slice]:
    """Tiles of points for a block of queries; progress is told and cancellation asked for at each."""
    for first in range(0, points, _TILE):
        _ask(cancelled)
        last = min(first + _TILE, points)
        yield slice(first, last)
        if progress is not None:
            progress(part.start + (part.stop - part.start) * last // points, queries)


def _base(space: CentredDirections, queries: IntArray, k: int) -> IntArray:
    """Positions of the points that can be neighbours, ascending.

    Of equal points only the first k can, and one more because a sentence is no neighbour of itself. Without the others
    a set with thousands of equal vectors does not tie at every k-th place. For few queries it is not worth the sorting.
    """
    if len(queries) <= _FEW:
        return np.arange(len(space.points))
    return np.flatnonzero(space.equals_before <= k)


def _least_score(space: CentredDirections, queries: IntArray, kth: FloatArray) -> FloatArray:
    """``(q,)`` float32 score that every point has which is as near as the k-th, whatever the rounding.

    Args:
        space: The points.
        queries: ``(q,)`` positions.
        kth: ``(q,)`` cosine with the k-th nearest candidate.
    """
    own = np.linalg.norm(space.points[queries].astype(np.float64), axis=1)
    square = np.maximum(2 * (1 - kth), 0)
    score = 0.5 * (np.square(own) - square)  # ⟨a, b⟩ − ‖b‖²/2 = ‖a‖²/2 − ‖a − b‖²/2
    longest = own + np.sqrt(square)  # of a point that is as near
    rounding = 4 * np.finfo(np.float32).eps * np.sqrt(space.points.shape[1] + 1)
    return np.asarray(score - rounding * (own * longest + 0.5 * np.square(longest)))


def _rank(space: CentredDirections, others: IntArray, query: int, k: int) -> tuple[IntArray, FloatArray]:
    """The k nearest of some points, in float64; equal ones in the order of the rows."""
    others = others[others != query]
    squares = np.empty(len(others))
    step = max(_BLOCK_ELEMENTS // 8 // max(space.points.shape[1], 1), 1)
    for start in range(0, len(others), step):
        gaps = space.points[others[start : start + step]].astype(np.float64) - space.points[query]
        squares[start : start + step] = np.einsum("nd,nd->n", gaps, gaps)
    near = np.flatnonzero(squares <= np.partition(squares, k - 1)[k - 1])
    order = near[np.lexsort((near, squares[near]))[:k]]
    return others[order], 1 - 0.5 * squares[order]


def _search_index(
    space: CentredDirections,
    queries: IntArray,
    k: int,
    seed: int,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> tuple[IntArray, FloatArray]:
    from pynndescent import NNDescent  # compiles for seconds when first used

    def tell(done: int) -> None:
        _ask(cancelled)
        if progress is not None:
            progress(done, len(queries))

    tell(0)
    with alone(lambda: tell(0)):
        # More than asked for: the index finds each sentence itself too, and ranks in float32.
        index = NNDescent(space.points, metric="euclidean", n_neighbors=max(2 * k, 30), random_state=seed)
        near = np.asarray(index.neighbor_graph[0])[queries].astype(np.int64)
    found, cosines = _sorted_by_cosine(space, queries, np.where(near == queries[:, None], -1, near))
    tell(len(queries))
    return found[:, :k], cosines[:, :k]


def _sorted_by_cosine(space: CentredDirections, queries: IntArray, found: IntArray) -> tuple[IntArray, FloatArray]:
    """Cosines of the few that were found, in float64, and the order by them; equal ones in the order of the rows."""
    squares = np.empty(found.shape)
    step = max(_BLOCK_ELEMENTS // 8 // max(found.shape[1] * space.points.shape[1], 1), 1)
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        gaps = space.points[found[part]].astype(np.float64) - space.points[queries[part], None, :]
        squares[part] = np.einsum("qkd,qkd->qk", gaps, gaps)
    squares[found < 0] = np.inf
    order = np.lexsort((found, squares), axis=1)
    found, squares = np.take_along_axis(found, order, axis=1), np.take_along_axis(squares, order, axis=1)
    return found, np.where(found < 0, np.nan, 1 - 0.5 * squares)


def _ask(cancelled: Cancelled | None) -> None:
    if cancelled is not None and cancelled():
        raise CancelledError("the search for neighbours was stopped")
