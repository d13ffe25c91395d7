"""Is one encoder better than another on the same pairs? Paired bootstrap of the difference of two correlations.

Both encoders see the same resamples of pairs, so what is easy or hard in the pairs cancels out: a paired difference has
a far smaller error than two separate intervals suggest. Which of the many bootstrap
intervals, and why: docs/statistics.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from anticollapse.errors import OptionError
from anticollapse.measures.correlation import DEFINITIONS, Kind, bootstrap_correlations, correlation_of, why_undefined
from anticollapse.measures.resampling import CONFIDENCE, MIN_VALID, bootstrap_note, default_resamples
from anticollapse.measures.result import Definition, Interval, Measure

FloatArray = NDArray[np.float64]

MARGIN = 1.05
"""Differences of weak correlations (0.3) on 100 pairs vary a little more than their standard error and Student's t say:
equal encoders were called different in 4.8 to 5.3 % of simulated cases. A margin of 5 % of the error keeps that below
5 %, with room for the chance of a simulation, and in accord with the interval."""

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

    Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapters 12 and 13; the widening for small n
    is Hesterberg's (2015, https://doi.org/10.1080/00031305.2015.1089789).

    Args:
        labels: (n,) scores, or None.
        cosines: (n,) cosines of the encoder.
        reference: (n,) cosines of the reference encoder for the same pairs.
        kind: "spearman" or "pearson".
        seed: Seed of the resamples.
        n_resamples: Number of resamples; by default 2,000, fewer above 30,000 pairs.

    Returns:
        The difference with its 95 % interval: Student's t with n − 1 degrees of freedom times the bootstrap's standard
        error, and a margin of 5 %. ``details["p_value"]`` is the two-sided p of "no difference" that belongs to it
        (below 0.05 exactly where the interval leaves 0 out), ``details["standard_error"]`` the error (without the
        margin), ``details["value"]`` and ``details["reference"]`` the two correlations. Undefined where one of the two
        correlations is.

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
    details: dict[str, object] = {"value": value, "reference": other, "seed": seed, "resamples": resamples}
    error = standard_error(samples[:, 0] - samples[:, 1], n)
    interval: Interval | None = None
    if error is not None:
        p, interval = student(value - other, error, n - 1)
        details |= {"p_value": p, "standard_error": error}
    note = bootstrap_note(interval, f"paired, standard error of {resamples:,} resamples of pairs, Student's t")
    return definition.measured(value - other, interval, n, details | note)


def standard_error(samples: FloatArray, n: int) -> float | None:
    """Standard error from a bootstrap distribution (B,) over n pairs; None when too many resamples were degenerate.

    A resample's variance is too small by (n − 1) / n, as the variance of n values about their own mean is.
    """
    valid = samples[np.isfinite(samples)]
    if len(valid) < max(2.0, MIN_VALID * len(samples)):
        return None
    return float(valid.std(ddof=1) * np.sqrt(n / (n - 1)))


def student(value: float, error: float, freedom: float) -> tuple[float, Interval]:
    """Two-sided p of "0" and the 95 % interval of a value with a standard error, with the safety margin on both."""
    error *= MARGIN
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(value) / error, freedom)) if error > 0 else float(value == 0)
    return p, (value - reach, value + reach)
