"""Is one way of training better than another? Chance lies in the pairs *and* in the seeds of the training.

Five runs that differ in nothing but their seed differ by a point or two, so an interval over pairs alone says only
which *run* is better. Here pairs and seeds are resampled together: the pigeonhole bootstrap of A. Owen (2007, "The
Pigeonhole Bootstrap", https://doi.org/10.1214/07-AOAS122), which is for data with two crossed sources of chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anticollapse.errors import OptionError
from anticollapse.measures.correlation import Kind, bootstrap_correlations, correlation_of, why_undefined
from anticollapse.measures.resampling import bootstrap_note, default_resamples
from anticollapse.measures.result import Interval, Measure
from anticollapse.measures.significance import DIFFERENCES, standard_error, student

FloatArray = NDArray[np.float64]

SEED_STREAM = 0x5EED


@dataclass(frozen=True)
class Chance:
    """What chance over pairs and seeds says about a mean over seeds, or a difference of two.

    Attributes:
        standard_error: Over pairs and seeds together, without the safety margin.
        degrees_of_freedom: Satterthwaite's.
        p_value: Two-sided p of "0", with the margin.
        interval: 95 %, with the margin.
    """

    standard_error: float
    degrees_of_freedom: float
    p_value: float
    interval: Interval


def chance_over_seeds(
    values: Sequence[FloatArray], samples: Sequence[FloatArray], n: int, *, paired: bool = False, seed: int = 0
) -> Chance | None:
    """The one formula for chance over seeds: every interval and p value over seeds comes from here.

    Args:
        values: Value of each run on all pairs (K,): of one system, or of a system and its reference.
        samples: The same in B resamples of the pairs, (B, K) each.
        n: Number of pairs.
        paired: Whether run k of both belongs together, so that seeds are drawn together; needs K = K'.
        seed: Seed of the draws of seeds.

    Returns:
        Student's t with the standard error of the bootstrap over pairs and seeds, Satterthwaite's degrees of freedom,
        and the margin of :func:`~anticollapse.measures.significance.student`; None when too many resamples have no
        value.
    """
    if paired and len(values) == 2:
        values, samples = [values[0] - values[1]], [samples[0] - samples[1]]
    rng = np.random.default_rng([seed, SEED_STREAM])
    both, alone = with_seeds(samples, rng)
    error = standard_error(both, n)
    if error is None:
        return None
    freedom = freedom_of(values, standard_error(alone, n) or 0.0, n)
    means = [float(one.mean()) for one in values]
    p, interval = student(means[0] - (means[1] if len(means) > 1 else 0.0), error, freedom)
    return Chance(error, freedom, p, interval)


def difference_over_seeds(
    labels: ArrayLike | None,
    cosines: ArrayLike,
    reference: ArrayLike,
    *,
    kind: Kind = "spearman",
    paired: bool = False,
    seed: int = 0,
    n_resamples: int | None = None,
) -> Measure:
    """Mean correlation over the seeds of one training minus that of another, ×100, on the same pairs.

    Args:
        labels: (n,) scores, or None.
        cosines: (K, n) cosines of K encoders that were trained alike, with K seeds.
        reference: (K', n) those of the other training; one row (or (n,)) for an encoder that was not trained.
        kind: "spearman" or "pearson".
        paired: Whether row k of both belongs together (the same seed gave both the same batches), so that seeds are
            resampled together; needs K = K'.
        seed: Seed of the resamples.
        n_resamples: Number of resamples; by default 2,000, fewer above 30,000 pairs.

    Returns:
        The difference; its interval is Student's t with the standard error of the bootstrap over pairs and seeds, and
        Satterthwaite's degrees of freedom. Seeds are few: K of them drawn with replacement spread too little by
        (K − 1) / K, so deviations from their mean are widened by √(K / (K − 1)). ``details`` has "p_value",
        "standard_error", "value", "reference" (means over seeds), "std_over_seeds", "reference_std_over_seeds",
        "seeds" and "reference_seeds". With one seed its chance cannot be seen, which ``details["limited"]`` says.

    Raises:
        OptionError: If shapes do not fit.
    """
    y, a, r = _checked(labels, cosines, reference, paired=paired)
    n, definition = a.shape[1], DIFFERENCES[kind]
    reasons = [reason for row in (*a, *r) if (reason := why_undefined(y, row))]
    if y is None or reasons:
        return definition.undefined(reasons[0], n)
    full = [np.array([100 * correlation_of(y, row, kind) for row in rows]) for rows in (a, r)]
    value = float(full[0].mean() - full[1].mean())
    resamples = n_resamples or default_resamples(n)
    samples = 100 * bootstrap_correlations(y, np.concatenate([a, r]), kind=kind, seed=seed, n_resamples=resamples)
    details: dict[str, object] = {"value": float(full[0].mean()), "reference": float(full[1].mean())}
    details |= {"seeds": len(a), "reference_seeds": len(r), "seed": seed, "resamples": resamples}
    details |= {"std_over_seeds": _std(full[0]), "reference_std_over_seeds": _std(full[1])}
    if len(a) == 1:
        details["limited"] = "one seed: what another seed would have given is not in the interval"
    parts = [samples[:, : len(a)], samples[:, len(a) :]]
    chance = chance_over_seeds(full, parts, n, paired=paired, seed=seed)
    if chance is not None:
        details |= {
            "p_value": chance.p_value,
            "standard_error": chance.standard_error,
            "degrees_of_freedom": chance.degrees_of_freedom,
        }
    interval = None if chance is None else chance.interval
    note = bootstrap_note(interval, f"pairs and seeds together, standard error of {resamples:,} resamples, Student's t")
    return definition.measured(value, interval, n, details | note)


def with_seeds(samples: Sequence[FloatArray], rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """A mean over seeds, or the difference of two, in each resample.

    Args:
        samples: Values (B, K) of one system, or of a system and its reference, in B resamples of pairs.
        rng: Draws the seeds.

    Returns:
        Shape (B,) with pairs and seeds drawn anew, and shape (B,) with pairs alone.
    """
    signs = (1.0, -1.0)
    both = np.sum([sign * draw_seeds(one, rng) for sign, one in zip(signs, samples, strict=False)], axis=0)
    alone = np.sum([sign * one.mean(axis=1) for sign, one in zip(signs, samples, strict=False)], axis=0)
    return both, alone


def freedom_of(values: Sequence[FloatArray], error_of_pairs: float, n: int) -> float:
    """Satterthwaite's degrees of freedom where chance lies in n pairs and in the seeds of each system.

    Args:
        values: Value of each run (K,), for each system whose seeds are drawn.
        error_of_pairs: Standard error over the pairs alone.
        n: Number of pairs.
    """
    parts = [(float(np.var(one, ddof=1)) / len(one), len(one) - 1) for one in values if len(one) > 1]
    parts.append((error_of_pairs**2, n - 1))
    below = sum(variance**2 / freedom for variance, freedom in parts)
    return sum(variance for variance, _ in parts) ** 2 / below if below > 0 else float(n - 1)


def draw_seeds(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Mean over K seeds that are drawn anew in each resample, deviations widened by √(K / (K − 1)).

    Args:
        samples: Value of each run in each resample of pairs, (B, K).
        rng: Source of randomness; it gives (B, K) whole numbers below K.

    Returns:
        Shape (B,).
    """
    k = samples.shape[1]
    mean = samples.mean(axis=1)
    if k == 1:
        return np.asarray(mean)
    drawn = np.take_along_axis(samples, rng.integers(0, k, samples.shape), axis=1).mean(axis=1)
    return np.asarray(mean + np.sqrt(k / (k - 1)) * (drawn - mean))


def _std(values: FloatArray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _checked(
    labels: ArrayLike | None, cosines: ArrayLike, reference: ArrayLike, *, paired: bool
) -> tuple[FloatArray | None, FloatArray, FloatArray]:
    a, r = (np.atleast_2d(np.asarray(rows, dtype=np.float64)) for rows in (cosines, reference))
    y = None if labels is None else np.asarray(labels, dtype=np.float64)
    if a.ndim != 2 or r.ndim != 2 or a.shape[1] != r.shape[1] or (y is not None and y.shape != a.shape[1:]):
        raise OptionError("Cosines must be (seeds, pairs) for both, with as many labels as pairs")
    if not (len(a) and len(r)):
        raise OptionError("There must be at least one seed")
    if paired and len(a) != len(r):
        raise OptionError(f"{len(a)} and {len(r)} seeds cannot be paired")
    return y, a, r
