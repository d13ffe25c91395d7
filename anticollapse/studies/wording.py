"""How tables of studies write numbers, differences and their marks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from anticollapse.studies.statistics import ONE_SEED, Estimate
from anticollapse.wording import count

if TYPE_CHECKING:
    from anticollapse.studies.results import Difference, RowFound

NONE = "–"
SAME = "0: the same cosines"
"""Of a difference without any chance: both chose a checkpoint at which they had not parted yet."""
COUNTS, LIMITED = "∗", "†"
"""Marks of a difference that stands after the correction, and of one whose interval is over pairs alone."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> str:
    """A Markdown table.

    Args:
        header: Column titles.
        rows: Cells.
        left: Columns that are aligned to the left.
    """
    rule = ["---" if i in left else "--:" for i in range(len(header))]
    lines = ["| " + " | ".join(line) + " |" for line in (header, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def spread(mean: float | None, std: float | None, digits: int = 1) -> str:
    """``61.2 ± 0.4``; the deviation is left out where there is none."""
    if mean is None:
        return NONE
    text = f"{mean:.{digits}f}" if std is None else f"{mean:.{digits}f} ± {std:.{digits}f}"
    return text.replace("-", "−")


def points(estimate: Estimate | None) -> str:
    """``+0.6 [−0.1, +1.3]``, with a mark where it stands after the correction or rests on one seed."""
    if estimate is None or estimate.value is None:
        return NONE
    if estimate.value == 0 and estimate.interval == (0.0, 0.0):
        return SAME
    text = f"{estimate.value:+.2f}"
    if estimate.interval is not None:
        text += f" [{estimate.interval[0]:+.2f}, {estimate.interval[1]:+.2f}]"
        text += f" {LIMITED}" if estimate.one_seed else f" {COUNTS}" if estimate.shown else ""
    return text.replace("-", "−")


def percent(mean: float | None, std: float | None = None) -> str:
    """``3.1 % ± 0.2``; below 1 % with two significant digits: ``0.0045 %``."""
    if mean is None:
        return NONE
    digits = _digits(100 * mean)
    tail = "" if std is None else f" ± {100 * std:.{digits}f}"
    return f"{100 * mean:.{digits}f} %{tail}"


def number(value: float) -> str:
    """A number a step: ``0.64``, ``13,724.9``; below 1 with two significant digits."""
    return f"{value:,.{_digits(value)}f}"


def _digits(value: float) -> int:
    """Decimals that show two significant digits, at least one."""
    return 1 if value >= 1 or value <= 0 else 1 - math.floor(math.log10(value))


def spearman(row: RowFound, split: str) -> str:
    """A row's Spearman on a split, with its deviation over seeds."""
    estimate = row.spearman.get(split)
    return NONE if estimate is None else spread(estimate.value, row.std[split])


def cell(column: Mapping[str, Difference], row: RowFound) -> str:
    """A row's difference in a column; a dash where it has none."""
    return points(column[row.row.key].estimate) if row.row.key in column else NONE


def marks(estimates: Sequence[Estimate]) -> str:
    """What the marks below a column of differences mean, as paragraphs; empty where nothing is to be said."""
    texts = []
    number_of = max((one.comparisons for one in estimates), default=0)
    if number_of:
        texts.append(f"{COUNTS} A difference after Holm's correction for {count(number_of, 'comparison')} (p ≤ 0.05).")
    if any(one.one_seed and one.interval is not None for one in estimates):
        texts.append(f"{LIMITED} {ONE_SEED}")
    return "".join(f"\n\n{text}" for text in texts)
