"""The figure of the Map page: the same sentences under up to six encoders, linked, in one figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from anticollapse.figures.style import Series, base_layout, hover_text, panel_titles, title_room, transparent

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FOUND = "#7B3FF2"
FOCUS = "#D81B60"
GREY = "#9AA3AE"
GROUP_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1")
"""Okabe and Ito's colours, and violet: as many groups as people can tell apart, the others are grey."""

LOW_TO_HIGH = ((0.0, "#2166AC"), (0.5, "#B4B8BF"), (1.0, "#D95F0E"))
"""Blue, grey, orange: told apart by colour-blind people, and every step shows on white and on black."""

FULL_TEXT_UP_TO = 60_000
"""Points of all panels up to which tooltips hold the sentences; above, they would be most of what is sent."""

DENSITY_CELLS = 70
MOST_LINES = 50
_TOOLTIP_LINES = 40


@dataclass(frozen=True)
class MapPanel:
    """One encoder's map.

    Attributes:
        series: Name and colour.
        coordinates: ``(n, 2)``; NaN for a sentence without a place.
        note: What stands after the name, for example its trustworthiness.
        nearest_point: ``(r,)`` for each sentence that is not drawn, which of the n is nearest; -1 for none.
        neighbours: Positions of the focused sentence's neighbours among the n, in this encoder's own space.
    """

    series: Series
    coordinates: NDArray[np.float32]
    note: str = ""
    nearest_point: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    neighbours: Sequence[int] = ()


@dataclass(frozen=True)
class MapPoints:
    """What the panels share.

    Attributes:
        ids: ``(n,)`` number of each sentence, which selections give back.
        hover: Tooltip of each sentence as HTML (:func:`tooltips`), or None for none.
        selected: Positions (0 … n − 1) that are selected; the others are dimmed.
        hits: Positions that a search found; ringed.
        focus: Position of the sentence whose neighbours are shown.
    """

    ids: IntArray
    hover: Sequence[str] | None = None
    selected: Collection[int] = ()
    hits: Collection[int] = ()
    focus: int | None = None


@dataclass(frozen=True)
class Groups:
    """Colour by group.

    Attributes:
        title: What the groups are.
        codes: ``(n,)`` group of each sentence; -1 for none.
        names: Name of each group; those past the colours are drawn like none, so the largest come first.
        none: What -1 means.
    """

    title: str
    codes: IntArray
    names: Sequence[str]
    none: str = "none"

    @classmethod
    def by_name(cls, title: str, names: Sequence[str]) -> Groups:
        """Groups of equal names, the largest first; an empty name is none.

        Args:
            title: What the groups are.
            names: ``n`` names.
        """
        kinds = [name for name, _ in Counter(name for name in names if name).most_common()]
        numbers = {name: i for i, name in enumerate(kinds)}
        return cls(title, np.array([numbers.get(name, -1) for name in names], np.int64), kinds)


@dataclass(frozen=True)
class Scale:
    """Colour by number.

    Attributes:
        title: What the number is, with its unit.
        values: For each panel ``(n,)``; NaN where there is none.
        low: Value of the first colour.
        high: Value of the last colour.
        reverse: Whether low values are the ones to look at: they get the strong end of the colours.
    """

    title: str
    values: Sequence[FloatArray]
    low: float
    high: float
    reverse: bool = False


def tooltips(
    texts: Sequence[str], rows: IntArray, labels: FloatArray | None = None, sources: Sequence[str] | None = None
) -> list[str]:
    """Tooltips with the whole sentence, escaped, and where it comes from.

    Args:
        texts: n sentences.
        rows: ``(n,)`` rows of the file.
        labels: ``(n,)`` human labels; NaN for none.
        sources: n sources.
    """
    found = []
    for i, text in enumerate(texts):
        facts = f"row {rows[i]}"
        if labels is not None and np.isfinite(labels[i]):
            facts += f" · label {labels[i]:.2g}"
        if sources is not None and sources[i]:
            facts += f" · {hover_text(sources[i], lines=1)}"
        found.append(f"{hover_text(text, lines=_TOOLTIP_LINES)}<br><i>{facts}</i>")
    return found


