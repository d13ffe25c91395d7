"""Token counts: from text, from reference files, and files that are none."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from anticollapse.encoding import count_tokens, load_encoder, read_counts
from anticollapse.errors import CancelledError, DataError

TEXT = ["the dog is the dog", "a cat, the cat", "", "guitars"]


@pytest.fixture(scope="module")
def tiny(tiny_encoder):
    return load_encoder(tiny_encoder, device="cpu")


def test_counts_equal_a_loop(tiny, monkeypatch):
    monkeypatch.setattr("anticollapse.encoding.frequencies.CHUNK", 3)
    tokenizer = tiny.transformer.tokenizer
    expected = Counter(i for text in TEXT for i in tokenizer(text)["input_ids"])
    counts = count_tokens(tiny, TEXT, source="mine")
    assert {int(i): int(counts.counts[i]) for i in np.flatnonzero(counts.counts)} == dict(expected)
    assert counts.total == sum(expected.values())
    assert counts.n_sentences == 4
    assert counts.source == "mine (4 sentences)"
    assert counts.probabilities().sum() == pytest.approx(1)


def test_ranking_leaves_out_special_tokens_and_orders_ties_by_id(tiny):
    counts = count_tokens(tiny, TEXT)
    names = [counts.vocabulary[i] for i in counts.ranking]
    assert names[0] == "the"
    assert set(names[1:3]) == {"cat", "dog"}
    assert names[1:3] == sorted(names[1:3], key=counts.vocabulary.index)
    assert "[CLS]" not in names
    assert counts.ranks[counts.vocabulary.index("the")] == 1
    assert counts.ranks[counts.vocabulary.index("[SEP]")] == 0
    assert counts.ranks[counts.vocabulary.index("river")] == len(names) + 1  # never counted


def test_no_sentences(tiny):
    counts = count_tokens(tiny, [])
    assert counts.total == 0
    assert len(counts.ranking) == 0
    assert not counts.probabilities().any()


def test_cancelled(tiny):
    with pytest.raises(CancelledError):
        count_tokens(tiny, TEXT, cancelled=lambda: True)


@pytest.mark.parametrize(
    "text", ["the 10\ndog 5\n##s 2\n", "word\tcount\nthe\t10\ndog\t5\n##s\t2", "\ufeffthe,10\r\ndog,5\r\n\r\n##s,2\r\n"]
)
def test_reference_counts(tiny, text, tmp_path):
    file = tmp_path / "counts.txt"
    file.write_bytes(text.encode())
    for source in (file, text.encode()):
        counts = read_counts(source, tiny, name="counts.txt")
        assert [(counts.vocabulary[i], counts.counts[i]) for i in counts.ranking] == [
            ("the", 10),
            ("dog", 5),
            ("##s", 2),
        ]
        assert counts.source == "counts.txt"
        assert counts.unmatched == 0


def test_words_are_tokenised_and_each_piece_gets_the_count(tiny):
    counts = read_counts(b"The 7\nguitars 3\nguitar 1\n", tiny)
    found = {counts.vocabulary[i]: int(counts.counts[i]) for i in counts.ranking}
    assert found == {"the": 7, "guitar": 4, "##s": 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"the 10\nno count here\n", "row 2: this line is no token followed by its count"),
        (b"the 10\ndog -3\n", "row 2"),
        (b"the 10\ndog 3.5\n", "row 2"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"", "no line counts a token"),
        (b"just text", "no line counts a token"),
    ],
)
def test_files_that_are_no_counts(tiny, content, message):
    with pytest.raises(DataError) as error:
        read_counts(content, tiny, name="bad.txt")
    assert message in str(error.value)
    assert "bad.txt" in str(error.value)


def test_files_that_are_not_there_or_too_large(tiny, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no such file"):
        read_counts(tmp_path / "none.txt", tiny)
    monkeypatch.setattr("anticollapse.encoding.frequencies.MAX_COUNT_BYTES", 3)
    with pytest.raises(DataError, match="at most"):
        read_counts(b"the 10", tiny)
