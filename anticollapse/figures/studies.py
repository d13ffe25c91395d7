"""Figures of studies: the published claims beside what was measured, and what the size of the queue does."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from anticollapse.figures.style import CURED, FURTHER, RAW, axis_title, base_layout

ZERO = "#7C8594"  # seen on white and on black
ROW = 46


@dataclass(frozen=True)
class ClaimPoint:
    """A claim and what was measured.

    Attributes:
        name: What is compared with what.
        claimed: The claimed difference in points, or None.
        measured: The measured one.
        interval: Its 95 % interval, or None.
    """

    name: str
    claimed: float | None
    measured: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class QueuePoint:
    """A row of the queue study.

    Attributes:
        variant: The system.
        queue: Size of the queue in batches.
        difference: In Spearman × 100 to no queue, mean over the seeds; 0 for what is compared with, None where unknown.
        interval: Its 95 % interval, or None.
        false_negatives: Share of the negatives that mean the same, or None.
        hard_negatives: Share of the negatives that are at least as close as the positive, or None.
        batch: Pairs a step.
    """

    variant: str
    queue: float
    difference: float | None
    interval: tuple[float, float] | None
    false_negatives: float | None
    hard_negatives: float | None = None
    batch: int = 0


def queue_lines(points: Sequence[QueuePoint]) -> dict[str, list[QueuePoint]]:
    """Points by the system they belong to, each ascending by queue; a batch size makes a system of its own.

    Args:
        points: Rows of the study.

    Returns:
        By name, which tells the batch size where there are several.
    """
    several = len({p.batch for p in points}) > 1
    lines: dict[str, list[QueuePoint]] = {}
    for point in points:
        lines.setdefault(f"{point.variant}, batch {point.batch}" if several else point.variant, []).append(point)
    return {name: sorted(some, key=lambda p: p.queue) for name, some in lines.items()}


def claims_figure(points: Sequence[ClaimPoint]) -> go.Figure:
    """Claimed and measured differences; one row a claim.

    Args:
        points: The claims.
    """
    rows = list(range(len(points)))
    figure = go.Figure()
    low = [0.0 if p.interval is None else p.measured - p.interval[0] for p in points]
    high = [0.0 if p.interval is None else p.interval[1] - p.measured for p in points]
    figure.add_trace(
        go.Scatter(
            x=[p.measured for p in points],
            y=rows,
            mode="markers",
            name="measured here, 95 % interval",
            marker={"size": 11, "color": CURED},
            error_x={"symmetric": False, "array": high, "arrayminus": low, "color": CURED, "thickness": 2.5},
            hovertemplate="measured %{x:+.2f} points<extra></extra>",
        )
    )
    claimed = [(p.claimed, row) for row, p in enumerate(points) if p.claimed is not None]
    figure.add_trace(
        go.Scatter(
            x=[value for value, _ in claimed],
            y=[row for _, row in claimed],
            mode="markers",
            name="claimed",
            marker={"size": 13, "symbol": "diamond-open", "color": FURTHER[0], "line": {"width": 2.5}},
            hovertemplate="claimed %{x:+.2f} points<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"color": ZERO, "width": 1.5, "dash": "dot"})
    figure.update_xaxes(title_text="difference in Spearman (points × 100)")
    names = [html.escape(p.name).replace(" to ", "<br>to ") for p in points]
    figure.update_yaxes(
        tickvals=rows,
        ticktext=names,
        range=[len(rows) - 0.5, -0.5],
        automargin=True,
        title_text="system",
        showgrid=False,
    )
    base_layout(figure, height=max(300, 150 + ROW * len(points)), revision="claims")
    return figure.update_layout(showlegend=True, margin={"l": 20})


def queue_figure(points: Sequence[QueuePoint]) -> go.Figure:
    """Difference to no queue, and shares of false and hard negatives, against the size of the queue; a line a system.

    Args:
        points: Rows of the study.
    """
    figure = make_subplots(1, 3, horizontal_spacing=0.19)  # small shares have long ticks, also on a narrow page
    for (name, some), (colour, dash) in zip(queue_lines(points).items(), _styles(), strict=False):
        panels = (
            [p.difference for p in some],
            [None if p.false_negatives is None else 100 * p.false_negatives for p in some],
            [None if p.hard_negatives is None else 100 * p.hard_negatives for p in some],
        )
        for column, values in enumerate(panels, start=1):
            first = column == 1
            shown = "%{y:+.2f} points" if first else "%{y:.2r} %"  # shares are small: two significant digits
            figure.add_trace(
                go.Scatter(
                    x=[p.queue for p in some],
                    y=values,
                    error_y=_bars(some, colour) if first else None,
                    mode="lines+markers",
                    name=html.escape(name),
                    legendgroup=html.escape(name),
                    showlegend=first,
                    line={"color": colour, "width": 2, "dash": dash},
                    hovertemplate=f"queue %{{x}} × batch: {shown}<extra>{html.escape(name)}</extra>",
                ),
                row=1,
                col=column,
            )
    figure.update_xaxes(title_text=axis_title("queue (× batch)", 3))
    figure.add_hline(y=0, line={"color": ZERO, "width": 1.5, "dash": "dot"}, row=1, col=1)
    figure.update_yaxes(title_text="difference in Spearman to no queue (points × 100)", col=1)
    figure.update_yaxes(
        title_text="false negatives (% of the negatives)", rangemode="tozero", nticks=5, title_standoff=11, col=2
    )
    figure.update_yaxes(
        title_text="hard negatives (% of the negatives)", rangemode="tozero", nticks=5, title_standoff=11, col=3
    )
    return base_layout(figure, revision="queue").update_layout(showlegend=True)


def _bars(points: Sequence[QueuePoint], colour: str) -> dict[str, Any]:
    """Intervals as the figure wants them; no bar where there is none."""
    known = [p.interval if p.difference is not None else None for p in points]
    below = [0.0 if i is None else (p.difference or 0.0) - i[0] for p, i in zip(points, known, strict=True)]
    above = [0.0 if i is None else i[1] - (p.difference or 0.0) for p, i in zip(points, known, strict=True)]
    return {"symmetric": False, "array": above, "arrayminus": below, "color": colour}


def _styles() -> Iterator[tuple[str, str]]:
    """Colours and dashes without end, so that no system is left out."""
    for dash in itertools.cycle(("solid", "dash", "dot", "dashdot")):
        for colour in (RAW, CURED, *FURTHER):
            yield colour, dash
