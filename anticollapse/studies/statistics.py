"""Differences between systems of which each was run with several seeds and measured on the same pairs.

Chance has two sources, the pairs and the seeds. Both are resampled together: in each resample pairs are drawn with
replacement (the same ones for all runs) and, of each system's runs, seeds with replacement. That is the pigeonhole
bootstrap of Owen 2007 (https://doi.org/10.1214/07-AOAS122), paired as in Efron & Tibshirani 1993, chapter 16. Seeds are
few, and K of them drawn with replacement spread too little by (K − 1) / K; so deviations from their mean are widened by
√(K / (K − 1)), and the interval is Student's t with Satterthwaite's degrees of freedom.

All runs of a study share their resamples, which are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from anticollapse.measures.correlation import Kind, bootstrap_correlations, correlation_of, why_undefined
from anticollapse.measures.resampling import CONFIDENCE, default_resamples
from anticollapse.measures.seeds import freedom_of, with_seeds

FloatArray = NDArray[np.float64]

SEED_STREAM = 1
MIN_VALID = 0.95
"""Below that share of resamples with a value, their spread describes another population."""


@dataclass(frozen=True)
class Runs:
    """One system: its runs, ascending by seed.

    Attributes:
        seeds: Seed of each run, K of them.
        values: Correlation × 100 of each run on all pairs, (K,).
        samples: The same in each resample of pairs, (B, K).
        n_pairs: Number of pairs.
        deterministic: Whether another seed would give the same.
        undefined: Why there are no values, as "undefined because ..."; empty where there are.
    """

    seeds: tuple[int, ...]
    values: FloatArray
    samples: FloatArray
    n_pairs: int
    deterministic: bool = False
    undefined: str = ""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(self.values.mean())

    @property
    def std(self) -> float | None:
        """Standard deviation over the seeds; None for fewer than two."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds, or a difference of two, with its interval.

    Attributes:
        value: In points (× 100); None where it is undefined.
        interval: 95 %, or None.
        p_value: Two-sided p of no difference from 0, or None.
        standard_error: Over pairs and seeds, or None.
        n_pairs: Pairs.
        n_seeds: Seeds of the first system.
        n_reference_seeds: Seeds of the second one; 0 without one.
        paired_seeds: Whether equal seeds of both were drawn together.
        note: What is left out of the interval, or why there is no value, a full sentence; else empty.
    """

    value: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    standard_error: float | None
    n_pairs: int
    n_seeds: int
    n_reference_seeds: int = 0
    paired_seeds: bool = False
    note: str = ""


def resample(
    scores: FloatArray,
    cosines: Sequence[FloatArray],
    *,
    kind: Kind = "spearman",
    seed: int = 0,
    n_resamples: int | None = None,
) -> tuple[FloatArray, FloatArray, list[str]]:
    """Correlations × 100 of many runs on shared resamples of the pairs.

    Args:
        scores: Grades, (n,).
        cosines: One array (n,) a run.
        kind: "spearman" or "pearson".
        seed: Seed of the resamples.
        n_resamples: How many; by default 2,000, fewer above 30,000 pairs.

    Returns:
        Values (R,), samples (B, R), and for each run why it has no value (empty where it has one; NaN otherwise).
    """
    reasons = [why_undefined(scores, c) for c in cosines]
    usable = [i for i, why in enumerate(reasons) if not why]
    values = np.full(len(cosines), np.nan)
    samples = np.full((n_resamples or default_resamples(len(scores)), len(cosines)), np.nan)
    if usable:
        stacked = np.stack([cosines[i] for i in usable])
        values[usable] = [100 * correlation_of(scores, c, kind) for c in stacked]
        samples[:, usable] = 100 * bootstrap_correlations(
            scores, stacked, kind=kind, seed=seed, n_resamples=n_resamples
        )
    return values, samples, reasons


def mean_over_seeds(runs: Runs, *, seed: int = 0) -> Estimate:
    """The mean of a system's runs with an interval over pairs and seeds.

    Args:
        runs: The system.
        seed: Seed of the draws of seeds.
    """
    return _estimate(runs, None, paired=False, seed=seed)


def difference(runs: Runs, reference: Runs, *, seed: int = 0) -> Estimate:
    """Mean of one system's runs minus that of another's, on the same resamples of pairs.

    Runs of equal seeds saw the same batches, so they are drawn together where both systems have the same seeds;
    otherwise the seeds of each are drawn on their own.

    Args:
        runs: The system.
        reference: What it is compared with.
        seed: Seed of the draws of seeds.
    """
    paired = runs.seeds == reference.seeds and not (runs.deterministic or reference.deterministic)
    return _estimate(runs, reference, paired=paired, seed=seed)


def _estimate(runs: Runs, reference: Runs | None, *, paired: bool, seed: int) -> Estimate:
    systems = [runs] if reference is None else [runs, reference]
    nothing = Estimate(
        value=None,
        interval=None,
        p_value=None,
        standard_error=None,
        n_pairs=runs.n_pairs,
        n_seeds=len(runs.seeds),
        n_reference_seeds=0 if reference is None else len(reference.seeds),
        paired_seeds=paired,
    )
    why = next((one.undefined for one in systems if one.undefined), "")
    if why:
        return replace(nothing, note=f"{why[0].upper()}{why[1:]}.")
    value = runs.mean - (0.0 if reference is None else reference.mean)
    parts = [one.samples for one in systems]
    kept = np.all(np.isfinite(np.concatenate(parts, axis=1)), axis=1)
    if kept.sum() < max(MIN_VALID * len(kept), 2):
        note = "There is no interval, because too many resamples have no value."
        return replace(nothing, value=value, note=note)
    error, freedom = _error([one[kept] for one in parts], systems, paired=paired, seed=seed)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    p = None
    if reference is not None:
        p = float(2 * stats.t.sf(abs(value) / error, freedom)) if error > 0 else float(value == 0)
    interval = (value - reach, value + reach)
    return replace(nothing, value=value, interval=interval, p_value=p, standard_error=error, note=_limits(systems))


def _error(samples: Sequence[FloatArray], systems: Sequence[Runs], *, paired: bool, seed: int) -> tuple[float, float]:
    """Standard error over pairs and seeds, and its degrees of freedom."""
    rng = np.random.default_rng([seed, SEED_STREAM])
    values = [one.values for one in systems]
    if paired:
        samples, values = [samples[0] - samples[1]], [values[0] - values[1]]
    both, pairs_alone = with_seeds(samples, rng)
    return float(np.std(both, ddof=1)), freedom_of(values, float(np.std(pairs_alone, ddof=1)), systems[0].n_pairs)


def _limits(systems: Sequence[Runs]) -> str:
    if any(len(one.seeds) == 1 and not one.deterministic for one in systems):
        return "There is one seed only, so the interval does not say what other seeds would give."
    return ""
