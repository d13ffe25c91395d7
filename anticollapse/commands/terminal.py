"""What the commands print: tables and paragraphs for a terminal, one JSON document for a script."""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence

WIDTH = 100
"""Columns that text for people keeps to."""


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False))


def paragraph(text: str, *, indent: str = "", width: int = WIDTH) -> str:
    """Running text in lines that fit.

    Args:
        text: In one line.
        indent: What each line begins with.
        width: Columns.
    """
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    wrap: Mapping[int, int] | None = None,
) -> str:
    """A table for a terminal; wide (Chinese, Japanese, Korean) characters count twice.

    Args:
        header: Column titles.
        rows: Cells as text.
        right: Columns that are aligned to the right.
        wrap: Columns whose cells are broken into lines, and how wide they may be.
    """
    head, *body = [_lines(row, wrap or {}) for row in (header, *rows)]
    widths = [max(display_width(line[i]) for row in (head, *body) for line in row) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        parts = []
        for i, cell in enumerate(row):
            blank = " " * (widths[i] - display_width(cell))
            parts.append(blank + cell if i in right else cell + blank)
        return "  ".join(parts).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([*map(line, head), rule, *(line(one) for row in body for one in row)])


def _lines(row: Sequence[str], wrap: Mapping[int, int]) -> list[list[str]]:
    """A row as one or more lines of cells."""
    cells = [
        textwrap.wrap(cell, wrap[i], subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) or [""]
        if i in wrap
        else [cell]
        for i, cell in enumerate(row)
    ]
    return [[cell[k] if k < len(cell) else "" for cell in cells] for k in range(max(map(len, cells)))]


def display_width(text: str) -> int:
    """Columns a text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
