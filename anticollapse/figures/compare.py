"""Figures of the Compare page: differences to the reference with their intervals, and where they come from."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from anticollapse.compare import SLICE_TITLES, Comparison, Slice, SliceBy
from anticollapse.figures.style import Series, axis_title, base_layout
from anticollapse.measures.result import Measure
from anticollapse.measures.verdict import describe_difference

ROW = 62
"""Pixels of an encoder in the forest plot."""

NAME_CHARACTERS = 26
ZERO = "#7C8594"  # seen on white and on black
KINDS = {"spearman": ("Spearman", "circle", -0.14), "pearson": ("Pearson", "diamond-open", 0.16)}


def forest_figure(comparison: Comparison, series: Sequence[Series]) -> go.Figure:
    """Differences in Spearman and Pearson to the reference, with 95 % intervals; one row an encoder.

    Args:
        comparison: The comparison.
        series: Name and colour of each of its encoders.
    """
    figure = go.Figure()
    shown = [i for i in comparison.others if comparison.encoders[i].differences.get("spearman") is not None]
    for key, (name, symbol, shift) in KINDS.items():
        # A grey entry for the legend: in the figure the colour is the encoder's.
        figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": 11, "color": ZERO},
            )
        )
        for row, i in enumerate(shown):
            measure = comparison.encoders[i].differences[key]
            if measure.value is not None:
                verdict = comparison.encoders[i].verdicts[key]
                figure.add_trace(_difference(measure, verdict.text, series[i], row + shift, symbol, name))
    figure.add_vline(x=0, line={"color": ZERO, "width": 1.5, "dash": "dot"})
    reference = html.escape(series[comparison.reference].name)
    figure.update_xaxes(title_text=f"difference to {reference}<br>(points of correlation × 100; right is better)")
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=[_name(series[i].name) for i in shown],
        range=[len(shown) - 0.5, -0.5],
        showgrid=False,
        automargin=True,
        title_text="encoder",
    )
    base_layout(figure, height=max(300, 150 + ROW * len(shown)), revision="forest")
    figure.update_layout(showlegend=True, margin={"l": 20})
    return figure


def slices_figure(found: Mapping[int, Sequence[Slice]], series: Sequence[Series], reference: int) -> go.Figure:
    """Where encoders win: each slice's part of the difference in Spearman; a panel for each way to cut.

    Args:
        found: Slices of each encoder, by its position.
        series: Name and colour of each encoder.
        reference: Position of the reference.
    """
    kinds: list[SliceBy] = [by for by in SLICE_TITLES if any(one.by == by for s in found.values() for one in s)]
    columns = max(len(kinds), 1)
    figure = make_subplots(1, columns, shared_yaxes=True, horizontal_spacing=0.03)
    for i, slices in found.items():
        for column, by in enumerate(kinds, start=1):
            some = [one for one in slices if one.by == by]
            figure.add_trace(_parts(some, series[i], first=column == 1), row=1, col=column)
    figure.add_hline(y=0, line={"color": ZERO, "width": 1.5, "dash": "dot"})
    for column, by in enumerate(kinds, start=1):
        figure.update_xaxes(
            title_text=axis_title(_AXES[by], columns), type="category", automargin=True, row=1, col=column
        )
    figure.update_yaxes(title_text="part of the difference in Spearman (points × 100)", col=1)
    figure.update_xaxes(tickfont_size=11)
    base_layout(figure, revision="slices")
    figure.update_layout(
        barmode="group",
        showlegend=True,
        margin={"b": 80},
        legend={"title": {"text": f"against {html.escape(series[reference].name)}: "}},
    )
    return figure


def forest_alt(comparison: Comparison, series: Sequence[Series]) -> str:
    """What the forest plot shows, for those who cannot see it."""
    parts = []
    for i in comparison.others:
        difference = comparison.encoders[i].differences.get("spearman")
        if difference is not None and difference.defined:
            parts.append(f"{series[i].name} {describe_difference(difference)}")
    base = f"Differences in Spearman to {series[comparison.reference].name} with 95 % intervals"
    return f"{base}: {'; '.join(parts)}" if parts else base


def slices_alt(found: Mapping[int, Sequence[Slice]], series: Sequence[Series], reference: int) -> str:
    """What the figure of slices shows, for those who cannot see it."""
    names = ", ".join(series[i].name for i in found)
    return (
        f"Parts of the difference in Spearman between {names} and {series[reference].name}, "
        "by human label, by length and by words in common"
    )


_AXES: dict[SliceBy, str] = {
    "label": "human label (0–5)",
    "length": "words, longer sentence",
    "overlap": "words in common (%)",
}


def _difference(measure: Measure, verdict: str, one: Series, y: float, symbol: str, kind: str) -> go.Scatter:
    value = measure.value or 0.0
    low, high = measure.interval or (value, value)
    return go.Scatter(
        x=[value],
        y=[y],
        mode="markers",
        marker={"symbol": symbol, "size": 12, "color": one.colour, "line": {"width": 2, "color": one.colour}},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - value],
            "arrayminus": [value - low],
            "color": one.colour,
            "thickness": 2.5 if kind == "Spearman" else 1.5,
            "width": 5,
        },
        text=[html.escape(verdict)],
        hovertemplate=f"{kind}: %{{text}}<br>n = {measure.n:,} pairs<extra>{html.escape(one.name)}</extra>",
        name=html.escape(one.name),
        showlegend=False,
    )


def _parts(slices: Sequence[Slice], one: Series, *, first: bool) -> go.Bar:
    # A slice without pairs has no part, which is not a part of 0: no bar is drawn.
    values = [s.result.contribution.value for s in slices]
    reach = [
        (0.0, 0.0)
        if v is None or (bounds := s.result.contribution.interval) is None
        else (v - bounds[0], bounds[1] - v)
        for s, v in zip(slices, values, strict=True)
    ]
    return go.Bar(
        x=[s.name for s in slices],
        y=values,
        name=html.escape(one.name),
        legendgroup=html.escape(one.name),
        showlegend=first,
        marker_color=one.colour,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [above for _, above in reach],
            "arrayminus": [below for below, _ in reach],
            "color": ZERO,
            "thickness": 1.5,
            "width": 3,
        },
        customdata=np.array([[s.result.n, 100 * s.result.won, 100 * s.result.lost] for s in slices]),
        hovertemplate="%{x}: %{y:+.2f} points, %{customdata[0]:,} pairs<br>closer to people on %{customdata[1]:.0f} % "
        f"of them, farther on %{{customdata[2]:.0f}} %<extra>{html.escape(one.name)}</extra>",
    )


def _reach(measure: Measure) -> tuple[float, float]:
    """How far the interval goes below and above the value."""
    if measure.value is None or measure.interval is None:
        return 0.0, 0.0
    return measure.value - measure.interval[0], measure.interval[1] - measure.value


def _name(name: str) -> str:
    """A name on an axis, broken before a ``+`` where it is long."""
    lines, line = [], ""
    for part in name.replace("+", "\0+").split("\0"):
        if line and len(line) + len(part) > NAME_CHARACTERS:
            lines.append(line)
            line = ""
        line += part
    lines.append(line)
    short = [text if len(text) <= NAME_CHARACTERS + 4 else f"{text[: NAME_CHARACTERS + 3]}…" for text in lines[:3]]
    return "<br>".join(html.escape(text) for text in short)
