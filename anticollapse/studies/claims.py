"""The claims that started this project, to stand beside what was measured.

They come from one small study on bert-base with 25,000 labelled pairs: single numbers of dev Spearman × 100, without
seeds and without intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

from anticollapse.studies.statistics import Estimate

SOURCE = "bert-base, 25,000 labelled pairs, dev Spearman × 100, one run each"


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
    """What the measured difference says about a claim, in plain words.

    Args:
        claim: The claim.
        measured: The difference between the same two rows.
    """
    if measured.value is None or measured.interval is None:
        return "cannot be said"
    low, high = measured.interval
    found = "better" if low > 0 else "worse" if high < 0 else ""
    if claim.value is None:
        return f"measured: {found}" if found else "no difference that this data could show"
    inside = low <= claim.value <= high
    if not found:
        where = (
            "the claimed value lies within the interval" if inside else "the claimed value lies outside the interval"
        )
        return f"not shown: no difference that this data could show; {where}"
    if (claim.value > 0) != (low > 0):
        return f"contradicted: {found}"
    return f"holds: {found}" + ("" if inside else ", by another amount than claimed")
