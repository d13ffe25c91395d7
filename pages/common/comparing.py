"""Work and tables of the Compare page: kept between runs and sessions, drawn with each encoder in its colour."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from anticollapse.compare import Comparison, Disagreement, Slice, compare, disagreements, slices
from anticollapse.compare_tables import difference_text, disagreement_frame, share, value_text
from anticollapse.data import PairSet
from anticollapse.doctor import Report
from anticollapse.figures.style import Series
from anticollapse.report import comparison_report
from pages.common import state, tables, work

SHOWN = 20

Parts = Mapping[int, Sequence[Slice]]


def comparison(found: Sequence[tuple[Series, Report]], pairs: PairSet, reference: int) -> Comparison:
    """The comparison; at once when it was made before."""
    key = ("comparison", _identity(found, pairs), reference)
    made = work.results().get(key)
    if made is None:
        with st.spinner("Comparing", show_time=True):
            made = compare(
                [report for _, report in found], pairs, names=[series.name for series, _ in found], reference=reference
            )
        work.results().put(key, made)
    return made


def parts(made: Comparison, key: str) -> Parts:
    """Where each encoder differs from the reference.

    Args:
        made: The comparison.
        key: Identifies it.
    """
    found = work.results().get(("slices", key))
    if found is None:
        with st.spinner("Looking where the differences come from", show_time=True):
            found = {i: cut for i in made.others if (cut := slices(made, i))}
        work.results().put(("slices", key), found)
    return found


def identity(made: Comparison) -> str:
    """What identifies a comparison."""
    digests = [f"{encoder.name}\0{encoder.report.digest}" for encoder in made.encoders]
    text = "\0".join([made.pairs.digest, made.pairs.rows.tobytes().hex(), str(made.reference), *digests])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _identity(found: Sequence[tuple[Series, Report]], pairs: PairSet) -> tuple[object, ...]:
    return (pairs.digest, pairs.name, pairs.rows.tobytes(), *((s.name, report.digest) for s, report in found))


def verdict_table(made: Comparison, series: Sequence[Series]) -> None:
    """The verdict on each encoder."""
    rows = []
    for i in made.others:
        row = {"encoder": tables.dot(series[i])}
        for key, name in (("spearman", "Spearman"), ("pearson", "Pearson")):
            judged = made.encoders[i].verdicts.get(key)
            row[f"{name}, points × 100"] = "–" if judged is None else state.escape(judged.text)
        rows.append(row)
    st.table(pd.DataFrame(rows).set_index("encoder"), border="horizontal")


def measure_table(made: Comparison, series: Sequence[Series]) -> None:
    """Measures × encoders, each with its interval and its difference to the reference."""
    order = [made.reference, *made.others]
    rows, reasons = [], {}
    for key, first in made.encoders[made.reference].report.diagnosis.measures.items():
        row = {"measure": f"**{first.name}**  \n:small[:gray[{state.escape(first.unit)}]]"}
        for i in order:
            encoder = made.encoders[i]
            measure = encoder.report.diagnosis.measures[key]
            cell = _unbroken(value_text(measure))
            if i != made.reference:
                cell += f"  \n:small[:gray[{_unbroken(difference_text(encoder.differences.get(key)))}]]"
            row[tables.dot(series[i])] = cell
            if not measure.defined:
                reasons.setdefault(f"{first.name} is {measure.undefined}", []).append(series[i].name)
        rows.append(row)
    st.table(pd.DataFrame(rows).set_index("measure"), border="horizontal")
    for reason, names in reasons.items():
        whose = "" if len(names) == len(order) else f" (under {', '.join(names)})"
        st.caption(state.escape(f"{reason}{whose}."))


def slice_table(made: Comparison, found: Parts) -> pd.DataFrame:
    """Slices as a table to be read."""
    rows = [
        {
            "encoder": made.names[i],
            "cut by": _CUT[one.by],
            "slice": one.name,
            "pairs": one.result.n,
            "part of the difference [95 %]": difference_text(one.result.contribution),
            "closer to people": share(one.result.won),
            "farther": share(one.result.lost),
        }
        for i, cut in found.items()
        for one in cut
    ]
    return pd.DataFrame(rows)


def disagreement_table(made: Comparison, encoder: int) -> tuple[list[Disagreement], pd.DataFrame]:
    """The pairs that an encoder and the reference rank most differently."""
    found = disagreements(made, encoder, top=SHOWN)
    return found, disagreement_frame(made, encoder, found)


def report_html(made: Comparison, series: Sequence[Series], encoders: Sequence[str], fit_name: str) -> str:
    """The report, with the command that makes the same."""
    words = ["anticollapse", "compare", *encoders, "--pairs", made.pairs.name]
    if made.reference:
        words += ["--reference", encoders[made.reference]]
    parameters = {"cures were fitted on": fit_name} if any("+" in name for name in encoders) else {}
    return comparison_report(made, series=series, command=shlex.join(words), parameters=parameters)


_CUT = {"label": "human label", "length": "words in the longer sentence", "overlap": "words in common (%)"}


def _unbroken(text: str) -> str:
    """A line may break before the interval, not inside it."""
    value, bracket, interval = text.partition(" [")
    return state.escape(value) + (" " + state.escape(f"[{interval}".replace(" ", "\u00a0")) if bracket else "")
