"""Differences between systems of which each was run with several seeds and measured on the same pairs.

Chance has two sources, the pairs and the seeds. Both are resampled together: in each resample pairs are drawn with
replacement (the same ones for all runs) and, of each system's runs, seeds with replacement. That is the pigeonhole
bootstrap of Owen 2007 (https://doi.org/10.1214/07-AOAS122), paired as in Efron & Tibshirani 1993, chapter 16. The
formula is that of :func:`anticollapse.measures.seeds.chance_over_seeds`, and there is no other.

All runs of a study share their resamples, which are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anticollapse.measures.correlation import Kind, bootstrap_correlations, correlation_of, why_undefined
from anticollapse.measures.resampling import default_resamples
from anticollapse.measures.seeds import chance_over_seeds
from anticollapse.measures.verdict import LEVEL, holm

FloatArray = NDArray[np.float64]

ONE_SEED = (
    "There is one seed only of a trained system, so the interval is over pairs alone and does not say what other seeds "
    "would give."
)


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
        interval: 95 % of this comparison by itself, or None.
        p_value: Two-sided p of no difference from 0, by itself, or None.
        standard_error: Over pairs and seeds without the safety margin, or None.
        n_pairs: Pairs.
        n_seeds: Seeds of the first system.
        n_reference_seeds: Seeds of the second one; 0 without one.
        paired_seeds: Whether equal seeds of both were drawn together.
        note: What is left out of the interval, or why there is no value, a full sentence; else empty.
        one_seed: Whether a trained system has one seed, so that its chance cannot be seen and nothing can be decided.
        p_corrected: The p value after Holm's correction for all comparisons made at once; None where nothing was
            corrected or can be decided.
        comparisons: How many those were.
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
    one_seed: bool = False
    p_corrected: float | None = None
    comparisons: int = 0

    @property
    def shown(self) -> str:
        """Whether it is "better" or "worse" after the correction; empty where no difference is shown."""
        if self.value is None or self.p_corrected is None or self.p_corrected > LEVEL:
            return ""
        return "better" if self.value > 0 else "worse"

    @property
    def alone(self) -> str:
        """The same where it would count as the only comparison, but does not as one of several; else empty."""
        if self.value is None or self.p_corrected is None or self.p_value is None or self.shown:
            return ""
        return ("better" if self.value > 0 else "worse") if self.p_value <= LEVEL else ""


def corrected(estimates: Sequence[Estimate]) -> tuple[Estimate, ...]:
    """Differences that are read together, each with its p value after Holm's correction for all of them.

    What is undefined, or rests on one seed of a trained system, is no comparison.

    Args:
        estimates: The differences.

    Returns:
        As many, in the same order.
    """
    judged = [one for one in estimates if one.p_value is not None and not one.one_seed]
    found = iter(holm([one.p_value for one in judged if one.p_value is not None]))
    return tuple(
        replace(one, p_corrected=next(found), comparisons=len(judged))
        if one.p_value is not None and not one.one_seed
        else one
        for one in estimates
    )


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

    Where both systems have the same seeds they are drawn together: runs of equal seeds saw the same batches if items
    and batch size agree, and what they share is then no chance of the difference. Where they share nothing, drawing
    them together is as valid and only costs degrees of freedom. Otherwise the seeds of each are drawn on their own.

    Args:
        runs: The system.
        reference: What it is compared with.
        seed: Seed of the draws of seeds.
    """
    paired = runs.seeds == reference.seeds and not (runs.deterministic or reference.deterministic)
    return _estimate(runs, reference, paired=paired, seed=seed)


def _estimate(runs: Runs, reference: Runs | None, *, paired: bool, seed: int) -> Estimate:
    systems = [runs] if reference is None else [runs, reference]
    alone = any(len(one.seeds) == 1 and not one.deterministic for one in systems)
    nothing = Estimate(
        value=None,
        interval=None,
        p_value=None,
        standard_error=None,
        n_pairs=runs.n_pairs,
        n_seeds=len(runs.seeds),
        n_reference_seeds=0 if reference is None else len(reference.seeds),
        paired_seeds=paired,
        one_seed=alone,
    )
    why = next((one.undefined for one in systems if one.undefined), "")
    if why:
        return replace(nothing, note=f"{why[0].upper()}{why[1:]}.")
    value = runs.mean - (0.0 if reference is None else reference.mean)
    values, samples = [one.values for one in systems], [one.samples for one in systems]
    chance = chance_over_seeds(values, samples, runs.n_pairs, paired=paired, seed=seed)
    if chance is None:
        note = "There is no interval, because too many resamples have no value."
        return replace(nothing, value=value, note=note)
    return replace(
        nothing,
        value=value,
        interval=chance.interval,
        p_value=None if reference is None else chance.p_value,
        standard_error=chance.standard_error,
        note=ONE_SEED if alone else "",
    )
