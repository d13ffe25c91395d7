"""The lists of the Map page: search, selection, neighbours side by side, downloads."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from anticollapse.data import PairSet, normalise
from anticollapse.data.export import export_csv
from anticollapse.measures.neighbours import N_NEIGHBOURS
from anticollapse.neighbourhoods import MapReport, map_table
from pages.common import maps, state, tables

SHOWN = 20
LISTED = 2_000
"""Most rows of the table in the page. More of them take a browser seconds; the downloads have all."""
MOST_HITS = 500
FOCUS = "sentence"
LONGEST = 200
"""Characters of a sentence in a list of neighbours; the table and the downloads have all."""


def picked(drawn: maps.Drawn) -> list[int]:
    """Numbers of the sentences that were drawn around."""
    texts = hashlib.sha256("\0".join(drawn.facts.texts).encode("utf-8", "surrogatepass")).hexdigest()
    if st.session_state.get("_map_picked_from") != texts:
        # A selection of another set means other sentences.
        st.session_state["_map_picked_from"] = texts
        st.session_state["_map_picked"] = []
    return [i for i in st.session_state.get("_map_picked", []) if i < len(drawn.facts.texts)]


def focus(drawn: maps.Drawn) -> int | None:
    """Number of the sentence whose neighbours are shown, from the link."""
    given = st.query_params.get(FOCUS, "")
    return int(given) if given.isdecimal() and int(given) < len(drawn.facts.texts) else None


def set_focus(sentence: int | None) -> None:
    """Show the neighbours of a sentence."""
    if sentence is None:
        st.query_params.pop(FOCUS, None)
    else:
        st.query_params[FOCUS] = str(sentence)


def search(controls: st.delta_generator.DeltaGenerator, drawn: maps.Drawn) -> list[int]:
    """Numbers of the sentences that contain what is searched for, without regard to case."""
    query = controls.text_input(
        "Search",
        key="search",
        bind="query-params",
        max_chars=200,
        placeholder="Search the sentences",
        label_visibility="collapsed",
        icon=":material/search:",
    )
    wanted = normalise(query or "").casefold()
    if not wanted:
        return []
    found = [i for i, text in enumerate(drawn.facts.texts) if wanted in normalise(text).casefold()]
    shown = found[:MOST_HITS]
    more = f"; the first {MOST_HITS:,} are ringed" if len(found) > MOST_HITS else "; ringed on the map" if found else ""
    undrawn = int((~np.isin(shown, drawn.sample.drawn)).sum())
    controls.caption(
        f"{len(found):,} sentences contain “{state.escape(wanted)}”{more}"
        + (f", {undrawn:,} of them are not drawn" if undrawn else "")
        + "."
    )
    return shown


def sentences(drawn: maps.Drawn, report: MapReport, reference: int, hits: Sequence[int], pairs: PairSet) -> None:
    """The table under the map: what was drawn around, else what was found, else what changed most."""
    chosen = picked(drawn)
    if chosen:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"{len(chosen):,} selected sentences", anchor=False)
            st.button("Clear the selection", on_click=_forget, type="tertiary")
    elif hits:
        chosen = list(hits)
        st.subheader(f"{len(chosen):,} sentences found", anchor=False)
    elif len(drawn.series) > 1:
        st.subheader("Sentences that changed their company most", anchor=False)
        kept, moved = report.overlaps(reference)[reference], report.movements(reference)[reference]
        order = np.lexsort((-np.nan_to_num(moved), np.nan_to_num(kept, nan=2.0)))[:SHOWN]
        chosen = [int(i) for i in drawn.sample.drawn[order]]
        st.caption("Fewest neighbours kept first; among equals, those that moved most.")
    else:
        st.subheader("Sentences", anchor=False)
        chosen = [int(i) for i in drawn.sample.drawn[:SHOWN]]
        st.caption("Draw around points on the map, or search, to list others.")
    frame = _frame(drawn, report, reference, chosen, pairs)
    key = "map_table_" + hashlib.sha256(f"{drawn.key}{reference}{chosen}".encode()).hexdigest()[:16]
    listed = frame.iloc[:LISTED]
    st.session_state["_map_table"] = (key, [int(i) for i in listed["_sentence"]])
    frame = frame.drop(columns="_sentence")
    listed = listed.drop(columns="_sentence")
    if len(frame) > len(listed):
        st.caption(f"The first {len(listed):,} of {len(frame):,} rows are listed; the files below have all.")
    st.dataframe(
        listed,
        hide_index=True,
        column_config=_columns(listed),
        key=key,
        on_select=_choose,
        selection_mode="single-row",
        height=min(38 + 35 * len(listed), 430),
        alt="Sentences with their partners, labels, and what became of their neighbours",
    )
    st.caption("Tick a sentence to see its neighbours under each encoder.")
    _files("These rows:", "sentences", lambda: frame)


def neighbours(drawn: maps.Drawn) -> None:
    """Neighbours of the focused sentence under each encoder, side by side."""
    sentence = focus(drawn)
    if sentence is None:
        table = st.session_state.get("_map_table", ("", []))[1]
        sentence = table[0] if table else None
    if sentence is None:
        return
    st.subheader("Nearest neighbours, side by side", anchor=False)
    st.markdown(f"Of **{state.escape(_short(drawn.facts.texts[sentence]))}** (row {drawn.facts.rows[sentence]})")
    found = maps.neighbours_of(drawn, sentence)
    shared = set.intersection(*({int(i) for i in near.indices[0] if i >= 0} for near in found))
    # Boxes of a fixed width wrap onto the next line where the window is narrow.
    row = st.container(horizontal=True)
    width = {1: "stretch", 2: 464, 4: 464}.get(len(found), 305)
    for series, near in zip(drawn.series, found, strict=True):
        with row.container(width=width):
            st.markdown(tables.dot(series))
            indices = [int(i) for i in near.indices[0] if i >= 0]
            if not indices:
                st.caption("This sentence has no neighbours here: its vector is zero, or it is alone.")
                continue
            marks = ["\u00a0✓" if len(found) > 1 and i in shared else "" for i in indices]
            frame = pd.DataFrame(
                {
                    "cosine": [f"{c:.3f}{mark}" for c, mark in zip(near.cosines[0], marks, strict=False)],
                    "neighbour": [state.escape(_short(drawn.facts.texts[i])) for i in indices],
                }
            )
            st.table(frame.set_index("cosine"), border="horizontal")
    if len(found) > 1:
        st.caption(
            f"{len(shared)} of {N_NEIGHBOURS} are neighbours under every encoder (✓). Cosines of different "
            "encoders are not comparable: a collapsed one gives high values to everything."
        )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def downloads(drawn: maps.Drawn, report: MapReport, reference: int) -> None:
    """All coordinates as files."""
    _files(
        f"Coordinates of all {len(drawn.sample.drawn):,} points:",
        "map",
        lambda: pd.DataFrame(map_table(drawn.names, drawn.facts, report, reference)),
    )


def _files(label: str, name: str, make: Callable[[], pd.DataFrame]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(label, width="content")
        st.download_button(
            "CSV",
            lambda: export_csv(make()),
            f"{name}.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
            key=f"{name}_csv",
        )
        st.download_button(
            "Parquet",
            lambda: _parquet(make()),
            f"{name}.parquet",
            "application/vnd.apache.parquet",
            on_click="ignore",
            icon=":material/download:",
            key=f"{name}_parquet",
        )


def _frame(drawn: maps.Drawn, report: MapReport, reference: int, chosen: Sequence[int], pairs: PairSet) -> pd.DataFrame:
    """One row for each pair that a chosen sentence stands in; ``_sentence`` is its number."""
    numbers, partners, rows, labels = _with_partners(chosen, pairs)
    columns: dict[str, object] = {"_sentence": numbers, "row": rows}
    if labels is not None:
        columns["label"] = labels
    words: dict[str, object] = {"sentence": [drawn.facts.texts[i] for i in numbers]}
    if partners is not None:
        words["other sentence of the pair"] = [drawn.facts.texts[i] for i in partners]
    if drawn.facts.sources is not None:
        words["source"] = [drawn.facts.sources[i] for i in numbers]
    changes: dict[str, object] = {}
    others = [m for m in range(len(drawn.series)) if m != reference]
    if others:
        where = np.full(len(drawn.facts.texts), -1, np.int64)
        where[drawn.sample.drawn] = np.arange(len(drawn.sample.drawn))
        at = where[numbers]
        kept, moved = report.overlaps(reference), report.movements(reference)
        for m in others:
            of = f", {drawn.names[m]}" if len(others) > 1 else ""
            changes[f"kept{of}"] = np.where(at >= 0, 100 * kept[m][at], np.nan)
            changes[f"moved{of}"] = np.where(at >= 0, moved[m][at], np.nan)
    # The words come first where the numbers of several encoders would push them out of sight.
    return pd.DataFrame(columns | words | changes if len(others) > 1 else columns | changes | words)


def _with_partners(
    chosen: Sequence[int], pairs: PairSet
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray | None]:
    """The chosen sentences once for each pair they stand in: number, partner, row, label."""
    first, second = pairs.index1, pairs.index2
    sides = [(first, second)] if second is None else [(first, second), (second, first)]
    rank = np.full(len(pairs.sentences), -1, np.int64)
    rank[list(chosen)] = np.arange(len(chosen))
    at, mine, theirs = [], [], []
    for own, other in sides:
        rows = np.flatnonzero(rank[own] >= 0)
        at.append(rows)
        mine.append(own[rows])
        theirs.append(other[rows] if other is not None else own[rows])
    rows, numbers, partners = (np.concatenate(part) for part in (at, mine, theirs))
    order = np.lexsort((rows, rank[numbers]))
    rows, numbers, partners = rows[order], numbers[order], partners[order]
    labels = None if pairs.scores is None else pairs.scores[rows]
    return numbers, None if second is None else partners, pairs.rows[rows], labels


def _columns(frame: pd.DataFrame) -> dict[str, object]:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    config: dict[str, object] = {"row": number("row", width=55), "label": number("label", format="%.1f", width=55)}
    for name in frame.columns:
        kind, _, other = name.partition(", ")
        of, width = (f" under {other}", 105) if other else ("", 98)
        if kind == "kept":
            help_text = f"Share of the 10 nearest neighbours kept{of}, in %"
            config[name] = number(f"{name} (%)", format="%.0f", help=help_text, width=width)
        elif kind == "moved":
            help_text = f"Distance on the map{of}, in standard deviations of the map"
            config[name] = number(f"{name} (std)", format="%.2f", help=help_text, width=width)
    config["source"] = text("source", width=110)
    return config | {name: text(name, width=310) for name in ("sentence", "other sentence of the pair")}


def _choose() -> None:
    key, numbers = st.session_state.get("_map_table", ("none", []))
    table = st.session_state.get(key)
    rows = table["selection"]["rows"] if table else []
    set_focus(numbers[rows[0]] if rows and rows[0] < len(numbers) else None)


def _forget() -> None:
    st.session_state["_map_picked"] = []


def _parquet(frame: pd.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False)
    return stream.getvalue()
