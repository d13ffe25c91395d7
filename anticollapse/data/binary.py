"""Workbooks and Parquet files, with the care that files from strangers need."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anticollapse.data.pairs import Limits
from anticollapse.data.tables import HEAD, RecordTable, Selection, raise_cap, too_many_columns, too_many_rows
from anticollapse.errors import DataError


class WorkbookTable(RecordTable):
    """The first visible worksheet that is not empty.

    Read-only mode streams the rows; what the sheet declares of its size is not believed. Formulas are never
    computed: the value that the spreadsheet program stored is taken, and where there is none the cell is empty.
    Entity bombs are refused by expat itself (since 2.4.1), archives that unpack to too much by the cap.

    Raises:
        DataError: If the archive is damaged, unpacks to more than the cap, or has no sheet with content.
    """

    loose = True

    def __init__(self, data: bytes, *, where: str, limits: Limits) -> None:
        super().__init__(where=where, limits=limits, pad=True)
        # Here and not above: it takes time at every start, and a machine that only trains may lack it.
        import openpyxl

        _check_unpacked(_unpacked_size(data, where), limits, where)
        try:
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        except (
            Exception
        ) as error:  # openpyxl raises whatever a broken part leads to: KeyError, ValueError, ParseError, …
            raise _damaged("workbook", error, where) from error
        sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"] or book.worksheets
        self._sheet: Any = None
        for sheet in sheets:
            sheet.reset_dimensions()  # a sheet may declare a million columns and hold two
            self._sheet = sheet
            if any(any(cell is not None for cell in record) for record in self._records()):
                break
        else:
            msg = "the workbook has no sheet with content"
            raise DataError(msg, where=where, remedy="Give a file with at least one sentence")
        more = f", the first with content of {len(sheets)}" if len(sheets) > 1 else ""
        self.kind = f'XLSX (sheet "{self._sheet.title}"{more})'

    def _records(self) -> Iterator[Sequence[object]]:
        try:
            rows = self._sheet.iter_rows(values_only=True)
            for count, record in enumerate(rows):
                if count > self.limits.max_rows:  # a header and max_rows rows
                    raise too_many_rows(self.limits, self.where)
                if len(record) > self.limits.max_columns and any(
                    c is not None for c in record[self.limits.max_columns :]
                ):
                    raise too_many_columns(len(record), self.limits, f"{self.where}, row {count + 1}")
                yield record
        except DataError:
            raise
        except Exception as error:  # as above: any part of the sheet's XML may be broken
            raise _damaged("workbook", error, self.where) from error


class ParquetTable:
    """A Parquet file; its columns of texts, numbers and truth values. Any other column is named in a note and not read.

    A file of a few kilobytes can hold a long value a million times. So texts are read dictionary-encoded, in which they
    stay one object, and columns of other kinds (binary, lists, …) are never decoded. Texts that are stored without
    their common beginnings have no such form: they are read in steps that cannot exceed the cap, and counted.

    Raises:
        DataError: If the file is damaged or over the caps, by its metadata, before anything is decoded.
    """

    kind = "Parquet"
    loose = False

    def __init__(self, data: bytes, *, where: str, limits: Limits) -> None:
        self.where = where
        self.limits = limits
        try:
            meta = pq.read_metadata(pa.BufferReader(data))
            schema = meta.schema.to_arrow_schema()
            read_as = pq.ParquetFile(pa.BufferReader(data), metadata=meta).schema_arrow
        except Exception as error:  # ArrowException, OSError, ValueError, by what is broken
            raise _damaged("Parquet file", error, where) from error
        if meta.num_rows > limits.max_rows:
            raise too_many_rows(limits, where)
        if meta.num_columns > limits.max_columns:
            raise too_many_columns(meta.num_columns, limits, where)
        _check_unpacked(sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)), limits, where)
        if len(set(schema.names)) != len(schema.names):
            msg = "two columns have the same name"
            raise DataError(msg, where=where, remedy="Rename one of them")
        # What the file stores, and what the schema of its writer makes of it: neither may be of another kind.
        usable = [
            f.name
            for f in schema
            if "." not in f.name and _is_simple(f.type) and _is_simple(read_as.field(f.name).type)
        ]
        self.names: tuple[str, ...] | None = tuple(usable)
        self.notes = _unusable_note([f"{f.name} ({f.type})" for f in schema if f.name not in usable])
        self._columns = usable
        if meta.num_rows == 0 or not usable:
            msg = "the file is empty" if meta.num_rows == 0 else "no column holds texts or numbers"
            raise DataError(msg, where=where, remedy="Give a file with at least one sentence, stored as text")
        prefixed = _prefixed(meta)
        texts = [name for name in usable if _is_text(schema.field(name).type) and name not in prefixed]
        # No text is longer than all that is stored of its column, so this many rows stay within the cap.
        size = sum(prefixed[name] for name in usable if name in prefixed)
        self._step = max(1, min(HEAD, limits.max_unpacked_bytes // max(size, 1)))
        self._prefixed = prefixed.keys()
        try:
            self._file = pq.ParquetFile(pa.BufferReader(data), metadata=meta, read_dictionary=texts)
        except Exception as error:
            raise _damaged("Parquet file", error, where) from error

    def place(self, row: int) -> str:
        """Row number; Parquet has no header row."""
        return f"row {row}"

    def head(self) -> list[list[object]]:
        """See :class:`anticollapse.data.tables.Table`."""
        columns = [cells[:HEAD] for cells in self._cells(self._columns, rows=HEAD)]
        return [list(record) for record in zip(*columns, strict=True)]

    def select(self, columns: Sequence[int], *, header: bool) -> Selection:
        """See :class:`anticollapse.data.tables.Table`; ``header`` has no meaning here."""
        del header
        names = list(dict.fromkeys(self._columns[i] for i in columns))
        cells = dict(zip(names, self._cells(names), strict=True))
        rows = np.arange(1, len(cells[names[0]]) + 1, dtype=np.int64)
        return Selection(cells=[cells[self._columns[i]] for i in columns], rows=rows)

    def _cells(self, names: list[str], rows: int | None = None) -> list[list[object]]:
        """The columns, whole or (at least) their first rows."""
        try:
            table = self._table(names, rows)
            return [[c for chunk in table.column(name).chunks for c in _python(chunk)] for name in names]
        except DataError:
            raise
        except Exception as error:
            raise _damaged("Parquet file", error, self.where) from error

    def _table(self, names: list[str], rows: int | None) -> Any:  # noqa: ANN401  # pyarrow has no types
        if rows is None and self._prefixed.isdisjoint(names):
            return self._file.read(columns=names, use_threads=False)
        batches, done, size = [], 0, 0
        for batch in self._file.iter_batches(batch_size=self._step, columns=names, use_threads=False):
            batches.append(batch)
            done += batch.num_rows
            size += sum(batch.column(name).nbytes for name in self._prefixed & set(names))
            _check_unpacked(size, self.limits, self.where)
            if rows is not None and done >= rows:
                break
        return pa.Table.from_batches(batches)


def _prefixed(meta: Any) -> dict[str, int]:  # noqa: ANN401
    """Columns of which a part is stored without common beginnings (DELTA_BYTE_ARRAY), and their stored bytes."""
    sizes: dict[str, int] = {}
    found: set[str] = set()
    for group in map(meta.row_group, range(meta.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            sizes[chunk.path_in_schema] = sizes.get(chunk.path_in_schema, 0) + chunk.total_uncompressed_size
            if "DELTA_BYTE_ARRAY" in chunk.encodings:
                found.add(chunk.path_in_schema)
    return {name: sizes[name] for name in found}


def _unusable_note(columns: list[str]) -> tuple[str, ...]:
    """Which columns were not read, as a note."""
    if not columns:
        return ()
    shown = ", ".join(columns[:8]) + (f" and {len(columns) - 8} more" if len(columns) > 8 else "")
    one = len(columns) == 1
    kept = "holds neither texts nor numbers and was" if one else "hold neither texts nor numbers and were"
    return (f"The {'column' if one else 'columns'} {shown} {kept} not read.",)


def _python(array: Any) -> list[object]:  # noqa: ANN401  # pyarrow has no types
    """Cells as Python objects; equal texts of a dictionary stay one object."""
    if not pa.types.is_dictionary(array.type):
        return list(array.to_pylist())
    values = np.empty(len(array.dictionary) + 1, dtype=object)
    values[:-1] = array.dictionary.to_pylist()
    values[-1] = None  # the place of a missing cell
    taken: list[object] = values[
        pc.fill_null(array.indices, len(array.dictionary)).to_numpy(zero_copy_only=False)
    ].tolist()
    return taken


def _is_text(kind: Any) -> bool:  # noqa: ANN401
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_simple(kind: Any) -> bool:  # noqa: ANN401
    """Whether a column holds texts, numbers, truth values or nothing."""
    if pa.types.is_dictionary(kind):
        return _is_simple(kind.value_type)
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_null)
    return _is_text(kind) or any(check(kind) for check in checks)


def _unpacked_size(data: bytes, where: str) -> int:
    # zipfile never yields more than the size that an entry declares, so the declared sizes can be relied on.
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _damaged("workbook", error, where) from error


def _check_unpacked(size: int, limits: Limits, where: str) -> None:
    if size > limits.max_unpacked_bytes:
        cap = limits.max_unpacked_bytes / 2**20
        msg = f"the content unpacks to {size / 2**20:,.1f} MiB, more than the cap of {cap:,.1f} MiB"
        raise DataError(msg, where=where, remedy=f"Take a part of the file. {raise_cap('max_unpacked_bytes')}")


def _damaged(what: str, error: Exception, where: str) -> DataError:
    msg = f"the {what} is damaged or of a kind that is not read ({type(error).__name__})"
    return DataError(msg, where=where, remedy="Save the file again")
