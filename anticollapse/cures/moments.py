"""Mean and covariance of sentence vectors, accumulated in chunks."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray


class Moments:
    """Number, mean and scatter of vectors that are seen once and not kept.

    Chunks are merged by Chan, Golub and LeVeque's formula in float64: the scatter is always taken about a mean, so that
    a large common vector (a collapsed space) does not cancel the digits of what is left.

    Args:
        dim: Length of a vector.
    """

    def __init__(self, dim: int) -> None:
        self.n = 0
        self.mean = np.zeros(dim)
        self.scatter = np.zeros((dim, dim))
        """Σ (x − mean)(x − mean)ᵀ."""

    def add(self, vectors: NDArray[np.floating]) -> None:
        """Take in ``(n, d)`` vectors."""
        if not len(vectors):
            return
        block = np.asarray(vectors, np.float64)
        mean = block.mean(axis=0)
        block = block - mean
        total = self.n + len(block)
        step = mean - self.mean
        self.scatter += block.T @ block + np.outer(step, step) * (self.n * len(block) / total)
        self.mean = self.mean + step * (len(block) / total)
        self.n = total
        self.__dict__.pop("centred", None)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return len(self.mean)

    @property
    def variances(self) -> NDArray[np.float64]:
        """``(d,)`` variance of each dimension (divided by N − 1)."""
        return np.diag(self.scatter) / max(self.n - 1, 1)

    @cached_property
    def centred(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Variances along the principal directions, descending, and the directions; rounding error is left out.

        Returns:
            ``(r,)`` eigenvalues of the covariance (divided by N − 1) and ``(d, r)`` orthonormal columns.
        """
        return _directions(self.scatter / max(self.n - 1, 1), float(self.mean @ self.mean))

    @property
    def uncentred(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same about the origin: eigenvalues and directions of the mean of x xᵀ."""
        return _directions(self.scatter / max(self.n, 1) + np.outer(self.mean, self.mean), 0.0)


def _directions(matrix: NDArray[np.float64], offset: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, basis = np.linalg.eigh(matrix)
    values, basis = values[::-1], basis[:, ::-1]
    # float32 vectors carry rounding of about 1e-7 of their length: smaller spreads are no spread of the data.
    floor = max(values.max(initial=0.0) * 1e-10, (offset + values.max(initial=0.0)) * 1e-13, np.finfo(float).tiny)
    kept = values > floor
    # The sign of an eigenvector is arbitrary: fixed, so that one text gives one layer on every machine.
    signs = np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
    return values[kept], (basis * signs)[:, kept]
