"""What all figures share: colours, layout, and how user text enters a tooltip."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

RAW = "#2F6FDE"
CURED = "#1B9E77"
FURTHER = ("#E69F00", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1", "#7F7F7F")
"""Okabe and Ito's colours, safe for colour-blind readers, less the two that resemble ours; then violet and grey."""

HEIGHT = 480
TITLE_LINES = 3
PANEL_CHARACTERS = {1: 70, 2: 25}
"""Characters that fit across a panel in a narrow window, by panels side by side; of three or more, 14."""

CONFIG = {"displaylogo": False, "showSendToCloud": False, "responsive": True}
MUTED = "rgba(128, 128, 128, 0.55)"


@dataclass(frozen=True)
class Series:
    """An encoder as a figure sees it.

    Attributes:
        name: What the legend shows.
        colour: Its colour on every page.
    """

    name: str
    colour: str


def colours(names: Sequence[str], raw: Sequence[bool]) -> dict[str, str]:
    """One colour for each encoder.

    The first raw encoder is blue and the first cured or trained one green, as in the papers; the others follow in a
    fixed order.

    Args:
        names: Encoders in the order chosen.
        raw: Whether each is a plain, uncured encoder.
    """
    rest = iter(FURTHER * (1 + len(names) // len(FURTHER)))
    chosen: dict[str, str] = {}
    for name, plain in zip(names, raw, strict=True):
        wanted = RAW if plain else CURED
        chosen[name] = wanted if wanted not in chosen.values() else next(rest)
    return chosen


def hover_text(text: str, width: int = 60, lines: int = 8) -> str:
    """User text for a tooltip: wrapped, and escaped because Plotly reads a tooltip as HTML.

    Args:
        text: Any text.
        width: Characters a line.
        lines: Most lines; a longer text ends in an ellipsis.
    """
    folded = textwrap.wrap(text, width=width, break_long_words=True)[: lines + 1]
    if len(folded) > lines:
        folded = [*folded[: lines - 1], folded[lines - 1] + " …"]
    return "<br>".join(html.escape(line) for line in folded)


def axis_title(text: str, columns: int) -> str:
    """A title that fits under one of several panels side by side, on as many lines as it needs.

    Args:
        text: Our own words.
        columns: Panels side by side.
    """
    return "<br>".join(textwrap.wrap(text, width=PANEL_CHARACTERS.get(columns, 14)))


def panel_titles(names: Sequence[str], columns: int) -> list[str]:
    """Names of encoders as titles of panels: escaped, and on at most three lines, broken before a ``+`` where possible.

    Args:
        names: The encoders.
        columns: Panels side by side.
    """
    width = PANEL_CHARACTERS.get(columns, 14)
    size = 15 if columns == 1 else 13
    titles = []
    for name in names:
        lines = [""]
        for i, part in enumerate(name.split("+")):
            word = f"+{part}" if i else part
            if lines[-1] and len(lines[-1]) + len(word) > width:
                lines.append("")
            lines[-1] += word
        # A part that is too long by itself is a path: it may break anywhere.
        lines = [piece for line in lines for piece in textwrap.wrap(line, width + 3, break_on_hyphens=False)]
        lines = lines if len(lines) <= TITLE_LINES else [*lines[: TITLE_LINES - 1], lines[TITLE_LINES - 1] + "…"]
        shown = "<br>".join(html.escape(line) for line in lines)
        titles.append(f"<span style='font-size:{size}px'>{shown}</span>")
    return titles


def title_room(titles: Sequence[str]) -> int:
    """Pixels that titles of several lines need beyond a single line."""
    return 17 * max((title.count("<br>") for title in titles), default=0)


def base_layout(figure: go.Figure, *, height: int = HEIGHT, revision: str = "keep") -> go.Figure:
    """Margins, legend and the revision that keeps the reader's zoom when a widget changes.

    Args:
        figure: Changed in place.
        height: Pixels.
        revision: The zoom is kept while this stays the same.

    Returns:
        The figure.
    """
    figure.update_layout(
        height=height,
        margin={"l": 60, "r": 16, "t": 48, "b": 56},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "itemsizing": "constant"},
        hoverlabel={"align": "left", "namelength": -1},
        uirevision=revision,
        plot_bgcolor="rgba(0,0,0,0)",
        paper_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(zeroline=False, ticks="outside", ticklen=4)
    figure.update_yaxes(zeroline=False, ticks="outside", ticklen=4)
    return figure


def transparent(colour: str, alpha: float) -> str:
    """``#RRGGBB`` with an opacity, as Plotly writes it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha})"
