"""Does it collapse? Labels against cosines, the measures, and the worst pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from anticollapse.data import PairSet
from anticollapse.data.export import export_csv
from anticollapse.doctor import Report, unknown_note
from anticollapse.errors import AntiCollapseError
from anticollapse.figures import collapse as figures
from anticollapse.figures.style import CONFIG, Series
from anticollapse.measures.result import format_number
from pages.common import links, state, tables, work

WORST = 10
HALF = 472  # pixels of a figure that stands beside another one
Found = list[tuple[Series, Report]]


def main() -> None:
    bench = state.current()
    if bench.pairs is None:
        _no_pairs()
        return
    if not bench.encoders:
        st.title("Does it collapse?")
        st.info("Choose at least one encoder in the sidebar.", icon=":material/info:")
        return
    found: Found = []
    for series, encoder in bench.open():
        try:
            found.append((series, work.report(encoder, bench.pairs)))
        except AntiCollapseError as error:
            st.error(f"{state.escape(series.name)}: {state.escape(str(error))}", icon=":material/error:")
    if not found:
        return
    _finding(found)
    _limits(found, bench.pairs)
    selected = _main_figure(found, bench.pairs)
    if bench.pairs.has_pairs:
        _pair_table(found, bench.pairs, selected)
    _measures(found)
    _unrelated(found)
    _how_to_read(bench)


def _no_pairs() -> None:
    st.title("Does it collapse?")
    error = st.session_state.get("_data_error", "")
    if error:
        st.error(state.escape(error), icon=":material/error:")
    else:
        st.info(
            "Drop a file into the sidebar: two columns of sentences and, if you have them, human scores. "
            "Or choose one of the data sets there.",
            icon=":material/upload_file:",
        )


def _finding(found: Found) -> None:
    """One sentence that states what was found, with its numbers."""
    parts = []
    for series, report in found:
        value = report.diagnosis["mean_unrelated_cosine"].value
        if value is not None:
            middle = "" if parts else " on average"
            parts.append(f"{format_number(value, 2)}{middle} under {state.escape(series.name)}")
    if not parts:
        st.title("There are too few sentences to say whether it collapses")
        return
    text = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" and {parts[-1]}"
    st.title(f"Unrelated sentences score {text}", anchor=False)
    st.caption(
        "That is the mean cosine of any two different sentences of this data. Sentences that have nothing to do with "
        "each other should score near 0; near 1 the encoder says that everything means the same."
    )
    outcome = [
        state.escape(f"{report.diagnosis['spearman'].describe().rpartition(', n')[0]} under {series.name}")
        for series, report in found
        if report.diagnosis["spearman"].defined
    ]
    if outcome:
        st.caption(
            f"Agreement with people (Spearman ×100, higher is better): {'; '.join(outcome)}. Curing the collapse does "
            "not by itself improve it: what matters for ranking is the order of the cosines, not their height."
        )


def _limits(found: Found, pairs: PairSet) -> None:
    for series, report in found:
        cut = int(report.truncated.sum())
        if cut:
            st.caption(
                f"{state.escape(series.name)} reads {report.max_tokens} tokens: the end of a sentence was cut off in "
                f"{cut:,} of {pairs.n:,} rows."
            )
        if note := unknown_note(series.name, report.unknown_share, pairs.sentences):
            st.warning(state.escape(note), icon=":material/translate:")
    for note in found[0][1].diagnosis.notes:
        st.caption(state.escape(note))


def _panel(series: Series, report: Report) -> figures.LabelPanel:
    bins = report.diagnosis.label_profile.bins
    middle = [b.quantiles[1:4:2] if b.quantiles else (np.nan, np.nan) for b in bins]
    cosines = report.diagnosis.cosines
    return figures.LabelPanel(
        series=series,
        cosines=cosines if cosines is not None else np.empty(0),
        bins=np.array([b.label for b in bins]),
        means=np.array([np.nan if b.mean is None else b.mean for b in bins]),
        low=np.array([low for low, _ in middle]),
        high=np.array([high for _, high in middle]),
        counts=np.array([b.n for b in bins], np.int64),
    )


def _main_figure(found: Found, pairs: PairSet) -> list[int]:
    """Draw the figure and give the positions of the selected pairs."""
    if not pairs.has_pairs:
        return []
    panels = [_panel(series, report) for series, report in found]
    if pairs.scores is None or pairs.sentences2 is None:
        st.plotly_chart(
            figures.pair_strip(panels), config=CONFIG, key="strip", alt="Cosines of the pairs for each encoder"
        )
        st.caption("How similar each encoder finds the two sentences of a pair. With scores there is more to see here.")
        return []
    texts = figures.PairTexts(pairs.rows, pairs.sentences1, pairs.sentences2, _ticked(pairs))
    figure = figures.label_figure(panels, pairs.scores, texts)
    alt = "Human label from 0 to 5 against cosine, one panel for each of: " + ", ".join(s.name for s, _ in found)
    dense = figures.is_dense(pairs.n, len(panels))
    if dense:
        st.plotly_chart(figure, config=CONFIG, key="labels", alt=alt)
    else:
        st.plotly_chart(
            figure,
            config=CONFIG,
            key="labels",
            on_select=_pick,
            selection_mode=("points", "lasso", "box"),
            alt=alt,
        )
    st.caption(
        ("Each cell counts pairs; label" if dense else "Each point is a pair; label")
        + " 0 means unrelated, 5 the same meaning. A healthy encoder climbs from 0 at the "
        "lower left to 1 at the upper right; a collapsed one is a flat band at the top. Line: mean of each label; "
        "grey: the middle half of the pairs. "
        + ("Darker cells hold more pairs (log scale)." if dense else "Draw around points to list their pairs below.")
    )
    return [] if dense else _picked(pairs)


def _pick() -> None:
    """Keep what was drawn around: the figure is a new one, without a selection, as soon as a row is ringed in it."""
    chart = st.session_state.get("labels")
    st.session_state["_picked"] = figures.selected_positions(chart["selection"]["points"] if chart else [])


def _picked(pairs: PairSet) -> list[int]:
    if st.session_state.get("_picked_from") != pairs.digest:
        # A selection of another set means other pairs.
        st.session_state["_picked_from"] = pairs.digest
        st.session_state["_picked"] = []
    return [i for i in st.session_state.get("_picked", []) if i < pairs.n]


def _forget() -> None:
    st.session_state["_picked"] = []


def _pair_table(found: Found, pairs: PairSet, selected: Sequence[int]) -> None:
    if selected:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"{len(selected):,} selected pairs", anchor=False)
            st.button("Clear the selection", on_click=_forget, type="tertiary")
        positions = list(selected)
    elif pairs.scores is None:
        st.subheader("The most similar pairs", anchor=False)
        positions = [int(i) for i in np.argsort(-np.nan_to_num(_cosines(found[0]), nan=-2))[: 2 * WORST]]
    else:
        st.subheader("The worst pairs", anchor=False)
        names = {series.name: i for i, (series, _) in enumerate(found)}
        name = next(iter(names))
        if len(names) > 1:
            name = st.segmented_control(
                "Worst under", list(names), default=name, required=True, key="worst", bind="query-params"
            )
        positions = _worst(_cosines(found[names.get(name or "", 0)]), pairs.scores)
        st.caption(
            f"Unrelated but close (label 0 or 1, highest cosine) and same but far (label 4 or 5, lowest cosine), "
            f"up to {WORST} each."
            + ("" if figures.is_dense(pairs.n, len(found)) else " Tick rows to ring them in the figure.")
        )
    frame = _frame(found, pairs, positions)
    number = st.column_config.NumberColumn
    config: dict[str, object] = {series.name: number(series.name, format="%.3f", width="small") for series, _ in found}
    config |= {"row": number("row", width=55), "label": number("label", format="%.1f", width=55)}
    config |= {name: st.column_config.TextColumn(name, width=310) for name in ("sentence 1", "sentence 2")}
    # A table of other pairs is another widget: ticks belong to pairs, not to places in a list.
    key = "pair_table_" + hashlib.sha256(f"{pairs.digest}{positions}".encode()).hexdigest()[:16]
    st.session_state["_table"] = (key, pairs.digest, positions)
    st.dataframe(
        tables.coloured(frame, [series for series, _ in found]),
        hide_index=True,
        column_config=config,
        key=key,
        on_select="rerun",
        selection_mode="multi-row",
        height=min(38 + 35 * len(frame), 430),
        alt="Pairs with their labels and the cosine under each encoder",
    )
    marked = _ticked(pairs)
    if marked and st.button("Take the ticked pair apart, token by token", icon=":material/grid_on:"):
        links.open_pair(pairs, int(pairs.rows[marked[0]]))
    st.download_button(
        "Download these pairs (CSV)",
        lambda: export_csv(frame),
        "pairs.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
    )


def _ticked(pairs: PairSet) -> tuple[int, ...]:
    """Positions of the pairs that are ticked in the table."""
    key, digest, positions = st.session_state.get("_table", ("none", "", []))
    table = st.session_state.get(key)
    if not table or digest != pairs.digest:
        return ()
    return tuple(positions[i] for i in table["selection"]["rows"] if i < len(positions))


def _cosines(one: tuple[Series, Report]) -> np.ndarray:
    cosines = one[1].diagnosis.cosines
    if cosines is None:
        raise TypeError(one)
    return cosines


def _worst(cosines: np.ndarray, scores: np.ndarray) -> list[int]:
    good = np.isfinite(cosines)
    unrelated = np.flatnonzero((scores <= 1) & good)
    same = np.flatnonzero((scores >= 4) & good)
    close = unrelated[np.argsort(-cosines[unrelated], kind="stable")][:WORST]
    far = same[np.argsort(cosines[same], kind="stable")][:WORST]
    return [int(i) for i in (*close, *far)]


def _frame(found: Found, pairs: PairSet, positions: Sequence[int]) -> pd.DataFrame:
    index = np.array(positions, np.int64)
    columns: dict[str, object] = {"row": pairs.rows[index]}
    if pairs.scores is not None:
        columns["label"] = pairs.scores[index]
    columns["sentence 1"] = [pairs.sentences1[i] for i in positions]
    columns["sentence 2"] = [(pairs.sentences2 or ())[i] for i in positions]
    columns |= {series.name: _cosines((series, report))[index] for series, report in found}
    return pd.DataFrame(columns)


def _measures(found: Found) -> None:
    st.subheader("The measures", anchor=False)
    tables.measures(found)
    st.caption("In brackets: the 95 % interval. What cannot be computed says why.")


def _unrelated(found: Found) -> None:
    # Boxes of a fixed width wrap onto the next line where the window is narrow.
    row = st.container(horizontal=True)
    series, reports = [s for s, _ in found], [r for _, r in found]
    with row.container(width=HALF):
        st.subheader("Unrelated sentences", anchor=False)
        figure = figures.unrelated_histogram(series, [r.unrelated for r in reports])
        st.plotly_chart(figure, config=CONFIG, key="unrelated", alt="Histogram of the cosines of random sentence pairs")
        st.caption("Cosines of random pairs of different sentences. A healthy encoder piles them up around 0.")
        with st.expander("These numbers as a table"):
            st.table(tables.quantiles(series, [r.unrelated for r in reports]), border="horizontal")
    with row.container(width=HALF):
        st.subheader("Directions in use", anchor=False)
        curves = [
            figures.SpectrumCurve(s, r.diagnosis.spectrum.singular_values, r.diagnosis.spectrum.singular_values_centred)
            for s, r in found
        ]
        st.plotly_chart(
            figures.spectrum_figure(curves), config=CONFIG, key="spectrum", alt="Spectrum of the sentence vectors"
        )
        st.caption(
            "How the vectors' length is spread over directions. If the first direction holds nearly everything, all "
            "sentences point the same way; dotted: after their common mean is removed."
        )
        with st.expander("These numbers as a table"):
            st.table(
                tables.directions(series, [c.uncentred for c in curves], [c.centred for c in curves]),
                border="horizontal",
            )
            st.caption(
                "Share of the squared length in the strongest directions; in brackets: after the mean is removed."
            )


def _how_to_read(bench: state.Workbench) -> None:
    overlap = ", not on the pairs shown here"
    if bench.pairs is not None and any("+" in name for name in bench.encoders):
        shared = len(set(bench.fit_text()) & set(bench.pairs.sentences))
        if shared:
            overlap = f"; {shared:,} of the sentences shown here are among them, so cures look better than they are"
    with st.expander("How to read this page"):
        st.markdown(
            f"""
An encoder turns a sentence into a list of numbers, a vector. Two sentences are compared by the **cosine** of their
vectors: 1 means the same direction, 0 means nothing in common. A BERT that was only trained to guess masked words gives
vectors that all point roughly the same way, so that *every* pair scores high. That is the **collapse**.

* **Spearman** asks whether pairs that people find more similar also get a higher cosine; only the order counts. It is
  the outcome that matters for ranking and search.
* **Mean cosine of unrelated sentences** is the collapse itself. It can be cured without any gain in Spearman: the cure
  moves all cosines down together and leaves their order nearly as it was.
* The other measures say *how* it collapses: a common direction (first component), few dimensions with huge values
  (rogue dimensions), few directions in use (effective rank, IsoScore).

Cures written after a plus, such as *centring*, need no training. They were fitted on {bench.fit_name}{overlap}.
"""
        )


main()
