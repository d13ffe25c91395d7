"""Checked sentence vectors: what every measure of sentences starts from, read in blocks and never copied whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anticollapse.errors import EncoderError, OptionError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_BLOCK_ELEMENTS = 1 << 21  # 16 MiB of float64 a block


@dataclass(frozen=True)
class Decomposition:
    """Eigenvalues and eigenvectors of a scatter matrix Σ (x − c)(x − c)ᵀ.

    Attributes:
        eigenvalues: (r,) descending, r = min(N, d); those below the rounding error are exactly 0.
        basis: (d, r) eigenvectors as columns.
        origin: (d,) the c above: the mean, or zeros for the uncentred scatter.
        constant: Whether nothing is left but rounding error (all vectors equal, for the centred scatter).
    """

    eigenvalues: FloatArray
    basis: FloatArray
    origin: FloatArray
    constant: bool


@dataclass(frozen=True)
class SentenceVectors:
    """Sentence vectors (N, d) that are known to be finite, without the zero vectors.

    A zero vector has no direction, so it has no cosine: such rows are left out of every measure and counted.
    All arithmetic is in float64, on blocks of rows.

    Attributes:
        values: (N, d) as given, any floating type.
        rows: (n,) row numbers of the vectors that are not zero.
        norms: (n,) their Euclidean norms.
        scale: The largest absolute entry; raw blocks are divided by it, so that squares of tiny ones do not underflow.
    """

    values: NDArray[np.floating]
    rows: IntArray
    norms: FloatArray
    scale: float

    @classmethod
    def check(cls, values: NDArray[np.floating]) -> SentenceVectors:
        """Check an array of sentence vectors.

        Args:
            values: (N, d), any floating type, one row per distinct sentence.

        Raises:
            OptionError: If the array is not two-dimensional or not of floating type.
            EncoderError: If a vector contains NaN or infinity.
        """
        values = np.asarray(values)
        if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
            raise OptionError(
                f"Sentence vectors must be a (sentences, dimensions) array of floats, not {values.shape} {values.dtype}"
            )
        norms = np.empty(len(values))
        largest = 0.0
        bad: list[int] = []
        for part in _slices(len(values), values.shape[1]):
            block = np.asarray(values[part], dtype=np.float64)
            finite = np.isfinite(block).all(axis=1)
            bad.extend((np.flatnonzero(~finite) + part.start).tolist())
            peak = np.abs(block).max(axis=1, initial=0.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                # Divide by the row's own peak first: squares of 1e-200 underflow, their ratios do not.
                norms[part] = np.where(peak > 0, peak * np.sqrt(np.square(block / peak[:, None]).sum(axis=1)), 0.0)
            largest = max(largest, float(peak[finite].max(initial=0.0)))
        if bad:
            raise EncoderError(
                f"{len(bad):,} of {len(values):,} sentence vectors contain NaN or infinity",
                where=f"sentence {bad[0] + 1}",
                remedy="Check the checkpoint, or compute it in float32",
            )
        rows = np.flatnonzero(norms > 0)
        return cls(values=values, rows=rows, norms=norms[rows], scale=largest or 1.0)

    @property
    def n(self) -> int:
        """Number of vectors that are not zero."""
        return len(self.rows)

    @property
    def dim(self) -> int:
        """Number of dimensions d."""
        return int(self.values.shape[1])

    @property
    def n_zero(self) -> int:
        """Number of zero vectors, which are left out."""
        return len(self.values) - self.n

    def take(self, positions: IntArray | slice, *, unit: bool) -> FloatArray:
        """Rows (m, d) in float64, by position among the non-zero vectors; unit length, or raw divided by ``scale``."""
        block = np.asarray(self.values[self.rows[positions]], dtype=np.float64)
        divisor: FloatArray | float = self.norms[positions][:, None] if unit else self.scale
        return np.asarray(block / divisor)

    def blocks(self, *, unit: bool) -> Iterator[tuple[slice, FloatArray]]:
        """All rows in order, as (positions, rows in float64)."""
        for part in _slices(self.n, self.dim):
            yield part, self.take(part, unit=unit)

    def subgroups(self, groups: IntArray | None) -> IntArray | None:
        """Groups (N,) of all sentences, cut to those with a vector and numbered anew from 0."""
        if groups is None:
            return None
        if len(groups) != len(self.values):
            raise OptionError(f"{len(groups):,} group numbers do not match {len(self.values):,} sentence vectors")
        return np.unique(groups[self.rows], return_inverse=True)[1].astype(np.int64)

    @cached_property
    def unit_sum(self) -> FloatArray:
        """Sum (d,) of the unit vectors."""
        total = np.zeros(self.dim)
        for _, block in self.blocks(unit=True):
            total += block.sum(axis=0)
        return total

    @cached_property
    def centred(self) -> Decomposition:
        """Decomposition of the scatter about the mean, of vectors divided by ``scale``."""
        if self.n <= self.dim:
            return self._decompose_rows(self._mean)
        values, basis = np.linalg.eigh(self.centred_scatter)
        return self._finish(values[::-1], basis[:, ::-1], self._mean)

    @cached_property
    def uncentred(self) -> Decomposition:
        """Decomposition of the scatter about the origin."""
        origin = np.zeros(self.dim)
        if self.n <= self.dim:
            return self._decompose_rows(origin)
        # Adding the mean's part to the centred scatter cannot cancel; taking it off the uncentred one could.
        scatter = self.centred_scatter + self.n * np.outer(self._mean, self._mean)
        values, basis = np.linalg.eigh(scatter)
        return self._finish(values[::-1], basis[:, ::-1], origin)

    @cached_property
    def _mean(self) -> FloatArray:
        total = np.zeros(self.dim)
        for _, block in self.blocks(unit=False):
            total += block.sum(axis=0)
        return np.asarray(total / max(self.n, 1))

    @cached_property
    def centred_scatter(self) -> FloatArray:
        """Scatter (d, d) about the mean, of vectors divided by ``scale``."""
        scatter = np.zeros((self.dim, self.dim))
        for _, block in self.blocks(unit=False):
            centred = block - self._mean
            scatter += centred.T @ centred
        return scatter

    def scatter_without(self, positions: IntArray, *, centred: bool) -> FloatArray:
        """Scatter (d, d) of the remaining vectors when those at the given positions (among the non-zero ones) leave."""
        left = self.n - len(positions)
        about_mean = self.centred_scatter.copy()
        shift = np.zeros(self.dim)
        for part in _slices(len(positions), self.dim):
            rows = self.take(positions[part], unit=False) - self._mean
            shift -= rows.sum(axis=0) / left
            about_mean -= rows.T @ rows
        about_mean -= left * np.outer(shift, shift)
        if centred:
            return about_mean
        mean = self._mean + shift
        return np.asarray(about_mean + left * np.outer(mean, mean))

    def _decompose_rows(self, origin: FloatArray) -> Decomposition:
        rows = self.take(slice(None), unit=False) - origin
        _, singular, basis = np.linalg.svd(rows, full_matrices=False)
        return self._finish(singular**2, basis.T, origin)

    def _finish(self, eigenvalues: FloatArray, basis: FloatArray, origin: FloatArray) -> Decomposition:
        """Set what is rounding error to zero: a constant set must not get the spectrum of its rounding errors."""
        rounding = np.finfo(self.values.dtype).eps
        total = float(np.sum((self.norms / self.scale) ** 2))
        constant = bool(eigenvalues.sum() <= (8 * rounding) ** 2 * total)
        return Decomposition(
            without_rounding(eigenvalues, self.n, eigenvalues.max(initial=0.0)), basis, origin, constant
        )


def without_rounding(eigenvalues: FloatArray, n: int, largest: float) -> FloatArray:
    """Eigenvalues (d,) of a scatter, with those that are only rounding error set to 0.

    Args:
        eigenvalues: (d,).
        n: Number of vectors in the scatter.
        largest: Largest eigenvalue of the scatter it was computed from: that sets the size of the rounding errors.
    """
    floor = np.finfo(np.float64).eps * max(n, len(eigenvalues)) * largest
    return np.where(eigenvalues > floor, eigenvalues, 0.0)


VectorsLike = SentenceVectors | NDArray[np.floating]


def as_vectors(vectors: VectorsLike) -> SentenceVectors:
    """Check an array, or pass checked vectors on (what was derived from them once is kept)."""
    return vectors if isinstance(vectors, SentenceVectors) else SentenceVectors.check(vectors)


def pair_cosines(vectors: VectorsLike, index1: IntArray, index2: IntArray) -> FloatArray:
    """Cosine of each pair of sentences.

    Args:
        vectors: (N, d) sentence vectors.
        index1: (P,) row of each pair's first sentence.
        index2: (P,) row of its second one.

    Returns:
        (P,) cosines in [−1, 1]; NaN for a pair with a zero vector, which has no direction.

    Raises:
        OptionError: If the indices do not fit the vectors or each other.
    """
    checked = as_vectors(vectors)
    first, second = check_index(index1, index2, len(checked.values))
    position = np.full(len(checked.values), -1, dtype=np.int64)
    position[checked.rows] = np.arange(checked.n)
    first, second = position[first], position[second]
    usable = np.flatnonzero((first >= 0) & (second >= 0))
    cosines = np.full(len(first), np.nan)
    for part in _slices(len(usable), checked.dim):
        pairs = usable[part]
        left, right = checked.take(first[pairs], unit=True), checked.take(second[pairs], unit=True)
        cosines[pairs] = np.clip(np.einsum("ij,ij->i", left, right), -1.0, 1.0)
    return cosines


def check_index(index1: IntArray, index2: IntArray, n: int) -> tuple[IntArray, IntArray]:
    """Both index arrays as int64, checked against each other and against n sentences.

    Raises:
        OptionError: If they differ in length or point outside the sentences.
    """
    first, second = np.asarray(index1, dtype=np.int64), np.asarray(index2, dtype=np.int64)
    if first.ndim != 1 or first.shape != second.shape:
        raise OptionError(f"Pairs need two index arrays of one length, not shapes {first.shape} and {second.shape}")
    if len(first) and (min(first.min(), second.min()) < 0 or max(first.max(), second.max()) >= n):
        raise OptionError(f"A pair points to a sentence outside the {n:,} given")
    return first, second


def _slices(n: int, dim: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // max(dim, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
