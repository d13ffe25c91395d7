"""Token counts: from text, from reference files, and files that are none."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from anticollapse.encoding import Encoder, count_tokens, load_encoder, read_counts
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
        (b"the 1,234\n", "row 1: the count on this line can be read in two ways"),
        (b"dog 5\nthe 1 234\n", "row 2: the count on this line can be read in two ways"),
        (b"dog,5\nthe,1,234,567\n", "row 2: the count on this line can be read in two ways"),
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


@pytest.mark.parametrize(
    ("line", "token", "count"),
    [
        (b"the\t1,234", "the", 1234),
        (b", 7", ",", 7),
        (b",,7", ",", 7),
        (b"the 12345", "the", 12345),
        (b"the,123", "the", 123),
        (b"  the  123  ", "the", 123),
    ],
)
def test_lines_with_one_reading(tiny, line, token, count):
    counts = read_counts(b"token count\n" + line + b"\n", tiny)
    assert [(counts.vocabulary[i], int(counts.counts[i])) for i in counts.ranking] == [(token, count)]


@pytest.fixture(scope="module")
def byte_level(tiny_encoder, tmp_path_factory):
    """The tiny encoder with a byte-level BPE tokenizer that knows " dog" as one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bpe") / "bpe"
    shutil.copytree(tiny_encoder, folder)
    words = ["<|endoftext|>", "<mask>", *sorted(pre_tokenizers.ByteLevel.alphabet())[:60], "Ġ"]
    vocabulary = [*dict.fromkeys([*words, *"dogs", "Ġd", "Ġdo", "Ġdog"])]
    merges = [("Ġ", "d"), ("Ġd", "o"), ("Ġdo", "g")]
    tokenizer = Tokenizer(models.BPE({w: i for i, w in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=end, unk_token=end, bos_token=end, eos_token=end, mask_token="<mask>"
    ).save_pretrained(folder)
    return load_encoder(folder, device="cpu")


def test_words_of_a_byte_level_reference_are_split_as_inside_a_sentence(byte_level):
    counts = read_counts(b"dog 5\ndogs 3\n", byte_level)
    assert {counts.vocabulary[i]: int(counts.counts[i]) for i in counts.ranking} == {"Ġdog": 8, "s": 3}


def test_what_stands_for_text_is_no_special_token(tiny, byte_level):
    counts = count_tokens(tiny, ["the ☃ [MASK]"])
    assert {counts.vocabulary[i] for i in counts.ranking} == {"the", "[UNK]", "[MASK]"}
    tokens = tiny.encode_tokens(["the ☃ [MASK]"])
    assert [tokens.text(i) for i in tokens.ids[tokens.special]] == ["[CLS]", "[SEP]"]
    # One id for everything frames the text, whatever else it stands for.
    counts = count_tokens(byte_level, ["dog"])
    assert {counts.vocabulary[i] for i in np.flatnonzero(counts.special)} == {"<|endoftext|>"}


def prompted(tiny, *, include_prompt):
    model = SentenceTransformer(
        modules=[tiny.transformer, Pooling(32, "mean", include_prompt=include_prompt)],
        device="cpu",
        prompts={"q": "three rivers "},
        default_prompt_name="q",
    )
    return Encoder(model, name="prompted", digest="p")


def test_a_prompt_that_is_not_pooled_is_not_counted(tiny):
    found = count_tokens(prompted(tiny, include_prompt=False), ["the dog", "a dog"])
    assert {found.vocabulary[i]: int(found.counts[i]) for i in np.flatnonzero(found.counts)} == {
        "the": 1,
        "a": 1,
        "dog": 2,
        "[SEP]": 2,
    }
    found = count_tokens(prompted(tiny, include_prompt=True), ["the dog", "a dog"])
    names = {found.vocabulary[i]: int(found.counts[i]) for i in np.flatnonzero(found.counts)}
    assert names["three"] == 2
    assert names["[CLS]"] == 2


def test_a_prompt_is_no_part_of_a_reference(tiny):
    for include in (True, False):
        counts = read_counts(b"dogs 7\n", prompted(tiny, include_prompt=include))
        assert {counts.vocabulary[i]: int(counts.counts[i]) for i in counts.ranking} == {"dog": 7, "##s": 7}


def test_shares_of_special_tokens_come_from_text(tiny):
    reference = read_counts(b"the 30\ndog 10\n", tiny)
    assert reference.lacks_specials
    text = count_tokens(tiny, ["a dog runs ."])
    joined = reference.with_special_share(text)
    assert not joined.lacks_specials
    shares = {joined.vocabulary[i]: share for i, share in enumerate(joined.probabilities()) if share}
    own = text.probabilities()[text.special].sum()
    assert shares["[CLS]"] == pytest.approx(1 / text.total)
    assert shares["the"] == pytest.approx(0.75 * (1 - own))
    assert sum(shares.values()) == pytest.approx(1)
    np.testing.assert_array_equal(joined.ranking, reference.ranking)
    assert not read_counts(b"the 30\n[CLS] 5\n", tiny).lacks_specials
