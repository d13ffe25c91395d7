"""The lists of the Map page: search, selection, neighbours side by side, downloads."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import streamlit as st

from anticollapse.data import PairSet, normalise
from anticollapse.data.export import export_csv
from anticollapse.neighbourhoods import KEPT, MOVED, NUMBER, MapReport, map_metadata, map_table
from pages.common import maps, state, tables

SHOWN = 20
LISTED = 2_000
"""Most rows of the table in the page. More of them take a browser seconds; the downloads have all."""
MOST_HITS = 500
"""Most sentences that a search rings on the map; the table lists and the downloads have all that it found."""
FOCUS = "sentence"
MOST_DIGITS = 12
LONGEST = 200
"""Characters of a sentence in a list of neighbours; the table and the downloads have all."""


def picked(drawn: maps.Drawn) -> list[int]:
    """Numbers of the sentences that were drawn around."""
    texts = maps.texts(drawn).digest
    if st.session_state.get("_map_picked_from") != texts:
        # A selection of another set means other sentences.
        st.session_state["_map_picked_from"] = texts
        st.session_state["_map_picked"] = []
    return [i for i in st.session_state.get("_map_picked", []) if i < len(drawn.facts.texts)]


def focus(drawn: maps.Drawn) -> int | None:
    """Number of the sentence whose neighbours are shown, from the link."""
    given = st.query_params.get(FOCUS, "")
    # Python refuses to read numbers of thousands of digits.
    possible = given.isdecimal() and len(given) <= MOST_DIGITS
    return int(given) if possible and int(given) < len(drawn.facts.texts) else None


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
    found = [i for i, text in enumerate(maps.texts(drawn).folded) if wanted in text]
    undrawn = len(found) - int(np.isin(found, drawn.sample.drawn).sum())
    notes = [f"{undrawn:,} of them are not drawn"] if undrawn else []
    if len(found) - undrawn > MOST_HITS:
        notes.append(f"the first {MOST_HITS:,} that are drawn are ringed")
    elif len(found) > undrawn:
        notes.append("ringed on the map")
    said = "; ".join([f"{len(found):,} sentences contain “{state.escape(wanted)}”", *notes])
    controls.caption(f"{said}.")
    return found


def ringed(drawn: maps.Drawn, hits: Sequence[int]) -> list[int]:
    """The first of the hits that are drawn: all that a reader can tell apart."""
    return [hit for hit, there in zip(hits, np.isin(hits, drawn.sample.drawn), strict=True) if there][:MOST_HITS]


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
    rows = _with_partners(chosen, pairs)
    few = rows.first(LISTED)
    listed = _frame(drawn, report, reference, few)
    key = "map_table_" + hashlib.sha256(f"{drawn.key}{reference}{chosen}".encode()).hexdigest()[:16]
    st.session_state["_map_table"] = (key, [int(i) for i in few.numbers])
    if len(rows.numbers) > len(listed):
        st.caption(f"The first {len(listed):,} of {len(rows.numbers):,} rows are listed; the files below have all.")
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
    _files(
        "These rows:",
        "sentences",
        lambda: _for_file(_frame(drawn, report, reference, rows), drawn, reference, rows),
        map_metadata(drawn.names, report, drawn.settings, reference=reference),
    )


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
    telling = [near for near in found if not near.constant]
    shared = set.intersection(*({int(i) for i in near.indices[0] if i >= 0} for near in telling)) if telling else set()
    # Boxes of a fixed width wrap onto the next line where the window is narrow.
    row = st.container(horizontal=True)
    width = {1: "stretch", 2: 464, 4: 464}.get(len(found), 305)
    for series, near in zip(drawn.series, found, strict=True):
        with row.container(width=width):
            st.markdown(tables.dot(series))
            indices = [int(i) for i in near.indices[0] if i >= 0]
            if near.constant:
                st.caption("All sentence vectors are equal here: no sentence is nearer than another.")
                continue
            if not indices:
                st.caption("This sentence has no neighbours here: its vector is zero, or it is alone.")
                continue
            marks = ["\u00a0✓" if len(telling) > 1 and i in shared else "" for i in indices]
            frame = pd.DataFrame(
                {
                    "cosine": [f"{c:.3f}{mark}" for c, mark in zip(near.cosines[0], marks, strict=False)],
                    "neighbour": [state.escape(_short(drawn.facts.texts[i])) for i in indices],
                }
            )
            st.table(frame.set_index("cosine"), border="horizontal")
    if len(telling) > 1:
        most = max(int((near.indices[0] >= 0).sum()) for near in telling)
        st.caption(
            f"{len(shared)} of {most} are neighbours under every encoder (✓). Cosines of different "
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
        map_metadata(drawn.names, report, drawn.settings, reference=reference),
    )


def _files(label: str, name: str, make: Callable[[], pd.DataFrame], about: Mapping[bytes, bytes]) -> None:
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
            lambda: parquet(make(), about),
            f"{name}.parquet",
            "application/vnd.apache.parquet",
            on_click="ignore",
            icon=":material/download:",
            key=f"{name}_parquet",
        )


@dataclass(frozen=True)
class _Rows:
    """One row for each pair that a chosen sentence stands in.

    Attributes:
        numbers: Number of the sentence among all N.
        partners: Number of the other sentence of the pair; None for a file of single sentences.
        rows: Row of the file.
        labels: Human label of the pair; None without labels.
    """

    numbers: np.ndarray
    partners: np.ndarray | None
    rows: np.ndarray
    labels: np.ndarray | None

    def first(self, most: int) -> _Rows:
        """The first rows."""
        partners = None if self.partners is None else self.partners[:most]
        labels = None if self.labels is None else self.labels[:most]
        return _Rows(self.numbers[:most], partners, self.rows[:most], labels)


def _frame(drawn: maps.Drawn, report: MapReport, reference: int, chosen: _Rows) -> pd.DataFrame:
    """The table of the chosen sentences, as it is shown."""
    numbers = chosen.numbers
    columns: dict[str, object] = {"row": chosen.rows}
    if chosen.labels is not None:
        columns["label"] = chosen.labels
    words: dict[str, object] = {"sentence": [drawn.facts.texts[i] for i in numbers]}
    if chosen.partners is not None:
        words["other sentence of the pair"] = [drawn.facts.texts[i] for i in chosen.partners]
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
    if chosen.partners is not None:
        for name, one in zip(drawn.names, drawn.vectors, strict=True):
            of = f", {name}" if len(drawn.series) > 1 else ""
            changes[f"cosine{of}"] = _cosines(one, numbers, chosen.partners)
    # The words come first where the numbers of several encoders would push them out of sight.
    return pd.DataFrame(columns | words | changes if len(drawn.series) > 2 else columns | changes | words)


def _cosines(vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of each pair of sentences; NaN where a vector is zero."""
    found = np.full(len(first), np.nan)
    for start in range(0, len(first), 4096):
        part = slice(start, start + 4096)
        one, other = vectors[first[part]].astype(np.float64), vectors[second[part]].astype(np.float64)
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        products = np.einsum("nd,nd->n", one, other)
        found[part] = np.divide(products, lengths, out=np.full(len(one), np.nan), where=lengths > 0)
    return found