def map_figure(
    panels: Sequence[MapPanel], points: MapPoints, colour: Groups | Scale | None = None, *, revision: str = "map"
) -> go.Figure:
    """One figure with a subplot for each encoder; the panels zoom together.

    Points carry their id in ``customdata[0]``, so that a selection in one panel can be shown in all.

    Args:
        panels: From one to six encoders.
        points: What they share.
        colour: What the colour of a point says; None = the encoder's colour.
        revision: The zoom is kept while this stays the same.
    """
    columns = {1: 1, 2: 2, 4: 2}.get(len(panels), 3)
    rows = -(-len(panels) // columns)
    titles = _titles(panels, columns)
    height = (500 if rows == 1 else 400 * rows) + (40 if colour is None else 80) + rows * title_room(titles)
    figure = make_subplots(
        rows,
        columns,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=titles,
        horizontal_spacing=0.02,
        vertical_spacing=(56 + title_room(titles)) / height,
    )
    for i, panel in enumerate(panels):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        for trace in _panel_traces(panel, points, _marker(panel, points, colour, i)):
            figure.add_trace(trace, **place)
    for trace in _legend(colour):
        figure.add_trace(trace, row=1, col=1)
    base_layout(figure, height=height, revision=revision)
    _axes(figure, panels, rows)
    figure.update_layout(
        dragmode="lasso",
        showlegend=isinstance(colour, Groups),
        modebar={"orientation": "v"},
        margin={"l": 16, "t": 48 + title_room(titles), "b": 40 if colour is None else 80},
        # Below the panels: above them it would lie on their titles.
        legend={"y": -0.1 / rows, "yanchor": "top", "title": {"text": _legend_title(colour)}},
    )
    if isinstance(colour, Scale):
        figure.update_layout(coloraxis=_colour_axis(colour, rows))
    return figure


def _colour_axis(colour: Scale, rows: int) -> dict[str, object]:
    """The colour bar lies below the panels: beside them it would take their width."""
    return {
        "colorscale": [list(step) for step in LOW_TO_HIGH],
        "reversescale": colour.reverse,
        "cmin": colour.low,
        "cmax": colour.high,
        "colorbar": {
            "title": {"text": colour.title, "side": "top", "font": {"size": 12}},
            "orientation": "h",
            "thickness": 10,
            "len": 0.6,
            "y": -0.08 / rows,
            "yanchor": "top",
        },
    }


def _titles(panels: Sequence[MapPanel], columns: int) -> list[str]:
    """Names in the encoders' colours, each with its note below."""
    titles = []
    for name, panel in zip(panel_titles([panel.series.name for panel in panels], columns), panels, strict=True):
        note = f"<br><span style='font-size:11px'>{panel.note}</span>" if panel.note else ""
        titles.append(f"<b style='color:{panel.series.colour}'>{name}</b>{note}")
    return titles


def _marker(panel: MapPanel, points: MapPoints, colour: Groups | Scale | None, index: int) -> dict[str, object]:
    n = len(points.ids)
    size = 7 if n <= 1_000 else 5 if n <= 5_000 else 4 if n <= 20_000 else 2.5
    opacity = 0.8 if n <= 1_000 else 0.65 if n <= 5_000 else 0.5 if n <= 20_000 else 0.3
    marker: dict[str, object] = {"size": size, "opacity": opacity * (0.25 if points.selected else 1.0)}
    if isinstance(colour, Groups):
        shown = min(len(colour.names), len(GROUP_COLOURS))
        codes = np.where((colour.codes >= 0) & (colour.codes < shown), colour.codes, -1)
        steps = [GREY, *GROUP_COLOURS[:shown]]
        marker |= {
            "color": codes.astype(np.int8),
            "cmin": -1.5,
            "cmax": shown - 0.5,
            "colorscale": [[edge / len(steps), c] for i, c in enumerate(steps) for edge in (i, i + 1)],
            "showscale": False,
        }
    elif isinstance(colour, Scale):
        marker |= {"color": np.asarray(colour.values[index], np.float32), "coloraxis": "coloraxis"}
    else:
        marker["color"] = panel.series.colour
    return marker


def _panel_traces(panel: MapPanel, points: MapPoints, marker: dict[str, object]) -> list[object]:
    x, y = panel.coordinates[:, 0], panel.coordinates[:, 1]
    traces: list[object] = []
    if (panel.nearest_point >= 0).any():
        traces.append(_density(panel))
    scaled = "coloraxis" in marker
    value = "<b>%{marker.color:.2f}</b><br>" if scaled else ""
    traces.append(
        go.Scattergl(
            x=x,
            y=y,
            mode="markers",
            name=panel.series.name,
            text=points.hover,
            customdata=points.ids.astype(np.int32)[:, None],
            marker=marker,
            showlegend=False,
            selected={"marker": {"opacity": 0.95}},
            unselected={"marker": {"opacity": 0.12}},
            hovertemplate=value
            + ("%{text}" if points.hover is not None else "sentence %{customdata[0]}: lasso it to read it")
            + "<extra></extra>",
        )
    )
    if points.selected:
        chosen = np.array(sorted(points.selected), np.int64)
        strong = dict(marker) | {"opacity": 0.95, "size": float(str(marker["size"])) + 1}
        if not isinstance(marker["color"], str):
            strong["color"] = np.asarray(marker["color"])[chosen]
        traces.append(_overlay(x, y, chosen, strong, "selected"))
    if points.hits:
        ring = {"size": 12, "color": "rgba(0,0,0,0)", "line": {"color": FOUND, "width": 2}}
        traces.append(_overlay(x, y, np.array(sorted(points.hits), np.int64), ring, "found"))
    if points.focus is not None:
        traces += _focus(x, y, points.focus, panel.neighbours)
    return traces


def _overlay(
    x: NDArray[np.float32], y: NDArray[np.float32], chosen: IntArray, marker: dict[str, object], name: str
) -> go.Scattergl:
    return go.Scattergl(
        x=x[chosen], y=y[chosen], mode="markers", name=name, marker=marker, hoverinfo="skip", showlegend=False
    )


def _focus(x: NDArray[np.float32], y: NDArray[np.float32], focus: int, neighbours: Sequence[int]) -> list[object]:
    """A line from the sentence to each of its neighbours: long lines are what the map does not show."""
    near = list(neighbours)[:MOST_LINES]
    lines_x: list[float | None] = []
    lines_y: list[float | None] = []
    for other in near:
        lines_x += [float(x[focus]), float(x[other]), None]
        lines_y += [float(y[focus]), float(y[other]), None]
    ends = {"size": 8, "color": "rgba(0,0,0,0)", "line": {"color": FOCUS, "width": 1.5}}
    centre = {"size": 15, "symbol": "star", "color": FOCUS, "line": {"color": "#FFFFFF", "width": 1}}
    return [
        go.Scattergl(
            x=lines_x,
            y=lines_y,
            mode="lines",
            line={"color": transparent(FOCUS, 0.7), "width": 1.2},
            hoverinfo="skip",
            showlegend=False,
            name="neighbour lines",
        ),
        _overlay(x, y, np.array(near, np.int64), ends, "neighbours"),
        _overlay(x, y, np.array([focus]), centre, "chosen"),
    ]


def _density(panel: MapPanel) -> go.Heatmap:
    """How many sentences that are not drawn would lie where, each at its nearest drawn one."""
    places = panel.coordinates[panel.nearest_point[panel.nearest_point >= 0]]
    places = places[np.isfinite(places).all(axis=1)]
    good = panel.coordinates[np.isfinite(panel.coordinates).all(axis=1)]
    x_edges, y_edges = (np.linspace(good[:, d].min(), good[:, d].max() + 1e-6, DENSITY_CELLS + 1) for d in (0, 1))
    counts = np.histogram2d(places[:, 0], places[:, 1], [x_edges, y_edges])[0].T
    return go.Heatmap(
        x=(x_edges[:-1] + x_edges[1:]) / 2,
        y=(y_edges[:-1] + y_edges[1:]) / 2,
        z=np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan).astype(np.float32),
        colorscale=[[0, transparent(GREY, 0.12)], [1, transparent(GREY, 0.75)]],
        showscale=False,
        hoverinfo="skip",
        name="not drawn",
    )


