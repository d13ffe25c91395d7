"""Sentence pairs: read, recognise, check, and named sets of them.

Example:
    >>> from pathlib import Path
    >>> from anticollapse.data import read_pairs
    >>> pairs = read_pairs(Path("pairs.csv"))  # columns sentence1, sentence2, score; scores on 0–1
    >>> pairs.n, pairs.scale, pairs.scores.max()
    (1200, '0-1', 5.0)
"""

from __future__ import annotations

from anticollapse.data.export import export_csv, pairs_frame, safe_cell
from anticollapse.data.language import CHINESE_SET, mostly_chinese
from anticollapse.data.pairs import (
    ColumnMap,
    Limits,
    OnBadRow,
    PairSet,
    Scale,
    SkippedRow,
    Split,
    concatenate,
    normalise,
)
from anticollapse.data.readers import peek_columns, read_pairs
from anticollapse.data.sources import DATA_VARIABLE, SOURCES, Progress, Source, at_hand, load_pairs

__all__ = [
    "CHINESE_SET",
    "DATA_VARIABLE",
    "SOURCES",
    "ColumnMap",
    "Limits",
    "OnBadRow",
    "PairSet",
    "Progress",
    "Scale",
    "SkippedRow",
    "Source",
    "Split",
    "at_hand",
    "concatenate",
    "export_csv",
    "load_pairs",
    "mostly_chinese",
    "normalise",
    "pairs_frame",
    "peek_columns",
    "read_pairs",
    "safe_cell",
]
