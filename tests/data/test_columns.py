from __future__ import annotations

import json

import pytest

from anticollapse.data import ColumnMap, PairSet, read_pairs
from anticollapse.data.columns import PAIR_NAMES, SCORE_NAMES, looks_like_header
from anticollapse.errors import DataError

ROWS = [
    ("A cat sleeps.", "A cat is asleep.", "4.5"),
    ("A dog runs.", "It rains.", "0"),
    ("Two men sing.", "Men sing.", "3"),
]


def read(header: list[str] | None, rows: list[tuple[str, ...]], **options: object) -> PairSet:
    lines = ([header] if header else []) + [list(row) for row in rows]
    return read_pairs("\n".join("\t".join(line) for line in lines).encode(), **options)


@pytest.mark.parametrize("family", range(len(PAIR_NAMES)))
def test_every_family_of_names(family: int) -> None:
    firsts, seconds = PAIR_NAMES[family]
    for first in firsts:
        for second in seconds:
            # The columns stand the other way round, so that a guess by position would be wrong.
            pairs = read([second.upper(), "score", first.title()], [(b, s, a) for a, b, s in ROWS])
            assert pairs.sentences1 == tuple(a for a, _, _ in ROWS), (first, second)
            assert pairs.require_scores().tolist() == [4.5, 0, 3]


@pytest.mark.parametrize("name", SCORE_NAMES)
def test_every_name_of_a_score(name: str) -> None:
    pairs = read(["sentence1", "sentence2", name.upper(), "other"], [(*row, "7") for row in ROWS])
    assert pairs.require_scores().tolist() == [4.5, 0, 3]


@pytest.mark.parametrize("spelling", ["Sentence 1", "SENTENCE_1", "sentence-1", " sentence1 ", "ｓｅｎｔｅｎｃｅ１"])
def test_spelling_does_not_matter(spelling: str) -> None:
    pairs = read(
        ["id", spelling, spelling.replace("1", "2").replace("１", "2")],
        [(str(i), a, b) for i, (a, b, _) in enumerate(ROWS)],
    )
    assert pairs.sentences1 == tuple(a for a, _, _ in ROWS)
    assert not pairs.labelled


def test_no_header_goes_by_content() -> None:
    pairs = read(None, [(str(i), "news", s, a, b) for i, (a, b, s) in enumerate(ROWS * 4, start=100)])
    assert pairs.sentences1 == tuple(a for a, _, _ in ROWS * 4)
    assert pairs.sentences2 == tuple(b for _, b, _ in ROWS * 4)
    assert pairs.require_scores().tolist() == [4.5, 0, 3] * 4
    assert pairs.rows.tolist() == list(range(1, 13))
    assert pairs.available == tuple(f"column {i}" for i in range(1, 6))
    assert any("no header" in note for note in pairs.notes)


def test_unknown_names_above_numbers_are_a_header() -> None:
    pairs = read(["Satz A", "Satz B", "Note"], ROWS)
    assert (pairs.n, pairs.rows.tolist(), pairs.labelled) == (3, [2, 3, 4], True)
    assert any('"Note" was taken as the score' in note for note in pairs.notes)


def test_a_bad_score_does_not_make_the_header_a_row() -> None:
    rows = [(f"a dog {i}", f"the cat {i}", str(i)) for i in range(30)]
    rows[7] = ("a man", "a boat", "n/a")
    pairs = read(["Txt (left)", "candidate utt.", "annotator pct"], rows, columns=ColumnMap(), on_bad_row="skip")
    assert "Txt (left)" not in pairs.sentences
    assert any("first row holds the column names" in note for note in pairs.notes)


def test_a_stated_name_in_the_first_row_is_a_header() -> None:
    rows = [("a dog runs", "the cat sleeps", "n/a"), ("a man", "a boat", "3"), ("a", "b", "1")]
    columns = ColumnMap(sentence1="LEFT one", sentence2="other", score="pct")
    pairs = read(["left one", "other", "pct"], rows, columns=columns, on_bad_row="skip")
    assert pairs.sentences1 == ("a man", "a")
    assert pairs.skipped[0].row == 2
    with pytest.raises(DataError, match='no column "nowhere"'):
        read(None, rows, columns=ColumnMap(sentence1="nowhere"), on_bad_row="skip")


def test_numbers_that_are_not_taken_as_scores_are_said() -> None:
    rows = [(f"a dog {i}", f"the cat {i}", str(3 * i)) for i in range(30)]
    pairs = read(["left", "right", "annotator pct"], rows)
    assert pairs.scores is None
    assert any('"annotator pct" holds numbers and was not taken' in note for note in pairs.notes)


