"""Which scale the scores of a file are on, and their conversion to 0–5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anticollapse.data.pairs import Scale

BOUNDS: dict[Scale, tuple[float, float]] = {"0-1": (0, 1), "0-5": (0, 5), "1-5": (1, 5), "0-100": (0, 100)}

_MANY = 100  # scores from which on "the smallest is exactly 1 and the largest exactly 5" says something
_SOME = 20  # scores from which on a share says something
_TEN = 10  # fewer scores than this never make a 0–100 scale
_OUTLIERS = 0.05  # a scale may miss this share of the scores; those are bad rows
_BY_WIDTH: tuple[Scale, ...] = ("0-1", "0-5", "0-100")


@dataclass(frozen=True)
class ScaleFinding:
    """A recognised scale.

    Attributes:
        scale: The scale; ``None`` if no known one fits.
        note: What was found and done, a full sentence.
        outside: Shape (N,): scores outside ``nearest``.
        nearest: The scale or, where none fits, the narrowest that holds most of the scores, else 0–5.
    """

    scale: Scale | None
    note: str
    outside: NDArray[np.bool_]
    nearest: Scale = "0-5"


def recognise_scale(values: NDArray[np.float64], *, given: Scale | None = None) -> ScaleFinding:
    """Find the scale of finite scores of shape (N,), N ≥ 1.

    The rules, in this order: all in [0, 1] is 0–1 (only 0 and 1: binary labels on 0–1); at least 95 % in [0, 1] with
    fractions among them is 0–1 with wrong scores; all in [0, 5] is 0–5, or 1–5 when 100 or more scores run from
    exactly 1 to exactly 5; at least 95 % in [0, 5] is 0–5 with wrong scores; ten or more scores in [0, 100], at least
    half of them above 5 and one above 10, are 0–100; so are twenty or more of which 95 % are, with wrong scores.
    Anything else is not known.

    Args:
        values: The scores.
        given: The scale the caller states; then only the bounds are checked.
    """
    if given is not None and given != "none":
        note = f"The scores were read on {span_of(given)}, as asked."
        return ScaleFinding(given, note, _outside(values, given), given)
    scale = _guess(values)
    if scale is None:
        nearest = _nearest(values)
        return ScaleFinding(None, "", _outside(values, nearest), nearest)
    return ScaleFinding(scale, _explain(values, scale), _outside(values, scale), scale)


def to_five(values: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """Scores of ``scale`` mapped linearly to 0–5; rounded to nine decimals, so that 0.6 becomes 3 exactly."""
    if scale == "0-5":
        return values
    low, high = BOUNDS[scale]
    return np.round((values - low) * (5.0 / (high - low)), 9)


def _guess(values: NDArray[np.float64]) -> Scale | None:
    n = values.size
    low, high = float(values.min()), float(values.max())
    unit = (values >= 0) & (values <= 1)
    if unit.all():
        return "0-1"
    fractions = bool(np.any(unit & (values > 0) & (values < 1)))
    if n >= _SOME and unit.mean() >= 1 - _OUTLIERS and fractions:
        return "0-1"
    five = (values >= 0) & (values <= 5)
    if five.all():
        return "1-5" if n >= _MANY and low == 1 and high == 5 else "0-5"
    if n >= _SOME and five.mean() >= 1 - _OUTLIERS:
        return "0-5"
    hundred = values[(values >= 0) & (values <= 100)]
    few_outside = hundred.size == n or (n >= _SOME and hundred.size >= (1 - _OUTLIERS) * n)
    if n >= _TEN and few_outside and hundred.max() > 10 and np.mean(hundred > 5) >= 0.5:
        return "0-100"
    return None


def _nearest(values: NDArray[np.float64]) -> Scale:
    """The narrowest scale that most scores fit and some do not: those are then what is wrong."""
    for scale in _BY_WIDTH:
        outside = _outside(values, scale)
        if outside.any() and outside.mean() < 0.5:
            return scale
    return "0-5"


def _explain(values: NDArray[np.float64], scale: Scale) -> str:
    if scale == "0-1" and np.isin(values, (0, 1)).all():
        return "The scores are all 0 or 1 and were read as binary labels: 0 is 0 and 1 is 5 on the 0–5 scale."
    if scale == "0-5":
        return "The scores are on 0–5 and were taken as they are."
    note = f"The scores are on {span_of(scale)} and were mapped to 0–5."
    if scale == "1-5":
        note += " They run from exactly 1 to exactly 5; if they are 0–5 after all, state the scale."
    return note


def _outside(values: NDArray[np.float64], scale: Scale) -> NDArray[np.bool_]:
    low, high = BOUNDS[scale]
    return (values < low) | (values > high)


def span_of(scale: Scale) -> str:
    """A scale for people: ``0–5``."""
    return scale.replace("-", "–")
