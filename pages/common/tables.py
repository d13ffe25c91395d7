"""Tables of measures and of pairs, with each encoder in its colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

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


def quantiles(series: Sequence[Series], cosines: Sequence[NDArray[np.float64]]) -> pd.DataFrame:
    """What a histogram of cosines shows, in numbers.

    Args:
        series: The encoders.
        cosines: The cosines of each; NaN where there is none.
    """
    rows = {}
    for one, values in zip(series, cosines, strict=True):
        finite = values[np.isfinite(values)]
        if not len(finite):
            rows[dot(one)] = ["undefined"] * 7
            continue
        shown = [finite.mean(), finite.std(), *np.quantile(finite, [0.05, 0.25, 0.5, 0.75, 0.95])]
        rows[dot(one)] = [f"{value:.3f}" for value in shown]
    names = ["mean", "standard deviation", "5 % are below", "25 % are below", "half are below"]
    return pd.DataFrame(rows, index=[*names, "75 % are below", "95 % are below"])


def directions(
    series: Sequence[Series], uncentred: Sequence[NDArray[np.floating]], centred: Sequence[NDArray[np.floating]]
) -> pd.DataFrame:
    """What a spectrum shows, in numbers: the share of the strongest 1, 2, 5, 10 … directions together.

    Args:
        series: The encoders.
        uncentred: Singular values of each, largest first.
        centred: The same after the mean is removed.
    """
    most = max(len(values) for values in uncentred)
    counts = [count for count in (1, 2, 5, 10, 20, 50, 100, 200, 500) if count < most]
    rows = {}
    for one, *spectra in zip(series, uncentred, centred, strict=True):
        shares = [np.cumsum(values.astype(np.float64) ** 2) for values in spectra]
        rows[dot(one)] = [f"{_share(shares[0], count)} ({_share(shares[1], count)})" for count in counts]
    return pd.DataFrame(rows, index=[f"the first {count}" if count > 1 else "the first" for count in counts])


def _share(cumulative: NDArray[np.float64], count: int) -> str:
    if not len(cumulative) or cumulative[-1] <= 0:
        return "undefined"
    return f"{100 * cumulative[min(count, len(cumulative)) - 1] / cumulative[-1]:.1f} %"


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
