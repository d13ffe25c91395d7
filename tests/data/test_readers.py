from __future__ import annotations

import io
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anticollapse.data import ColumnMap, Limits, PairSet, peek_columns, read_pairs
from anticollapse.data.binary import ParquetTable
from anticollapse.errors import DataError, OptionError

KINDS = ["csv", "semicolon", "tsv", "jsonl", "parquet", "xlsx"]
HEADER = ["sentence1", "sentence2", "score"]
ROWS = [
    ("A cat sleeps.", 'He said "no", twice.', 4.5),
    ("一个女人在弹吉他。", "  spaces stay  ", 0.0),
    ("two\nlines", "Semi; colon, comma | bar", 3.25),
]


def csv_of(*rows: str) -> bytes:
    return "\n".join(["sentence1,sentence2,score", *rows]).encode()


def fails(data: bytes | Path, name: str = "bad.csv", **options: object) -> DataError:
    with pytest.raises(DataError) as caught:
        read_pairs(data, name=name, **options)
    assert caught.value.remedy, "every error says what to do"
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_what_was_written(
    kind: str, write: Callable[..., bytes], file_name: Callable[[str], str]
) -> None:
    pairs = read_pairs(write(kind, HEADER, ROWS), name=file_name(kind))
    assert pairs.sentences1 == tuple(a for a, _, _ in ROWS)
    assert pairs.sentences2 == tuple(b for _, b, _ in ROWS)
    assert pairs.require_scores().tolist() == [4.5, 0.0, 3.25]
    first = 1 if kind in {"jsonl", "parquet"} else 2
    assert pairs.rows.tolist() == [first, first + 1, first + 2]
    assert (pairs.scale, pairs.skipped, pairs.available) == ("0-5", (), tuple(HEADER))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["empty", "nan", "range", "long", "missing score"])
def test_every_format_names_row_and_column_of_a_bad_cell(
    kind: str, fault: str, write: Callable[..., bytes], file_name: Callable[[str], str]
) -> None:
    good = [(f"sentence number {i}", f"another number {i}", i % 6 + 0.5 * (i % 6 < 5)) for i in range(40)]
    bad: dict[str, tuple[object, object, object]] = {
        "empty": ("   ", "x y", 1.0),
        "nan": ("x y", "z", float("nan")),
        "range": ("x y", "z", 45.0),
        "long": ("x y", "z" * 300, 1.0),
        "missing score": ("x y", "z", None),
    }
    rows = [*good[:30], bad[fault], *good[30:], bad[fault]]
    limits = Limits(max_cell_chars=200)
    data = write(kind, HEADER, rows)
    offset = 1 if kind in {"jsonl", "parquet"} else 2
    error = fails(data, file_name(kind), limits=limits)
    column = {"empty": "sentence1", "long": "sentence2"}.get(fault, "score")
    noun = "line" if kind == "jsonl" else "row"
    assert error.where == f'{file_name(kind)}, {noun} {30 + offset}, column "{column}"'
    assert "(1 further row is bad, too)" in error.what
    pairs = read_pairs(data, name=file_name(kind), limits=limits, on_bad_row="skip")
    assert [bad.row for bad in pairs.skipped] == [30 + offset, 41 + offset]
    assert {bad.column for bad in pairs.skipped} == {column}
    assert pairs.sentences1 == tuple(a for a, _, _ in good)
    assert pairs.require_scores().tolist() == [s for _, _, s in good]
    assert any("2 bad rows were skipped" in note for note in pairs.notes)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("high", '"high" is not a number'),
        ("NaN", "no value"),
        ("n/a", "no value"),
        ("-inf", "not finite"),
        ("1e999", "not finite"),
        ("1_0", "not a number"),
        ("", "is missing"),
        ("-0.5", "outside 0–5"),
    ],
)
def test_scores_that_are_none(cell: str, said: str) -> None:
    good = [f"a {i},b {i},{i % 6}" for i in range(30)]
    error = fails(csv_of(*good, f"x,y,{cell}"))
    assert (said in error.what, error.where) == (True, 'bad.csv, row 32, column "score"'), error


