"""Which encoder is better on these pairs, by how much, where, and is it real?"""

from __future__ import annotations

import hashlib

import streamlit as st

from anticollapse.compare import Comparison
from anticollapse.compare_tables import correction, finding, measure_frame, slice_frame
from anticollapse.data.export import export_csv
from anticollapse.doctor import Report
from anticollapse.errors import AntiCollapseError
from anticollapse.figures import compare as figures
from anticollapse.figures.style import CONFIG, Series
from pages.common import comparing, links, state, studying, work

TITLE = "Which encoder is better?"
PLACE = "place by "


def main() -> None:
    bench = state.current()
    if bench.pairs is None or not bench.encoders:
        _nothing(bench)
        return
    found: list[tuple[Series, Report]] = []
    names: list[str] = []
    called = dict(zip(bench.series, bench.encoders, strict=True))
    for series, encoder in bench.open():
        try:
            found.append((series, work.report(encoder, bench.pairs)))
            names.append(called[series])
        except AntiCollapseError as error:
            st.error(f"{state.escape(series.name)}: {state.escape(str(error))}", icon=":material/error:")
    if not found:
        return
    shown = [series for series, _ in found]
    heading = st.container()
    made = comparing.comparison(found, bench.pairs, _reference(shown))
    key = comparing.identity(made)
    with heading:
        _finding(made)
    _differences(made, shown)
    _where(made, shown, key)
    _disagreements(made, shown)
    st.subheader("All measures", anchor=False)
    comparing.measure_table(made, shown)
    if made.others:
        st.caption(
            "In brackets: the 95 % interval. Small print: the difference to the reference. Measures that describe the "
            "vectors and not the outcome have no interval for their difference; compare their own intervals. The page "
            "Collapse says how to read each of them."
        )
    _downloads(made, shown, key, names, bench.fit_name)
    studying.draw(bench.pairs.name, [name.split("+")[0] for name in names])
    _how_to_read(bench, made)


def _nothing(bench: state.Workbench) -> None:
    st.title(TITLE)
    error = st.session_state.get("_data_error", "") if bench.pairs is None else ""
    if error:
        st.error(state.escape(error), icon=":material/error:")
    else:
        st.info("Choose sentence pairs and at least two encoders in the sidebar.", icon=":material/info:")


def _reference(shown: list[Series]) -> int:
    """Position of the encoder that the others are measured against."""
    names = [series.name for series in shown]
    if len(names) < 2:
        return 0
    chosen = st.selectbox(
        "Measured against", names, key="against", bind="query-params", help="All differences are to this encoder."
    )
    return names.index(chosen) if chosen in names else 0


def _finding(made: Comparison) -> None:
    st.title(state.escape(finding(made)), anchor=False)
    if len(made.encoders) == 1:
        st.info("Choose another encoder in the sidebar to compare it with.", icon=":material/info:")
    pairs = made.pairs
    if pairs.has_pairs:
        left = pairs.n - len(made.used)
        out = f", {left:,} left out" if left else ""
        st.caption(f"On {len(made.used):,} pairs of {state.escape(pairs.name)}{out}, the same for every encoder.")
    for note in made.notes:
        st.caption(state.escape(note))


def _differences(made: Comparison, shown: list[Series]) -> None:
    if not any(made.encoders[i].differences["spearman"].defined for i in made.others):
        return
    st.plotly_chart(
        figures.forest_figure(made, shown), config=CONFIG, key="forest", alt=figures.forest_alt(made, shown)
    )
    st.caption(
        "Each point is how much better (right) or worse (left) an encoder agrees with people than the reference, on "
        "the same pairs; the line is its 95 % interval. A line across 0 shows no difference; one clear of 0 shows one "
        "unless the correction for several comparisons takes it back, which the verdicts below say."
    )
    comparing.verdict_table(made, shown)
    st.caption(state.escape(correction(made)))


def _where(made: Comparison, shown: list[Series], key: str) -> None:
    found = comparing.parts(made, key)
    if not found:
        return
    st.subheader("Where the difference comes from", anchor=False)
    st.plotly_chart(
        figures.slices_figure(found, shown, made.reference),
        config=CONFIG,
        key="slices",
        alt=figures.slices_alt(found, shown, made.reference),
    )
    st.caption(
        "The difference in Spearman, taken apart exactly: in each panel the bars of an encoder sum to its difference. "
        "Above 0 it ranks these pairs closer to people than the reference does, below 0 farther. Lines: 95 % intervals."
    )
    with st.expander("These parts as a table"):
        st.dataframe(
            comparing.slice_table(made, found), hide_index=True, height=400, alt="Parts of the difference in Spearman"
        )


