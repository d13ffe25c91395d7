"""Is one encoder better than another on the same pairs? Paired bootstrap of the difference of two correlations.

Both encoders see the same resamples of pairs, so what is easy or hard in the pairs cancels out: a paired difference has
a far smaller error than two separate intervals suggest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anticollapse.errors import OptionError
from anticollapse.measures.correlation import DEFINITIONS, Kind, bootstrap_correlations, correlation_of, why_undefined
from anticollapse.measures.resampling import bootstrap_note, default_resamples, percentile_interval
from anticollapse.measures.result import Definition, Measure

FloatArray = NDArray[np.float64]

DIFFERENCES: dict[Kind, Definition] = {
    kind: Definition(
        key=f"{kind}_difference",
        name=f"Difference in {definition.name}",
        unit="points (×100)",
        meaning=f"By how many points of {definition.name} the encoder is better than the reference on the same pairs.",
        reads_as="0 is no difference; an interval that includes 0 shows none",
        counts="pairs",
        better="higher",
    )
    for kind, definition in DEFINITIONS.items()
}


def correlation_difference(
    labels: ArrayLike | None,
    cosines: ArrayLike,
    reference: ArrayLike,
    *,
    kind: Kind = "spearman",
    seed: int = 0,
    n_resamples: int | None = None,
) -> Measure:
    """Correlation of ``cosines`` minus that of ``reference`` with the same labels, ×100, by paired bootstrap.

    Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapters 13 and 16.

    Args:
        labels: (n,) scores, or None.
        cosines: (n,) cosines of the encoder.
        reference: (n,) cosines of the reference encoder for the same pairs.
        kind: "spearman" or "pearson".
        seed: Seed of the resamples.
        n_resamples: Number of resamples; by default 2,000, fewer above 30,000 pairs.

    Returns:
        The difference with its 95 % percentile interval; ``details["p_value"]`` is the two-sided bootstrap p, twice the
        smaller share of resampled differences on one side of 0 (at least 2 / (B + 1)), and ``details["value"]`` and
        ``details["reference"]`` are the two correlations. Undefined where one of the two correlations is.

    Raises:
        OptionError: If the arrays differ in length.
    """
    arrays = [np.asarray(array, dtype=np.float64) for array in (cosines, reference)]
    y = None if labels is None else np.asarray(labels, dtype=np.float64)
    if arrays[0].ndim != 1 or arrays[0].shape != arrays[1].shape or (y is not None and y.shape != arrays[0].shape):
        raise OptionError("Labels and the cosines of both encoders must be three arrays of one length")
    n, definition = len(arrays[0]), DIFFERENCES[kind]
    reasons = [why_undefined(y, array) for array in arrays]
    if y is None or reasons[0] or reasons[1]:
        name = "the encoder" if reasons[0] else "the reference"
        return definition.undefined(f"for {name}, {reasons[0] or reasons[1]}", n)
    value, other = (100 * correlation_of(y, array, kind) for array in arrays)
    resamples = n_resamples or default_resamples(n)
    samples = 100 * bootstrap_correlations(y, np.stack(arrays), kind=kind, seed=seed, n_resamples=resamples)
    differences = samples[:, 0] - samples[:, 1]
    details: dict[str, object] = {
        "value": value,
        "reference": other,
        "p_value": two_sided_p(differences),
    }
    interval = percentile_interval(differences)
    note = bootstrap_note(interval, f"paired, {resamples:,} resamples of pairs")
    return definition.measured(value - other, interval, n, details | note)


def two_sided_p(differences: FloatArray) -> float | None:
    """Two-sided bootstrap p of "no difference": twice the smaller share of differences at or beyond 0.

    One is added to both counts, so that p is never 0.

    Returns:
        p in (0, 1], or None without a usable resample.
    """
    valid = differences[np.isfinite(differences)]
    if not len(valid):
        return None
    smaller = min(np.sum(valid <= 0), np.sum(valid >= 0))
    return float(min(1.0, 2 * (smaller + 1) / (len(valid) + 1)))