def test_scores_on_no_known_scale_are_refused_even_when_skipping() -> None:
    error = fails(csv_of("a,b,3", "c,d,45"), on_bad_row="skip")
    assert "row 3" in error.where
    assert "fit no known scale" in error.what
    assert read_pairs(csv_of("a,b,3", "c,d,45"), scale="0-100").require_scores().tolist() == [0.15, 2.25]
    assert not read_pairs(csv_of("a,b,3", "c,d,45"), scale="none").labelled


def test_scales_are_said_and_converted() -> None:
    pairs = read_pairs(csv_of("a,b,0.6", "c,d,1"))
    assert (pairs.scale, pairs.require_scores().tolist()) == ("0-1", [3, 5])
    assert any("0–1" in note for note in pairs.notes)
    pairs = read_pairs(csv_of("a,b,0", "c,d,1"), scale="0-5")
    assert (pairs.scale, pairs.require_scores().tolist()) == ("0-5", [0, 1])


def test_hidden_and_missing_labels() -> None:
    hidden = read_pairs(csv_of("a,b,-1", "c,d,-1"))
    empty = read_pairs(csv_of("a,b,", "c,d,"))
    assert not hidden.labelled
    assert not empty.labelled
    assert any("hidden labels" in note for note in hidden.notes)
    assert any("without scores" in note for note in empty.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_in_words_are_no_scores(kind: str, write: Callable[..., bytes], file_name: Callable[[str], str]) -> None:
    header = ["premise", "hypothesis", "label"]
    rows = [("a b", "c d", "entailment"), ("e f", "g h", "neutral"), ("i", "j", "-"), ("k", "l", None)]
    pairs = read_pairs(write(kind, header, rows), name=file_name(kind))
    assert (pairs.n, pairs.labelled, pairs.scale) == (4, False, "none")
    assert any("holds words and no numbers" in note for note in pairs.notes)


@pytest.mark.parametrize("cells", [("neutral", "3"), ("3 stars", "4 stars"), ("nan", "n/a"), ("-", "-"), ("inf", "")])
def test_what_could_have_been_a_number_is_still_an_error(cells: tuple[str, str]) -> None:
    assert 'column "score"' in fails(csv_of(f"a,b,{cells[0]}", f"c,d,{cells[1]}")).where


def test_repeated_rows_are_counted() -> None:
    data = csv_of("a b,c,3", "c,a  b,1", "a b,d,3", "e\u0301,f,2", "\u00e9,f ,2")
    assert any("2 rows repeat an earlier one" in note for note in read_pairs(data).notes)
    assert not any("repeat" in note for note in read_pairs(csv_of("a,b,3", "a,c,3")).notes)
    assert any("1 row repeats" in note for note in read_pairs(b"x y\nz\n x y\n").notes)
    skipped = read_pairs(csv_of("a,b,3", "a,b,oh", "c,d,1"), on_bad_row="skip")
    assert not any("repeat" in note for note in skipped.notes)  # a row that was left out repeats nothing


def test_columns_can_be_seen_whatever_is_wrong_with_the_rows() -> None:
    names, columns = peek_columns(csv_of("a,,high", "c"))
    assert (names, columns.sentence1, columns.sentence2, columns.score) == (tuple(HEADER), 1, 2, 3)
    assert peek_columns(b"id,n,m\n1,2,3\n2,3,4\n") == (("id", "n", "m"), ColumnMap())
    assert peek_columns(b'{"x": 1}\n{"y": 2}\n') == (("x", "y"), ColumnMap())
    assert peek_columns(b"1||a b||c d||5\n2||e||f||\n")[1].header is False
    assert peek_columns(b"") == peek_columns(Path("missing.csv")) == ((), ColumnMap())


def test_decimal_commas() -> None:
    pairs = read_pairs(b"sentence1;sentence2;score\na b;c;3,5\nd e;f;4\n")
    assert pairs.require_scores().tolist() == [3.5, 4]
    assert any("Decimal commas" in note for note in pairs.notes)


def test_uneven_rows() -> None:
    data = csv_of("a b,c d,3", "too,many,cells,here", "e f,g h,1", "too few", "", ",,", "i,j,2,,")
    error = fails(data)
    assert error.where == "bad.csv, row 3"
    assert "4 columns and not 3 (1 further row is bad, too)" in error.what
    assert "quoted" in error.remedy
    pairs = read_pairs(data, on_bad_row="skip")
    assert [(bad.row, bad.column) for bad in pairs.skipped] == [(3, ""), (5, "")]
    assert pairs.rows.tolist() == [2, 4, 8]  # empty cells at the end of a row are no further columns
    assert any("2 blank rows" in note for note in pairs.notes)


def test_an_error_in_a_file_with_line_breaks_in_cells_names_the_line_too() -> None:
    assert fails(csv_of('"a\nb\nc",d,3', "e,,2")).where == 'bad.csv, row 3 (line 5), column "sentence2"'


@pytest.mark.parametrize(
    "rows",
    [
        ['"a","b",3', '"c","d,2', '"e","f",1'],
        ["a,b,3", '"c",d,2', '"e"f,g,1'],
        ["a,b,3", 'c,"d, still d,2', "e,f,1"],
    ],
)
def test_broken_quoting_names_the_row(rows: list[str]) -> None:
    error = fails(csv_of(*rows))
    assert error.where in {"bad.csv, row 3", "bad.csv, row 4"}
    assert "quot" in error.remedy


@pytest.mark.parametrize("row", ['"Yes" he said,b,3', '"Stop,b,3'])
def test_quotation_marks_are_characters_where_no_cell_is_quoted(row: str) -> None:
    pairs = read_pairs(csv_of(row, 'c,d "e",2'))
    assert (pairs.sentences1, pairs.sentences2) == ((row.split(",")[0], "c"), ("b", 'd "e"'))
    assert "quotation marks are plain characters" in pairs.notes[0]


def test_blank_rows_before_the_header_and_header_only() -> None:
    pairs = read_pairs(b"\n\nsentence1,sentence2,score\n\na,b,3\n")
    assert pairs.rows.tolist() == [5]
    assert "header and no rows" in fails(csv_of()).what


@pytest.mark.parametrize(
    "header", ["x,y,score", "Satz_A,Satz_B,punkte", "text_a;text_b;label", "id,premise,hypothesis,label"]
)
def test_a_header_of_any_names_alone_is_no_row(header: str) -> None:
    assert "header and no rows" in fails(f"{header}\n".encode()).what


def test_a_single_pair_is_a_row() -> None:
    assert read_pairs(b"a dog runs,a cat eats\n", name="x.csv").n == 1
    assert read_pairs(b"a dog,a cat,news item\n", name="x.csv").n == 1


def test_the_row_of_a_score_outside_the_scale_of_the_others_is_named() -> None:
    rows = [f"one {i},two {i},{140 if i == 30 else 3 * i}" for i in range(33)]
    assert fails(csv_of(*rows)).where == 'bad.csv, row 32, column "score"'
    pairs = read_pairs(csv_of(*rows), on_bad_row="skip")
    assert [row.row for row in pairs.skipped] == [32]
    error = fails(csv_of(*rows[:12], *rows[30:31]))
    assert error.where == 'bad.csv, row 14, column "score"'
    assert "140 is outside 0–100" in error.what


def test_no_usable_row() -> None:
    error = fails(csv_of("a,,3", ",b,3"), on_bad_row="skip")
    assert "No row is usable" in error.remedy
    assert "--columns" in error.remedy
    assert "--on-bad-row skip" in fails(csv_of("a,,3", "a,b,3")).remedy


def test_half_a_surrogate_pair() -> None:
    error = fails(b'{"sentence1": "a \\ud800", "sentence2": "b"}\n', "x.jsonl")
    assert error.where == 'x.jsonl, line 1, column "sentence1"'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{broken", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ("3", "not a JSON object"),
        ("[" * 100_000, "too deep"),
        ('{"score": ' + "9" * 5000 + "}", "too large"),
        ('{"sentence1": ["a"], "sentence2": "b", "score": 1}', "a list and not text"),
        ('{"sentence1": 7, "sentence2": "b", "score": 1}', "a number and not text"),
        ('{"sentence1": "a", "sentence2": {}, "score": 1}', "an object and not text"),
        ('{"sentence1": "a", "sentence2": "b", "score": {}}', "not a number"),
        ('{"sentence1": "a", "sentence2": "b", "score": 1e999}', "not finite"),
        ('{"sentence1": "a", "score": 1}', "empty"),
    ],
)
def test_bad_json_lines(line: str, said: str) -> None:
    good = '{"sentence1": "a", "sentence2": "b", "score": 4}'
    error = fails("\n".join([good, "", line, good]).encode(), "x.jsonl")
    assert said in error.what
    assert error.where.startswith("x.jsonl, line 3")
    skipped = read_pairs("\n".join([good, "", line, good]).encode(), on_bad_row="skip")
    assert (skipped.n, [bad.row for bad in skipped.skipped]) == (2, [3])
    assert any("1 blank row was" in note for note in skipped.notes)


