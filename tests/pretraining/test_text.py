"""Reading text, holding out, the vocabulary, and the file of tokens."""

from __future__ import annotations

import lzma
import os
import subprocess
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer

from anticollapse.errors import DataError, OptionError
from anticollapse.pretraining import is_corpus, load_corpus, prepare_corpus, save_corpus
from anticollapse.pretraining.corpus import tokenise
from anticollapse.pretraining.text import hold_out, read_lines
from anticollapse.pretraining.vocabulary import SEP, SPECIAL, UNK, train_vocabulary

CHINESE = [
    "我们今天去北京大学图书馆看书。", "天安门在北京。", "他们说 BERT 是一个模型，有12层。",
    "北京大学的学生喜欢看书和 BERT 模型。",
] * 6  # fmt: skip


def test_lines_of_plain_and_compressed_files_are_the_same(tmp_path):
    text = "first  line\n\n\tsecond line \n第三行\n"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    with lzma.open(tmp_path / "a.txt.xz", "wt", encoding="utf-8") as stream:
        stream.write(text)
    assert read_lines([tmp_path / "a.txt"]) == ["first line", "second line", "第三行"]
    assert read_lines([tmp_path / "a.txt.xz", tmp_path / "a.txt"]) == 2 * read_lines([tmp_path / "a.txt"])


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "missing.txt", "cannot be read"),
        (b"fine\n\xff\xfe no\n", "latin.txt", "line 2: the text is not UTF-8"),
        (b"no xz at all", "broken.xz", "cannot be read"),
        (b"\n \n", "empty.txt", "there is no text"),
    ],
)
def test_unusable_text_is_said(content, name, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_lines([tmp_path / name])


def test_held_out_lines_are_on_one_side_only(toy_file):
    lines = read_lines([toy_file])
    train, held = hold_out(lines + lines[:200])  # twice in the text
    assert not set(train) & set(held)
    assert sorted(train + held) == sorted(lines + lines[:200])
    assert 0.02 < len(held) / len(lines) < 0.25
    with pytest.raises(DataError, match="too few"):
        hold_out(["one"])


def test_the_vocabulary_is_the_same_in_every_process(toy_file):
    script = (
        "import sys; from pathlib import Path; from anticollapse.pretraining.text import read_lines; "
        "from anticollapse.pretraining.vocabulary import train_vocabulary; "
        "sys.stdout.write(train_vocabulary(read_lines([Path(sys.argv[1])]), 150).to_str())"
    )
    seen = {train_vocabulary(read_lines([toy_file]), 150).to_str()}
    for threads in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": threads, "RAYON_NUM_THREADS": threads}
        command = [sys.executable, "-c", script, str(toy_file)]
        seen.add(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert len(seen) == 1


def test_the_vocabulary_has_pieces_of_words(toy_file):
    tokenizer = train_vocabulary(read_lines([toy_file]), 150)
    ids = tokenizer.get_vocab()
    assert [ids[token] for token in SPECIAL] == [0, 1, 2, 3, 4]
    assert len(ids) <= 150
    assert len(set(ids.values())) == len(ids) == max(ids.values()) + 1
    assert tokenizer.encode("The CAT and").tokens == ["[CLS]", "the", "cat", "and", "[SEP]"]
    pieces = tokenizer.encode("catdog", add_special_tokens=False).tokens
    assert len(pieces) > 1
    assert "".join(piece.removeprefix("##") for piece in pieces) == "catdog"


def test_chinese_characters_are_tokens_of_their_own():
    tokenizer = train_vocabulary(CHINESE, 128)
    tokens = tokenizer.encode("北京大学 BERT 模型，有12层", add_special_tokens=False).tokens
    assert tokens[:4] == ["北", "京", "大", "学"]
    assert [t for t in tokens if "\u4e00" <= t.removeprefix("##")[0] <= "\u9fff"] == list("北京大学模型有层")
    assert not [t for t in tokenizer.get_vocab() if t.startswith("##") and "\u4e00" <= t[2:3] <= "\u9fff"]
    assert not [t for t in tokenizer.get_vocab() if len(t) > 1 and "\u4e00" <= t[0] <= "\u9fff"]


@pytest.mark.parametrize("size", [3, 70_000])
def test_a_vocabulary_out_of_bounds_is_refused(size):
    with pytest.raises(OptionError, match="vocabulary"):
        train_vocabulary(CHINESE, size)


def test_tokens_are_those_of_the_tokenizer(toy):
    tokenizer = Tokenizer.from_str(toy.tokenizer)
    lines = ["The cat eats.", "  ", "a [SEP] b ☃"]
    ids = tokenise(lines, tokenizer)
    assert (ids == SEP).sum() == 2  # a line without tokens is left out; [SEP] in text is text
    first = ids[: list(ids).index(SEP)]
    assert list(first) == tokenizer.encode(lines[0], add_special_tokens=False).ids
    assert ids[-2] == UNK


def test_every_line_is_there_once(toy_file, toy):
    lines = read_lines([toy_file])
    train, held = hold_out(lines)
    tokenizer = Tokenizer.from_str(toy.tokenizer)
    expected = [i for line in train for i in (*tokenizer.encode(line, add_special_tokens=False).ids, SEP)]
    assert toy.ids.tolist() == expected
    assert toy.facts["lines"] == len(train)
    assert toy.facts["held_out_lines"] == len(held)
    assert toy.facts["tokens"] == len(expected) - len(train)


@pytest.mark.parametrize("compress", [True, False])
def test_the_file_of_tokens_gives_back_what_went_in(compress, toy, tmp_path):
    file = tmp_path / "new" / "toy.tokens"
    save_corpus(toy, file, compress=compress)
    back = load_corpus(file)
    assert np.array_equal(back.ids, toy.ids)
    assert np.array_equal(back.held_out, toy.held_out)
    assert (back.tokenizer, back.facts, back.digest) == (toy.tokenizer, toy.facts, toy.digest)
    assert is_corpus(file)
    assert [p.name for p in file.parent.iterdir()] == ["toy.tokens"]


def test_other_files_are_no_tokens(toy_file, toy, tmp_path):
    assert not is_corpus(toy_file)
    assert not is_corpus(tmp_path / "missing")
    save_corpus(toy, tmp_path / "t", compress=False)
    whole = (tmp_path / "t").read_bytes()
    for damaged in (whole[:-10], whole[:60], b"", whole[:-2] + b"\xff\xff"):
        (tmp_path / "d").write_bytes(damaged)
        with pytest.raises(DataError):
            load_corpus(tmp_path / "d")
    with pytest.raises(DataError, match="no prepared tokens"):
        load_corpus(toy_file)


def test_a_share_keeps_some_lines_and_the_same_vocabulary(toy_file, toy):
    half = prepare_corpus([toy_file], language="en", vocabulary=150, share=0.5)
    assert half.tokenizer == toy.tokenizer
    assert 0.35 < half.facts["lines"] / toy.facts["lines"] < 0.65
    assert np.array_equal(half.held_out, toy.held_out)
    with pytest.raises(OptionError, match="share"):
        prepare_corpus([toy_file], language="en", vocabulary=150, share=0)
