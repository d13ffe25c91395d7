"""Whatever comes in, nothing but our own error comes out, and clean pairs come back as they were."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anticollapse.data import ColumnMap, Limits, PairSet, export_csv, normalise, read_pairs, safe_cell
from anticollapse.errors import AntiCollapseError

KINDS = ("csv", "semicolon", "tsv", "jsonl", "parquet", "xlsx")
NAMES = st.sampled_from(["", "x.csv", "x.tsv", "x.txt", "x.jsonl", "x.xlsx", "x.parquet", "x.bin"])
SMALL = Limits(max_rows=50, max_columns=20, max_cell_chars=100, max_bytes=100_000, max_unpacked_bytes=200_000)
# No time limit for one example: the machine that runs the tests may be busy.
common = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
few = settings(common, max_examples=60)

# Text that every format can hold: spreadsheets hold no control characters.
clean_text = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn"), include_characters='\n",;|\t'), min_size=1, max_size=30
).filter(lambda text: text.strip() and not text.startswith("\ufeff"))
scores = st.integers(0, 500).map(lambda n: n / 100)
json_keys = st.sampled_from(["text1", "text2", "label", "\ud800"])
typed_cells = st.tuples(st.sampled_from(["a", "b c", "1", "", "sentence1", "0.5"]), st.one_of(st.none(), st.floats()))
number_or_none = st.one_of(st.none(), st.integers(-1, 4))
any_cell = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers(), max_size=2)
)


def read(data: bytes, **options: object) -> None:
    """Read with both ways to treat a bad row; only our error may come, on one line and with a remedy."""
    for on_bad_row in ("error", "skip"):
        outcome: PairSet | AntiCollapseError
        try:
            outcome = read_pairs(data, on_bad_row=on_bad_row, **options)
        except AntiCollapseError as error:
            outcome = error
        if isinstance(outcome, PairSet):
            check(outcome)
            continue
        assert outcome.what
        assert outcome.remedy
        assert len(str(outcome).splitlines()) == 1


def check(pairs: PairSet) -> None:
    """What holds for every set."""
    assert pairs.n > 0
    assert all(map(str.strip, pairs.sentences1))
    assert (pairs.rows[1:] > pairs.rows[:-1]).all()
    assert tuple(pairs.sentences[i] for i in pairs.index1) == pairs.sentences1
    if pairs.scores is not None:
        assert ((pairs.scores >= 0) & (pairs.scores <= 5)).all()
    assert len(pairs.digest) == 64
    assert not {bad.row for bad in pairs.skipped} & set(pairs.rows.tolist())
    assert all(note.endswith(".") for note in pairs.notes)


@common
@given(st.binary(max_size=400), NAMES)
def test_arbitrary_bytes(data: bytes, name: str) -> None:
    read(data, name=name, limits=SMALL)


@common
@given(st.text(max_size=200), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "gb18030"]), NAMES)
def test_arbitrary_text(text: str, encoding: str, name: str) -> None:
    read(text.encode(encoding, errors="replace"), name=name, limits=SMALL)


@common
@given(
    st.lists(st.lists(st.text(st.sampled_from("ab1.5 \"'\n\r\t,;|0-é句"), max_size=12), max_size=5), max_size=12),
    st.sampled_from([",", ";", "\t", "|", "||"]),
    st.booleans(),
    NAMES,
)
def test_arbitrary_delimited_text(rows: list[list[str]], delimiter: str, header: bool, name: str) -> None:
    lines = ([["sentence1", "sentence2", "score"]] if header else []) + rows
    read("\n".join(map(delimiter.join, lines)).encode(), name=name, limits=SMALL)


@common
@given(st.lists(st.one_of(st.text(max_size=15), st.dictionaries(json_keys, any_cell)), max_size=8))
def test_arbitrary_json_lines(values: list[object]) -> None:
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    read("\n".join(lines).encode("utf-8", errors="replace"), name="x.jsonl", limits=SMALL)


@few
@given(
    st.sampled_from(["xlsx", "parquet"]),
    st.lists(typed_cells, min_size=1, max_size=6),
    st.sampled_from([("sentence1", "score"), ("x", "y"), ("text", "0")]),
)
def test_arbitrary_typed_tables(
    write: Callable[..., bytes], kind: str, rows: list[tuple[object, ...]], header: tuple[str, ...]
) -> None:
    read(write(kind, header, rows), name=f"x.{kind}", limits=SMALL)


@few
@given(st.sampled_from(["xlsx", "parquet"]), st.data())
def test_damaged_files(write: Callable[..., bytes], kind: str, data: st.DataObject) -> None:
    good = write(kind, ["sentence1", "sentence2", "score"], [("a b", "c d", 3.5), ("e", "f g", 1.0)])
    if kind == "xlsx":  # damage a part behind the checksum of the archive
        with zipfile.ZipFile(io.BytesIO(good)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        name = data.draw(st.sampled_from(sorted(parts)))
        parts[name] = damage(parts[name], data)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for part, content in parts.items():
                archive.writestr(part, content)
        good = buffer.getvalue()
    else:
        good = damage(good, data)
    read(good, limits=SMALL)


def damage(content: bytes, data: st.DataObject) -> bytes:
    position = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(0, 8))
    return content[:position] + data.draw(st.binary(max_size=8)) + content[position + length :]


@few
@given(
    st.binary(max_size=60),
    st.builds(
        ColumnMap,
        sentence1=st.one_of(st.none(), st.integers(-1, 4), st.text(max_size=3)),
        score=number_or_none,
        header=st.one_of(st.none(), st.booleans()),
    ),
)
def test_arbitrary_assignments(tail: bytes, columns: ColumnMap) -> None:
    read(b"a b,c d,1\ne,f,2\n" + tail, columns=columns, limits=SMALL)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(rows=st.lists(st.tuples(clean_text, clean_text, scores), min_size=1, max_size=8))
def test_clean_pairs_come_back(write: Callable[..., bytes], kind: str, rows: list[tuple[str, str, float]]) -> None:
    name = f"x.{'csv' if kind == 'semicolon' else kind}"
    pairs = read_pairs(write(kind, ["sentence1", "sentence2", "score"], rows), name=name, scale="0-5")
    assert pairs.sentences1 == tuple(a for a, _, _ in rows)
    assert pairs.sentences2 == tuple(b for _, b, _ in rows)
    assert pairs.require_scores().tolist() == [s for _, _, s in rows]
    assert pairs.skipped == ()


@few
@given(rows=st.lists(st.tuples(clean_text, clean_text, scores), min_size=1, max_size=8))
def test_exported_pairs_come_back_safe(rows: list[tuple[str, str, float]]) -> None:
    lines = [json.dumps({"sentence1": a, "sentence2": b, "score": s}) for a, b, s in rows]
    pairs = read_pairs("\n".join(lines).encode(), scale="0-5")
    again = read_pairs(export_csv(pairs), scale="0-5", name="x.csv")
    assert again.sentences1 == tuple(map(safe_cell, pairs.sentences1))
    assert again.require_scores().tolist() == pairs.require_scores().tolist()


@given(st.text())
def test_normalise_is_idempotent_and_safe_cells_are_safe(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    assert not safe_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert safe_cell(safe_cell(text)) == safe_cell(text)
