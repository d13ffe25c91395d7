"""Figures of the Collapse page: label against cosine, cosines of unrelated sentences, spectrum."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

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

DENSE_ABOVE = 20_000
"""Points a panel (and half of all panels' points together) above which single points are no longer drawn."""

FEW = 3_000
"""Pairs below which points are drawn larger, and without WebGL."""

MARK = "#D81B60"
LINE = "#7C8594"  # seen on white and on black
COLUMNS = 3
GOLDEN = 0.618033988749895


@dataclass(frozen=True)
class LabelPanel:
    """One encoder in the figure of labels against cosines.

    Attributes:
        series: Name and colour.
        cosines: ``(n,)`` cosine of each pair; NaN where a vector has no direction.
        bins: ``(b,)`` centres of the label bins.
        means: ``(b,)`` mean cosine of each bin.
        low: ``(b,)`` 25 % quantile.
        high: ``(b,)`` 75 % quantile.
        counts: ``(b,)`` pairs of each bin.
    """

    series: Series
    cosines: NDArray[np.float64]
    bins: NDArray[np.float64]
    means: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class PairTexts:
    """What the tooltips show.

    Attributes:
        rows: ``(n,)`` row numbers in the user's file.
        first: First sentences.
        second: Second sentences.
        selected: Positions (0 … n − 1) that are marked.
    """

    rows: NDArray[np.int64]
    first: Sequence[str]
    second: Sequence[str]
    selected: Collection[int] = field(default=())


def label_figure(panels: Sequence[LabelPanel], scores: NDArray[np.float64], texts: PairTexts) -> go.Figure:
    """The figure of the papers: human label against cosine, one panel an encoder, shared axes.

    Points carry their position in ``customdata[0]``. Above :data:`DENSE_ABOVE` pairs a panel shows how many
    pairs fall into each cell instead of the points.

    Args:
        panels: One for each encoder.
        scores: ``(n,)`` labels from 0 to 5.
        texts: Rows and sentences of the pairs.

    Returns:
        One figure with a subplot for each encoder.
    """
    columns = 2 if len(panels) == 4 else min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    titles = panel_titles([panel.series.name for panel in panels], columns)
    room = title_room(titles)
    between = 100 + room
    inner = (376 if rows == 1 else 330) * rows + between * (rows - 1)
    figure = make_subplots(
        rows,
        columns,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=titles,
        horizontal_spacing=0.03,
        vertical_spacing=between / inner,
    )
    dense = is_dense(len(scores), len(panels))
    x = scores if dense else scores + _jitter(scores, texts.rows)
    hover = [] if dense else _hover(texts, scores)
    low = min((float(np.nanmin(p.cosines)) for p in panels if np.isfinite(p.cosines).any()), default=0.0)
    for i, panel in enumerate(panels):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        if dense:
            figure.add_trace(_density(panel, scores, low), **place)
        else:
            figure.add_trace(_points(panel, x, hover), **place)
            if texts.selected:
                figure.add_trace(_marked(panel, x, texts.selected), **place)
        for trace in _bands(panel):
            figure.add_trace(trace, **place)
        figure.update_xaxes(
            range=[-0.35, 5.35],
            tickvals=[0, 1, 2, 3, 4, 5],
            showticklabels=True,
            title_standoff=4,
            title_text=axis_title("human label (0–5)", columns),
            **place,
        )
    figure.update_yaxes(range=[min(low - 0.04, -0.04), 1.04])
    figure.update_yaxes(title_text="cosine (−1 to 1)", col=1)
    base_layout(figure, height=104 + room + inner, revision="labels")
    figure.update_layout(dragmode="lasso", showlegend=False, modebar={"orientation": "v"}, margin={"t": 48 + room})
    return figure


def is_dense(n: int, panels: int) -> bool:
    """Whether so many points are drawn as a density."""
    return n > DENSE_ABOVE or n * panels > 2 * DENSE_ABOVE


def pair_strip(panels: Sequence[LabelPanel]) -> go.Figure:
    """Cosines of the pairs when there are no labels: one histogram an encoder.

    Args:
        panels: One for each encoder; only the cosines are used.
    """
    return _histogram([panel.series for panel in panels], [panel.cosines for panel in panels], "pairs")


def unrelated_histogram(series: Sequence[Series], cosines: Sequence[NDArray[np.float64]]) -> go.Figure:
    """How similar sentences are that have nothing to do with each other.

    Args:
        series: The encoders.
        cosines: For each encoder, cosines of random pairs of different sentences.
    """
    return _histogram(series, cosines, "random pairs")


def _histogram(series: Sequence[Series], cosines: Sequence[NDArray[np.float64]], what: str) -> go.Figure:
    finite = [values[np.isfinite(values)] for values in cosines]
    low = min((float(values.min()) for values in finite if len(values)), default=0.0)
    edges = np.linspace(np.floor(low * 20) / 20, 1.0, 81)
    width = float(edges[1] - edges[0])
    figure = go.Figure()
    for one, values in zip(series, finite, strict=True):
        mean = float(values.mean()) if len(values) else float("nan")
        share = np.histogram(values, edges)[0] / max(len(values), 1) * 100
        figure.add_trace(
            go.Scatter(
                x=(edges[:-1] + edges[1:]) / 2,
                y=share,
                mode="lines",
                name=f"{one.name}: mean {mean:.2f}",
                line_shape="hvh",
                fill="tozeroy",
                line={"color": one.colour, "width": 2},
                fillcolor=transparent(one.colour, 0.18),
                hovertemplate=f"cosine %{{x:.2f}}: %{{y:.1f}} % of the {what}<extra>%{{fullData.name}}</extra>",
            )
        )
        if len(values):
            figure.add_vline(
                x=mean,
                line={"color": one.colour, "dash": "dot", "width": 1.5},
            )
    figure.update_xaxes(title_text=f"cosine of {what} (−1 to 1)", range=[float(edges[0]), 1.0])
    figure.update_yaxes(title_text=f"share of {what} (% per {width:.3f})", rangemode="tozero")
    figure.update_layout(showlegend=True)
    return base_layout(figure, revision=what)


@dataclass(frozen=True)
class SpectrumCurve:
    """Singular values of one encoder's sentence vectors.

    Attributes:
        series: Name and colour.
        uncentred: ``(d,)`` singular values of the sentence vectors as they are.
        centred: ``(d,)`` the same after their mean is removed.
    """

    series: Series
    uncentred: NDArray[np.float64]
    centred: NDArray[np.float64]


def spectrum_figure(curves: Sequence[SpectrumCurve]) -> go.Figure:
    """How many directions the sentence vectors use.

    Args:
        curves: One for each encoder.
    """
    figure = go.Figure()
    for curve in curves:
        for values, dash, suffix in ((curve.uncentred, "solid", ""), (curve.centred, "dot", ", mean removed")):
            energy = values.astype(np.float64) ** 2
            total = float(energy.sum())
            if total <= 0:
                continue
            share = energy / total * 100
            shown = share > 1e-4  # below that it is rounding, and a log axis would show nothing else
            figure.add_trace(
                go.Scatter(
                    x=np.arange(1, len(values) + 1)[shown],
                    y=share[shown],
                    mode="lines",
                    name=curve.series.name + suffix,
                    line={"color": curve.series.colour, "dash": dash, "width": 2},
                    hovertemplate="direction %{x}: %{y:.3g} % of the variation<extra>%{fullData.name}</extra>",
                )
            )
    figure.update_xaxes(title_text="direction, strongest first", type="log", dtick=1)
    figure.update_yaxes(title_text="share of the squared length (%, log scale)", type="log", dtick=1, tickformat=".4~g")
    figure.update_layout(showlegend=True)
    return base_layout(figure, revision="spectrum")


def selected_positions(points: Sequence[object]) -> list[int]:
    """Positions of the pairs behind the points of a Plotly selection, in order and once each.

    Args:
        points: ``event["selection"]["points"]``.
    """
    found: dict[int, None] = {}
    for point in points:
        data = point.get("customdata") if isinstance(point, dict) else None
        if isinstance(data, list | tuple) and data:
            found[int(data[0])] = None
        elif isinstance(data, dict) and "0" in data:
            found[int(data["0"])] = None
    return sorted(found)


def _jitter(scores: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Spread whole-numbered labels sideways, the same way every time, so that points do not hide each other."""
    if len(np.unique(scores)) > 11:
        return np.zeros(len(scores))
    return np.asarray(((rows * GOLDEN) % 1.0 - 0.5) * 0.5, np.float64)


def _hover(texts: PairTexts, scores: NDArray[np.float64]) -> list[str]:
    return [
        f"row {row} · label {score:g}<br><b>1</b> {hover_text(first)}<br><b>2</b> {hover_text(second)}"
        for row, score, first, second in zip(texts.rows, scores, texts.first, texts.second, strict=True)
    ]


def _points(panel: LabelPanel, x: NDArray[np.float64], hover: list[str]) -> go.Scatter | go.Scattergl:
    few = len(x) < FEW
    # WebGL needs a context and compiled shaders before the first point is seen; a few points are drawn sooner without.
    kind = go.Scatter if few else go.Scattergl
    return kind(
        x=x,
        y=panel.cosines,
        mode="markers",
        name=panel.series.name,
        text=hover,
        customdata=np.arange(len(x))[:, None],
        marker={"color": panel.series.colour, "size": 6 if few else 4, "opacity": 0.55 if few else 0.3},
        selected={"marker": {"opacity": 1.0}},
        unselected={"marker": {"opacity": 0.25}},
        hovertemplate="cosine %{y:.3f} · %{text}<extra>%{fullData.name}</extra>",
    )


def _marked(panel: LabelPanel, x: NDArray[np.float64], selected: Collection[int]) -> go.Scatter | go.Scattergl:
    index = np.array(sorted(selected), np.int64)
    kind = go.Scatter if len(x) < FEW else go.Scattergl
    return kind(
        x=x[index],
        y=panel.cosines[index],
        mode="markers",
        hoverinfo="skip",
        name="chosen",
        marker={"size": 13, "color": "rgba(0,0,0,0)", "line": {"color": MARK, "width": 2.5}},
    )


def _density(panel: LabelPanel, scores: NDArray[np.float64], low: float) -> go.Heatmap:
    good = np.isfinite(panel.cosines)
    x_edges = np.linspace(-0.25, 5.25, 45)
    y_edges = np.linspace(min(low, 0.0), 1.0, 81)
    counts = np.histogram2d(scores[good], panel.cosines[good], [x_edges, y_edges])[0].T
    shown = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan)
    return go.Heatmap(
        x=(x_edges[:-1] + x_edges[1:]) / 2,
        y=(y_edges[:-1] + y_edges[1:]) / 2,
        z=shown,
        customdata=counts,
        colorscale=[[0, transparent(panel.series.colour, 0.15)], [1, panel.series.colour]],
        showscale=False,
        hovertemplate="label %{x:.1f}, cosine %{y:.2f}: %{customdata} pairs<extra>%{fullData.name}</extra>",
        name=panel.series.name,
    )


def _bands(panel: LabelPanel) -> list[go.Scatter]:
    filled = panel.counts > 0
    x, means = panel.bins[filled], panel.means[filled]
    low, high = panel.low[filled], panel.high[filled]
    band = go.Scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=MUTED.replace("0.55", "0.28"),
        hoverinfo="skip",
        name="middle half",
    )
    line = go.Scatter(
        x=x,
        y=means,
        mode="lines+markers",
        name="mean",
        line={"color": LINE, "width": 2},
        marker={"size": 8, "color": "#FFFFFF", "line": {"color": LINE, "width": 2}},
        customdata=np.stack([panel.counts[filled], low, high], axis=1),
        hovertemplate="mean cosine %{y:.3f}, middle half %{customdata[1]:.3f} to %{customdata[2]:.3f}, "
        "%{customdata[0]} pairs<extra></extra>",
    )
    return [band, line]
