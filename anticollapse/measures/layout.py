"""UMAP layouts of the same sentences under several encoders, optimised together so that they can be compared.

The objective is UMAP's (McInnes et al. 2018, https://arxiv.org/abs/1802.03426): the fuzzy graph, the curve and the
schedule of the edges come from umap-learn. As in its AlignedUMAP (Dadu et al. 2023,
https://doi.org/10.1016/j.patter.2023.100741), a sentence is pulled towards its places under the other encoders, the
more the more neighbours it has in common there. Only the loop over the edges is ours, because umap-learn's compiles
anew for every fit, runs on one core, cannot be stopped, links each encoder only to those before it, and takes six
times as long (benchmarks/map.py).

All encoders draw the same random numbers: where two encoders agree wholly, their layouts do so by construction. What
differs between two layouts is more often due to the encoders than between independent ones, but not always: a sentence
may lie elsewhere although it keeps its neighbours, because these moved with it or because the plane has no room.
Neighbours in the original space are the measure of what changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from umap.umap_ import (
    compute_membership_strengths,
    find_ab_params,
    fuzzy_simplicial_set,
    make_epochs_per_sample,
    smooth_knn_dist,
)

from anticollapse.measures.neighbours import Neighbours, alone

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]
Report = Callable[[int, int], None]
"""Called with (epochs done, epochs) before each epoch; may raise to stop."""

NEGATIVE_SAMPLES = 5
_CLIP = 4.0
_MASK = 0xFFFFFFFF


def fuzzy_graph(neighbours: Neighbours) -> sparse.coo_matrix:
    """UMAP's graph of sentences: how surely each is a neighbour of each.

    Args:
        neighbours: ``(n, k)`` nearest neighbours of all n sentences, themselves left out.

    Returns:
        ``(n, n)`` symmetric, weights in (0, 1].
    """
    n, k = neighbours.indices.shape
    # umap-learn counts a point as its own first neighbour, at distance 0.
    indices = np.column_stack([np.arange(n), neighbours.indices]).astype(np.int32)
    distances = np.column_stack([np.zeros(n), np.maximum(1 - np.nan_to_num(neighbours.cosines, nan=-1.0), 0)])
    found = fuzzy_simplicial_set(
        sparse.coo_matrix((n, 1)),  # only its length is read when neighbours are given
        k + 1,
        None,
        "cosine",
        knn_indices=indices,
        knn_dists=distances.astype(np.float32),
    )
    graph: sparse.coo_matrix = found[0].tocoo()
    graph.sum_duplicates()
    return graph


def shared_neighbourhoods(graphs: Sequence[sparse.coo_matrix]) -> Array:
    """How much of a sentence's neighbourhood two encoders share.

    Args:
        graphs: The graph of each of M encoders.

    Returns:
        ``(M, M, n)`` Jaccard index of the neighbours in the graphs; 0 on the diagonal.
    """
    binary = [sparse.csr_matrix((np.ones_like(g.data), (g.row, g.col)), shape=g.shape) for g in graphs]
    degrees = [np.asarray(b.sum(axis=1)).ravel() for b in binary]
    shared = np.zeros((len(graphs), len(graphs), graphs[0].shape[0]), np.float32)
    for i, one in enumerate(binary):
        for j in range(i):
            both = np.asarray(one.multiply(binary[j]).sum(axis=1)).ravel()
            shared[i, j] = shared[j, i] = both / np.maximum(degrees[i] + degrees[j] - both, 1)
    return shared


def optimise(
    graphs: Sequence[sparse.coo_matrix],
    start: NDArray[np.floating],
    *,
    n_epochs: int,
    min_dist: float,
    alignment: float,
    seed: int,
    report: Report,
) -> Array:
    """Lay the graphs out together by stochastic gradient descent.

    Args:
        graphs: The graph of each of M encoders over the same n sentences.
        start: ``(n, 2)`` where the sentences start under every encoder.
        n_epochs: Passes over the edges.
        min_dist: How close points may lie, in units of the layout (UMAP's parameter).
        alignment: Pull towards the places under the other encoders, 0 = none.
        seed: Seed of the negative samples.
        report: Called before each epoch, and now and then while another map of this process has its turn.

    Returns:
        ``(M, n, 2)``; the same for the same arguments, whatever the number of threads.
    """
    a, b = (np.float32(value) for value in find_ab_params(1.0, min_dist))
    edges = [_strong_edges(graph, n_epochs) for graph in graphs]
    heads = np.concatenate([graph.row.astype(np.int32) for graph in edges])
    tails = np.concatenate([graph.col.astype(np.int32) for graph in edges])
    starts = np.concatenate([[0], np.cumsum([graph.nnz for graph in edges])]).astype(np.int64)
    period = np.concatenate([make_epochs_per_sample(g.data, n_epochs) for g in edges]).astype(np.float32)
    pause = period / np.float32(NEGATIVE_SAMPLES)
    due, due_negative = period.copy(), pause.copy()
    states = np.repeat(np.random.default_rng(seed).integers(1, _MASK, 1, np.uint32), len(graphs)).astype(np.uint32)
    places = np.repeat(np.asarray(start, np.float32)[None], len(graphs), axis=0)
    shared = shared_neighbourhoods(graphs)
    total = shared.sum(axis=1)[..., None]
    for epoch in range(n_epochs):
        report(epoch, n_epochs)
        alpha = np.float32(1 - epoch / n_epochs)
        # Maps that are drawn at the same time take turns by epochs.
        with alone(partial(report, epoch, n_epochs)):
            _epoch(
                places, heads, tails, starts, period, due, pause, due_negative, states, a, b, alpha, np.float32(epoch)
            )  # fmt: skip
        if len(graphs) > 1 and alignment:
            # Scaled by the step size like the rest, so that the balance does not depend on the number of epochs.
            pull = np.einsum("mon,ond->mnd", shared, places) - total * places
            places += np.float32(alignment * alpha / (len(graphs) - 1)) * pull
    return places


def _strong_edges(graph: sparse.coo_matrix, n_epochs: int) -> sparse.coo_matrix:
    """Edges that are sampled at least once."""
    strong = graph.data >= graph.data.max(initial=0) / n_epochs
    return sparse.coo_matrix((graph.data[strong], (graph.row[strong], graph.col[strong])), shape=graph.shape)


@numba.njit(fastmath=True, inline="always", nogil=True)
def _clipped(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    limit = np.float32(_CLIP)
    return limit if value > limit else (-limit if value < -limit else value)


@numba.njit(fastmath=True, nogil=True)
def _one_epoch(y, heads, tails, period, due, pause, due_negative, state, a, b, alpha, epoch):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """One pass over the edges of one encoder; float32 throughout, xorshift32 for the negative samples."""
    n = np.uint32(y.shape[0])
    one, two, small = np.float32(1), np.float32(2), np.float32(0.001)
    for e in range(heads.shape[0]):
        if due[e] > epoch:
            continue
        due[e] += period[e]
        j, k = heads[e], tails[e]
        dx, dy = y[j, 0] - y[k, 0], y[j, 1] - y[k, 1]
        square = dx * dx + dy * dy
        if square > 0:
            power = square**b
            slope = -two * a * b * power / (square * (a * power + one))
            gx, gy = _clipped(slope * dx) * alpha, _clipped(slope * dy) * alpha
            y[j, 0] += gx
            y[j, 1] += gy
            y[k, 0] -= gx
            y[k, 1] -= gy
        count = int((epoch - due_negative[e]) / pause[e])
        due_negative[e] += count * pause[e]
        for _ in range(count):
            state ^= np.uint32(state << np.uint32(13))
            state ^= np.uint32(state >> np.uint32(17))
            state ^= np.uint32(state << np.uint32(5))
            other = np.int64(state % n)
            if other == j:
                continue
            dx, dy = y[j, 0] - y[other, 0], y[j, 1] - y[other, 1]
            square = dx * dx + dy * dy
            if square > 0:
                slope = two * b / ((small + square) * (a * square**b + one))
                y[j, 0] += _clipped(slope * dx) * alpha
                y[j, 1] += _clipped(slope * dy) * alpha
    return state


@numba.njit(parallel=True, nogil=True)
def _epoch(places, heads, tails, starts, period, due, pause, due_negative, states, a, b, alpha, epoch):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """One pass for all encoders. Each works on its own layout, so the threads cannot change the result."""
    for m in numba.prange(places.shape[0]):
        s, t = starts[m], starts[m + 1]
        states[m] = _one_epoch(
            places[m], heads[s:t], tails[s:t], period[s:t], due[s:t], pause[s:t], due_negative[s:t], states[m], a, b,
            alpha, epoch,
        )  # fmt: skip


def _keep_compiled(*functions: Any) -> None:  # noqa: ANN401  numba's dispatchers have no public type
    """Keep compiled code on disk beside the source, as numba does with ``cache=True``.

    umap-learn does not ask for it, and compiling its two functions and ours takes most of the time of a first map.
    """
    for function in functions:
        try:
            function.enable_caching()
        except RuntimeError as error:  # nowhere to write: each process compiles for itself
            logger.info("compiled code is not kept: %s", error)


_keep_compiled(smooth_knn_dist, compute_membership_strengths, _one_epoch, _epoch)