def test_a_first_row_with_a_number_is_no_header() -> None:
    assert not looks_like_header([["text", "label", "3"], ["a", "b", "1"]])
    assert read(None, [("text", "score", "3"), *ROWS]).n == 4


def test_an_index_column_is_no_score() -> None:
    pairs = read(None, [(str(i), a, b) for i, (a, b, _) in enumerate(ROWS)])
    assert (pairs.has_pairs, pairs.labelled) == (True, False)


def test_a_label_in_words_gives_way_to_a_score() -> None:
    pairs = read(["label", "sentence1", "sentence2", "rating"], [("neutral", *row) for row in ROWS])
    assert pairs.require_scores().tolist() == [4.5, 0, 3]


def test_short_words_are_sentences_too() -> None:
    pairs = read(None, [("cat", "dog", "3"), ("sun", "moon", "4"), ("car", "bus", "2.5")])
    assert (pairs.sentences1, pairs.sentences2) == (("cat", "sun", "car"), ("dog", "moon", "bus"))


def test_identifiers_are_not_taken_for_the_first_sentence() -> None:
    pairs = read(None, [(f"2012test-{i}", a, b, s) for i, (a, b, s) in enumerate(ROWS)])
    assert pairs.sentences1[0] == "A cat sleeps."


def test_single_sentence_tables() -> None:
    pairs = read(["id", "text"], [("x1", "One sentence."), ("x2", "Two sentences.")])
    assert (pairs.sentences1, pairs.has_pairs) == (("One sentence.", "Two sentences."), False)
    assert read_pairs(b"text\nOne.\nTwo.\n").sentences1 == ("One.", "Two.")
    assert read_pairs(b'sentence\n"One, two."\n', name="x.csv").sentences1 == ("One, two.",)
    scored = read(["text", "score"], [("One sentence.", "3"), ("Two.", "4")])
    assert not scored.labelled
    assert any("belongs to two sentences" in note for note in scored.notes)


def test_columns_can_be_assigned() -> None:
    header = ["sentence1", "sentence2", "score", "translation", "other"]
    rows = [(a, b, s, f"{a} xx", "1") for a, b, s in ROWS]
    by_name = read(header, rows, columns=ColumnMap(sentence2="Translation", score="other"))
    assert by_name.sentences2 == tuple(f"{a} xx" for a, _, _ in ROWS)
    assert by_name.scale == "0-1"
    by_number = read(header, rows, columns=ColumnMap(sentence1=4, sentence2=1, score=""))
    assert (by_number.sentences1[0], by_number.labelled) == ("A cat sleeps. xx", False)
    single = read(header, rows, columns=ColumnMap(sentence1="translation", sentence2=""))
    assert (single.sentences1[0], single.has_pairs) == ("A cat sleeps. xx", False)
    assert read(None, ROWS, columns=ColumnMap(header=True)).n == 2
    assert (
        read(["sentence1", "sentence2", "score"], ROWS[:0] or [("a", "b", "1")], columns=ColumnMap(header=True)).n == 1
    )


def test_what_was_recognised_can_be_stated_again() -> None:
    pairs = read(["x", "sentence1", "x", "sentence2", "score"], [("1", a, "2", b, s) for a, b, s in ROWS])
    again = read(
        ["x", "sentence1", "x", "sentence2", "score"], [("1", a, "2", b, s) for a, b, s in ROWS], columns=pairs.columns
    )
    assert again.digest == pairs.digest
    assert again.columns == pairs.columns


@pytest.mark.parametrize("column", ["nothing", 9, 0, -1])
def test_a_stated_column_must_exist(column: str | int) -> None:
    with pytest.raises(DataError, match="there is no column"):
        read(["sentence1", "sentence2", "score"], ROWS, columns=ColumnMap(score=column))


def test_numbers_only_hold_no_sentences() -> None:
    with pytest.raises(DataError, match="no column holds sentences"):
        read(["a", "b"], [("1", "2"), ("3", "4")])


def test_json_lines_with_other_keys_and_orders() -> None:
    lines = [{"id": 1, "query": "a b", "positive": "c d"}, {"positive": "g h", "query": "e f", "extra": [1, 2]}]
    pairs = read_pairs("\n".join(map(json.dumps, lines)).encode())
    assert (pairs.sentences1, pairs.sentences2, pairs.available) == (
        ("a b", "e f"),
        ("c d", "g h"),
        ("id", "query", "positive", "extra"),
    )
