"""Figure of the Runs page: what a training's curves say."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from anticollapse.figures.style import CURED, FURTHER, RAW, base_layout

ALARM = "#D81B60"
TERMS = {
    "supervised": "graded pairs",
    "contrast": "contrast",
    "swav": "clustering",
}
PANEL_HEIGHT = 300


@dataclass(frozen=True)
class Panel:
    """One measure over the steps.

    Attributes:
        key: Its name in an evaluation.
        title: Its title.
        axis: Title of its vertical axis, with the unit.
        digits: How a value is written.
    """

    key: str
    title: str
    axis: str
    digits: str = ".3g"


MEASURES = (
    Panel("dev_spearman", "Agreement with people", "dev Spearman × 100", ".1f"),
    Panel("mean_unrelated_cosine", "Unrelated sentences", "mean cosine (−1 to 1)", ".2f"),
    Panel("effective_rank", "Directions in use", "effective rank", ".0f"),
)
PARTS = (
    Panel("queue_fill", "Queue of negatives", "filled (share)", ".2f"),
    Panel("filtered_share", "Negatives left out by the filter", "share of the negatives", ".2f"),
)


def evaluations(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The evaluations among a run's events, in order."""
    return [event for event in events if event.get("event") == "evaluation"]


def before(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What was measured of the backbone; empty when the run has not begun."""
    return next((event.get("before") or {} for event in events if event.get("event") == "start"), {})


def curves(events: Sequence[Mapping[str, Any]], *, backbone: str = "backbone", revision: str = "run") -> go.Figure:
    """Loss terms, dev Spearman, mean unrelated cosine, effective rank, and queue and filter where they apply.

    The backbone's value is the dashed line, the step whose encoder is kept is ringed, and steps with a collapse alarm
    are crossed.

    Args:
        events: Lines of ``metrics.jsonl``.
        backbone: What the dashed line is called.
        revision: The reader's zoom is kept while this stays the same.
    """
    looks = evaluations(events)
    reference = before(events)
    measures = [p for p in MEASURES if any(look.get(p.key) is not None for look in looks) or reference.get(p.key)]
    panels = measures + [p for p in PARTS if any(look.get(p.key) is not None for look in looks)]
    columns = 2
    rows = -(-(1 + len(panels)) // columns)
    titles = ["Loss", *[panel.title for panel in panels]]
    figure = make_subplots(rows, columns, subplot_titles=titles, horizontal_spacing=0.2, vertical_spacing=0.36 / rows)
    for trace in _losses(looks):
        figure.add_trace(trace, row=1, col=1)
    figure.update_yaxes(title_text="loss (mean over steps)", row=1, col=1)
    for number, panel in enumerate(panels, start=1):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        for trace in _measure(panel, looks, reference.get(panel.key), backbone, first=number == 1):
            figure.add_trace(trace, **place)
        figure.update_yaxes(title_text=panel.axis, **place)
    figure.update_xaxes(title_text="step", title_standoff=4, rangemode="tozero")
    base_layout(figure, height=max(480, PANEL_HEIGHT * rows), revision=revision)
    figure.update_annotations(font_size=14)  # the titles of the panels
    figure.update_layout(legend={"y": 1 + 0.2 / rows}, margin={"t": 90}, hovermode="x unified")
    return figure


def _losses(looks: Sequence[Mapping[str, Any]]) -> list[go.Scatter]:
    names = list(dict.fromkeys(name for look in looks for name in look.get("terms") or {}))
    lines = [("loss", "whole loss", CURED, [look.get("loss") for look in looks])]
    if len(names) > 1:
        for name, colour in zip(names, FURTHER, strict=False):
            values = [(look.get("terms") or {}).get(name) for look in looks]
            lines.append((name, f"loss on {html.escape(TERMS.get(name, name))}", colour, values))
    return [
        go.Scatter(
            x=[look["step"] for look in looks],
            y=values,
            mode="lines+markers",
            name=title,
            line={"color": colour, "width": 2},
            marker={"size": 5},
            hovertemplate="%{y:.4g}",
        )
        for _, title, colour, values in lines
    ]


def _measure(
    panel: Panel, looks: Sequence[Mapping[str, Any]], start: float | None, backbone: str, *, first: bool
) -> list[go.Scatter]:
    steps = [look["step"] for look in looks]
    values = [look.get(panel.key) for look in looks]
    if start is not None:
        steps, values = [0, *steps], [start, *values]
    common = {"hovertemplate": f"%{{y:{panel.digits}}}"}
    traces = [
        go.Scatter(
            x=steps, y=values, mode="lines+markers", name="this run", line={"color": CURED, "width": 2},
            marker={"size": 5}, showlegend=False, **common,
        )
    ]  # fmt: skip
    if start is not None:
        traces.append(
            go.Scatter(
                x=[0, max(steps)], y=[start, start], mode="lines", name=html.escape(backbone), showlegend=first,
                line={"color": RAW, "dash": "dash", "width": 1.5}, **common,
            )
        )  # fmt: skip
    kept = [look for look in looks if look.get("best") and look.get(panel.key) is not None][-1:]
    alarms = [look for look in looks if look.get("alarm") and look.get(panel.key) is not None]
    for chosen, name, marker in (
        (kept, "kept", {"size": 13, "color": "rgba(0,0,0,0)", "line": {"color": CURED, "width": 2}}),
        (alarms, "collapse alarm", {"size": 11, "symbol": "x", "color": ALARM}),
    ):
        if chosen:
            traces.append(
                go.Scatter(
                    x=[look["step"] for look in chosen], y=[look[panel.key] for look in chosen], mode="markers",
                    name=name, marker=marker, showlegend=first, hoverinfo="skip",
                )
            )  # fmt: skip
    return traces