def _disagreements(made: Comparison, shown: list[Series]) -> None:
    if not made.others or len(made.used) < 2:
        return
    reference = shown[made.reference].name
    st.subheader("The pairs on which they disagree most", anchor=False)
    names = {shown[i].name: i for i in made.others}
    name = next(iter(names))
    if len(names) > 1:
        name = (
            st.segmented_control(
                f"{reference} and", list(names), default=name, required=True, key="rival", bind="query-params"
            )
            or name
        )
    encoder = names.get(name, made.others[0])
    found, frame = comparing.disagreement_table(made, encoder)
    if frame.empty:
        st.caption(
            f"{state.escape(reference)} and {state.escape(shown[encoder].name)} put all pairs in the same order."
        )
        return
    number = st.column_config.NumberColumn
    config: dict[str, object] = {"row": number("row", width=55), "label": number("label", format="%.1f", width=55)}
    places = [name for name in frame.columns if name.startswith(PLACE)]
    config |= {name: number(name.removeprefix(PLACE), format="%.0f", width=90, help=name) for name in places}
    config |= {name: st.column_config.TextColumn(name, width=225) for name in ("sentence 1", "sentence 2")}
    key = "disagree_" + hashlib.sha256(f"{made.pairs.digest}{made.names}{encoder}".encode()).hexdigest()[:16]
    chosen = st.dataframe(
        frame,
        hide_index=True,
        column_config=config,
        key=key,
        on_select="rerun",
        selection_mode="single-row",
        height=min(38 + 35 * len(frame), 430),
        alt="Pairs that the two encoders rank most differently",
    )
    st.caption(
        "The columns of people and encoders hold the pair's place among all pairs, from 0 (the least similar) to "
        "100 (the most). Places and not cosines are compared: a collapsed encoder gives high cosines to everything."
    )
    rows = chosen["selection"]["rows"]
    label = "Take the ticked pair apart, token by token" if rows else "Take the first pair apart, token by token"
    if st.button(label, icon=":material/grid_on:"):
        links.open_pair(made.pairs, int(found[rows[0] if rows else 0].row), [reference, shown[encoder].name])
    st.download_button(
        "Download these pairs (CSV)",
        lambda: export_csv(frame),
        "disagreements.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
    )


def _downloads(made: Comparison, shown: list[Series], key: str, names: list[str], fit_name: str) -> None:
    found = comparing.parts(made, key)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Report (HTML)",
            lambda: comparing.report_html(made, shown, names, fit_name),
            "comparison.html",
            "text/html",
            on_click="ignore",
            icon=":material/description:",
            help="One page with figures, tables and parameters that opens without a network.",
        )
        st.download_button(
            "Measures (CSV)",
            lambda: export_csv(measure_frame(made)),
            "measures.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
        )
        if found:
            st.download_button(
                "Parts of the difference (CSV)",
                lambda: export_csv(slice_frame(made, dict(found))),
                "parts.csv",
                "text/csv",
                on_click="ignore",
                icon=":material/download:",
            )


def _draws(made: Comparison) -> str:
    """How often the pairs were drawn anew, in words; it depends on how many there are."""
    found = [made.encoders[i].differences["spearman"].details.get("resamples") for i in made.others]
    numbers = [one for one in found if isinstance(one, int)]
    return f"{max(numbers):,} times" if numbers else "many times"


def _how_to_read(bench: state.Workbench, made: Comparison) -> None:
    cured = f" Cures were fitted on {bench.fit_name}." if any("+" in name for name in bench.encoders) else ""
    with st.expander("How to read this page"):
        st.markdown(
            f"""
**Is it real?** Other pairs would have given other numbers. So the pairs are drawn anew {_draws(made)} from these,
and both encoders are measured on each draw: what is hard in the pairs is hard for both and cancels out. A 95 % interval
that leaves out 0 shows a difference, if it is the only comparison. One that includes 0 does *not* show that the
encoders are equal: *needs about n pairs* says how many pairs would show a difference of the size seen, as one of as
many comparisons, with a chance of 80 %.

**Several encoders** give several chances to win by luck. Verdicts are corrected for that (Holm's method), so an encoder
may lie clear of 0 and still not count.

**Spearman** is the outcome: do pairs that people find more similar get a higher cosine? **Pearson** asks for a straight
line as well. The other measures describe the vectors; a better one does not imply a better outcome.

**Where it comes from**: each pair costs an encoder half the square of how far it ranks the pair from where people rank
it. What a pair costs the reference more than the encoder is the pair's part of the difference; the parts sum to it.

The intervals hold for these encoders as they are. That the same training with another seed gives another encoder is not
in them; for that several seeds must be trained and compared.{cured}
"""
        )


main()
