"""Where does one encoder win? Spearman's correlation taken apart into the contributions of single pairs, exactly.

With z the ranks of n values, scaled to mean 0 and variance 1, Spearman's ρ of labels y and cosines c is the mean of
z_y z_c, so 1 − ρ is half the mean of (z_y − z_c)²: each pair costs half the square of how far the encoder ranks it from
where people rank it. The difference of two encoders is the mean over pairs of what each pair costs the one more than
the other, and any way to cut the pairs into slices cuts the difference into parts that sum to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from anticollapse.measures.ranks import Ranks
from anticollapse.measures.resampling import bootstrap_note, default_resamples, percentile_interval, resample_counts
from anticollapse.measures.result import Definition, Measure

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

CONTRIBUTION = Definition(
    key="contribution",
    name="Contribution to the difference in Spearman",
    unit="points (×100)",
    meaning="How much of the difference between the two encoders comes from these pairs.",
    reads_as="above 0 the encoder ranks these pairs closer to people than the reference; the parts sum to the whole",
    counts="pairs",
    better="higher",
)
RANK_ERROR = Definition(
    key="rank_error",
    name="Rank error",
    unit="% of the pairs",
    meaning="How far from the place that people gave it the encoder ranks a pair, on average.",
    reads_as="0 is the order of people; 33 is what chance gives",
    counts="pairs",
    better="lower",
)


@dataclass(frozen=True)
class PairCosts:
    """What each pair costs two encoders.

    Attributes:
        gains: (n,) points of Spearman that each pair adds to the difference; they sum to it.
        error: (n,) |rank by the encoder − rank by people| in % of the pairs.
        reference_error: (n,) the same for the reference.
    """

    gains: FloatArray
    error: FloatArray
    reference_error: FloatArray


def pair_costs(labels: FloatArray, cosines: FloatArray, reference: FloatArray) -> PairCosts:
    """What each of n ≥ 3 pairs costs; labels and cosines must vary.

    Args:
        labels: (n,).
        cosines: (n,) of the encoder.
        reference: (n,) of the reference.
    """
    ranks = [stats.rankdata(values) for values in (labels, cosines, reference)]
    z_y, z_c, z_r = ((rank - rank.mean()) / rank.std() for rank in ranks)
    gains = 100 * 0.5 * ((z_y - z_r) ** 2 - (z_y - z_c) ** 2) / len(labels)
    error, reference_error = (100 * np.abs(rank - ranks[0]) / len(labels) for rank in ranks[1:])
    return PairCosts(gains, error, reference_error)


@dataclass(frozen=True)
class SliceResult:
    """One part of the pairs under two encoders.

    Attributes:
        contribution: Its part of the difference in Spearman.
        won: Share of its pairs that the encoder ranks closer to people than the reference does.
        lost: Share that the reference ranks closer; the rest are equal.
        error: Mean rank error of the encoder in % of the pairs; None without pairs.
        reference_error: The same for the reference.
        n: Pairs.
    """

    contribution: Measure
    won: float
    lost: float
    error: float | None
    reference_error: float | None
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**vars(self), "contribution": self.contribution.to_json()}


def slice_results(
    labels: FloatArray,
    cosines: FloatArray,
    reference: FloatArray,
    masks: Sequence[BoolArray],
    *,
    seed: int = 0,
    n_resamples: int | None = None,
) -> list[SliceResult]:
    """Each slice's part of the difference in Spearman, with a 95 % bootstrap interval.

    The ranks are computed anew in every resample of all pairs.

    Args:
        labels: (n,), not all equal; n ≥ 3.
        cosines: (n,) of the encoder, not all equal.
        reference: (n,) of the reference, not all equal.
        masks: Which pairs belong to each slice, (n,) each.
        seed: Seed of the resamples.
        n_resamples: Number of resamples; by default 2,000, fewer above 30,000 pairs.
    """
    n = len(labels)
    costs = pair_costs(labels, cosines, reference)
    resamples = n_resamples or default_resamples(n)
    membership = np.stack(masks, axis=1).astype(np.float64)
    samples = _bootstrap(labels, (cosines, reference), membership, seed, resamples)
    found = []
    for k, mask in enumerate(masks):
        number = int(mask.sum())
        interval = percentile_interval(samples[:, k]) if number else None
        note = bootstrap_note(interval, f"{resamples:,} resamples of pairs")
        value = float(costs.gains[mask].sum())
        measure = (
            CONTRIBUTION.measured(value, interval, number, note)
            if number
            else CONTRIBUTION.undefined("there are no such pairs", 0)
        )
        better = costs.reference_error[mask] - costs.error[mask]
        found.append(
            SliceResult(
                contribution=measure,
                won=float(np.mean(better > 0)) if number else 0.0,
                lost=float(np.mean(better < 0)) if number else 0.0,
                error=float(costs.error[mask].mean()) if number else None,
                reference_error=float(costs.reference_error[mask].mean()) if number else None,
                n=number,
            )
        )
    return found


def _bootstrap(
    labels: FloatArray, rows: tuple[FloatArray, FloatArray], membership: FloatArray, seed: int, resamples: int
) -> FloatArray:
    """Contributions (B, slices) in resamples; NaN where a resample has equal labels or equal cosines."""
    ranks = [Ranks(values) for values in (labels, *rows)]
    parts = []
    for counts in resample_counts(len(labels), resamples, seed):
        z_y, z_c, z_r = (_scaled_ranks(one, counts) for one in ranks)
        gains = ((z_y - z_r) ** 2 - (z_y - z_c) ** 2) * counts
        parts.append(50 / len(labels) * (gains @ membership))
    return np.concatenate(parts)


def _scaled_ranks(ranks: Ranks, counts: FloatArray) -> FloatArray:
    """Ranks (b, n) with mean 0 and variance 1 in each resample; NaN where all are equal."""
    groups = ranks.sums(counts)
    centred = ranks.centred(groups)
    variance = np.einsum("bg,bg,bg->b", groups, centred, centred) / counts.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(variance[:, None] > 0, centred / np.sqrt(variance)[:, None], np.nan)
    return ranks.spread(scaled, counts.shape[1])
