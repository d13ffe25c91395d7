from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl.cell import WriteOnlyCell

KINDS = ("csv", "semicolon", "tsv", "jsonl", "parquet", "xlsx")
EXTENSIONS = {"semicolon": "csv"}

Write = Callable[[str, Sequence[str], Sequence[Sequence[object]]], bytes]


def _text_cell(sheet: Any, text: str) -> WriteOnlyCell:
    cell = WriteOnlyCell(sheet, text)
    cell.data_type = "s"  # openpyxl would write "=1" as a formula
    return cell


def write_table(kind: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    """A table as the usual tools write it."""
    if kind in {"csv", "semicolon", "tsv"}:
        delimiter = {"csv": ",", "semicolon": ";", "tsv": "\t"}[kind]
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=delimiter).writerows([header, *rows])
        return out.getvalue().encode("utf-8")
    if kind == "jsonl":
        lines = [json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) for row in rows]
        return "\n".join(lines).encode("utf-8", errors="surrogatepass")
    buffer = io.BytesIO()
    if kind == "parquet":
        columns = list(zip(*rows, strict=True)) or [[] for _ in header]
        pq.write_table(pa.table({name: pa.array(list(c)) for name, c in zip(header, columns, strict=True)}), buffer)
    else:
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet("pairs")
        for row in [header, *rows]:
            sheet.append([_text_cell(sheet, cell) if isinstance(cell, str) else cell for cell in row])
        book.save(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def write() -> Write:
    return write_table


@pytest.fixture(scope="session")
def file_name() -> Callable[[str], str]:
    return lambda kind: f"pairs.{EXTENSIONS.get(kind, kind)}"
