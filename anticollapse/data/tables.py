"""Tables behind one small interface: the first records, then the wanted columns with their row numbers."""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anticollapse.data.cells import is_blank, shorten
from anticollapse.data.pairs import Limits
from anticollapse.data.sniff import Dialect, records, split_lines
from anticollapse.errors import DataError

HEAD = 1000  # records by which columns are recognised
_CHUNK = (
    512  # records at a time: so few live at once that the garbage collector hardly runs (1.6 times the speed of 16,384)
)

_DELIMITER_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "|", "||": "||"}


@dataclass
class Selection:
    """The wanted columns of a table.

    Attributes:
        cells: One list of N cells for each wanted column.
        rows: Shape (N,), row numbers as a person sees them, from 1, a header counted.
        bad: Rows that could not be read, with the reason.
        blank: How many rows were empty.
        extra: How many rows had further columns that were let pass.
    """

    cells: list[list[object]]
    rows: NDArray[np.int64]
    bad: dict[int, str] = field(default_factory=dict)
    blank: int = 0
    extra: int = 0


class Table(Protocol):
    """A file that was opened."""

    @property
    def kind(self) -> str:
        """What it is, for the user, for example ``CSV (comma, UTF-8)``."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """Column names if the format carries them; ``None`` if they can only stand in the first record."""

    @property
    def loose(self) -> bool:
        """Whether a number in a text column stands for its text."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Full sentences on what of it is not read."""

    def head(self) -> list[list[object]]:
        """Up to :data:`HEAD` records that are not blank, of equal width."""

    def select(self, columns: Sequence[int], *, header: bool) -> Selection:
        """Read the columns at these positions; with ``header`` the first record that is not blank is left out."""

    def place(self, row: int) -> str:
        """Where a row is, for a message, for example ``row 7`` or ``row 7 (line 9)``."""


def raise_cap(cap: str) -> str:
    """The last clause of a remedy: caps are settings of the Python interface only."""
    return f"In Python the cap is Limits({cap}=…)"


def too_many_rows(limits: Limits, where: str) -> DataError:
    """The error for a table over the cap on rows."""
    msg = f"there are more than {limits.max_rows:,} rows"
    return DataError(msg, where=where, remedy=f"Take a part of the file. {raise_cap('max_rows')}")


def too_many_columns(found: int, limits: Limits, where: str) -> DataError:
    """The error for a table over the cap on columns."""
    msg = f"there are {found:,} columns, more than the cap of {limits.max_columns:,}"
    return DataError(msg, where=where, remedy="Keep the columns of sentences and scores only")


class RecordTable:
    """What tables that come record by record have in common.

    Args:
        where: File name for messages.
        limits: Caps.
        pad: Whether a short record is filled up (spreadsheets leave empty cells at the end out).
        allow_extra: Whether records may have further columns (the English STS-B files do).
    """

    names: tuple[str, ...] | None = None
    loose = False
    notes: tuple[str, ...] = ()

    def __init__(self, *, where: str, limits: Limits, pad: bool = False, allow_extra: bool = False) -> None:
        self.where = where
        self.limits = limits
        self._pad = pad
        self._allow_extra = allow_extra
        self._width = 0

    def _records(self) -> Iterable[Sequence[object]]:
        raise NotImplementedError

    def place(self, row: int) -> str:
        """Row number for a message."""
        return f"row {row}"

    def head(self) -> list[list[object]]:
        """See :class:`Table`."""
        found: list[list[object]] = []
        for row, record in enumerate(self._records(), start=1):
            if len(record) > self.limits.max_columns:
                raise too_many_columns(len(record), self.limits, f"{self.where}, {self.place(row)}")
            if not all(map(is_blank, record)):
                found.append(list(record))
            if len(found) >= HEAD or row > self.limits.max_rows:
                break
        if not found:
            msg = "the file is empty"
            raise DataError(msg, where=self.where, remedy="Give a file with at least one sentence")
        trimmed = [_trim(record) for record in found]
        widths = Counter(map(len, found if not self._pad else trimmed))
        # A spreadsheet is as wide as its widest row, a text file as most rows are (the others are uneven); where
        # further columns are let pass, as its narrowest.
        self._width = max(widths) if self._pad else min(widths) if self._allow_extra else widths.most_common(1)[0][0]
        return [(record + [None] * self._width)[: self._width] for record in found]

    def select(self, columns: Sequence[int], *, header: bool) -> Selection:
        """See :class:`Table`."""
        out = Selection(cells=[[] for _ in columns], rows=np.empty(0, dtype=np.int64))
        numbers: list[NDArray[np.int64]] = []
        start, waiting = 1, header  # waiting for the header, the first record that is not blank
        for chunk in _chunks(self._records()):
            if start + len(chunk) - 1 > self.limits.max_rows + header:
                raise too_many_rows(self.limits, self.where)
            even = not waiting and all(len(record) == self._width for record in chunk)
            fresh = [[record[c] for record in chunk] for c in columns] if even else []
            if even and not any("" in cells or None in cells for cells in fresh):
                numbers.append(np.arange(start, start + len(chunk), dtype=np.int64))
            else:
                kept, waiting = self._sift(chunk, start, out, waiting=waiting)
                fresh = [[record[c] for _, record in kept] for c in columns]
                numbers.append(np.array([row for row, _ in kept], dtype=np.int64))
            for cells, new in zip(out.cells, fresh, strict=True):
                cells.extend(new)
            start += len(chunk)
        out.rows = np.concatenate(numbers) if numbers else out.rows
        return out

    def _sift(
        self, chunk: Sequence[Sequence[object]], start: int, out: Selection, *, waiting: bool
    ) -> tuple[list[tuple[int, Sequence[object]]], bool]:
        """Take blank and uneven records (and the header) out of a chunk, and count them."""
        kept: list[tuple[int, Sequence[object]]] = []
        for row, record in enumerate(chunk, start=start):
            if all(map(is_blank, record)):
                out.blank += 1
                continue
            if waiting:
                waiting = False
                continue
            surplus = not all(map(is_blank, record[self._width :]))
            missing = self._width - len(record)
            if (missing > 0 and not self._pad) or (surplus and not self._allow_extra):
                out.bad[row] = f"the row has {len(record)} columns and not {self._width}"
                continue
            out.extra += surplus
            kept.append((row, [*record, *[None] * missing] if missing > 0 else record))
        return kept, waiting


