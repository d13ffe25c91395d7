"""Contributions and dominance against double loops, hand-checked cases and limits."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from anticollapse.encoding import (
    Encoder,
    TokenCounts,
    TokenParts,
    count_tokens,
    iter_token_parts,
    load_encoder,
    read_counts,
    token_parts,
)
from anticollapse.measures.tokens import TypeUse, contributions, norm_against_frequency, token_use

TEXT = ["the dog is red", "the cat is eating the food.", "a man plays guitars", "is the", "two dogs , two cats", "the"]


def parts_of(sentences, vocabulary_size=6, special=(0,)):
    """Token parts by hand: sentences as lists of (id, vector)."""
    ids = np.array([i for s in sentences for i, _ in s], np.int32)
    lengths = np.array([len(s) for s in sentences], np.int64)
    vectors = np.array([v for s in sentences for _, v in s], np.float64)
    coefficients = 1 / np.repeat(lengths, lengths)
    parts = TokenParts(
        parts=coefficients[:, None] * vectors,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        ids=ids,
        special=np.isin(ids, special),
        coefficients=coefficients,
        norms=np.linalg.norm(vectors, axis=1),
        truncated=np.zeros(len(lengths), bool),
        vocabulary={i: f"t{i}" for i in range(vocabulary_size)},
        style="plain",
    )
    counts = np.bincount(ids, minlength=vocabulary_size)
    flags = np.isin(np.arange(vocabulary_size), special)
    names = tuple(f"t{i}" for i in range(vocabulary_size))
    return parts, TokenCounts(counts, flags, names, len(sentences), "here")


@pytest.fixture(scope="module")
def tiny(tiny_encoder):
    return load_encoder(tiny_encoder, device="cpu")


def test_contributions_by_hand():
    # s = ((2, 0) + (0, 1)) / 2 = (1, 0.5): a = (2 · 1, 1 · 0.5) / 2 / 1.25 = (0.8, 0.2)
    parts, _ = parts_of([[(1, (2.0, 0.0)), (2, (0.0, 1.0))], [(3, (5.0, 5.0))]])
    np.testing.assert_allclose(contributions(parts), [0.8, 0.2, 1.0])


def test_contributions_against_the_definition(tiny):
    parts = token_parts(tiny, TEXT)
    tokens = tiny.encode_tokens(TEXT)
    found = contributions(parts)
    for i in range(len(TEXT)):
        x = tokens.sentence(i).astype(np.float64)
        s = x.mean(axis=0)
        expected = [row @ s / (len(x) * (s @ s)) for row in x]
        rows = slice(tokens.offsets[i], tokens.offsets[i + 1])
        np.testing.assert_allclose(found[rows], expected, atol=1e-9)
        assert found[rows].sum() == pytest.approx(1, abs=1e-9)


def test_a_zero_vector_has_no_contributions_and_is_left_out():
    parts, counts = parts_of([[(1, (1.0, 0.0)), (2, (-1.0, 0.0))], [(1, (1.0, 0.0))]])
    assert np.isnan(contributions(parts)[:2]).all()
    use = token_use([parts], counts)
    assert use.n_tokens == 1
    assert any("Left out: 1 sentence with the zero vector" in note for note in use.notes)


def test_shares_against_a_double_loop(tiny):
    counts = count_tokens(tiny, TEXT)
    tokens = tiny.encode_tokens(TEXT)
    total, weighted, occurrences, norms = 0, {}, {}, {}
    for i in range(len(TEXT)):
        x = tokens.sentence(i).astype(np.float64)
        s = x.mean(axis=0)
        for row, token in zip(x, tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]], strict=True):
            weighted[token] = weighted.get(token, 0) + len(x) * (row @ s / (len(x) * (s @ s)))
            occurrences[token] = occurrences.get(token, 0) + 1
            norms.setdefault(token, []).append(np.linalg.norm(row))
            total += 1
    use = token_use(iter_token_parts(tiny, TEXT, chunk=2), counts)
    types = use.types
    assert use.n_tokens == total
    assert use.n_sentences == len(TEXT)
    for i, token in enumerate(types.ids):
        assert types.token_share[i] == pytest.approx(occurrences[token] / total)
        assert types.vector_share[i] == pytest.approx(weighted[token] / total)
        assert types.norm[i] == pytest.approx(np.mean(norms[token]), rel=1e-6)
        assert types.dominance[i] == pytest.approx(weighted[token] / occurrences[token])
    assert types.token_share.sum() == pytest.approx(1)
    assert types.vector_share.sum() == pytest.approx(1)
    assert sum(band.token_share for band in use.bands) == pytest.approx(1)
    assert sum(band.vector_share.value for band in use.bands) == pytest.approx(1)
    assert types.labels[types.ids.tolist().index(counts.vocabulary.index("##s"))] == "…s"
    assert "[CLS]" in types.labels


def test_tokens_that_contribute_alike_have_dominance_1():
    """Whatever the lengths of the sentences, and with an interval of no width."""
    x = (1.0, 2.0)
    parts, counts = parts_of([[(0, x), (1, x), (2, x)], [(0, x), (1, x)], [(3, x)]])
    use = token_use([parts], counts)
    np.testing.assert_allclose(use.types.dominance, 1)
    for band in use.bands:
        assert band.dominance.value == pytest.approx(1)
        assert band.dominance.interval == pytest.approx((1, 1))
    assert use.measures["special_dominance"].details["token_share"] == pytest.approx(1 / 3)


def test_a_long_vector_dominates():
    parts, counts = parts_of([[(1, (9.0, 0.0)), (2, (0.0, 1.0))] for _ in range(4)])
    use = token_use([parts], counts)
    np.testing.assert_allclose(use.types.dominance, [2 * 81 / 82, 2 / 82])
    assert use.types.most_dominant(5).tolist() == [0, 1]
    assert use.types.most_dominant(5, least=5).tolist() == []


def test_bands_follow_the_reference_and_not_the_text():
    parts, counts = parts_of([[(1, (1.0, 0.0)), (2, (1.0, 1.0))]], vocabulary_size=200)
    reference = np.arange(200, 0, -1)
    use = token_use([parts], replace(counts, counts=reference))
    assert [(b.name, b.n_types) for b in use.bands] == [("1–10", 2)]
    reference[[1, 2]] = 0  # the reference never saw them
    use = token_use([parts], replace(counts, counts=reference))
    assert [(b.name, b.n_types) for b in use.bands] == [("not in the reference", 2)]


def test_tokens_that_a_short_reference_lacks_are_not_among_the_most_frequent(tiny):
    counts = read_counts(b"the 50\nis 40\na 30\ndog 20\ncat 10\n", tiny)
    use = token_use(iter_token_parts(tiny, TEXT), counts)
    bands = {band.name: band for band in use.bands}
    assert list(bands) == ["special", "1–10", "not in the reference"]
    assert bands["1–10"].n_types == 5
    listed = {"the", "is", "a", "dog", "cat"}
    tokens = tiny.encode_tokens(TEXT)
    texts = [tokens.text(i) for i in tokens.ids]
    expected = sum(text in listed for text in texts) / len(texts)
    assert use.measures["frequent_dominance"].details["token_share"] == pytest.approx(expected)
    assert sum(band.vector_share.value for band in use.bands) == pytest.approx(1)
    assert any("different tokens do not occur there" in note for note in use.notes)


def test_a_prompt_that_is_not_pooled_is_no_token_of_the_mean(tiny):
    prompts = {"q": "three rivers "}
    model = SentenceTransformer(
        modules=[tiny.transformer, Pooling(32, "mean", include_prompt=False)],
        device="cpu",
        prompts=prompts,
        default_prompt_name="q",
    )
    encoder = Encoder(model, name="prompted", digest="p")
    parts = token_parts(encoder, TEXT)
    use = token_use([parts], count_tokens(encoder, TEXT))
    assert not {"[CLS]", "three", "rivers"} & set(use.types.labels)
    assert use.n_tokens == len(parts.ids) - len(TEXT) * parts.unpooled
    assert use.types.vector_share.sum() == pytest.approx(1)
    alike = replace(parts, parts=np.where(parts.coefficients[:, None] > 0, parts.coefficients[:, None], 0.0))
    for band in token_use([alike], count_tokens(encoder, TEXT)).bands:
        assert band.dominance.value == pytest.approx(1)  # all pooled tokens contribute alike


def test_interval_covers_and_groups_widen_it(tiny):
    rng = np.random.default_rng(0)
    sentences = [[(int(rng.integers(1, 5)), rng.normal(size=3) + 1) for _ in range(5)] for _ in range(40)]
    parts, counts = parts_of(sentences, vocabulary_size=200)
    alone = token_use([parts], counts).measures["frequent_dominance"]
    assert alone.value == pytest.approx(1)  # all tokens are among the 100 most frequent
    special = parts_of(sentences, special=(0, 1))[1]
    measure = token_use([parts], special).measures["special_dominance"]
    low, high = measure.interval
    assert low < measure.value < high
    doubled = parts_of([s for s in sentences for _ in range(2)], special=(0, 1))
    naive = token_use([doubled[0]], doubled[1]).measures["special_dominance"]
    linked = token_use([doubled[0]], doubled[1], groups=np.repeat(np.arange(40), 2)).measures["special_dominance"]
    assert naive.value == pytest.approx(measure.value)
    assert naive.interval[1] - naive.interval[0] < linked.interval[1] - linked.interval[0]
    assert linked.interval == pytest.approx(measure.interval, rel=1e-6)


def types_of(counts, norms, special=False):
    n = len(counts)
    zeros = np.zeros(n)
    return TypeUse(
        np.arange(n), tuple("x" * n), np.full(n, special), np.array(counts), np.array(counts), np.arange(1, n + 1),
        zeros, zeros, np.array(norms, float),
    )  # fmt: skip


def test_norm_against_frequency():
    up = norm_against_frequency(types_of([3, 5, 9, 20], [1.0, 2.0, 3.0, 4.0]))
    assert up.value == pytest.approx(100)
    assert norm_against_frequency(types_of([3, 5, 9, 20], [4.0, 3.0, 2.0, 1.0])).value == pytest.approx(-100)
    for types in (
        types_of([1, 2, 2, 20], [1.0, 2.0, 3.0, 4.0]),  # too few types that occur three times
        types_of([3, 3, 3], [1.0, 2.0, 3.0]),
        types_of([3, 4, 5], [2.0, 2.0, 2.0]),
        types_of([3, 4, 5], [1.0, 2.0, 3.0], special=True),
        types_of([], []),
    ):
        measure = norm_against_frequency(types)
        assert measure.value is None
        assert measure.undefined.startswith("undefined because")


def test_no_sentences():
    _, counts = parts_of([[(1, (1.0,))]])
    use = token_use([], counts)
    assert use.bands == ()
    assert use.n_tokens == 0
    assert all(measure.value is None for measure in use.measures.values())


def test_json(tiny):
    use = token_use([token_parts(tiny, TEXT)], count_tokens(tiny, TEXT))
    document = json.loads(json.dumps(use.to_json(top=3), allow_nan=False))
    assert len(document["dominant_tokens"]) <= 3
    assert document["bands"][0]["name"] == "special"
    assert document["bands"][0]["dominance_ci"] is not None


def test_truncated_sentences_are_noted(tiny):
    use = token_use([token_parts(tiny, ["the dog " * 20, "cat"])], count_tokens(tiny, TEXT))
    assert any("does not read the end of 1 sentence;" in note for note in use.notes)


def test_types_at_the_start_of_sentences_are_labelled_as_words():
    sentences = [[(0, (1.0, 0.0)), (1, (1.0, 1.0)), (2, (0.0, 1.0))], [(0, (1.0, 0.0)), (1, (1.0, 1.0))]]
    parts, counts = parts_of(sentences)
    names = {0: "<s>", 1: "The", 2: "s"}
    use = token_use([replace(parts, vocabulary=names, style="byte-level")], counts)
    assert dict(zip(use.types.ids.tolist(), use.types.labels, strict=True)) == {0: "<s>", 1: "The", 2: "…s"}


def test_norms_are_compared_with_the_reference_where_there_is_one():
    types = types_of([9, 8, 7, 6, 5], [1.0, 2.0, 3.0, 4.0, 99.0])
    reference = replace(types, frequency=np.array([10, 20, 30, 40, 0]))  # the last one is not in it
    assert norm_against_frequency(reference).value == pytest.approx(100)
    assert norm_against_frequency(reference).n == 4
    assert norm_against_frequency(types).value == pytest.approx(-100)


def test_use_says_which_reference_ranks_the_tokens(tiny):
    assert token_use([token_parts(tiny, TEXT)], count_tokens(tiny, TEXT)).reference == ""
    use = token_use([token_parts(tiny, TEXT)], read_counts(b"the 5\n", tiny, name="list.txt"))
    assert use.reference == "list.txt"
    rows = {row["token"]: row for row in use.to_json(top=50)["dominant_tokens"]}
    assert all(row["rank"] is None for token, row in rows.items() if token not in ("the", "[CLS]", "[SEP]"))
