"""Principal components of sentence vectors, the same on every run, sign included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_BLOCK = 8192


@dataclass(frozen=True)
class PrincipalCoordinates:
    """Points on their leading principal components.

    Attributes:
        coordinates: ``(N, k)`` float32, centred; fewer columns where the points have no more directions.
        basis: ``(d, k)`` the components.
        kept: Share of the variance that they keep; 0 where all points are equal.
    """

    coordinates: NDArray[np.float32]
    basis: FloatArray
    kept: float


def principal_coordinates(points: NDArray[np.floating], dims: int, *, keep: float = 0.0) -> PrincipalCoordinates:
    """Principal component analysis.

    Args:
        points: ``(N, d)``, finite.
        dims: Components wanted, at least.
        keep: More components than ``dims`` are taken until they keep this share of the variance.
    """
    n, width = points.shape
    mean = points.mean(axis=0, dtype=np.float64) if n else np.zeros(width)
    values, vectors = _eigen(points, mean)
    total = float(values.sum())
    # Under the rounding error of float32 inputs there is nothing but noise.
    if not n or total <= n * width * (np.finfo(np.float32).eps ** 2) * max(float(np.square(points).max(initial=0)), 0):
        return PrincipalCoordinates(np.zeros((n, min(dims, width)), np.float32), vectors[:, :dims], 0.0)
    shares = np.cumsum(values) / total
    enough = int(np.searchsorted(shares, keep - 1e-12)) + 1
    count = min(max(dims, enough), vectors.shape[1])
    basis = vectors[:, :count]
    # The largest entry of each component is made positive: an eigenvector has no sign of its own.
    signs = np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(count)])
    basis = basis * np.where(signs == 0, 1, signs)
    out = np.empty((n, count), np.float32)
    for start in range(0, n, _BLOCK):
        out[start : start + _BLOCK] = (points[start : start + _BLOCK] - mean) @ basis
    return PrincipalCoordinates(out, basis, float(shares[count - 1]))


def procrustes(target: NDArray[np.floating], points: NDArray[np.floating]) -> FloatArray:
    """The turn (and mirroring) that lays centred points on a target as well as possible; sizes stay.

    Args:
        target: ``(n, k)``.
        points: ``(n, k)`` in the same order.

    Returns:
        ``(k, k)``, to be multiplied from the right.
    """
    left, _, right = np.linalg.svd(points.T.astype(np.float64) @ target.astype(np.float64))
    return np.asarray(left @ right)


def _eigen(points: NDArray[np.floating], mean: FloatArray) -> tuple[FloatArray, FloatArray]:
    n, width = points.shape
    if n <= width:
        _, singular, right = np.linalg.svd(np.asarray(points, np.float64) - mean, full_matrices=False)
        return np.square(singular), right.T
    scatter = np.zeros((width, width))
    for start in range(0, n, _BLOCK):
        block = points[start : start + _BLOCK] - mean
        scatter += block.T @ block
    values, vectors = np.linalg.eigh(scatter)
    return np.maximum(values[::-1], 0), vectors[:, ::-1]
