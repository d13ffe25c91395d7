"""Single cells: what is a number, what is a usable sentence."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

# float() also takes "1_000", "nan" and full-width digits; a score column must not.
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*", re.ASCII)

_NO_VALUE = frozenset({"nan", "na", "n/a", "null", "none"})
_INFINITE = frozenset({"inf", "infinity"})

EMPTY = "the sentence is empty"
NOT_UNICODE = "the text holds half of a surrogate pair, which is not valid Unicode"
SCORE_MISSING = "the score is missing"


def is_blank(cell: object) -> bool:
    """Whether a cell holds nothing."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def is_number(cell: object) -> bool:
    """Whether a cell holds a number, as a number or written as one (a decimal comma counts)."""
    if isinstance(cell, str):
        return bool(_NUMBER.fullmatch(cell) or _DECIMAL_COMMA.fullmatch(cell))
    return isinstance(cell, (int, float, np.integer, np.floating)) and cell == cell


def number(cell: object) -> float:
    """The value of a cell for which :func:`is_number` holds; infinite if it is too large for a float."""
    try:
        return float(cell.replace(",", ".") if isinstance(cell, str) else cell)  # type: ignore[arg-type]
    except OverflowError:
        return float("inf")


def parse_sentences(cells: list[object], *, max_chars: int, numbers: bool) -> tuple[list[str], dict[int, str]]:
    """The cells of a sentence column.

    Args:
        cells: The column.
        max_chars: Cap on the characters of one cell.
        numbers: Whether a number stands for its text (in a spreadsheet ``2024`` is a number unless told otherwise).

    Returns:
        The texts as given ("" for an unusable cell), and for each unusable cell its position and what is wrong.
    """
    texts: list[str] = cells  # type: ignore[assignment]  # checked by the join, which takes nothing but strings
    try:
        "".join(texts).encode("utf-8")
        if all(map(str.strip, texts)) and max(map(len, texts), default=0) <= max_chars:
            return texts, {}
    except (TypeError, UnicodeEncodeError):
        pass
    out: list[str] = []
    problems: dict[int, str] = {}
    for i, cell in enumerate(cells):
        text, problem = _parse_sentence(cell, max_chars, numbers)
        out.append(text)
        if problem:
            problems[i] = problem
    return out, problems


def _parse_sentence(cell: object, max_chars: int, numbers: bool) -> tuple[str, str]:  # noqa: FBT001
    if is_blank(cell):
        return "", EMPTY
    if not isinstance(cell, str):
        if not numbers or isinstance(cell, bool) or not isinstance(cell, (int, float)):
            return "", f"the sentence is {_kind(cell)} and not text"
        cell = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
    if len(cell) > max_chars:
        return "", f"the sentence has {len(cell):,} characters, more than the cap of {max_chars:,}"
    try:
        cell.encode("utf-8")
    except UnicodeEncodeError:
        return "", NOT_UNICODE
    return cell, ""


def parse_scores(cells: list[object]) -> tuple[NDArray[np.float64], dict[int, str], bool]:
    """The cells of a score column.

    Returns:
        Values of shape (N,), NaN where there is none; for each unusable cell its position and what is wrong; whether
        decimal commas were read.
    """
    try:
        if not any("_" in cell for cell in cells if isinstance(cell, str)):
            values = np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))  # type: ignore[arg-type]
            if np.isfinite(values).all():
                return values, {}, False
    except (TypeError, ValueError, OverflowError):
        pass
    values = np.full(len(cells), np.nan)
    problems: dict[int, str] = {}
    commas = False
    for i, cell in enumerate(cells):
        if is_blank(cell):
            problems[i] = SCORE_MISSING
        elif is_number(cell) and np.isfinite(number(cell)):
            values[i] = number(cell)
            commas |= isinstance(cell, str) and "," in cell
        else:
            problems[i] = _score_problem(cell)
    return values, problems, commas


def _score_problem(cell: object) -> str:
    shown = shorten(cell) if isinstance(cell, str) else str(cell) if isinstance(cell, float) else _kind(cell)
    text = str(cell).strip().lower() if isinstance(cell, (str, float)) else ""
    if text.lstrip("+-") in _NO_VALUE:
        return f"the score is {shown}, which is no value"
    if is_number(cell) or isinstance(cell, float) or text.lstrip("+-") in _INFINITE:
        return f"the score {shown} is not finite"
    return f"the score {shown} is not a number"


def are_words(cells: list[object]) -> bool:
    """Whether a column holds words such as "entailment", beside them blank cells or marks, and nowhere a digit."""
    different = {cell if isinstance(cell, str) else "0" for cell in cells if not is_blank(cell)}
    if any(char.isdigit() for cell in different for char in cell):
        return False
    words = {cell.strip().lower().lstrip("+-") for cell in different if any(map(str.isalpha, cell))}
    return bool(words - _NO_VALUE - _INFINITE)


def shorten(text: str, *, length: int = 40) -> str:
    """A cell for a message: quoted, on one line, cut."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return f'"{line}"' if len(line) <= length else f'"{line[: length - 1]}…"'


def _kind(cell: object) -> str:
    names = {"bool": "true or false", "int": "a number", "float": "a number", "list": "a list", "dict": "an object"}
    return names.get(type(cell).__name__, f"a value of type {type(cell).__name__}")
