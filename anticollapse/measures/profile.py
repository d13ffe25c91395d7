"""The paper's figure in numbers: how the cosine is distributed for each label."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anticollapse.errors import OptionError
from anticollapse.measures.resampling import bootstrap_note, bootstrap_ratio, default_resamples, percentile_interval
from anticollapse.measures.result import Definition, Measure, to_plain

FloatArray = NDArray[np.float64]

QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)
BIN_EDGES = (0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.0)  # around the labels 0 ... 5
SAME_FROM = 4.0  # pairs with this label or more mean the same
UNRELATED_TO = 1.0  # pairs with this label or less are unrelated

SPREAD = Definition(
    key="spread",
    name="Spread",
    unit="cosine",
    meaning="How much higher pairs that mean the same (label 4 and up) score than unrelated ones (label 1 and below).",
    reads_as="0 means that it cannot tell them apart; collapse makes it small",
    counts="pairs",
    better="higher",
)


@dataclass(frozen=True)
class LabelBin:
    """Cosines of the pairs whose label lies in [low, high) (the last bin includes its upper edge).

    Attributes:
        label: The label in the middle (the nearest whole label for the default bins).
        low: Lower edge.
        high: Upper edge.
        n: Number of pairs.
        mean: Mean cosine, or None for an empty bin.
        quantiles: Cosine at each of the profile's quantiles, or empty for an empty bin.
    """

    label: float
    low: float
    high: float
    n: int
    mean: float | None
    quantiles: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; quantiles are keyed q5, q25, ..."""
        row: dict[str, object] = {
            "label": self.label,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "mean": self.mean,
        }
        names = [f"q{round(100 * level)}" for level in QUANTILES]
        values = self.quantiles or (None,) * len(names)
        return dict(to_plain(row | dict(zip(names, values, strict=True))))


@dataclass(frozen=True)
class LabelProfile:
    """Distribution of the cosine for each label bin.

    Attributes:
        bins: Ascending by label; an empty bin is kept, with n = 0.
        n: Number of pairs.
        undefined: Why there are no bins, as "undefined because ..."; empty otherwise.
    """

    bins: tuple[LabelBin, ...]
    n: int
    undefined: str = ""

    def to_json(self) -> list[dict[str, Any]]:
        """One row a bin."""
        return [row.to_json() for row in self.bins]


def label_profile(labels: ArrayLike | None, cosines: ArrayLike, *, edges: Sequence[float] = BIN_EDGES) -> LabelProfile:
    """Mean and quantiles of the cosine for each bin of labels.

    Args:
        labels: (n,) scores on 0–5, or None.
        cosines: (n,) cosines, finite.
        edges: Bin edges, ascending; by default around the whole labels 0 ... 5 (0.5 counts as 1).

    Returns:
        The profile; without bins, and saying why, when there are no labels or no pairs.

    Raises:
        OptionError: If lengths differ, a value is not finite, or a label lies outside the edges.
    """
    y, c = _checked(labels, cosines)
    if y is None or not len(y):
        reason = "the pairs have no labels" if y is None else "there are no pairs"
        return LabelProfile((), len(c), f"undefined because {reason}")
    bounds = np.asarray(edges, dtype=np.float64)
    if y.min() < bounds[0] or y.max() > bounds[-1]:
        raise OptionError(f"Labels from {y.min():g} to {y.max():g} do not fit the bins {bounds[0]:g} to {bounds[-1]:g}")
    numbers = np.clip(np.searchsorted(bounds, y, side="right") - 1, 0, len(bounds) - 2)
    default = tuple(edges) == BIN_EDGES
    bins = []
    for number, (low, high) in enumerate(itertools.pairwise(bounds)):
        inside = c[numbers == number]
        label = float(number) if default else float((low + high) / 2)
        quantiles = tuple(float(q) for q in np.quantile(inside, QUANTILES)) if len(inside) else ()
        mean = float(inside.mean()) if len(inside) else None
        bins.append(LabelBin(label, float(low), float(high), len(inside), mean, quantiles))
    return LabelProfile(tuple(bins), len(c))


def spread(labels: ArrayLike | None, cosines: ArrayLike, *, seed: int = 0, n_resamples: int | None = None) -> Measure:
    """Mean cosine of pairs with label ≥ 4 minus that of pairs with label ≤ 1, with a bootstrap interval over pairs.

    Args:
        labels: (n,) scores on 0–5, or None.
        cosines: (n,) cosines, finite.
        seed: Seed of the resamples.
        n_resamples: Number of resamples; by default 2,000, fewer above 30,000 pairs.

    Returns:
        The measure, n = pairs in both groups together; undefined when a group is empty.

    Raises:
        OptionError: If lengths differ or a value is not finite.
    """
    y, c = _checked(labels, cosines)
    if y is None:
        return SPREAD.undefined("the pairs have no labels", len(c))
    same, unrelated = y >= SAME_FROM, y <= UNRELATED_TO
    details: dict[str, object] = {"n_same": int(same.sum()), "n_unrelated": int(unrelated.sum())}
    n = int(same.sum() + unrelated.sum())
    for group, name in ((same, f"{SAME_FROM:g} or more"), (unrelated, f"{UNRELATED_TO:g} or less")):
        if not group.any():
            return SPREAD.undefined(f"no pair has a label of {name}", n, details)
    resamples = n_resamples or default_resamples(len(c))
    weights = np.stack([same, unrelated], axis=1).astype(np.float64)
    means = bootstrap_ratio(weights * c[:, None], weights, n_resamples=resamples, seed=seed)
    interval = percentile_interval(means[:, 0] - means[:, 1])
    details |= {"mean_same": float(c[same].mean()), "mean_unrelated": float(c[unrelated].mean())}
    value = float(c[same].mean() - c[unrelated].mean())
    return SPREAD.measured(value, interval, n, details | bootstrap_note(interval, f"{resamples:,} resamples of pairs"))


def _checked(labels: ArrayLike | None, cosines: ArrayLike) -> tuple[FloatArray | None, FloatArray]:
    c = np.asarray(cosines, dtype=np.float64)
    y = None if labels is None else np.asarray(labels, dtype=np.float64)
    if c.ndim != 1 or (y is not None and y.shape != c.shape):
        raise OptionError(
            f"Labels and cosines must be two arrays of one length, not {None if y is None else y.shape} and {c.shape}"
        )
    if not np.isfinite(c).all() or (y is not None and not np.isfinite(y).all()):
        raise OptionError("Labels and cosines must be finite numbers", remedy="Leave out the pairs without a cosine")
    return y, c
