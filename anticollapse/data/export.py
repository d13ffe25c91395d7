"""CSV that a spreadsheet opens without running anything."""

from __future__ import annotations

import pandas as pd

from anticollapse.data.pairs import PairSet

# A cell that starts so is a formula to a spreadsheet (a tab, CR or LF before it is skipped). The full-width forms
# are folded to the plain ones by spreadsheets in East Asian locales.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def safe_cell(text: str) -> str:
    """``text`` with an apostrophe before it if a spreadsheet could take it for a formula, else as it is."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def pairs_frame(pairs: PairSet) -> pd.DataFrame:
    """A table with the columns ``row``, ``sentence1`` and, where they exist, ``sentence2``, ``score``, ``group``."""
    columns: dict[str, object] = {"row": pairs.rows, "sentence1": list(pairs.sentences1)}
    if pairs.sentences2 is not None:
        columns["sentence2"] = list(pairs.sentences2)
    if pairs.scores is not None:
        columns["score"] = pairs.scores
    if pairs.groups is not None:
        columns["group"] = list(pairs.groups)
    return pd.DataFrame(columns)


def export_csv(table: pd.DataFrame | PairSet) -> bytes:
    """CSV bytes for a download: UTF-8 with a byte-order mark (spreadsheets need it), text cells made safe.

    Numbers stay numbers, so that a negative one is not quoted; cells and headings of text go through
    :func:`safe_cell`.
    """
    frame = pairs_frame(table) if isinstance(table, PairSet) else table
    safe = frame.rename(columns=lambda name: safe_cell(str(name)))
    for i in range(safe.shape[1]):
        column = safe.iloc[:, i]
        if not pd.api.types.is_numeric_dtype(column.dtype):
            safe.isetitem(i, [safe_cell(cell) if isinstance(cell, str) else cell for cell in column])
    # LF and not CRLF: a cell keeps its own line ends either way, and LF is what other tools expect.
    return safe.to_csv(index=False, lineterminator="\n").encode("utf-8-sig")
