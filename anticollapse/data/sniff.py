"""What a file is, judged by its content; its name is only a hint."""

from __future__ import annotations

import codecs
import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from anticollapse.data.cells import is_number
from anticollapse.data.columns import count_known_names, looks_like_header
from anticollapse.data.hanzi import plausible_chinese
from anticollapse.errors import DataError

Format = Literal["text", "jsonl", "xlsx", "parquet"]
Layout = Literal["stsb-en", "stsb-zh"]

SAMPLE_CHARS = 256 * 1024
_SAMPLE_RECORDS = 300

# First bytes of what people send by mistake, and what to do about it.
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls)", "Save it as .xlsx or CSV"),
    (b"%PDF-", "a PDF document", "Export the table as CSV"),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first"),
    (b"\xfd7zXZ\x00", "an xz archive", "Unpack it first"),
    (b"BZh", "a bzip2 archive", "Unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "Unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it first"),
    (b"ARROW1", "an Arrow IPC file", "Save it as Parquet"),
    (b"SQLite format 3\x00", "an SQLite database", "Export the table as CSV"),
    (b"\x89PNG", "a PNG image", "Give a table of sentences"),
    (b"\xff\xd8\xff", "a JPEG image", "Give a table of sentences"),
    (b"\x93NUMPY", "a NumPy array", "Give a table of sentences"),
    (b"\x89HDF", "an HDF5 file", "Save the table as Parquet or CSV"),
)
_ACCEPTED = "Give CSV, TSV, XLSX, JSON Lines or Parquet"


@dataclass(frozen=True)
class Dialect:
    """How delimited text is written.

    Attributes:
        delimiter: Between cells; empty for one sentence a line.
        quoted: Whether cells may stand in quotation marks.
        layout: One of the two layouts in which STS-B is given out.
        quote_line: Line at which strict reading with quotation marks fails, 0 if it does not.
    """

    delimiter: str
    quoted: bool = False
    layout: Layout | None = None
    quote_line: int = 0


def sniff_format(data: bytes, *, where: str) -> Format:
    """The format of a file by its first bytes; text is told apart by :func:`is_json_lines` later.

    Raises:
        DataError: If the file is empty or binary in a format that is not read.
    """
    if not data.strip():
        msg = "the file is empty"
        raise DataError(msg, where=where, remedy="Give a file with at least one sentence")
    if data.startswith(b"PAR1"):
        return "parquet"
    if data.startswith(b"PK\x03\x04"):
        return _check_workbook(data, where)
    for magic, what, remedy in _FOREIGN:
        if data.startswith(magic):
            msg = f"the content is {what}, which is not read"
            raise DataError(msg, where=where, remedy=remedy)
    return "text"


def _check_workbook(data: bytes, where: str) -> Format:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        msg = "the content is a damaged ZIP archive or workbook"
        raise DataError(msg, where=where, remedy="Save the file again") from error
    if "[Content_Types].xml" in names and any(name.startswith("xl/") for name in names):
        return "xlsx"
    msg = "the content is a ZIP archive and not an XLSX workbook"
    raise DataError(msg, where=where, remedy="Unpack it first")