def test_json_arrays_and_first_lines_say_what_to_write() -> None:
    assert "JSON Lines" in fails(b'[\n{"sentence1": "a"}\n]', "x.json").remedy
    assert fails(b"not json\n", "x.jsonl").where == "x.jsonl, line 1"


def test_json_scores_of_true_and_false() -> None:
    data = b'{"text1": "a", "text2": "b", "label": true}\n{"text1": "c", "text2": "d", "label": false}\n'
    assert read_pairs(data).require_scores().tolist() == [5, 0]


def workbook(*sheets: tuple[str, list[list[object]]], state: str = "visible") -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for i, (title, rows) in enumerate(sheets):
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
        if i == 0:
            sheet.sheet_state = state
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def test_workbooks_take_the_first_visible_sheet_with_content() -> None:
    rows: list[list[object]] = [list(HEADER), ["a", "b", 3]]
    pairs = read_pairs(workbook(("hidden", [["x"]]), ("empty", []), ("pairs", rows), state="hidden"))
    assert pairs.sentences1 == ("a",)
    assert 'sheet "pairs"' in pairs.notes[0]


def test_workbook_numbers_are_text_in_a_sentence_column_and_formulas_are_not_computed() -> None:
    pairs = read_pairs(workbook(("pairs", [list(HEADER), ["In words", 2024, 3], [1.5, "x y", "4"]])))
    assert (pairs.sentences1, pairs.sentences2) == (("In words", "1.5"), ("2024", "x y"))
    assert pairs.require_scores().tolist() == [3, 4]
    formula = workbook(("pairs", [list(HEADER), ['=CONCAT("a","b")', "x", 3]]))
    assert fails(formula, "x.xlsx").where == 'x.xlsx, row 2, column "sentence1"'


