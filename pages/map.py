"""What are the neighbourhoods? The same sentences under several encoders, aligned, and linked with lists of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from anticollapse.data import PairSet
from anticollapse.errors import AntiCollapseError
from anticollapse.figures import map as figures
from anticollapse.figures.collapse import selected_positions
from anticollapse.figures.style import CONFIG
from anticollapse.measures.projection import MOST_ENCODERS, MapSettings
from anticollapse.neighbourhoods import LIMIT, MapReport, sample_sentences
from anticollapse.wording import count
from pages.common import maplists, maps, state, tables

HEADING = "What are the neighbourhoods?"
COLOURS = ("encoder", "label", "source", "group", "kept", "moved")
LIMITS = (1_000, 2_000, 5_000, LIMIT, 20_000, 50_000, 100_000)


def main() -> None:
    bench = state.current()
    if bench.pairs is None or not bench.encoders:
        st.title(HEADING)
        error = st.session_state.get("_data_error", "")
        if error:
            st.error(state.escape(error), icon=":material/error:")
        else:
            st.info("Choose sentences and at least one encoder in the sidebar.", icon=":material/info:")
        return
    heading = st.empty()
    heading.title(HEADING, anchor=False)
    controls, row = st.container(), st.container(horizontal=True)
    below, settings = row.container(width="stretch"), row.container(width="content")
    drawn = _drawn(bench, bench.pairs, settings)
    if drawn is None:
        return
    reference, colour = _controls(controls, drawn)
    hits = maplists.search(below, drawn)
    place = st.empty()
    if maps.known(drawn) is None:
        _first_picture(place, drawn)
    try:
        report = maps.report(drawn)
    except AntiCollapseError as error:
        st.error(state.escape(str(error)), icon=":material/error:")
        return
    _finding(heading, drawn, report, reference)
    _caption(drawn, report)
    about = st.empty()
    maplists.sentences(drawn, report, reference, hits, bench.pairs)
    maplists.neighbours(drawn)
    _trust(drawn, report, reference)
    maplists.downloads(drawn, report, reference)
    # The figure is sent last: a browser draws many points for a second or two, and the lists need not wait for it.
    with about:
        colouring = _colouring(colour, drawn, report, reference)
    _figure(place, drawn, report, colouring, hits)
    _how_to_read()


def _drawn(bench: state.Workbench, pairs: PairSet, place: st.delta_generator.DeltaGenerator) -> maps.Drawn | None:
    """The encoders, their vectors and the sample; None when no encoder can be used."""
    found, vectors = [], []
    for series, encoder in bench.open():
        if len(found) == MOST_ENCODERS:
            st.info(f"A map shows {MOST_ENCODERS} encoders: the first of yours.", icon=":material/info:")
            break
        try:
            vectors.append(maps.vectors(encoder, pairs))
        except AntiCollapseError as error:
            st.error(f"{state.escape(series.name)}: {state.escape(str(error))}", icon=":material/error:")
            continue
        found.append((series, encoder))
    if not found:
        return None
    facts = maps.facts(pairs)
    settings, limit = _settings(place)
    sample = sample_sentences(facts, limit, seed=settings.seed)
    encoders = [encoder for _, encoder in found]
    return maps.Drawn(
        series=tuple(series for series, _ in found),
        encoders=tuple(encoders),
        vectors=tuple(vectors),
        facts=facts,
        sample=sample,
        settings=settings,
        key=maps.identify(pairs, encoders, sample, settings),
        data=pairs.digest,
    )


def _settings(place: st.delta_generator.DeltaGenerator) -> tuple[MapSettings, int]:
    """Parameters of the map."""
    with place, st.popover("Settings", icon=":material/tune:"):
        limit = st.select_slider(
            "Sentences drawn at most",
            LIMITS,
            LIMIT,
            format_func=lambda n: f"{n:,}",
            key="limit",
            bind="query-params",
            help="More take longer; the others are shading. Which ones are drawn depends on the seed.",
        )
        neighbours = st.slider(
            "Size of a neighbourhood",
            2,
            100,
            15,
            key="neighbors",
            bind="query-params",
            help="Small keeps fine detail, large the overall arrangement (UMAP's n_neighbors).",
        )
        closeness = st.slider(
            "Room between points",
            0.0,
            0.99,
            0.1,
            key="min_dist",
            bind="query-params",
            help="Small packs similar sentences tightly (UMAP's min_dist).",
        )
        seed = st.number_input(
            "Seed",
            0,
            2**32 - 1,
            0,
            key="map_seed",
            bind="query-params",
            help="The same seed gives the same map. What you see under another seed too is not chance.",
        )
    return MapSettings(n_neighbors=int(neighbours), min_dist=float(closeness), seed=int(seed)), int(limit)


def _controls(controls: st.delta_generator.DeltaGenerator, drawn: maps.Drawn) -> tuple[int, str]:
    """Which encoder the others are told against, and what the colour says."""
    options = [
        kind
        for kind in COLOURS
        if not (kind == "label" and drawn.facts.labels is None)
        and not (kind == "source" and drawn.facts.sources is None)
        and not (kind in {"kept", "moved"} and len(drawn.series) == 1)
    ]
    with controls.container(horizontal=True, vertical_alignment="bottom"):
        colour = st.segmented_control(
            "Colour",
            options,
            default="encoder",
            required=True,
            key="color",
            bind="query-params",
            help="label: what people gave the pair. source: where the sentence comes from. group: dense groups of "
            "sentence vectors. kept: share of the nearest neighbours that is the same. moved: distance on the map.",
        )
        reference = drawn.names[0]
        if len(drawn.series) > 1:
            reference = st.selectbox("Compared with", drawn.names, key="against", bind="query-params", width=260)
    return drawn.names.index(reference) if reference in drawn.names else 0, colour or "encoder"


def _first_picture(place: st.delta_generator.DeltaGenerator, drawn: maps.Drawn) -> None:
    picture = maps.picture(drawn)
    panels = [
        figures.MapPanel(series, picture.coordinates[m], note="first picture (PCA); being arranged")
        for m, series in enumerate(drawn.series)
    ]
    figure = figures.map_figure(panels, figures.MapPoints(drawn.sample.drawn, maps.hover(drawn)), revision="picture")
    place.plotly_chart(figure, config=CONFIG, key="picture", alt="First picture of the sentences, by PCA")


def _finding(heading: st.delta_generator.DeltaGenerator, drawn: maps.Drawn, report: MapReport, reference: int) -> None:
    """One sentence that states what was found, with its numbers."""
    others = [m for m in range(len(drawn.series)) if m != reference]
    shares = [(report.overlap_measure(reference, m).value, state.escape(drawn.names[m])) for m in others]
    parts = sorted(((value, name) for value, name in shares if value is not None), reverse=True)
    with heading.container():
        if parts:
            said = [f"{value:.0%} under {name}" for value, name in parts]
            text = " and ".join(said) if len(said) < 3 else f"from {said[0]} to {said[-1]}"
            near = count(report.k, "nearest neighbour")
            base = state.escape(drawn.names[reference])
            st.title(f"Of its {near} under {base}, a sentence keeps {text}", anchor=False)
        else:
            n = len(drawn.facts.texts)
            st.title(f"The neighbourhoods of {n:,} sentences under {state.escape(drawn.names[0])}", anchor=False)
        st.caption(
            "Neighbours are found in the sentence vectors themselves, among all sentences, not on the map. "
            + ("The map puts the same sentence as near as it can to the same place in every panel." if parts else "")
        )


def _colouring(
    kind: str, drawn: maps.Drawn, report: MapReport, reference: int
) -> figures.Groups | figures.Scale | None:
    rows, name = drawn.sample.drawn, drawn.names[reference]
    if kind == "label" and drawn.facts.labels is not None:
        return figures.Scale("human label (0–5)", [drawn.facts.labels[rows]] * len(drawn.series), 0, 5)
    if kind == "source" and drawn.facts.sources is not None:
        return figures.Groups.by_name("source", [drawn.facts.sources[i] for i in rows])
    if kind == "group":
        found = maps.groups(drawn, reference)
        names = [f"group {i + 1}" for i in range(found.n)]
        if found.note:
            st.caption(found.note)
        return figures.Groups(f"dense groups under {name}", found.labels, names, "in no dense group")
    if kind == "kept" and len(drawn.series) > 1:
        return figures.Scale("neighbours kept (share)", report.overlaps(reference), 0, 1, reverse=True)
    if kind == "moved" and len(drawn.series) > 1:
        moved = report.movements(reference)
        high = float(np.nanquantile(np.concatenate(moved), 0.98)) or 1.0
        return figures.Scale("distance moved (standard deviations of the map)", moved, 0, high)
    return None


def _figure(
    place: st.delta_generator.DeltaGenerator,
    drawn: maps.Drawn,
    report: MapReport,
    colour: figures.Groups | figures.Scale | None,
    hits: Sequence[int],
) -> None:
    where = np.full(len(drawn.facts.texts), -1, np.int64)
    where[drawn.sample.drawn] = np.arange(len(drawn.sample.drawn))
    focus = maplists.focus(drawn)
    near = maps.neighbours_of(drawn, focus) if focus is not None else None
    panels = []
    for m, series in enumerate(drawn.series):
        value = report.trust[m].value
        mine = [] if near is None else [int(where[i]) for i in near[m].indices[0] if i >= 0 and where[i] >= 0]
        panels.append(
            figures.MapPanel(
                series,
                report.projection.coordinates[m],
                note="trustworthiness undefined" if value is None else f"trustworthiness {value:.2f}",
                nearest_point=report.nearest_point[m],
                neighbours=mine,
            )
        )
    chosen = [int(where[i]) for i in maplists.picked(drawn) if where[i] >= 0]
    points = figures.MapPoints(
        drawn.sample.drawn,
        maps.hover(drawn),
        selected=chosen,
        hits=[int(where[i]) for i in maplists.ringed(drawn, hits)],
        focus=int(where[focus]) if focus is not None and where[focus] >= 0 else None,
    )
    place.plotly_chart(
        figures.map_figure(panels, points, colour, revision=drawn.key),
        config=CONFIG,
        key="map",
        on_select=_pick,
        selection_mode=("points", "lasso", "box"),
        alt="Map of the sentences, one panel for each of: " + ", ".join(drawn.names),
    )


def _pick() -> None:
    """Keep what was drawn around; one point alone becomes the sentence whose neighbours are shown."""
    chart = st.session_state.get("map")
    found = selected_positions(chart["selection"]["points"] if chart else [])
    if len(found) == 1:
        maplists.set_focus(found[0])
    else:
        st.session_state["_map_picked"] = found


def _caption(drawn: maps.Drawn, report: MapReport) -> None:
    st.caption(
        "Each point is a sentence. Draw around points to list them and to see where they lie in the other panels; tick "
        "one in the list to see its neighbours (star and lines). Nearness means something; how far apart distant "
        "groups are, how large and in which direction does not. Collapse hardly shows on a map: see the Collapse page."
    )
    for note in report.notes:
        st.caption(state.escape(note))
    if len(drawn.sample.drawn) * len(drawn.series) > figures.FULL_TEXT_UP_TO:
        st.caption("There are too many points for tooltips with sentences: draw around points to read them below.")


def _trust(drawn: maps.Drawn, report: MapReport, reference: int) -> None:
    st.subheader("How far to trust the map", anchor=False)
    rows = []
    for m, series in enumerate(drawn.series):
        row = {"encoder": tables.dot(series), "trustworthiness (0 to 1)": state.escape(report.trust[m].describe())}
        if len(drawn.series) > 1:
            kept, moved = report.overlap_measure(reference, m), report.projection.movement(reference, m)
            same = m == reference
            row["neighbours kept (share)"] = "compared with this" if same else state.escape(kept.describe())
            row["median distance moved (std of the map)"] = "" if same else f"{np.nanmedian(moved):.2f}"
            together = None if same else report.moved_and_kept(reference, m)
            row["moved with kept (correlation)"] = (
                "" if same else "undefined" if together is None else f"{together:.2f}".replace("-", "−")
            )
        rows.append(row)
    st.table(pd.DataFrame(rows).set_index("encoder"), border="horizontal")
    st.caption(
        "Trustworthiness is 1 when all neighbours on the map are neighbours in the encoder's own space, and about 0.5 "
        "when they are arbitrary; on up to 1,000 sentences. In brackets: the 95 % interval."
    )
    if len(drawn.series) > 1:
        st.caption(
            "“Moved with kept” is the Spearman correlation of how far a sentence moved and how many neighbours it "
            "kept: near −1, just those that lost neighbours moved; near 0, moving says little about that. What became "
            "of a sentence's neighbours is told by *kept*, not by the distance."
        )


def _how_to_read() -> None:
    with st.expander("How to read this page"):
        st.markdown(
            """
A **map** puts sentences that an encoder finds similar close together (UMAP). With several encoders the maps are
arranged together: a sentence is drawn towards its place under the other encoders, the more neighbours it has in common
there, the more strongly. So a sentence that lies elsewhere often has other neighbours, but not always: its neighbours
may have moved with it, or the plane had no room. Whether it has is told by *kept*; how well the two go together on this
map stands under *How far to trust the map*.

* **What it can show**: who is near whom, and which sentences change their company from one encoder to the other.
* **What it cannot show**: collapse. A map spreads any cloud over the whole page, however narrow the cone it comes
  from. Nor do the gaps between groups, their sizes or the axes mean anything.
* **Neighbours** in lists and *kept* come from the vectors themselves, among all sentences: all cosines are compared.
  Only where more than 200,000 sentences are many times as many cosines (above 10,000 drawn among 1,000,000), *kept*
  comes from an index that finds nearly all of them, and the page says so.
* **Groups** (HDBSCAN) are places that are denser than their surroundings, among the leading principal components of the
  sentences that are drawn. Most sentences of a mixed set are in none.
* The arrangement depends on a **seed**. What matters is there under another seed too: try one under *Settings*.
"""
        )


main()
