"""Why does it collapse? Which tokens make the vectors, what leaving them out does, and one cosine taken apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from anticollapse.data import PairSet
from anticollapse.encoding import Encoder, TokenCounts, read_counts
from anticollapse.errors import AntiCollapseError
from anticollapse.explain import TokenReport, examine_tokens, explain_pair
from anticollapse.figures import tokens as figures
from anticollapse.figures.attribution import attribution_figure
from anticollapse.figures.style import CONFIG, Series
from anticollapse.measures.tokens import TokenUse
from pages.common import links, state, work

SHOWN = 2
HEALTHY = 0.1
"""Mean cosine of unrelated sentences below which there is no common direction worth speaking of."""

Found = list[tuple[Series, Encoder, TokenReport]]


def main() -> None:
    bench = state.current()
    if bench.pairs is None or not bench.encoders:
        st.title("Why does it collapse?")
        error = st.session_state.get("_data_error", "")
        if error:
            st.error(state.escape(error), icon=":material/error:")
        else:
            st.info("Choose sentence pairs and at least one encoder in the sidebar.", icon=":material/info:")
        return
    layers = bool(st.session_state.get("layers"))
    found: Found = []
    heading = st.container()  # the page opens with what was found; what it was found with stands below
    two = _two(bench)
    counts = _counts([encoder for _, encoder in two])
    for series, encoder in two:
        try:
            found.append((series, encoder, _report(encoder, bench.pairs, counts.get(encoder.digest), by_layer=layers)))
        except AntiCollapseError as error:
            st.error(f"{state.escape(series.name)}: {state.escape(str(error))}", icon=":material/error:")
    if not found:
        return
    with heading:
        _finding(found)
    _shares(found)
    _removal(found)
    _direction(found)
    _pair(found, bench.pairs)
    _how_to_read()


def _two(bench: state.Workbench) -> list[tuple[Series, Encoder]]:
    """The encoders shown side by side: two of those chosen in the sidebar."""
    opened = bench.open()
    if len(opened) <= SHOWN:
        return opened
    names = [series.name for series, _ in opened]
    chosen = st.multiselect(
        "Side by side", names, default=names[:SHOWN], max_selections=SHOWN, key="side", bind="query-params"
    )
    return [one for one in opened if one[0].name in (chosen or names[:SHOWN])]


def _counts(encoders: Sequence[Encoder]) -> dict[str, TokenCounts]:
    """The attached reference count in the tokens of each encoder, by digest; what is wrong with it is one message."""
    with st.popover("Frequencies from a file", icon=":material/format_list_numbered:"):
        st.caption(
            "Tokens are ranked by their frequency in your sentences. For few sentences a count of a large text ranks "
            "them better: a text file with one token or word and its count on each line, such as *the 6187267*."
        )
        file = st.file_uploader("Token or word counts", type=["txt", "tsv", "csv"], key="counts_file")
    if file is None:
        return {}
    content = file.getvalue()
    found: dict[str, TokenCounts] = {}
    for encoder in encoders:
        if encoder.transformer is None or encoder.transformer.tokenizer is None:
            continue
        key = ("counts", encoder.digest, file.name, hashlib.sha256(content).hexdigest())
        counts = work.results().get(key)
        if counts is None:
            try:
                counts = read_counts(content, encoder, name=file.name)
            except AntiCollapseError as error:
                st.error(
                    f"{state.escape(str(error))} Tokens are ranked by their frequency in your sentences instead.",
                    icon=":material/error:",
                )
                return {}
            work.results().put(key, counts)
        found[encoder.digest] = counts
    return found


def _report(encoder: Encoder, pairs: PairSet, counts: TokenCounts | None, *, by_layer: bool) -> TokenReport:
    key = ("tokens", encoder.digest, pairs.digest, by_layer, *((counts.source, counts.digest) if counts else ()))
    found = work.results().get(key)
    if found is None:
        with work.working(f"Reading the tokens of {len(pairs.sentences):,} sentences with {encoder.name}") as progress:
            found = examine_tokens(
                encoder, pairs, counts=counts, by_layer=by_layer, cache=work.vectors(), progress=progress
            )
        work.results().put(key, found)
    return found


def _with_use(found: Found) -> list[tuple[Series, TokenUse]]:
    return [(series, report.use) for series, _, report in found if report.use is not None]


def _finding(found: Found) -> None:
    used = _with_use(found)
    if not used:
        st.title(_without_shares([report for _, _, report in found]), anchor=False)
        return
    series, use = used[0]
    frequent = [band for band in use.bands if band.high is not None and band.high <= 10]
    tokens = sum(band.token_share for band in frequent)
    vectors = sum(band.vector_share.value or 0.0 for band in frequent)
    st.title(
        f"Special tokens and the 10 most frequent ones make {vectors:.0%} of the sentence vectors under "
        f"{state.escape(series.name)}; they are {tokens:.0%} of the tokens",
        anchor=False,
    )
    verdict = "they count for more than their number" if vectors > 1.1 * tokens else "they do not dominate here"
    st.caption(
        f"That is {vectors / max(tokens, 1e-9):.2f} times their share, so {verdict}. "
        "A sentence vector is the mean of its token vectors, so each token has an exact share in it. Tokens such as "
        r"\[CLS\], \[SEP\], the full stop and *the* stand in every sentence: the more of the vector they make, the "
        "more alike all sentences look."
    )


def _without_shares(reports: Sequence[TokenReport]) -> str:
    """The title where no encoder's vector is an exact sum over its tokens."""
    averaging = [not report.curve_obstacle for report in reports]
    if all(averaging):
        return "What follows the mean is not linear, so tokens have no exact share in it"
    if any(averaging):
        return "No vector here is an exact sum over its tokens"
    return "These encoders do not average their tokens" if len(reports) > 1 else "No average of tokens here"