def to_utf8(data: bytes, *, where: str) -> tuple[bytes, str]:
    """Recognise the encoding of a text file and give it in UTF-8 without a byte-order mark.

    A byte-order mark decides; without one, UTF-16 shows by its zero bytes, then UTF-8 is tried strictly, then
    GB18030, which decodes almost anything and is therefore taken only if the outcome is mostly common Chinese and no
    other East Asian encoding makes as much sense (:mod:`anticollapse.data.hanzi`).

    Returns:
        The text and the name of the encoding.

    Raises:
        DataError: If the encoding is another one, or the content is binary.
    """
    for bom, codec, name in (
        (codecs.BOM_UTF8, "utf-8", "UTF-8 with byte-order mark"),
        (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
        (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
    ):
        if data.startswith(bom):
            return _checked(_recode(data[len(bom) :], codec, where), where), name
    codec = _utf16_without_bom(data)
    if codec:
        return _checked(_recode(data, codec, where), where), "UTF-16 without byte-order mark"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        text, likely = plausible_chinese(data, sample=SAMPLE_CHARS)
        if text is None:
            _checked(data, where)  # "binary content" says more than "unknown encoding"
            line = data.count(b"\n", 0, error.start) + 1
            guess = f"; it seems to be {likely}" if likely else ""
            msg = f"the text is neither UTF-8, UTF-16 nor GB18030{guess}"
            raise DataError(msg, where=f"{where}, line {line}", remedy="Convert the file to UTF-8") from error
        return _checked(text.encode("utf-8"), where), "GB18030"
    return _checked(data, where), "UTF-8"


def _recode(data: bytes, codec: str, where: str) -> bytes:
    try:
        return data if codec == "utf-8" and data.decode(codec) is not None else data.decode(codec).encode("utf-8")
    except UnicodeError as error:
        msg = f"the byte-order mark says {codec.upper()[:6].rstrip('-')}, but the text is not valid in it"
        raise DataError(msg, where=where, remedy="Save the file as UTF-8") from error


def _utf16_without_bom(data: bytes) -> str:
    """The byte order if every other byte of the beginning is mostly zero, as in Latin text in UTF-16."""
    head = data[:4096]
    if len(data) % 2 or len(head) < 2:
        return ""
    half = len(head) // 2
    even, odd = head[0::2].count(0) / half, head[1::2].count(0) / half
    if odd >= 0.3 and even <= 0.02:
        return "utf-16-le"
    return "utf-16-be" if even >= 0.3 and odd <= 0.02 else ""


def _checked(utf8: bytes, where: str) -> bytes:
    """Refuse binary content that happens to decode."""
    head = utf8[: 64 * 1024]
    odd = len(head) - len(head.translate(None, delete=bytes(set(range(32)) - {9, 10, 11, 12, 13, 27})))
    if b"\0" in utf8 or odd > 0.01 * len(head):
        msg = "the content is binary and not a table of sentences"
        raise DataError(msg, where=where, remedy=_ACCEPTED)
    if not utf8.strip():
        msg = "the file is empty"
        raise DataError(msg, where=where, remedy="Give a file with at least one sentence")
    return utf8


def is_json_lines(utf8: bytes, *, name: str, where: str) -> bool:
    """Whether the text is JSON Lines: by its first line, or by a name that says so.

    Raises:
        DataError: If it is one JSON array.
    """
    hinted = suffix(name) in {".jsonl", ".ndjson", ".json"}
    line = utf8.lstrip()[:SAMPLE_CHARS].split(b"\n", 1)[0].strip()
    if line.startswith(b"[") and (hinted or line == b"["):
        msg = "the content is one JSON array"
        raise DataError(msg, where=where, remedy="Write JSON Lines: one object a line, without brackets around them")
    if not line.startswith(b"{"):
        return hinted
    if hinted:
        return True
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def suffix(name: str) -> str:
    """The extension of a file name, lower case, with its dot."""
    return PurePosixPath(name).suffix.lower()


def split_lines(utf8: bytes) -> Iterator[str]:
    """Lines without their ends; LF, CRLF and CR end a line, other Unicode separators belong to a sentence."""
    with io.TextIOWrapper(io.BytesIO(utf8), encoding="utf-8", newline=None) as stream:
        for line in stream:
            yield line.removesuffix("\n")


def records(utf8: bytes, dialect: Dialect, *, strict: bool = True) -> Iterator[list[str]]:
    """Cells of each record; an empty line gives an empty list or one empty cell.

    Raises:
        csv.Error: On broken quoting (``strict``) or a field over the csv module's cap of 131,072 characters.
    """
    if len(dialect.delimiter) != 1:
        for line in split_lines(utf8):
            yield line.split(dialect.delimiter) if dialect.delimiter else [line]
        return
    with io.TextIOWrapper(io.BytesIO(utf8), encoding="utf-8", newline="") as stream:
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
        quotechar = '"' if dialect.quoted else None
        yield from csv.reader(
            stream, delimiter=dialect.delimiter, quoting=quoting, quotechar=quotechar, strict=strict and dialect.quoted
        )


def sniff_dialect(utf8: bytes, *, name: str, quoted: bool | None = None) -> Dialect:
    """Delimiter and quoting of delimited text.

    Args:
        utf8: The text.
        name: File name, a hint where the content leaves it open.
        quoted: Whether cells may be quoted; ``None`` = recognise.
    """
    cut = len(utf8) > SAMPLE_CHARS
    sample = utf8[:SAMPLE_CHARS]
    sample = sample[: max(sample.rfind(b"\n"), sample.rfind(b"\r")) + 1] or sample if cut else sample
    if cut:
        sample = sample.decode("utf-8", errors="ignore").encode("utf-8")
    layout = _stsb_layout(sample)
    if layout:
        return Dialect("\t" if layout == "stsb-en" else "||", layout=layout)
    delimiter = _choose_delimiter(sample, suffix(name))
    if len(delimiter) != 1 or quoted is False:
        return Dialect(delimiter)
    if quoted:
        return Dialect(delimiter, quoted=True)
    line = _broken_quote(utf8, delimiter)
    return Dialect(delimiter, quoted=line == 0 or _needs_quotes(sample, delimiter), quote_line=line)


def _stsb_layout(sample: bytes) -> Layout | None:
    """The layouts of the English (tab, score in column 5) and the Chinese (``id||s1||s2||score``) STS-B files."""
    lines = [line for line in split_lines(sample) if line.strip()][:_SAMPLE_RECORDS]
    tabbed = [line.split("\t") for line in lines]
    if all(len(c) >= 7 and is_number(c[4]) and not is_number(c[5]) and c[6].strip() for c in tabbed):
        return "stsb-en"
    barred = [line.split("||") for line in lines]
    if all(len(c) == 4 and is_number(c[3]) and not is_number(c[1]) and c[2].strip() for c in barred):
        return "stsb-zh"
    return None


def _choose_delimiter(sample: bytes, extension: str) -> str:
    candidates = [d for d in ("\t", "||", ",", ";", "|") if d.encode() in sample]
    tables = {d: _sample_records(sample, Dialect(d, quoted=True)) for d in candidates}
    named = {d: count_known_names(t[0]) for d, t in tables.items() if len(t[0]) > 1 and looks_like_header(t)}
    if named and max(named.values()) >= 2:
        return max(named, key=lambda d: named[d])
    shares = {d: _consistency(t) for d, t in tables.items()}
    for delimiter in ("\t", "||"):  # hardly ever inside a sentence
        if shares.get(delimiter, 0.0) >= 0.5:
            return delimiter
    if extension == ".tsv":
        return "\t"
    if extension == ".csv":
        return max((d for d in (",", ";") if shares.get(d, 0.0) >= 0.5), key=lambda d: shares[d], default=",")
    for delimiter in (";", ",", "|"):  # also punctuation: only with a column of numbers as evidence
        if shares.get(delimiter, 0.0) >= 0.8 and _has_numbers(tables[delimiter]):
            return delimiter
    return ""


def _sample_records(sample: bytes, dialect: Dialect) -> list[list[str]]:
    out: list[list[str]] = []
    try:
        for record in records(sample, dialect, strict=False):
            if any(cell.strip() for cell in record):
                out.append(record)
            if len(out) >= _SAMPLE_RECORDS:
                break
    except csv.Error:
        pass  # an over-long field: judge by what came before it
    return out or [[""]]


def _consistency(table: list[list[str]]) -> float:
    """Share of the records that have the most frequent width, 0 if that is one column."""
    width, count = Counter(map(len, table)).most_common(1)[0]
    return count / len(table) if width > 1 else 0.0


def _has_numbers(table: list[list[str]]) -> bool:
    width = Counter(map(len, table)).most_common(1)[0][0]
    body = [record for record in table if len(record) == width]
    body = body[1:] or body
    return any(sum(is_number(r[i]) for r in body) >= 0.9 * len(body) for i in range(width))


def _needs_quotes(sample: bytes, delimiter: str) -> bool:
    """Whether cells are quoted although the quoting is broken somewhere, so that the place must be reported.

    So it is if rows are uneven without quoting, or, in a file with a delimiter that is also punctuation, if whole
    cells stand in quotation marks. With tabs those are common in files that know no quoting, such as STS-B.
    """
    table = _sample_records(sample, Dialect(delimiter))
    wrapped = any(len(cell) > 1 and cell[0] == cell[-1] == '"' for record in table for cell in record)
    return len({len(record) for record in table}) > 1 or (wrapped and delimiter in {",", ";"})


def _broken_quote(utf8: bytes, delimiter: str) -> int:
    """The line at which strict reading with quotation marks fails, 0 if the whole file reads."""
    if b'"' not in utf8:
        return 0
    with io.TextIOWrapper(io.BytesIO(utf8), encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        try:
            for _ in reader:
                pass
        except csv.Error:
            return reader.line_num
    return 0
