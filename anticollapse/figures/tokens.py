"""Figures of the Tokens page: what makes sentence vectors, what leaving tokens out does, which dimensions rule."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from anticollapse.explain import Anisotropy
from anticollapse.figures.style import (
    MUTED,
    Series,
    axis_title,
    base_layout,
    hover_text,
    panel_titles,
    title_room,
    transparent,
)
from anticollapse.measures.removal import RemovalCurve
from anticollapse.measures.result import Measure
from anticollapse.measures.tokens import BAND_NAMES, MIN_OCCURRENCES, TokenUse

NORM_POINTS = 5_000
"""Token types a panel of norms; the most frequent ones are drawn."""

TOKEN_WIDTH = 14
"""Characters of a token on an axis; the tooltip has all of it."""


def share_figure(series: Sequence[Series], uses: Sequence[TokenUse]) -> go.Figure:
    """Share of the sentence vectors against share of the tokens, by frequency band; one panel an encoder.

    Args:
        series: The encoders.
        uses: Their token use.
    """
    figure = panels(series)
    for column, (one, use) in enumerate(zip(series, uses, strict=True), start=1):
        names = [band.name for band in use.bands]
        figure.add_trace(
            go.Bar(
                x=names,
                y=[100 * band.token_share for band in use.bands],
                name="of the tokens",
                marker_color=MUTED,
                customdata=[[band.n_types, band.n_tokens] for band in use.bands],
                hovertemplate="rank %{x}: %{y:.1f} % of the tokens<br>%{customdata[0]:,} different tokens, "
                "%{customdata[1]:,} occurrences<extra></extra>",
                showlegend=column == 1,
                legendgroup="tokens",
            ),
            row=1,
            col=column,
        )
        figure.add_trace(
            go.Bar(
                x=names,
                y=[100 * (band.vector_share.value or 0) for band in use.bands],
                name="of the sentence vectors",
                marker_color=one.colour,
                error_y=_errors([band.vector_share for band in use.bands], 100),
                customdata=[html.escape(band.dominance.describe()) for band in use.bands],
                hovertemplate="rank %{x}: %{y:.1f} % of the sentence vectors<br>dominance %{customdata}"
                f"<extra>{html.escape(one.name)}</extra>",
                showlegend=column == 1,
                legendgroup="vectors",
            ),
            row=1,
            col=column,
        )
    figure.update_xaxes(
        title_text=axis_title("frequency rank of the token", len(series)),
        type="category",
        categoryorder="array",  # else bands that only the second encoder has would stand last
        categoryarray=list(band_names(uses)),
    )
    figure.update_yaxes(title_text="share (%)", rangemode="tozero", col=1)
    figure.update_layout(barmode="group", showlegend=True)
    return _legend_above_titles(base_layout(figure, revision="shares"), series)


def band_names(uses: Sequence[TokenUse]) -> tuple[str, ...]:
    """Bands that any encoder has, in their order: an encoder has none where no token falls into it.

    Args:
        uses: Token use of several encoders.
    """
    return tuple(sorted({band.name for use in uses for band in use.bands}, key=BAND_NAMES.index))


def dominant_figure(series: Sequence[Series], uses: Sequence[TokenUse], *, top: int = 15) -> go.Figure:
    """The tokens that make up most of the vectors beyond their share of the tokens; one panel an encoder.

    Args:
        series: The encoders.
        uses: Their token use.
        top: Tokens a panel.
    """
    figure = panels(series, shared=False)
    for column, (one, use) in enumerate(zip(series, uses, strict=True), start=1):
        types, rows = use.types, use.types.most_dominant(top)[::-1]
        labels = [hover_text(types.labels[i]) for i in rows]
        hover = [
            f"{label}: {types.vector_share[i]:.2%} of the vectors, {types.token_share[i]:.2%} of the tokens<br>"
            f"dominance {types.dominance[i]:.2f}, {types.counts[i]:,} occurrences, mean norm {types.norm[i]:.1f}"
            for label, i in zip(labels, rows, strict=True)
        ]
        figure.add_trace(
            go.Bar(
                x=100 * (types.vector_share[rows] - types.token_share[rows]),
                y=np.arange(len(rows)),
                orientation="h",
                marker_color=one.colour,
                text=[f"× {types.dominance[i]:.2f}" for i in rows],
                textposition="auto",
                hovertext=hover,
                hovertemplate=f"%{{hovertext}}<extra>{html.escape(one.name)}</extra>",
                showlegend=False,
            ),
            row=1,
            col=column,
        )
        figure.update_yaxes(
            tickvals=np.arange(len(rows)), ticktext=[tick(types.labels[i]) for i in rows], row=1, col=column
        )
    figure.update_xaxes(title_text=axis_title("share of the vectors minus share of the tokens (points)", len(series)))
    figure.update_yaxes(title_text="token", col=1)
    return _below_titles(base_layout(figure, height=max(480, 24 * top + 140), revision="dominant"), series)


def norm_figure(series: Sequence[Series], uses: Sequence[TokenUse]) -> go.Figure:
    """Mean length of a token's vectors against its frequency (in what ranks the tokens); one panel an encoder.

    Args:
        series: The encoders.
        uses: Their token use.
    """
    figure = panels(series)
    for column, (one, use) in enumerate(zip(series, uses, strict=True), start=1):
        types = use.types
        for special in (False, True):
            often = (types.counts >= MIN_OCCURRENCES) & (types.frequency > 0)  # 0 has no place on a log scale
            rows = np.flatnonzero((types.special == special) & often)[:NORM_POINTS]
            figure.add_trace(
                go.Scattergl(
                    x=types.frequency[rows],
                    y=types.norm[rows],
                    mode="markers",
                    name="special tokens" if special else "tokens",
                    marker={
                        "color": one.colour if not special else "rgba(0, 0, 0, 0)",
                        "line": {"color": one.colour, "width": 2 if special else 0},
                        "size": 11 if special else 5,
                        "opacity": 0.9 if special else 0.45,
                        "symbol": "diamond" if special else "circle",
                    },
                    text=[hover_text(types.labels[i]) for i in rows],
                    hovertemplate="%{text}: %{x:,} occurrences, mean length %{y:.2f}"
                    f"<extra>{html.escape(one.name)}</extra>",
                    showlegend=column == 1,
                    legendgroup="special" if special else "tokens",
                ),
                row=1,
                col=column,
            )
        x, y = _running_median(use)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                mode="lines",
                name="median",
                line={"color": "#7C8594", "width": 2.5},
                hovertemplate="median length %{y:.2f} around %{x:,.0f} occurrences<extra></extra>",
                showlegend=column == 1,
                legendgroup="median",
            ),
            row=1,
            col=column,
        )
    attached = any(use.reference for use in uses)
    title = "count in the attached file (log scale)" if attached else "occurrences (log scale)"
    figure.update_xaxes(title_text=axis_title(title, len(series)), type="log", dtick=1)
    figure.update_yaxes(title_text="mean length of its vectors", col=1)
    figure.update_layout(showlegend=True)
    return _legend_above_titles(base_layout(figure, revision="norms"), series)


def removal_figure(series: Sequence[Series], curves: Sequence[Sequence[RemovalCurve]]) -> go.Figure:
    """Spearman and mean unrelated cosine as the k most frequent tokens leave the mean; all encoders in one figure.

    Args:
        series: The encoders.
        curves: For each, its curves; the one without special tokens is dashed.
    """
    figure = _outcome_and_diagnosis("k most frequent tokens left out")
    for one, several in zip(series, curves, strict=True):
        for curve in several:
            name = f"{one.name}, special tokens left out" if curve.without_specials else one.name
            dash = "dash" if curve.without_specials else "solid"
            left = np.stack([100 * curve.tokens_left, curve.emptied], axis=1)
            for row, (values, what) in enumerate(
                ((curve.spearman, "Spearman %{y:.2f}"), (curve.mean_cosine, "mean cosine %{y:.3f}")), start=1
            ):
                figure.add_trace(
                    go.Scatter(
                        x=curve.ks,
                        y=_gaps(values),
                        mode="lines",
                        name=name,
                        legendgroup=name,
                        showlegend=row == 1,
                        line={"color": one.colour, "dash": dash, "width": 2},
                        customdata=left,
                        hovertemplate=f"k = %{{x}}: {what}<br>%{{customdata[0]:.1f}} % of the tokens left, "
                        "%{customdata[1]:,} sentences emptied<extra>%{fullData.name}</extra>",
                    ),
                    row=row,
                    col=1,
                )
            if curve.best_k is not None:
                figure.add_trace(_best(curve, one), row=1, col=1)
    return base_layout(figure, height=620, revision="removal")


def layer_figure(series: Sequence[Series], layers: Sequence[Sequence[RemovalCurve]]) -> go.Figure:
    """The two ends of the removal curve of every layer: nothing left out, and the best k; all encoders in one figure.

    Encoders whose layers give the same curves (a cure behind the mean changes no layer) share a line and its legend.

    Args:
        series: The encoders.
        layers: For each, one curve a layer, 0 being the embeddings.
    """
    figure = _outcome_and_diagnosis("layer (0: embeddings)")
    for one, curves in _without_repeats(series, layers):
        x = [curve.layer for curve in curves]
        best = [0 if c.best_k is None else c.at(c.best_k) for c in curves]
        ks = [int(curve.ks[i]) for curve, i in zip(curves, best, strict=True)]
        lines: tuple[tuple[str, str, list[int]], ...] = (("", "solid", [0] * len(x)), (", best k", "dot", best))
        for suffix, dash, at in lines:
            for row, values in enumerate(
                (
                    [curve.spearman[i] for curve, i in zip(curves, at, strict=True)],
                    [curve.mean_cosine[i] for curve, i in zip(curves, at, strict=True)],
                ),
                start=1,
            ):
                figure.add_trace(
                    go.Scatter(
                        x=x,
                        y=_gaps(np.array(values, np.float64)),
                        mode="lines+markers",
                        name=one.name + suffix,
                        legendgroup=one.name + suffix,
                        showlegend=row == 1,
                        line={"color": one.colour, "dash": dash, "width": 2},
                        customdata=ks if suffix else [0] * len(x),
                        hovertemplate="layer %{x}, k = %{customdata}: %{y:.3f}<extra>%{fullData.name}</extra>",
                    ),
                    row=row,
                    col=1,
                )
    figure.update_xaxes(dtick=1, row=2, col=1)
    return base_layout(figure, height=620, revision="layers")


def dimension_figure(series: Sequence[Series], found: Sequence[Anisotropy], *, top: int = 12) -> go.Figure:
    """Which dimensions make the mean cosine of unrelated sentences (not which tokens); one panel an encoder.

    Args:
        series: The encoders.
        found: Their anisotropy.
        top: Dimensions drawn; the others are one bar together.
    """
    figure = panels(series, shared_x=False)
    for column, (one, anisotropy) in enumerate(zip(series, found, strict=True), start=1):
        values = anisotropy.contributions
        order = np.argsort(-values, kind="stable")[:top]
        names = [f"dim. {i}" for i in order]
        heights = values[order].tolist()
        if len(values) > top:
            names.append(f"other {len(values) - top:,}")
            heights.append(float(values.sum() - values[order].sum()))
        figure.add_trace(
            go.Bar(
                x=names,
                y=heights,
                marker_color=[one.colour] * len(order) + [MUTED] * (len(names) - len(order)),
                hovertemplate=f"%{{x}} adds %{{y:.4f}} to the mean cosine<extra>{html.escape(one.name)}</extra>",
                showlegend=False,
            ),
            row=1,
            col=column,
        )
    figure.update_xaxes(title_text=axis_title("dimension, largest contribution first", len(series)), type="category")
    figure.update_yaxes(title_text="contribution to the mean cosine", col=1)
    return _below_titles(base_layout(figure, revision="dimensions"), series)


def panels(
    series: Sequence[Series], *, shared: bool = True, shared_x: bool = True, titles: Sequence[str] = ()
) -> go.Figure:
    """One panel an encoder, side by side.

    Args:
        series: The encoders.
        shared: Whether the panels share their axes.
        shared_x: Whether they share the horizontal one too.
        titles: Titles of the panels, escaped; default: the encoders' names.
    """
    return make_subplots(
        1,
        max(len(series), 1),
        shared_yaxes=shared,
        shared_xaxes="all" if shared and shared_x else False,
        subplot_titles=list(titles) or panel_titles([one.name for one in series], len(series)),
        horizontal_spacing=0.04 if shared else 0.12,
    )


def _legend_above_titles(figure: go.Figure, series: Sequence[Series]) -> go.Figure:
    """Panel titles stand where the base layout puts the legend."""
    room = title_room(panel_titles([one.name for one in series], len(series)))
    inner = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    figure.update_layout(legend={"y": 1.1 + room / inner}, margin={"t": 84 + room})
    return figure.update_layout(height=figure.layout.height + 36 + room)


def _below_titles(figure: go.Figure, series: Sequence[Series]) -> go.Figure:
    room = title_room(panel_titles([one.name for one in series], len(series)))
    return figure.update_layout(margin={"t": 48 + room}, height=figure.layout.height + room)


def _outcome_and_diagnosis(x_title: str) -> go.Figure:
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.08)
    figure.update_yaxes(title_text="Spearman (× 100)", row=1, col=1)
    figure.update_yaxes(title_text="mean unrelated cosine", row=2, col=1)
    figure.update_xaxes(title_text=x_title, row=2, col=1)
    figure.update_layout(showlegend=True)
    return figure


def _without_repeats(
    series: Sequence[Series], layers: Sequence[Sequence[RemovalCurve]]
) -> list[tuple[Series, Sequence[RemovalCurve]]]:
    """Encoders with the same curves as one, named after all of them."""
    kept: list[tuple[Series, Sequence[RemovalCurve]]] = []
    for one, curves in zip(series, layers, strict=True):
        for i, (other, known) in enumerate(kept):
            if len(known) == len(curves) and all(
                np.allclose(a.mean_cosine, b.mean_cosine, atol=1e-6, equal_nan=True)
                and np.allclose(a.spearman, b.spearman, atol=1e-3, equal_nan=True)
                for a, b in zip(known, curves, strict=True)
            ):
                kept[i] = (Series(f"{other.name} = {one.name}", other.colour), known)
                break
        else:
            kept.append((one, curves))
    return kept


def _best(curve: RemovalCurve, one: Series) -> go.Scatter:
    best = curve.best_k if curve.best_k is not None else 0
    return go.Scatter(
        x=[best],
        y=[curve.spearman[curve.at(best)]],
        mode="markers",
        marker={"color": transparent(one.colour, 0.25), "size": 13, "line": {"color": one.colour, "width": 2}},
        hovertemplate="best k on these pairs: %{x}, Spearman %{y:.2f}<extra></extra>",
        showlegend=False,
    )


def _errors(measures: Sequence[Measure], scale: float) -> dict[str, object]:
    above, below = [], []
    for measure in measures:
        value = measure.value or 0.0
        low, high = measure.interval or (value, value)
        above.append(scale * (high - value))
        below.append(scale * (value - low))
    return {"type": "data", "array": above, "arrayminus": below, "thickness": 1.2, "width": 3}


def _running_median(use: TokenUse, bins: int = 18) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median norm of token types of similar frequency; special tokens and rare types are left out."""
    types = use.types
    rows = np.flatnonzero(types.comparable)
    if len(rows) < 2 * bins:
        return np.empty(0), np.empty(0)
    parts = np.array_split(rows[np.argsort(types.frequency[rows], kind="stable")], bins)
    middle = [np.exp(np.mean(np.log(types.frequency[part]))) for part in parts]
    return np.array(middle), np.array([np.median(types.norm[part]) for part in parts])


def tick(token: str) -> str:
    """A token on an axis: short, and escaped because Plotly reads tick labels as HTML."""
    return html.escape(token if len(token) <= TOKEN_WIDTH else token[: TOKEN_WIDTH - 1] + "…")


def _gaps(values: NDArray[np.float64]) -> list[float | None]:
    """NaN as None: a gap in the line, and valid JSON."""
    return [float(value) if np.isfinite(value) else None for value in values]