def _shares(found: Found) -> None:
    st.subheader("Which tokens make the sentence vectors", anchor=False)
    for series, _, report in found:
        if report.use_obstacle:
            st.info(f"{state.escape(series.name)}: {state.escape(report.use_obstacle)}.", icon=":material/info:")
    used = _with_use(found)
    if not used:
        return
    series, uses = [s for s, _ in used], [u for _, u in used]
    by_band, by_token, by_length = st.tabs(["By frequency", "Most dominant tokens", "Length against frequency"])
    with by_band:
        st.plotly_chart(
            figures.share_figure(series, uses), config=CONFIG, key="shares", alt="Share of tokens and of the vectors"
        )
        st.caption(
            "Grey: share of all tokens; coloured: share of the sentence vectors, with its 95 % interval. Where the "
            "coloured bar is higher, these tokens count for more than their number."
        )
        for note in dict.fromkeys(note for _, use in used for note in use.notes):
            st.caption(state.escape(note))
        _band_table(used)
    with by_token:
        st.plotly_chart(
            figures.dominant_figure(series, uses), config=CONFIG, key="dominant", alt="The most dominant tokens"
        )
        st.caption("Tokens that make more of the vectors than their number says; × is the ratio of the two shares.")
        _token_table(used)
    with by_length:
        st.plotly_chart(
            figures.norm_figure(series, uses), config=CONFIG, key="norms", alt="Vector length against frequency"
        )
        st.caption("Longer token vectors weigh more in the mean. Each point is a token; the line is a running median.")
        for one, use in used:
            st.caption(f"{state.escape(one.name)}: {state.escape(use.measures['norm_frequency'].describe())}.")


def _band_table(used: Sequence[tuple[Series, TokenUse]]) -> None:
    bands = [{band.name: band for band in use.bands} for _, use in used]
    # Encoders with one tokenizer share the columns of tokens.
    alike = all(
        {n: (b.n_types, b.n_tokens) for n, b in one.items()}
        == {n: (b.n_types, b.n_tokens) for n, b in bands[0].items()}
        for one in bands
    )
    rows = []
    for name in figures.band_names([use for _, use in used]):
        row: dict[str, object] = {"frequency rank": name}
        for i, ((series, _), own) in enumerate(zip(used, bands, strict=True)):
            band, suffix = own.get(name), "" if alike else f", {series.name}"
            if i == 0 or not alike:
                row[f"different tokens{suffix}"] = 0 if band is None else band.n_types
                row[f"% of tokens{suffix}"] = 0.0 if band is None else 100 * band.token_share
            share = None if band is None else band.vector_share.value
            row[f"% of vectors, {series.name}"] = None if share is None else 100 * share
        rows.append(row)
    frame = pd.DataFrame(rows)
    config = {
        name: st.column_config.NumberColumn(name, format="%.1f") for name in frame.columns if name.startswith("%")
    }
    st.dataframe(frame, hide_index=True, column_config=config, alt="Shares by frequency band")