class TextTable(RecordTable):
    """Delimited text, or one sentence a line."""

    def __init__(self, utf8: bytes, dialect: Dialect, *, encoding: str, where: str, limits: Limits) -> None:
        super().__init__(where=where, limits=limits, allow_extra=dialect.layout == "stsb-en")
        self._utf8 = utf8
        self._dialect = dialect
        self._encoding = encoding

    @property
    def kind(self) -> str:
        """See :class:`Table`."""
        if not self._dialect.delimiter:
            return f"text with one sentence a line ({self._encoding})"
        plain = "; quotation marks are plain characters" if self._dialect.quote_line else ""
        what = "STS-B text" if self._dialect.layout else "delimited text"
        return f"{what} (delimiter: {_DELIMITER_NAMES[self._dialect.delimiter]}; {self._encoding}{plain})"

    def _records(self) -> Iterator[list[str]]:
        row = 0
        try:
            for record in records(self._utf8, self._dialect):
                row += 1
                yield record
        except csv.Error as error:
            msg = f"the row cannot be read ({error})"
            remedy = "Check the quotation marks in it: a cell that holds one must be quoted, the mark itself doubled"
            raise DataError(msg, where=f"{self.where}, row {row + 1}", remedy=remedy) from error

    def place(self, row: int) -> str:
        """Row number, and the line in an editor where quoted line breaks make it another."""
        if not self._dialect.quoted:
            return f"row {row}"
        before = itertools.islice(records(self._utf8, self._dialect), row - 1)
        line = row + sum(text.count("\n") for record in before for text in record)
        return f"row {row}" if line == row else f"row {row} (line {line})"


class JsonTable(RecordTable):
    """JSON Lines: one object a line; a missing key is an empty cell."""

    kind = "JSON Lines"

    def __init__(self, utf8: bytes, *, where: str, limits: Limits) -> None:
        super().__init__(where=where, limits=limits, pad=True)
        self._utf8 = utf8
        self._keys: list[str] = []
        self._problems: dict[int, str] = {}

    def place(self, row: int) -> str:
        """Line number."""
        return f"line {row}"

    def head(self) -> list[list[object]]:
        """The first objects; their keys, in order of appearance, are the columns.

        Raises:
            DataError: If the first line is no object, or there are too many keys.
        """
        keys: dict[str, None] = {}
        found: list[dict[str, object]] = []
        for row, line in enumerate(split_lines(self._utf8), start=1):
            if len(found) >= HEAD or row > self.limits.max_rows:
                break
            value = _json_object(line) if line.strip() else {}
            if isinstance(value, str):
                if not found:
                    remedy = 'Write one object a line, such as {"sentence1": "…", "sentence2": "…", "score": 3}'
                    raise DataError(value, where=f"{self.where}, line {row}", remedy=remedy)
                continue
            if value:
                keys.update(dict.fromkeys(value))
                found.append(value)
            if len(keys) > self.limits.max_columns:
                raise too_many_columns(len(keys), self.limits, f"{self.where}, line {row}")
        if not found:
            msg = "the file is empty"
            raise DataError(msg, where=self.where, remedy="Give a file with at least one sentence")
        self._keys = list(keys)
        self._width = len(keys)
        self.names = tuple(key.encode("utf-8", errors="replace").decode("utf-8") for key in keys)
        return [[value.get(name) for name in self._keys] for value in found]

    def _records(self) -> Iterator[list[object]]:
        for row, line in enumerate(split_lines(self._utf8), start=1):
            value = _json_object(line) if line.strip() else {}
            if isinstance(value, str):
                self._problems[row] = value
                value = {}
            yield [value.get(name) for name in self._keys]

    def select(self, columns: Sequence[int], *, header: bool) -> Selection:
        """See :class:`Table`; lines that are no object come back as bad rows."""
        del header  # a line is an object and names its cells itself
        self._problems = {}
        out = super().select(columns, header=False)
        out.blank -= len(self._problems)
        out.bad.update(self._problems)
        return out


def _json_object(line: str) -> dict[str, object] | str:
    """The object on a line, or what is wrong with it."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return f"the line is not JSON ({error.msg} at character {error.pos + 1})"
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets nested thousands deep
        return "the line is JSON that is too large or too deep to read"
    return value if isinstance(value, dict) else f"the line {shorten(line.strip())} is not a JSON object"


def _chunks(stream: Iterable[Sequence[object]]) -> Iterator[list[Sequence[object]]]:
    iterator = iter(stream)
    while chunk := list(itertools.islice(iterator, _CHUNK)):
        yield chunk


def _trim(record: list[object]) -> list[object]:
    """A record without the empty cells at its end."""
    end = len(record)
    while end > 1 and is_blank(record[end - 1]):
        end -= 1
    return record[:end]