def _for_file(frame: pd.DataFrame, drawn: maps.Drawn, reference: int, chosen: _Rows) -> pd.DataFrame:
    """The same rows with the columns and units of the file of coordinates, to be joined by the sentence's number."""
    frame = frame.copy()
    others = [name for m, name in enumerate(drawn.names) if m != reference]
    for name in others:
        of = f", {name}" if len(others) > 1 else ""
        frame[f"kept{of}"] /= 100
        frame = frame.rename(columns={f"kept{of}": KEPT.format(name), f"moved{of}": MOVED.format(name)})
    if len(drawn.names) == 1:
        frame = frame.rename(columns={"cosine": f"cosine, {drawn.names[0]}"})
    frame.insert(0, NUMBER, chosen.numbers)
    return frame


def _with_partners(chosen: Sequence[int], pairs: PairSet) -> _Rows:
    """The chosen sentences once for each pair they stand in."""
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
    return _Rows(numbers, None if second is None else partners, pairs.rows[rows], labels)


def _columns(frame: pd.DataFrame) -> dict[str, object]:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    config: dict[str, object] = {"row": number("row", width=55), "label": number("label", format="%.1f", width=55)}
    for name in frame.columns:
        kind, _, other = name.partition(", ")
        of, width = (f" under {other}", 105) if other else ("", 98)
        if kind == "kept":
            help_text = f"Share of the nearest neighbours kept{of}, in %: of 10, or of fewer where there are fewer"
            config[name] = number(f"{name} (%)", format="%.0f", help=help_text, width=width)
        elif kind == "moved":
            help_text = f"Distance on the map{of}, in standard deviations of the map"
            config[name] = number(f"{name} (std)", format="%.2f", help=help_text, width=width)
        elif kind == "cosine":
            help_text = f"Cosine of the pair{of}. Cosines of different encoders are not comparable."
            config[name] = number(name, format="%.3f", help=help_text, width=width)
    config["source"] = text("source", width=110)
    return config | {name: text(name, width=310) for name in ("sentence", "other sentence of the pair")}


def _choose() -> None:
    key, numbers = st.session_state.get("_map_table", ("none", []))
    table = st.session_state.get(key)
    rows = table["selection"]["rows"] if table else []
    set_focus(numbers[rows[0]] if rows and rows[0] < len(numbers) else None)


def _forget() -> None:
    st.session_state["_map_picked"] = []


def parquet(frame: pd.DataFrame, about: Mapping[bytes, bytes]) -> bytes:
    """A Parquet file that says how it was made, as the command's does.

    Args:
        frame: The rows.
        about: Metadata of the file.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **about}), stream)
    return stream.getvalue()