def _legend(colour: Groups | Scale | None) -> list[go.Scatter]:
    """A legend entry for each group: the points of all groups are one trace, so that their order is the file's."""
    if not isinstance(colour, Groups):
        return []
    names = list(colour.names)
    shown = min(len(names), len(GROUP_COLOURS))
    counts = [int((colour.codes == i).sum()) for i in range(len(names))]
    entries = [(f"{names[i]} ({counts[i]:,})", GROUP_COLOURS[i]) for i in range(shown)]
    other = sum(counts[shown:])
    if other:
        entries.append((f"{len(names) - shown} smaller ones ({other:,})", GREY))
    outside = int((colour.codes < 0).sum())
    if outside:
        entries.append((f"{colour.none} ({outside:,})", GREY))
    return [
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=hover_text(name, width=40, lines=1),
            marker={"color": value, "size": 10},
            hoverinfo="skip",
        )
        for name, value in entries
    ]


def _legend_title(colour: Groups | Scale | None) -> str:
    return f"{hover_text(colour.title)}  " if isinstance(colour, Groups) else ""


def _axes(figure: go.Figure, panels: Sequence[MapPanel], rows: int) -> None:
    """One range for all panels and no numbers: only nearness means something."""
    places = np.concatenate([panel.coordinates for panel in panels])
    places = places[np.isfinite(places).all(axis=1)]
    if len(places):
        low, high = places.min(axis=0).astype(float), places.max(axis=0).astype(float)
        pad = 0.05 * max(float((high - low).max()), 1e-3)
        figure.update_xaxes(range=[low[0] - pad, high[0] + pad])
        figure.update_yaxes(range=[low[1] - pad, high[1] + pad])
    figure.update_xaxes(showticklabels=False, showgrid=False, ticks="")
    figure.update_yaxes(showticklabels=False, showgrid=False, ticks="")
    figure.update_xaxes(title={"text": "position (no unit)", "standoff": 4, "font": {"size": 11}}, row=rows)
