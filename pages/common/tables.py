"""Tables of measures."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from anticollapse.doctor import Report
from anticollapse.figures.style import Series
from anticollapse.measures.result import Measure


def measures(reports: Sequence[tuple[Series, Report]]) -> None:
    """Measures × encoders, each with its interval and n, in the order outcome, then diagnosis.

    Args:
        reports: Reports on one set.
    """
    first = reports[0][1].diagnosis.measures
    rows = []
    for key, measure in first.items():
        row = {"measure": measure.name, "unit": measure.unit}
        row |= {series.name: _cell(report.diagnosis[key]) for series, report in reports}
        rows.append(row | {"how to read it": measure.reads_as, "what it is": measure.meaning})
    frame = pd.DataFrame(rows)
    config = {
        series.name: st.column_config.TextColumn(series.name, width="medium", alignment="right")
        for series, _ in reports
    }
    config["measure"] = st.column_config.TextColumn("measure", pinned=True)
    st.dataframe(frame, hide_index=True, column_config=config, height="content", alt="Measures of each encoder")


def _cell(measure: Measure) -> str:
    return measure.describe()
