"""The heat map of the Tokens page: why a pair has its cosine."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from anticollapse.figures.style import Series, axis_title, base_layout, hover_text, panel_titles, title_room
from anticollapse.figures.tokens import panels, tick
from anticollapse.measures.attribution import Attribution

POSITIVE, NEGATIVE = "#6A51A3", "#C2571A"
"""Of the heat maps: no encoder's colours, because one scale serves several encoders."""


def attribution_figure(series: Sequence[Series], found: Sequence[Attribution]) -> go.Figure:
    """The contributions of all token pairs to one cosine; one heat map an encoder, on one colour scale.

    The scale ends where 1 % of the contributions lie beyond, so that a few large ones do not bleach the rest; tooltips
    hold the exact values.

    Args:
        series: The encoders.
        found: Their attributions; rows are the first sentence's tokens.
    """
    titles = [
        f"{title}<br><span style='font-size:13px'>{_sum(one)}</span>"
        for title, one in zip(panel_titles([one.name for one in series], len(series)), found, strict=True)
    ]
    # Encoders with one tokenizer share the tokens' names, and zoom together.
    same = len({(one.tokens1, one.tokens2) for one in found}) == 1
    figure = panels(series, shared=same, titles=titles)
    sizes = np.abs(np.concatenate([a.matrix.ravel() for a in found])) if found else np.zeros(1)
    largest = float(np.quantile(sizes, 0.99)) or float(sizes.max()) or 1.0
    for column, (one, attribution) in enumerate(zip(series, found, strict=True), start=1):
        rows, columns = attribution.matrix.shape
        figure.add_trace(
            go.Heatmap(
                z=attribution.matrix,
                x=np.arange(columns),
                y=np.arange(rows),
                zmin=-largest,
                zmax=largest,
                colorscale=[[0, NEGATIVE], [0.5, "rgba(128, 128, 128, 0.06)"], [1, POSITIVE]],
                colorbar={"title": {"text": "part of<br>the cosine"}, "thickness": 12, "tickformat": ".2~g"},
                showscale=column == len(series),
                hovertext=_attribution_hover(attribution),
                hovertemplate=f"%{{hovertext}}<extra>{html.escape(one.name)}</extra>",
                xgap=1,
                ygap=1,
            ),
            row=1,
            col=column,
        )
        place = {"row": 1, "col": column}
        figure.update_xaxes(
            tickvals=np.arange(columns), ticktext=[tick(t) for t in attribution.tokens2], tickangle=-60, **place
        )
        figure.update_yaxes(
            tickvals=np.arange(rows), ticktext=[tick(t) for t in attribution.tokens1], autorange="reversed", **place
        )
    figure.update_xaxes(title_text=axis_title("tokens of the second sentence", len(series)), showgrid=False)
    figure.update_yaxes(showgrid=False)
    figure.update_yaxes(title_text="tokens of the first sentence", col=1)
    tallest = max((a.matrix.shape[0] for a in found), default=1)
    room = title_room(titles)
    base_layout(figure, height=max(480, 22 * tallest + 190) + room, revision="attribution")
    return figure.update_layout(margin={"t": 48 + room})


def _sum(attribution: Attribution) -> str:
    cosine = attribution.cosine
    return hover_text(attribution.undefined, width=30) if cosine is None else f"sum = cosine<br>= {cosine:.4f}"


def _attribution_hover(attribution: Attribution) -> list[list[str]]:
    total = attribution.matrix.sum()
    return [
        [
            f"{hover_text(first)} · {hover_text(second)}<br>adds {value:+.6f} to the cosine"
            + (f" ({value / total:.1%} of it)" if attribution.has_shares else "")
            for second, value in zip(attribution.tokens2, row, strict=True)
        ]
        for first, row in zip(attribution.tokens1, attribution.matrix, strict=True)
    ]