def _token_table(used: Sequence[tuple[Series, TokenUse]]) -> None:
    parts = []
    for series, use in used:
        types, rows = use.types, use.types.most_dominant(50)
        parts.append(
            pd.DataFrame(
                {
                    "encoder": series.name,
                    "token": [types.labels[i] for i in rows],
                    "occurrences": types.counts[rows],
                    "% of tokens": 100 * types.token_share[rows],
                    "% of vectors": 100 * types.vector_share[rows],
                    "ratio": types.dominance[rows],
                }
            )
        )
    config = {
        name: st.column_config.NumberColumn(name, format="%.2f") for name in ("% of tokens", "% of vectors", "ratio")
    }
    st.dataframe(
        pd.concat(parts), hide_index=True, column_config=config, height=320, alt="The 50 most dominant tokens of each"
    )


def _removal(found: Found) -> None:
    st.subheader("What happens when frequent tokens are left out", anchor=False)
    for series, _, report in found:
        if report.curve_obstacle:
            st.info(f"{state.escape(series.name)}: {state.escape(report.curve_obstacle)}.", icon=":material/info:")
    curved = [(series, report) for series, _, report in found if report.curves]
    if not curved:
        return
    names = [series for series, _ in curved]
    st.plotly_chart(
        figures.removal_figure(names, [report.curves for _, report in curved]),
        config=CONFIG,
        key="removal",
        alt="Spearman and mean cosine of unrelated sentences as frequent tokens are left out",
    )
    st.caption(
        "Above: agreement with people (Spearman ×100, higher is better). Below: the collapse (mean cosine of unrelated "
        "sentences, 0 is healthy). Dashed: without special tokens from the start. The two need not move together."
    )
    for series, report in curved:
        curve = report.curves[0]
        if curve.best_k is not None:
            gain = curve.gain(curve.best_k)
            st.caption(
                f"{state.escape(series.name)}: best at k = {curve.best_k}, where Spearman changes by "
                f"{state.escape(gain.describe())}. k was chosen on these very pairs, so that is somewhat too good."
            )
        elif curve.undefined:
            st.caption(f"{state.escape(series.name)}: Spearman is {state.escape(curve.undefined)}.")
    st.toggle("Show every layer", key="layers", bind="query-params", help="Computes all layers: takes longer.")
    layered = [(series, report.layers) for series, report in curved if report.layers]
    if layered:
        st.plotly_chart(
            figures.layer_figure([s for s, _ in layered], [curves for _, curves in layered]),
            config=CONFIG,
            key="layer_figure",
            alt="Spearman and mean cosine of every layer",
        )
        st.caption("The same two numbers for the mean of each layer, with nothing left out and at the best k.")


def _direction(found: Found) -> None:
    st.subheader("The other cause: a common direction", anchor=False)
    st.caption(
        "This is not the same thing as frequent tokens: it is what the vectors of all sentences have in common, often "
        "along a few dimensions."
    )
    for series, _, report in found:
        st.caption(f"{state.escape(series.name)}: {state.escape(_moved(report))}")
    shown = [(series, report.anisotropy) for series, _, report in found if len(report.anisotropy.contributions)]
    if shown:
        st.plotly_chart(
            figures.dimension_figure([s for s, _ in shown], [a for _, a in shown]),
            config=CONFIG,
            key="dimensions",
            alt="Contribution of single dimensions to the mean cosine of unrelated sentences",
        )
    for series, anisotropy in shown:
        st.caption(
            f"{state.escape(series.name)}: mean cosine of unrelated sentences "
            f"{state.escape(anisotropy.mean_cosine.describe())}; share of its top 3 dimensions: "
            f"{state.escape(anisotropy.rogue.describe())}."
        )


def _moved(report: TokenReport) -> str:
    """How strong an encoder's common direction is, and whether leaving frequent tokens out removes it."""
    mean = report.anisotropy.mean_cosine.value
    if mean is None:
        return f"{report.anisotropy.mean_cosine.describe()}."
    if mean < HEALTHY:
        return f"unrelated sentences have a mean cosine of {mean:.3f}, so there is hardly a common direction to remove."
    text = f"unrelated sentences have a mean cosine of {mean:.3f}"
    if not report.curves:
        return f"{text}. Centring or whitening would remove it, with all tokens kept."
    curve = report.curves[0]
    start, end = float(curve.mean_cosine[0]), float(curve.mean_cosine[-1])
    left = end / start if start > 0 else 1.0
    verdict = "no smaller" if left >= 1 else "hardly smaller" if left > 0.75 else "smaller" if left > 0.25 else "small"
    return (
        f"{text}; without the {curve.ks[-1]} most frequent tokens it is {end:.3f}, so the common direction is then "
        f"{verdict}. Centring or whitening removes it with all tokens kept."
    )


