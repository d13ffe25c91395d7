"""What a difference means in plain words, also when several encoders are compared, and how many pairs would show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from anticollapse.measures.result import Measure, format_number
from anticollapse.measures.significance import MARGIN

Outcome = Literal["better", "worse", "no difference shown", "undefined"]

LEVEL = 0.05
POWER = 0.80
MOST_PAIRS = 1_000_000
"""Above that, "needs about n pairs" says only that nobody has so many."""


@dataclass(frozen=True)
class Verdict:
    """Whether one encoder is better than the reference.

    Attributes:
        outcome: In one word or three.
        text: A phrase for a table: ``better: +1.8 [+0.9, +2.7]``.
        p_value: Two-sided p of "no difference" by itself; None where there is none.
        p_corrected: The same after Holm's correction for all comparisons that were made at once.
        comparisons: How many those were.
        pairs_needed: Pairs that would show a difference of the observed size, as one of as many comparisons, with a
            chance of 80 %; None where a difference is shown, or cannot be, and where seeds were drawn: more pairs do
            not take away what seeds differ by.
    """

    outcome: Outcome
    text: str
    p_value: float | None
    p_corrected: float | None
    comparisons: int
    pairs_needed: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dict(vars(self))


def verdicts(differences: Sequence[Measure]) -> tuple[Verdict, ...]:
    """One verdict for each of several encoders that are compared with one reference, on one measure.

    The more comparisons, the likelier is one chance "win" among them. A difference is called one only if it also stands
    after Holm's correction (1979, "A Simple Sequentially Rejective Multiple Test Procedure"), which keeps the chance of
    *any* false verdict at 5 %. Undefined differences are no comparisons.

    Args:
        differences: Results of :func:`anticollapse.measures.correlation_difference` or
            :func:`anticollapse.measures.difference_over_seeds`.

    Returns:
        As many verdicts, in the same order.
    """
    found = [_p_value(difference) for difference in differences]
    corrected = iter(holm([p for p in found if p is not None]))
    number = sum(p is not None for p in found)
    return tuple(
        _verdict(difference, p, None if p is None else next(corrected), number)
        for difference, p in zip(differences, found, strict=True)
    )


def verdict(difference: Measure) -> Verdict:
    """The verdict of one comparison: see :func:`verdicts`."""
    return verdicts([difference])[0]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p values: the smallest times m, the next times m − 1, …, none below an earlier one, at most 1.

    Args:
        p_values: (m,) of the comparisons that belong together.
    """
    order = np.argsort(p_values, kind="stable")
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def pairs_needed(difference: float, standard_error: float, n: int, comparisons: int = 1) -> int | None:
    """Pairs that show a difference of this size at the 5 % level with a chance of 80 %, by the test that is used here.

    The standard error s falls with the root of the number of pairs. A difference is shown from MARGIN · z · s on, with
    z at 1 − 0.025 / m: Holm's correction asks the smallest of m p values to be below 0.05 / m, and the others no more.
    So n ((MARGIN · z + z₀.₈₀) · s / difference)² are needed. It takes the observed difference for the true one, which
    it is not: an order of magnitude, no promise.

    Args:
        difference: The difference.
        standard_error: Its standard error with n pairs, without the margin.
        n: Pairs.
        comparisons: How many are made at once.

    Returns:
        The number to two digits, at least n; None for no difference, no error, or more than a million.
    """
    if not (difference and standard_error > 0 and math.isfinite(standard_error)):
        return None
    reach = float(MARGIN * stats.norm.isf(LEVEL / 2 / comparisons) + stats.norm.ppf(POWER))
    needed = max(n, n * (reach * standard_error / difference) ** 2)
    if needed > MOST_PAIRS:
        return None
    unit = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return int(math.ceil(needed / unit) * unit)


def signed(value: float, decimals: int = 1) -> str:
    """A difference with its sign: ``+1.8``, ``−0.3``, ``0.0``."""
    text = format_number(value, decimals)
    return text if text.startswith("−") or float(text.replace(",", "")) == 0 else f"+{text}"


def describe_difference(difference: Measure) -> str:
    """A difference with its interval, signs written out: ``+1.8 [+0.9, +2.7]``; or why there is none."""
    if difference.value is None:
        return difference.undefined
    decimals = _decimals(difference)
    text = signed(difference.value, decimals)
    if difference.interval is not None:
        low, high = (signed(bound, decimals) for bound in difference.interval)
        text += f" [{low}, {high}]"
    return text


def _verdict(difference: Measure, p: float | None, corrected: float | None, comparisons: int) -> Verdict:
    value = difference.value
    if value is None:
        return Verdict("undefined", difference.undefined, None, None, comparisons, None)
    shown = describe_difference(difference)
    if p is None or corrected is None:
        why = difference.no_interval or "chance cannot be judged"
        return Verdict("undefined", f"{shown}, no verdict because {why}", None, None, comparisons, None)
    if corrected <= LEVEL:
        outcome: Outcome = "better" if value > 0 else "worse"
        return Verdict(outcome, f"{outcome}: {shown}", p, corrected, comparisons, None)
    needed = None
    if not _over_seeds(difference):
        needed = pairs_needed(value, _number(difference.details.get("standard_error")), difference.n, comparisons)
    text = f"no difference that this data could show: {shown}"
    if p <= LEVEL:
        text += (
            f"; it would count alone (p = {p:.2g}), not as one of {comparisons} comparisons (corrected {corrected:.2g})"
        )
    elif needed is not None and needed > difference.n:
        text += f"; one of this size needs about {needed:,} {difference.counts}"
    return Verdict("no difference shown", text, p, corrected, comparisons, needed)


def _over_seeds(difference: Measure) -> bool:
    """Whether seeds were drawn besides pairs."""
    return any(_number(difference.details.get(key)) > 1 for key in ("seeds", "reference_seeds"))


def _p_value(difference: Measure) -> float | None:
    p = difference.details.get("p_value")
    return float(p) if difference.value is not None and isinstance(p, int | float) else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _decimals(difference: Measure) -> int:
    """One decimal for points, more where value and bounds would look alike."""
    bounds = difference.interval or (difference.value or 0.0,) * 2
    width = bounds[1] - bounds[0]
    return 1 if width >= 0.2 or width == 0 else 2 if width >= 0.02 else 3
