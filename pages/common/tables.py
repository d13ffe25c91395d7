"""Tables of measures and of pairs, with each encoder in its colour."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from anticollapse.doctor import Report
from anticollapse.figures.style import CURED, RAW, Series
from anticollapse.measures.result import Measure
from pages.common.state import escape

STYLED_CELLS = 20_000
"""Above this many cells colouring a table costs more time than it is worth."""


def dot(series: Series) -> str:
    """The encoder's name for Markdown, with a dot in its colour."""
    return f':color[●]{{foreground="{series.colour}"}} {escape(series.name)}'


def measures(reports: Sequence[tuple[Series, Report]]) -> None:
    """Measures × encoders, each with its interval, in the order outcome, then diagnosis.

    Args:
        reports: Reports on one set.
    """
    rows = []
    reasons: dict[tuple[str, str], list[str]] = {}
    for key, first in reports[0][1].diagnosis.measures.items():
        found = [(series, report.diagnosis[key]) for series, report in reports]
        note = f"{first.unit}; {first.reads_as}"
        row: dict[str, str] = {"measure": f"**{first.name}**  \n:small[:gray[{escape(note)}]]"}
        row |= {dot(series): _cell(measure) for series, measure in found}
        row |= {"n": f"{first.n:,} {first.counts}"}
        rows.append(row)
        for series, measure in found:
            if not measure.defined:
                reasons.setdefault((measure.undefined, series.name), []).append(first.name)
    st.table(pd.DataFrame(rows).set_index("measure"), border="horizontal")
    shared: dict[tuple[str, str], list[str]] = {}
    for (reason, name), keys in reasons.items():
        shared.setdefault((reason, ", ".join(keys)), []).append(name)
    for (reason, keys), names in shared.items():
        whose = "" if len(names) == len(reports) else f" ({', '.join(names)})"
        st.caption(escape(f"{keys}{whose}: {reason}."))


def coloured(frame: pd.DataFrame, series: Sequence[Series]) -> object:
    """The cosines of each encoder in its colour; the frame itself where it is large.

    Args:
        frame: A column for each encoder, named like it.
        series: The encoders.
    """
    if frame.size > STYLED_CELLS:
        return frame
    styled = frame.style
    for one in series:
        if one.colour not in {RAW, CURED}:
            continue  # orange and sky blue are fine for points, and too pale for text
        styled = styled.set_properties(subset=[one.name], color=one.colour)
    return styled


def _cell(measure: Measure) -> str:
    if not measure.defined:
        return "undefined"
    # Hard blanks: a line may break before the interval, not inside it.
    value, _, interval = measure.describe().rpartition(", n = ")[0].partition(" [")
    return escape(value) + (" " + escape(f"[{interval}".replace(" ", "\u00a0")) if interval else "")