def _pair(found: Found, pairs: PairSet) -> None:
    st.subheader("One cosine, taken apart", anchor=False)
    own = st.toggle("Type two sentences", key="typed", bind="query-params", value=not pairs.has_pairs)
    if own or pairs.sentences2 is None:
        first = st.text_input(
            "First sentence", "A man is playing a guitar.", key="s1", bind="query-params", max_chars=2000
        )
        second = st.text_input(
            "Second sentence", "The stock market fell.", key="s2", bind="query-params", max_chars=2000
        )
    else:
        row = st.number_input(
            "Row of the pair in the file",
            int(pairs.rows.min()),
            int(pairs.rows.max()),
            links.wanted_row(pairs, int(pairs.rows[_default(found, pairs)])),
            key="row",
            bind="query-params",
            help="The Collapse page lists rows; tick one there and choose “Take the ticked pair apart”.",
        )
        where = int(np.argmin(np.abs(pairs.rows - row)))
        first, second = pairs.sentences1[where], pairs.sentences2[where]
        label = "" if pairs.scores is None else f" People gave it {pairs.scores[where]:g} of 5."
        st.markdown(f"{state.escape(first)}  \n{state.escape(second)}")
        st.caption(f"Row {pairs.rows[where]}.{label}")
    if not (first.strip() and second.strip()):
        st.info("Both sentences need some text.", icon=":material/info:")
        return
    shown = []
    for series, encoder, _ in found:
        try:
            explanation = explain_pair(encoder, first, second, cache=work.vectors())
        except AntiCollapseError as error:
            st.error(f"{state.escape(series.name)}: {state.escape(str(error))}", icon=":material/error:")
            continue
        if explanation.cut_note:
            st.warning(state.escape(explanation.cut_note), icon=":material/content_cut:")
        if explanation.attribution is None or explanation.cosine is None:
            st.info(f"{state.escape(series.name)}: {state.escape(explanation.obstacle)}.", icon=":material/info:")
        else:
            shown.append((series, explanation.attribution, explanation.cosine))
    if not shown:
        return
    st.plotly_chart(
        attribution_figure([s for s, _, _ in shown], [a for _, a, _ in shown]),
        config=CONFIG,
        key="attribution",
        alt="Contribution of each token pair to the cosine of the two sentences",
    )
    st.caption(
        "Each cell is what a pair of tokens adds to the cosine, exactly: all cells of a panel sum to it. Coloured "
        "cells pull the sentences together, brown ones apart."
    )
    for series, attribution, cosine in shown:
        st.caption(
            f"{state.escape(series.name)}: the cells sum to {attribution.matrix.sum():.4f}, the encoder's cosine is "
            f"{cosine:.4f}; {attribution.special_sum:.4f} of it come from pairs with a special token."
        )
    rows = [
        {"encoder": series.name, "token 1": pair.token1, "token 2": pair.token2, "adds": pair.contribution}
        for series, attribution, _ in shown
        for pair in attribution.strongest(15)
    ]
    config = {"adds": st.column_config.NumberColumn("adds to the cosine", format="%.4f")}
    st.dataframe(rows, hide_index=True, column_config=config, height=300, alt="The token pairs that matter most")


def _default(found: Found, pairs: PairSet) -> int:
    """The unrelated pair that the first encoder finds most alike: the first question people have."""
    cosines = work.report(found[0][1], pairs).diagnosis.cosines
    if cosines is None:
        return 0
    cosines = np.nan_to_num(cosines, nan=-1.0)
    if pairs.scores is not None and (pairs.scores <= 1).any():
        cosines = np.where(pairs.scores <= 1, cosines, -1.0)
    return int(np.argmax(cosines))


def _how_to_read() -> None:
    with st.expander("How to read this page"):
        st.markdown(
            """
The vector of a sentence is the mean of the vectors of its tokens (words, pieces of words, punctuation and the markers
that the encoder adds). The **share** of a token is how much of the sentence vector's length it accounts for; the shares
of a sentence sum to 1. If every token counted alike, the shares would follow the numbers of tokens.

Two causes of collapse are shown apart, because curing one does not cure the other: **frequent tokens** that make up
much of every vector, and a **common direction** of the whole space.

The **heat map** is an identity, not an estimate: the cosine of two means is the sum over all pairs of tokens. It holds
for mean pooling, also with a linear layer behind it; for other encoders the page says so and shows none.

Tokens are ranked by how often they occur in your sentences, or in a count that you attach under *Frequencies from a
file*. Tokens that such a count does not hold are a group of their own, because nobody knows how frequent they are.
"""
        )


main()
