"""The claims that started this project, to stand beside what was measured.

They come from one small study on bert-base with 25,000 labelled pairs: single numbers of dev Spearman × 100, without
seeds and without intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

from anticollapse.studies.statistics import Estimate

SOURCE = "bert-base, 25,000 labelled pairs, dev Spearman × 100, one run each"

AMOUNT_ONLY = 0.1
"""A claim of fewer points says "no difference": it has an amount, and no direction that any data could confirm."""

DECIMALS = 2
"""With which intervals are shown; a claimed amount that stands there as a bound is not outside."""


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        variant: Of what.
        reference: Compared with what.
        value: The claimed difference in points, or None where none was ever given.
        text: As it was put.
    """

    variant: str
    reference: str
    value: float | None
    text: str


CLAIMS: tuple[Claim, ...] = (
    Claim("sbert", "raw", None, "the baseline of the ladder"),
    Claim("cross-attention-scored", "sbert", -0.02, "−0.02"),
    Claim("cross-attention", "cross-attention-scored", 0.6, "+0.6"),
    Claim("projector", "sbert", None, "never measured"),
    Claim("sbert-simcse", "sbert", 0.2, "+0.2"),
    Claim("sbert-queue", "sbert-simcse", 0.3, "+0.3"),
    Claim("sbert-swav", "sbert-queue", None, "proposed, never built"),
)
"""A claim is a difference to the row above it. The row above ``sbert-simcse`` in the old table, ``projector``, was
never measured, so its claim is read as a difference to ``sbert``, which it adds a part to."""


def reading(claim: Claim, measured: Estimate) -> str:
    """What the measured difference says about a claim, in plain words: about its direction, and about its amount.

    The direction is judged by the p value after the correction for all claims of the study, the amount by the 95 %
    interval as it is shown.

    Args:
        claim: The claim.
        measured: The difference between the same two rows, corrected with those of the other claims.
    """
    if measured.value is None or measured.interval is None:
        return "cannot be said"
    if measured.one_seed:
        return "cannot be said: one seed"
    found = measured.shown or _not_shown(measured)
    if claim.value is None:
        return f"measured: {found}" if measured.shown else found
    low, high = (round(bound, DECIMALS) for bound in measured.interval)
    if low <= claim.value <= high:
        if measured.shown:
            return f"agrees: {found}, and the claimed amount lies within the interval"
        wide = "; the interval is too wide to tell it from 0" if low <= 0 <= high else f"; {found}"
        return f"agrees: the claimed amount lies within the interval{wide}"
    directed = abs(claim.value) >= AMOUNT_ONLY and measured.shown
    if directed and (claim.value > 0) == (measured.value > 0):
        return f"same direction, another amount: {found}"
    if directed:
        return f"contradicted: {found}"
    return f"the claimed amount is ruled out: {found}"


def _not_shown(measured: Estimate) -> str:
    text = "no difference that this data could show"
    if not measured.alone:
        return text
    return f"{text} ({measured.alone} by itself, not as one of {measured.comparisons} comparisons)"
