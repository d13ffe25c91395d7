from __future__ import annotations

import codecs

import pytest

from anticollapse.data import ColumnMap, read_pairs
from anticollapse.data.sniff import sniff_dialect, to_utf8
from anticollapse.errors import DataError

CHINESE = "sentence1,sentence2,score\n一个女人在弹吉他。,一个人在弹吉他。,4\n三个人在下棋。,飞机起飞了。,0\n"
TRADITIONAL = (
    "sentence1,sentence2,score\n這個國家的經濟發展很快。,這個國家發展得很快。,4\n他們學習語言。,飛機起飛了。,0\n"
)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (CHINESE.encode("utf-8"), "UTF-8"),
        (codecs.BOM_UTF8 + CHINESE.encode("utf-8"), "UTF-8 with byte-order mark"),
        (CHINESE.encode("utf-16"), "UTF-16"),
        (codecs.BOM_UTF16_LE + CHINESE.encode("utf-16-le"), "UTF-16"),
        (codecs.BOM_UTF16_BE + CHINESE.encode("utf-16-be"), "UTF-16"),
        (CHINESE.encode("gb18030"), "GB18030"),
        (TRADITIONAL.encode("gb18030"), "GB18030"),
    ],
)
def test_encodings(data: bytes, said: str) -> None:
    pairs = read_pairs(data, name="x.csv")
    expected = TRADITIONAL if "這" in pairs.sentences1[0] else CHINESE
    assert pairs.sentences1 == tuple(line.split(",")[0] for line in expected.splitlines()[1:])
    assert f"; {said})" in pairs.notes[0]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf16_of_latin_text_needs_no_mark(order: str) -> None:
    pairs = read_pairs("sentence1,sentence2,score\nA cat sleeps.,A cat naps.,4.5\n".encode(order))
    assert (pairs.sentences1, pairs.sentences2) == (("A cat sleeps.",), ("A cat naps.",))


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "koi8-r", "big5"])
def test_other_encodings_are_refused_with_the_line(encoding: str) -> None:
    text = {
        "cp1252": "plain\nL'été à la plage, c'est très agréable.\nÇa va, déjà vu, naïve\n",
        "shift_jis": "plain\n猫がソファで寝ているところを見ました。\n犬は庭にいます。\n",
        "koi8-r": "plain\nКошка спит на диване, а собака гуляет в саду.\n",
        "big5": "plain\n這個國家的經濟發展很快，我們都很高興。\n",
    }[encoding]
    with pytest.raises(DataError) as caught:
        read_pairs(text.encode(encoding), name="old.csv")
    assert "line 2" in caught.value.where
    assert "UTF-8" in caught.value.remedy


def test_utf16_cut_in_the_middle() -> None:
    with pytest.raises(DataError, match="not valid"):
        read_pairs("sentence1\nabc".encode("utf-16")[:-1])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (codecs.BOM_UTF8 + b"\n", "empty"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99, "old Excel"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04broken", "damaged ZIP"),
        (b"PAR1broken", "Parquet file is damaged"),
        (b"abc\0def\nghi", "binary"),
        (bytes(range(1, 32)) * 40, "binary"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "PNG"),
    ],
)
def test_what_is_no_table_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_pairs(data, name="pairs.csv")


def test_a_zip_that_is_no_workbook(tmp_path: object) -> None:
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("pairs.csv", "a,b\n")
    with pytest.raises(DataError, match="ZIP archive and not an XLSX"):
        read_pairs(buffer.getvalue(), name="pairs.xlsx")


def test_the_content_wins_over_the_name() -> None:
    pairs = read_pairs(b"sentence1\tsentence2\tscore\na b\tc d\t3\n", name="pairs.csv")
    assert pairs.n == 1
    assert "tab" in pairs.notes[0]
    assert read_pairs(b'{"sentence1": "a b", "sentence2": "c"}\n', name="pairs.csv").n == 1
    with pytest.raises(DataError, match="the name says XLSX"):
        read_pairs(b"\x07\x08garbage", name="pairs.xlsx")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "||"])
