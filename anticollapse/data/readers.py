"""From a file to a :class:`~anticollapse.data.pairs.PairSet`: open, recognise, check, convert."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anticollapse.data import cells as cell_rules
from anticollapse.data.binary import ParquetTable, WorkbookTable
from anticollapse.data.cells import are_words, parse_scores, parse_sentences, shorten
from anticollapse.data.columns import Columns, column_labels, recognise
from anticollapse.data.pairs import ASSIGN, ColumnMap, Limits, OnBadRow, PairSet, Scale, SkippedRow, Split
from anticollapse.data.scale import ScaleFinding, recognise_scale, span_of, to_five
from anticollapse.data.sniff import Dialect, Layout, is_json_lines, sniff_dialect, sniff_format, suffix, to_utf8
from anticollapse.data.tables import JsonTable, Selection, Table, TextTable, raise_cap
from anticollapse.errors import DataError, OptionError

logger = logging.getLogger(__name__)

_LAYOUT_COLUMNS: dict[Layout, ColumnMap] = {
    "stsb-en": ColumnMap(sentence1=6, sentence2=7, score=5, split="", group=1, header=False),
    "stsb-zh": ColumnMap(sentence1=2, sentence2=3, score=4, split="", group="", header=False),
}
_SPLIT_NAMES: dict[str, Split] = {
    "train": "train", "training": "train", "dev": "dev", "development": "dev", "validation": "dev", "valid": "dev",
    "val": "dev", "test": "test", "testing": "test",
}  # fmt: skip
_SCALES: tuple[Scale, ...] = ("none", "0-1", "0-5", "1-5", "0-100")
_EXTENSIONS = {
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".xlsx": "xlsx",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
}
TABLES = frozenset(_EXTENSIONS) - {".txt"}
"""Endings of files that have columns whatever they hold."""
_SKIP_HINT = 'Correct the row, or leave bad rows out (--on-bad-row skip, or "Leave out bad rows" in the sidebar)'


def read_pairs(
    source: Path | bytes,
    *,
    name: str = "",
    columns: ColumnMap | None = None,
    limits: Limits | None = None,
    scale: Scale | None = None,
    split: Split | None = None,
    on_bad_row: OnBadRow = "error",
    quoted: bool | None = None,
) -> PairSet:
    """Read sentence pairs, or single sentences, from CSV, TSV, XLSX, JSON Lines, Parquet or plain text.

    Args:
        source: A file, or the bytes of one (an upload).
        name: Name for messages; of the file name only the extension is a hint, and the content wins over it.
        columns: Which column holds what; what it leaves open is recognised.
        limits: Caps on bytes, rows, columns and characters.
        scale: Scale of the scores; ``None`` = recognise, ``"none"`` = leave the scores alone.
        split: Keep the rows of this split, for a file with a split column.
        on_bad_row: ``"error"``: the first bad row ends the reading with a :class:`DataError`; ``"skip"``: bad rows are
            left out and listed in :attr:`PairSet.skipped`.
        quoted: Whether cells of delimited text may stand in quotation marks; ``None`` = recognise.

    Returns:
        The pairs; scores are on 0–5 whatever the file's scale.

    Raises:
        DataError: If the file cannot be read or used; it names file, row, column and remedy.
        OptionError: If ``scale``, ``split`` or ``on_bad_row`` is none of the values above.
    """
    _check_options(scale, split, on_bad_row)
    limits = limits or Limits()
    where = _shown_name(name or (source.name if isinstance(source, Path) else ""))
    data = _load(source, where, limits)
    table, preset = _open(data, name=where, limits=limits, quoted=quoted)
    wanted = _merge(columns or ColumnMap(), preset)
    if scale == "none":
        wanted = replace(wanted, score="")
    found = recognise(table.head(), names=table.names, wanted=wanted, where=where)
    return _Reader(table, found, where=where, limits=limits, on_bad_row=on_bad_row).read(scale=scale, split=split)


def peek_columns(
    source: Path | bytes, *, name: str = "", limits: Limits | None = None
) -> tuple[tuple[str, ...], ColumnMap]:
    """Which columns a file has, and which would be taken, whatever is wrong with its rows.

    Args:
        source: A file, or the bytes of one.
        name: As for :func:`read_pairs`.
        limits: Caps.

    Returns:
        Names (or ``column 1`` …) of all columns, empty if the file is no table at all, and the columns that are
        recognised, an empty map if none holds sentences.
    """
    limits = limits or Limits()
    where = _shown_name(name or (source.name if isinstance(source, Path) else ""))
    try:
        table, preset = _open(_load(source, where, limits), name=where, limits=limits, quoted=None)
        head = table.head()
    except DataError:
        return (), ColumnMap()
    try:
        found = recognise(head, names=table.names, wanted=preset or ColumnMap(), where=where)
    except DataError:
        return column_labels(head, names=table.names), ColumnMap()
    return found.labels, found.as_map()


class _Reader:
    """One reading: the selected columns, and what is wrong with which row."""

    def __init__(self, table: Table, columns: Columns, *, where: str, limits: Limits, on_bad_row: OnBadRow) -> None:
        self.table = table
        self.columns = columns
        self.where = where
        self.limits = limits
        self.on_bad_row = on_bad_row
        self.notes = [f"The file was read as {table.kind}.", *table.notes, *columns.notes]
        self._problems: dict[int, SkippedRow] = {}  # by row number; the first problem of a row counts

    def read(self, *, scale: Scale | None, split: Split | None) -> PairSet:
        """Read, check and convert."""
        c = self.columns
        wanted = [i for i in (c.sentence1, c.sentence2, c.score, c.split, c.group) if i is not None]
        selection = self.table.select(wanted, header=c.header)
        if not len(selection.rows) and not selection.bad:
            msg = "the file has a header and no rows" if c.header else "the file is empty"
            raise DataError(msg, where=self.where, remedy="Give a file with at least one sentence")
        self._count(selection)
        self._problems = {row: SkippedRow(row, "", reason) for row, reason in selection.bad.items()}
        parts = dict(zip(wanted, selection.cells, strict=True))
        rows = selection.rows
        if split is not None:
            rows, parts = self._of_split(rows, parts, split)
        first = self._sentences(parts, c.sentence1, rows)
        second = None if c.sentence2 is None else self._sentences(parts, c.sentence2, rows)
        scores, taken_scale = self._scores(parts, rows, scale)
        groups = None if c.group is None else tuple("" if g is None else str(g) for g in parts[c.group])
        pairs = PairSet(
            name=self.where,
            sentences1=tuple(first),
            sentences2=None if second is None else tuple(second),
            scores=scores,
            rows=rows,
            scale=taken_scale,
            columns=c.as_map(),
            available=c.labels,
            groups=groups,
        )
        pairs = self._without_bad(pairs)
        repeats = int(pairs.repeats.sum())
        if repeats:
            rows_repeat = "row repeats" if repeats == 1 else "rows repeat"
            order = ", in either order" if pairs.has_pairs else ""
            self.notes.append(f"{repeats:,} {rows_repeat} an earlier one (apart from whitespace{order}) and stayed in.")
        logger.info("%s: %d rows, %d skipped, scores on %s", self.where, pairs.n, len(pairs.skipped), pairs.scale)
        return replace(pairs, notes=tuple(self.notes))

    def _count(self, selection: Selection) -> None:
        if selection.blank:
            self.notes.append(f"{_were(selection.blank, 'blank row')} passed over.")
        if selection.extra:
            self.notes.append(
                f"{_were(selection.extra, 'row')} wider than the others; the further columns were left alone."
            )

    def _label(self, column: int) -> str:
        return self.columns.labels[column]

    def _bad(self, rows: NDArray[np.int64], column: int, problems: dict[int, str]) -> None:
        for i, reason in problems.items():
            row = int(rows[i])
            self._problems.setdefault(row, SkippedRow(row, self._label(column), reason))

    def _of_split(
        self, rows: NDArray[np.int64], parts: dict[int, list[object]], split: Split
    ) -> tuple[NDArray[np.int64], dict[int, list[object]]]:
        column = self.columns.split
        if column is None:
            msg = "the file has no column that says which rows are train, dev and test"
            raise DataError(msg, where=self.where, remedy="Give it a column named split with these words")
        keep = [i for i, cell in enumerate(parts[column]) if _SPLIT_NAMES.get(str(cell).strip().lower()) == split]
        if not keep:
            msg = f'no row belongs to the split "{split}"'
            raise DataError(msg, where=f"{self.where}, {_column(self._label(column))}", remedy="Choose another split")
        return rows[keep], {c: [cells[i] for i in keep] for c, cells in parts.items()}

    def _sentences(self, parts: dict[int, list[object]], column: int, rows: NDArray[np.int64]) -> list[str]:
        texts, problems = parse_sentences(parts[column], max_chars=self.limits.max_cell_chars, numbers=self.table.loose)
        self._bad(rows, column, problems)
        return texts

    def _scores(
        self, parts: dict[int, list[object]], rows: NDArray[np.int64], given: Scale | None
    ) -> tuple[NDArray[np.float64] | None, Scale]:
        """Scores on 0–5, shape (N,), NaN in bad rows; and the scale of the file."""
        column = self.columns.score
        if column is None:
            return None, "none"
        if self.columns.sentence2 is None:
            self.notes.append(f'"{self._label(column)}" was left alone: a score belongs to two sentences.')
            return None, "none"
        values, problems, commas = parse_scores(parts[column])
        if all(problem == cell_rules.SCORE_MISSING for problem in problems.values()) and len(problems) == len(values):
            self.notes.append(f'"{self._label(column)}" is empty, so the pairs were read without scores.')
            return None, "none"
        if len(problems) == len(values) and are_words(parts[column]):
            self.notes.append(
                f'"{self._label(column)}" holds words and no numbers, so the pairs were read without scores.'
            )
            return None, "none"
        self._bad(rows, column, problems)
        valid = np.isfinite(values)
        if not valid.any():
            return values, given or "0-5"  # every row is bad, and the first will be reported
        if (values[valid] == -1).all() and given is None:
            self.notes.append("Every score is -1, the usual mark of hidden labels: the pairs were read without scores.")
            for i in problems:  # a score that is not used cannot be wrong
                self._problems.pop(int(rows[i]), None)
            return None, "none"
        if commas:
            self.notes.append("Decimal commas were read as decimal points.")
        return self._convert(values, valid, rows, given)

    def _convert(
        self, values: NDArray[np.float64], valid: NDArray[np.bool_], rows: NDArray[np.int64], given: Scale | None
    ) -> tuple[NDArray[np.float64], Scale]:
        column = self.columns.score
        assert column is not None
        finding = recognise_scale(values[valid], given=given)
        positions = np.flatnonzero(valid)
        if finding.scale is None:
            raise self._no_scale(finding, values, positions, rows)
        span = span_of(finding.scale)
        outside = {
            int(
                i
            ): f"the score {values[i]:g} is outside {span}, the scale of the {'others' if given is None else 'file'}"
            for i in positions[finding.outside]
        }
        self._bad(rows, column, outside)
        self.notes.append(finding.note)
        return to_five(values, finding.scale), finding.scale

    def _no_scale(
        self,
        finding: ScaleFinding,
        values: NDArray[np.float64],
        positions: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> DataError:
        """What to say of scores on no known scale: the first row that is outside the nearest one."""
        column = self.columns.score
        assert column is not None
        i = int(positions[np.argmax(finding.outside)])
        low, high = float(values[positions].min()), float(values[positions].max())
        more = int(finding.outside.sum()) - 1
        further = f" ({more:,} further {'row is' if more == 1 else 'rows are'} outside, too)" if more else ""
        what = (
            f"the score {values[i]:g} is outside {span_of(finding.nearest)}{further}, and scores from {low:g} "
            f"to {high:g} fit no known scale"
        )
        place = f"{self.where}, {self.table.place(int(rows[i]))}, {_column(self._label(column))}"
        remedy = (
            "Correct the scores or bring them to 0–1 or 0–5, state their scale (--scale), or read the pairs without "
            'scores (--columns score=, or "Columns" in the sidebar)'
        )
        return DataError(what, where=place, remedy=remedy)

    def _without_bad(self, pairs: PairSet) -> PairSet:
        if not self._problems:
            return pairs
        skipped = tuple(self._problems[row] for row in sorted(self._problems))
        keep = ~np.isin(pairs.rows, [bad.row for bad in skipped])
        if self.on_bad_row == "error" or not keep.any():
            raise self._first_bad(skipped, nothing_left=not keep.any())
        first = f"the first is row {skipped[0].row}: {skipped[0].reason}"
        self.notes.append(f"{_were(len(skipped), 'bad row')} skipped; {first}.")
        return replace(pairs.subset(keep), skipped=skipped)

    def _first_bad(self, skipped: tuple[SkippedRow, ...], *, nothing_left: bool) -> DataError:
        bad = skipped[0]
        place = f"{self.where}, {self.table.place(bad.row)}" + (f", {_column(bad.column)}" if bad.column else "")
        more = len(skipped) - 1
        what = bad.reason + (f" ({more:,} further {'row is' if more == 1 else 'rows are'} bad, too)" if more else "")
        remedy = f"No row is usable: {ASSIGN}" if nothing_left else _SKIP_HINT
        if not bad.column and isinstance(self.table, TextTable):
            remedy += "; a cell that holds the delimiter must be quoted, a file of one sentence a line is named .txt"
        return DataError(what, where=place, remedy=remedy)


def _were(count: int, noun: str) -> str:
    return f"{count:,} {noun} was" if count == 1 else f"{count:,} {noun}s were"


def _column(label: str) -> str:
    """A column in a message: by its name, or by its number where it has none."""
    return label if label.startswith("column ") else f"column {shorten(label, length=60)}"


def _open(data: bytes, *, name: str, limits: Limits, quoted: bool | None) -> tuple[Table, ColumnMap | None]:
    kind = sniff_format(data, where=name)
    if kind == "xlsx":
        return WorkbookTable(data, where=name, limits=limits), None
    if kind == "parquet":
        return ParquetTable(data, where=name, limits=limits), None
    expected = _EXTENSIONS.get(suffix(name))
    if expected in {"xlsx", "parquet"} and data[:64].translate(None, delete=bytes(range(32, 127)) + b"\t\r\n"):
        msg = f"the name says {expected.upper()}, but the content is not"
        raise DataError(msg, where=name, remedy="Save the file again")
    utf8, encoding = to_utf8(data, where=name)
    if is_json_lines(utf8, name=name, where=name):
        return JsonTable(utf8, where=name, limits=limits), None
    dialect: Dialect = sniff_dialect(utf8, name=name, quoted=quoted)
    table = TextTable(utf8, dialect, encoding=encoding, where=name, limits=limits)
    return table, _LAYOUT_COLUMNS[dialect.layout] if dialect.layout else None


def _load(source: Path | bytes, where: str, limits: Limits) -> bytes:
    if isinstance(source, bytes):
        size, data = len(source), source
    else:
        try:
            if not source.is_file():
                msg = "this is a folder and not a file" if source.is_dir() else "there is no such file"
                raise DataError(msg, where=str(source), remedy="Check the path")
            size = source.stat().st_size
            data = source.read_bytes() if size <= limits.max_bytes else b""
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            msg = f"the file cannot be read ({getattr(error, 'strerror', None) or type(error).__name__})"
            raise DataError(msg, where=where, remedy="Check the path and its permissions") from error
    if size > limits.max_bytes:
        msg = f"the file has {size / 2**20:,.1f} MiB, more than the cap of {limits.max_bytes / 2**20:,.1f} MiB"
        raise DataError(msg, where=where, remedy=f"Take a part of the file. {raise_cap('max_bytes')}")
    return data


def _merge(stated: ColumnMap, preset: ColumnMap | None) -> ColumnMap:
    """What the caller states wins over what a known layout says."""
    if preset is None:
        return stated
    return ColumnMap(**{k: v if v is not None else getattr(preset, k) for k, v in vars(stated).items()})


def _shown_name(name: str) -> str:
    """A file name fit for a message: the last part of the path, printable, not too long. It is never opened."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    clean = "".join(char for char in last if char.isprintable())
    if len(clean) > 80:
        clean = f"{clean[:59]}…{clean[-20:]}"
    return clean or "the file"


def _check_options(scale: Scale | None, split: Split | None, on_bad_row: OnBadRow) -> None:
    for what, value, allowed in (
        ("scale", scale, (None, *_SCALES)),
        ("split", split, (None, "train", "dev", "test")),
        ("on_bad_row", on_bad_row, ("error", "skip")),
    ):
        if value not in allowed:
            msg = f"the {what} {shorten(str(value))} is not known"
            raise OptionError(msg, remedy=f"Choose one of {', '.join(str(a) for a in allowed if a is not None)}")
