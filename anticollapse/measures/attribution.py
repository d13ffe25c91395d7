"""Which token pairs make one cosine: an exact sum, with no approximation.

With sentence vectors s = Σ pᵢ and s' = Σ p'ⱼ that are sums of token parts, cos(s, s') = Σᵢⱼ ⟨pᵢ, p'ⱼ⟩ / (‖s‖‖s'‖).
For a plain mean, pᵢ = xᵢ / n.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anticollapse.encoding import TokenParts
from anticollapse.errors import OptionError

FloatArray = NDArray[np.float64]

SMALLEST_COSINE = 0.05
"""Below it, percentages of the cosine say nothing: contributions cancel, and shares of a negative sum change sign."""


class TokenPair(NamedTuple):
    """One entry of an attribution."""

    row: int
    column: int
    token1: str
    token2: str
    contribution: float


@dataclass(frozen=True)
class Attribution:
    """The contributions of all token pairs to one cosine.

    Attributes:
        matrix: ``(n, m)``; its sum is the cosine.
        tokens1: The n tokens of the first sentence as people read them.
        tokens2: The m tokens of the second sentence.
        special1: ``(n,)`` whether each is one of the tokenizer's own.
        special2: ``(m,)``.
        undefined: Why there is none, as "undefined because ..."; the matrix is then all zeros.
    """

    matrix: FloatArray
    tokens1: tuple[str, ...]
    tokens2: tuple[str, ...]
    special1: NDArray[np.bool_]
    special2: NDArray[np.bool_]
    undefined: str = ""

    @property
    def cosine(self) -> float | None:
        """The sum of all contributions; None where it is undefined."""
        return None if self.undefined else float(self.matrix.sum())

    @property
    def has_shares(self) -> bool:
        """Whether a contribution can be said as a percentage of the cosine: it makes no sense near or below 0."""
        return float(self.matrix.sum()) >= SMALLEST_COSINE

    @property
    def special_sum(self) -> float:
        """What token pairs with at least one special token add to the cosine."""
        touched = self.special1[:, None] | self.special2[None, :]
        return float(self.matrix[touched].sum())

    def strongest(self, count: int = 10) -> list[TokenPair]:
        """The token pairs that matter most, by the size of their contribution.

        Args:
            count: How many.
        """
        order = np.argsort(-np.abs(self.matrix), axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(order, self.matrix.shape)
        return [
            TokenPair(int(i), int(j), self.tokens1[i], self.tokens2[j], float(self.matrix[i, j]))
            for i, j in zip(rows, columns, strict=True)
        ]


def attribution_matrix(parts1: FloatArray, parts2: FloatArray) -> FloatArray:
    """Contributions of token pairs to the cosine of two sums.

    Args:
        parts1: ``(n, d)`` parts of the first sentence vector.
        parts2: ``(m, d)`` parts of the second one.

    Returns:
        ``(n, m)`` whose sum is the cosine.

    Raises:
        OptionError: One of the sums is the zero vector, which has no direction.
    """
    first, second = np.asarray(parts1, np.float64), np.asarray(parts2, np.float64)
    norms = [float(np.linalg.norm(parts.sum(axis=0))) for parts in (first, second)]
    if not all(norms):
        raise OptionError("a sentence has the zero vector, which has no direction, so there is no cosine to explain")
    return np.asarray((first / norms[0]) @ (second / norms[1]).T)


def attribute(parts: TokenParts, first: int = 0, second: int = 1) -> Attribution:
    """Explain the cosine of two sentences.

    Args:
        parts: Of :func:`~anticollapse.encoding.token_parts`.
        first: Number of the first sentence among them.
        second: Number of the second one.
    """
    rows = [slice(parts.offsets[i], parts.offsets[i + 1]) for i in (first, second)]
    left, right = parts.of(first), parts.of(second)
    undefined = ""
    try:
        matrix = attribution_matrix(left, right)
    except OptionError as error:
        matrix, undefined = np.zeros((len(left), len(right))), f"undefined because {error.what}"
    return Attribution(
        matrix,
        tuple(parts.labels(first)),
        tuple(parts.labels(second)),
        parts.special[rows[0]],
        parts.special[rows[1]],
        undefined,
    )