def test_delimiters_by_header(delimiter: str) -> None:
    lines = [["Sentence 1", "Sentence 2", "Gold score"], ["a b", "c d", "3.5"], ["e, f", "g; h", "0"]]
    if delimiter in {",", ";"}:
        lines = [[f'"{cell}"' for cell in line] for line in lines]
    data = "\n".join(delimiter.join(line) for line in lines).encode()
    pairs = read_pairs(data)
    assert (pairs.sentences1, pairs.sentences2) == (("a b", "e, f"), ("c d", "g; h"))
    assert pairs.require_scores().tolist() == [3.5, 0]


def test_one_sentence_a_line_keeps_its_commas() -> None:
    text = 'Hello, world\nNo comma here\n"Stop," she said, "now"\nA; b\n'
    pairs = read_pairs(text.encode())
    assert pairs.sentences1 == tuple(text.splitlines())
    assert not pairs.has_pairs
    # The same number of commas in every line is no table yet, without a header or numbers.
    assert read_pairs(b"Hello, world\nGood, bye\n", name="x.txt").sentences1 == ("Hello, world", "Good, bye")


def test_quoting_is_used_where_it_reads_and_not_where_it_does_not() -> None:
    quoted = b'sentence1\tsentence2\tscore\n"say ""hi"""\t"two\nlines"\t3\nc\td\t1\n'
    pairs = read_pairs(quoted)
    assert (pairs.sentences1, pairs.sentences2) == (('say "hi"', "c"), ("two\nlines", "d"))
    plain = b'sentence1\tsentence2\tscore\n"Stop," she said.\tHe said "no.\t3\n'
    pairs = read_pairs(plain)
    assert (pairs.sentences1, pairs.sentences2) == (('"Stop," she said.',), ('He said "no.',))
    assert read_pairs(b'sentence1\tsentence2\n"a b"\t"c d"\n', quoted=False).sentences1 == ('"a b"',)


def test_stsb_layouts_take_quotation_marks_as_characters() -> None:
    english = (
        b'news\tMSR\t2012\t0001\t4.000\t"A cat sleeps."\tA "cat" naps.\nnews\tMSR\t2012\t0002\t0\t"x y\tz\tmore\tand\n'
    )
    pairs = read_pairs(english, name="sts.csv")
    assert (pairs.sentences1, pairs.sentences2) == (('"A cat sleeps."', '"x y'), ('A "cat" naps.', "z"))
    assert pairs.groups == ("news", "news")
    assert any("1 row was wider than the others" in note for note in pairs.notes)
    chinese = "2012test-0001||一架飞机要起飞了。||一架飞机正在起飞。||5\n2012test-0002||他说“|”。||下棋||0\n"
    pairs = read_pairs(chinese.encode())
    assert (pairs.sentences1[1], pairs.require_scores().tolist()) == ("他说“|”。", [5, 0])


def test_a_stated_column_wins_over_a_known_layout() -> None:
    english = b"news\tMSR\t2012\t0001\t4.000\tA cat.\tA dog.\n"
    assert read_pairs(english, columns=ColumnMap(sentence1=7, sentence2=6)).sentences1 == ("A dog.",)


def test_line_ends_and_separators_inside_a_sentence() -> None:
    for end in ("\n", "\r\n", "\r"):
        text = f"sentence1,sentence2,score{end}a\u2028b\x85c,d\x0be,3{end}"
        assert read_pairs(text.encode()).sentences1 == ("a\u2028b\x85c",)
    assert read_pairs("one\u2028still one\r\ntwo".encode()).sentences1 == ("one\u2028still one", "two")


def test_a_sample_is_cut_at_a_line_and_never_in_a_character() -> None:
    body = "".join(f"句子{i}，很长的句子\t另一个句子{i}\t{i % 6}\n" for i in range(20_000))
    utf8, _ = to_utf8(body.encode(), where="x")
    assert sniff_dialect(utf8, name="").delimiter == "\t"
    endless = ("长" * 200_000).encode()
    assert sniff_dialect(endless, name="").delimiter == ""