def replace_part(data: bytes, part: str, change: Callable[[bytes], bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            content = old.read(item)
            new.writestr(item.filename, change(content) if item.filename == part else content)
    return out.getvalue()


SHEET = "xl/worksheets/sheet1.xml"
SMALL: list[list[object]] = [list(HEADER), ["a b", "c d", 3], ["e", "f", 1]]


def test_declared_dimensions_are_not_believed() -> None:
    data = replace_part(workbook(("s", SMALL)), SHEET, lambda xml: xml.replace(b'ref="A1:C3"', b'ref="A1:XFD1048576"'))
    assert b"XFD1048576" in zipfile.ZipFile(io.BytesIO(data)).read(SHEET)
    assert read_pairs(data).n == 2


def test_a_row_far_below_is_over_the_cap() -> None:
    data = replace_part(
        workbook(("s", SMALL)), SHEET, lambda xml: xml.replace(b'"3"', b'"99999999"').replace(b"A3", b"A99999999")
    )
    assert "rows" in fails(data, "x.xlsx", limits=Limits(max_rows=1000)).what


@pytest.mark.parametrize("part", [SHEET, "xl/workbook.xml", "xl/styles.xml", "[Content_Types].xml"])
def test_broken_parts_of_a_workbook(part: str) -> None:
    data = replace_part(workbook(("s", SMALL)), part, lambda xml: xml[: len(xml) // 2])
    assert "damaged" in fails(data, "x.xlsx").what


def with_shared_strings(strings: bytes) -> bytes:
    """Spreadsheet programs keep texts in a part of their own; here cell A2 refers to the first of them."""
    data = workbook(("s", SMALL))
    kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    override = b'<Override PartName="/xl/sharedStrings.xml" ContentType="' + kind + b'"/></Types>'
    data = replace_part(data, "[Content_Types].xml", lambda xml: xml.replace(b"</Types>", override))
    data = replace_part(data, SHEET, lambda xml: re.sub(rb'<c r="A2".*?</c>', b'<c r="A2" t="s"><v>0</v></c>', xml))
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("xl/sharedStrings.xml", strings)
    return buffer.getvalue()


def test_shared_strings_of_a_workbook() -> None:
    space = b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    assert read_pairs(with_shared_strings(space + b"<si><t>shared text</t></si></sst>")).sentences1[0] == "shared text"
    assert "damaged" in fails(with_shared_strings(space + b"</sst>"), "x.xlsx").what
    assert "damaged" in fails(with_shared_strings(space + b"<si><t>cut"), "x.xlsx").what


def test_zip_bombs_are_refused_before_they_are_unpacked() -> None:
    data = replace_part(workbook(("s", SMALL)), SHEET, lambda xml: xml + b" " * 2**24)
    assert len(data) < 2**16
    error = fails(data, "x.xlsx", limits=Limits(max_unpacked_bytes=2**20))
    assert "unpacks to 16.0 MiB" in error.what


def test_entity_bombs_are_refused() -> None:
    bomb = b'<!DOCTYPE z [<!ENTITY a "' + b"a" * 1000 + b'">'
    for previous, name in zip("abcdef", "bcdefg", strict=True):
        bomb += f'<!ENTITY {name} "{f"&{previous};" * 20}">'.encode()
    bomb += b"]>"
    data = replace_part(
        workbook(("s", SMALL)), SHEET, lambda xml: bomb + xml.replace(b"<sheetData>", b"<sheetData>&g;")
    )
    fails(data, "x.xlsx")


def parquet(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_types_of_text_and_scores(kind: pa.DataType) -> None:
    for scores in (
        pa.array([0, 5, 3], pa.int32()),
        pa.array([0, 5, 3], pa.float32()),
        pa.array([0, 5, 3], pa.decimal128(5, 2)),
    ):
        texts = pa.array(["a b", "c d", "a b"]).cast(kind)
        pairs = read_pairs(parquet(pa.table({"sentence1": texts, "sentence2": texts, "score": scores})))
        assert pairs.sentences1 == ("a b", "c d", "a b")
        assert pairs.require_scores().tolist() == [0, 5, 3]


def test_parquet_with_other_columns_row_groups_and_an_index() -> None:
    frame = pd.DataFrame(
        {"sentence1": ["a b", None, "c"] * 2, "sentence2": ["x"] * 6, "score": [0.5] * 6, "list": [[1]] * 6}
    )
    buffer = io.BytesIO()
    frame.set_index(pd.Index(range(6), name="key")).to_parquet(buffer, row_group_size=2)
    assert fails(buffer.getvalue(), "x.parquet").where == 'x.parquet, row 2, column "sentence1"'
    pairs = read_pairs(buffer.getvalue(), on_bad_row="skip")
    assert (pairs.sentences1, pairs.rows.tolist()) == (("a b", "c", "a b", "c"), [1, 3, 4, 6])


def test_parquet_keeps_a_repeated_text_once() -> None:
    text = "long " * 1000
    table = pa.table({"sentence1": [text] * 20_000, "sentence2": [text] * 20_000})
    pairs = read_pairs(parquet(table))
    assert pairs.n == 20_000
    assert len({id(t) for t in pairs.sentences1}) <= 20  # not 20,000 copies of 5,000 characters


def most_memory(action: Callable[[], object]) -> int:
    """Bytes of Arrow's memory and Python's objects at the highest point of an action."""
    pool = pa.default_memory_pool()
    pool.release_unused()
    before = pool.bytes_allocated()
    highest = 0
    real = ParquetTable._table

    def watched(self: ParquetTable, names: list[str], rows: int | None) -> pa.Table:
        nonlocal highest
        table = real(self, names, rows)
        highest = max(highest, pool.bytes_allocated() - before)
        return table

    tracemalloc.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ParquetTable, "_table", watched)
            action()
        return highest + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [pa.binary(), pa.string(), pa.large_string(), pa.binary(200_000)])
def test_parquet_bombs_of_one_long_value_repeated(kind: pa.DataType) -> None:
    texts = [f"sentence number {i}" for i in range(1000)]
    bomb = pa.array(["x" * 200_000] * 1000).cast(pa.binary()).cast(kind)
    data = parquet(pa.table({"sentence1": texts, "sentence2": texts, "bomb": bomb}))
    assert len(data) < 60_000
    found: list[PairSet] = []
    assert most_memory(lambda: found.append(read_pairs(data))) < 20 * 2**20  # decoded they are 200 MB
    assert found[0].sentences1 == tuple(texts)
    unusable = not (pa.types.is_string(kind) or pa.types.is_large_string(kind))
    assert ("bomb" in found[0].available) != unusable
    assert any(f"bomb ({kind})" in note for note in found[0].notes) == unusable


@pytest.mark.parametrize("bombed", ["sentence1", "other"])
def test_parquet_bombs_of_a_common_beginning(bombed: str) -> None:
    texts = {name: [f"sentence number {i}" for i in range(1000)] for name in ("sentence1", "sentence2", "other")}
    texts[bombed] = [f"{'x' * 100_000}{i}" for i in range(1000)]
    table, encoded = pa.table(texts), {bombed: "DELTA_BYTE_ARRAY"}
    data = parquet(table, use_dictionary=False, column_encoding=encoded)
    assert len(data) < 60_000
    limits = Limits(max_unpacked_bytes=8 * 2**20)
    assert most_memory(lambda: fails(data, "x.parquet", limits=limits)) < 40 * 2**20
    assert "unpacks to" in fails(data, "x.parquet", limits=limits).what
    small = parquet(table.slice(0, 20), use_dictionary=False, column_encoding=encoded)
    assert read_pairs(small, limits=Limits(max_cell_chars=200_000)).sentences1 == tuple(texts["sentence1"][:20])


def test_parquet_without_a_column_of_texts_or_numbers() -> None:
    error = fails(parquet(pa.table({"sentence1": pa.array([b"a", b"b"])})), "x.parquet")
    assert "no column holds texts or numbers" in error.what


def test_parquet_caps_are_checked_by_the_metadata() -> None:
    data = parquet(pa.table({"sentence1": ["a"] * 100, "sentence2": ["b"] * 100}))
    assert "more than 50 rows" in fails(data, "x.parquet", limits=Limits(max_rows=50)).what
    assert "columns" in fails(data, "x.parquet", limits=Limits(max_columns=1)).what
    assert "unpacks" in fails(data, "x.parquet", limits=Limits(max_unpacked_bytes=10)).what
    assert "empty" in fails(parquet(pa.table({"sentence1": pa.array([], pa.string())})), "x.parquet").what
    assert "damaged" in fails(data[:-20] + b"\0" * 16 + b"PAR1", "x.parquet").what


def test_caps_on_text() -> None:
    data = csv_of("a,b,3", "c,d,1")
    assert "more than 1 rows" in fails(data, limits=Limits(max_rows=1)).what
    assert read_pairs(data, limits=Limits(max_rows=2)).n == 2
    assert "4 columns" not in fails(data, limits=Limits(max_columns=2)).what
    assert "more than the cap" in fails(data, limits=Limits(max_columns=2)).what
    assert "MiB" in fails(data, limits=Limits(max_bytes=10)).what
    assert "field larger than field limit" in fails(csv_of(f"a,{'b' * 200_000},3")).what
    many = b"".join(b'{"k%d": 1}\n' % i for i in range(300))
    assert "columns" in fails(many, "x.jsonl").what


@pytest.mark.parametrize("kind", KINDS)
def test_row_caps_hold_in_every_format(kind: str, write: Callable[..., bytes], file_name: Callable[[str], str]) -> None:
    data = write(kind, HEADER, ROWS)
    assert read_pairs(data, name=file_name(kind), limits=Limits(max_rows=3)).n == 3
    assert "more than 2 rows" in fails(data, file_name(kind), limits=Limits(max_rows=2)).what


def test_paths(tmp_path: Path) -> None:
    good = tmp_path / "good.csv"
    good.write_bytes(csv_of("a,b,3"))
    assert read_pairs(good).name == "good.csv"
    assert "no such file" in fails(tmp_path / "missing.csv", "").what
    assert "folder" in fails(tmp_path, "").what
    assert "MiB" in fails(good, "", limits=Limits(max_bytes=3)).what
    fails(Path("a\0b"), "")


def test_a_client_file_name_is_only_shown() -> None:
    error = fails(b"", "../../etc/x\x1b[31m\n" + "y" * 300 + ".csv")
    assert error.where.startswith("x[31m")
    assert len(error.where) <= 80
    assert fails(b"", "C:\\data\\pairs.csv").where == "pairs.csv"
    assert fails(b"", "").where == "the file"


def test_splits_of_a_file() -> None:
    data = b"sentence1,sentence2,score,split\na,b,3,train\nc,d,2,Validation\ne,f,1,test\n,h,1,test\n"
    assert read_pairs(data, split="dev").sentences1 == ("c",)
    assert read_pairs(data, split="train").rows.tolist() == [2]  # the bad row is in another split
    assert fails(data, split="test").where == 'bad.csv, row 5, column "sentence1"'
    assert "no column that says" in fails(csv_of("a,b,3"), split="dev").what
    assert "no row belongs" in fails(b"sentence1,sentence2,split\na,b,train\n", split="dev").what


@pytest.mark.parametrize("option", [{"scale": "0-7"}, {"split": "all"}, {"on_bad_row": "ignore"}])
def test_options_are_checked(option: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="is not known"):
        read_pairs(b"a\n", **option)


def test_texts_are_shown_as_given() -> None:
    text = "  e\u0301 \u3000x\u00a0 "
    pairs = read_pairs(f"sentence1\tsentence2\n{text}\ty\n".encode())
    assert pairs.sentences1 == (text,)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "n"),
    [
        ("stsb_en/sts-train.csv", 5749),
        ("stsb_en/sts-dev.csv", 1500),
        ("stsb_en/sts-test.csv", 1379),
        ("stsb_zh/cnsd-sts-train.txt", 5231),
        ("stsb_zh/cnsd-sts-dev.txt", 1458),
        ("stsb_zh/cnsd-sts-test.txt", 1361),
    ],
)
def test_the_real_files(shared_data: Path, file: str, n: int) -> None:
    pairs: PairSet = read_pairs(shared_data / file)
    lines = (shared_data / file).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if "_en" in file:
        expected = [(f[5], f[6], float(f[4])) for f in (line.split("\t") for line in lines)]
    else:
        expected = [(f[1], f[2], float(f[3])) for f in (line.split("||") for line in lines)]
    found = list(zip(pairs.sentences1, pairs.sentences2 or (), pairs.require_scores().tolist(), strict=True))
    assert found == expected
    assert (pairs.n, pairs.scale, pairs.skipped) == (n, "0-5", ())
    assert np.array_equal(pairs.rows, np.arange(1, n + 1))


def test_columns_without_a_name_are_called_by_number() -> None:
    assert fails(b"a b\tc d\t3\ne f\t \t1\ng\th i\t2\n").where == "bad.csv, row 2, column 2"
