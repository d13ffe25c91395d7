"""Encoding: the same vectors as sentence-transformers, each sentence once, progress, cancellation, truncation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from anticollapse.cures import cure_encoder
from anticollapse.encoding import EmbeddingCache, Encoder, load_encoder
from anticollapse.errors import CancelledError, EncoderError

SENTENCES = [
    "a man is playing the guitar.",
    "dog",
    "a woman rides a big red horse to the market and the river, not the bank!",
    "",
    "the dog 🐕 is sleeping",
    "一个男人在弹吉他",
    "a man is playing the guitar.",
    "<b>stocks</b> fell & rose",
    "x" * 10_000,
]


@pytest.fixture(scope="module")
def reference(tiny_encoder):
    return SentenceTransformer(str(tiny_encoder), device="cpu")


def test_equals_sentence_transformers_whatever_the_batches(tiny_encoder, reference):
    expected = np.concatenate([reference.encode([s], show_progress_bar=False) for s in SENTENCES])
    for budget in (1, 20, 4096):
        encoder = load_encoder(tiny_encoder, device="cpu")
        found = encoder.encode(SENTENCES, token_budget=budget)
        np.testing.assert_allclose(found.vectors, expected, atol=2e-6)
        assert found.vectors.dtype == np.float32


def test_equals_sentence_transformers_on_real_weights(raw_mini):
    texts = ["A man is playing a guitar.", "The stock market fell on Tuesday.", "Zwölf Boxkämpfer", "好"]
    expected = SentenceTransformer(str(raw_mini), device="cpu").encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(load_encoder(raw_mini).encode(texts).vectors, expected, atol=5e-6)


def test_truncation_is_counted_and_exact_fit_is_not_truncated(tiny_encoder):
    encoder = load_encoder(tiny_encoder)
    found = encoder.encode(["a " * 14, "a " * 15, "a"])  # [CLS] and [SEP] fill the window of 16
    assert found.n_tokens.tolist() == [16, 16, 3]
    assert found.truncated.tolist() == [False, True, False]


def test_duplicates_are_computed_once(tiny_encoder, monkeypatch):
    encoder = load_encoder(tiny_encoder)
    seen = []
    original = Encoder._forward
    monkeypatch.setattr(
        Encoder, "_forward", lambda self, f, p: (seen.append(len(f["input_ids"])), original(self, f, p))[1]
    )
    found = encoder.encode(["dog", "cat", "dog", "dog"])
    assert sum(seen) == 2
    np.testing.assert_array_equal(found.vectors[0], found.vectors[3])


def test_empty_list(tiny_encoder):
    found = load_encoder(tiny_encoder).encode([])
    assert found.vectors.shape == (0, 32)


def test_progress_ends_at_the_number_of_distinct_sentences(tiny_encoder):
    calls = []
    load_encoder(tiny_encoder).encode(
        SENTENCES, progress=lambda done, total: calls.append((done, total)), token_budget=8
    )
    assert calls[-1] == (8, 8)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_cancelled_between_batches(tiny_encoder):
    answers = iter([False, False, True])
    with pytest.raises(CancelledError):
        load_encoder(tiny_encoder).encode(SENTENCES, cancelled=lambda: next(answers), token_budget=8)


def test_what_was_finished_before_a_stop_is_kept(tiny_encoder, tmp_path):
    cache = EmbeddingCache(tmp_path)
    encoder = load_encoder(tiny_encoder)
    texts = [f"a dog {i}" for i in range(50)]
    answers = iter([False] * 6 + [True])
    with pytest.raises(CancelledError):
        encoder.encode(texts, cache=cache, cancelled=lambda: next(answers), token_budget=20)
    kept = cache.read(encoder._cache_key(), 32, texts)[0].sum()
    assert 10 <= kept < 50
    calls = []
    encoder.encode(texts, cache=cache, progress=lambda done, total: calls.append(done))
    assert calls[0] == kept


def test_token_vectors_average_to_the_sentence_vector(tiny_encoder):
    encoder = load_encoder(tiny_encoder)
    texts = SENTENCES[:6]
    tokens = encoder.encode_tokens(texts, token_budget=32)
    sentences = encoder.encode(texts)
    means = np.stack([tokens.sentence(i).mean(axis=0) for i in range(len(texts))])
    np.testing.assert_allclose(means, sentences.vectors, atol=2e-6)
    assert tokens.text(tokens.ids[0]) == "[CLS]"
    assert tokens.special[0]
    assert tokens.special.sum() == 2 * len(texts)  # not [UNK], which stands for a piece of the text
    assert (tokens.ids == 1).any()
    np.testing.assert_array_equal(tokens.lengths, sentences.n_tokens)


def test_every_layer(tiny_encoder):
    encoder = load_encoder(tiny_encoder)
    every = encoder.encode_tokens(["a dog", "the cat is eating"], layers=[0, 1, 2])
    last = encoder.encode_tokens(["a dog", "the cat is eating"])
    assert every.vectors.shape[0] == 3
    np.testing.assert_allclose(every.vectors[2], last.vectors, atol=1e-6)
    with pytest.raises(EncoderError, match="layers 0 to 2"):
        encoder.encode_tokens(["a dog"], layers=[7])


def test_vectors_that_are_not_finite_are_an_error(tiny_encoder):
    encoder = load_encoder(tiny_encoder)
    with torch.no_grad():
        next(encoder.model.parameters()).fill_(float("nan"))
    with pytest.raises(EncoderError, match="not finite"):
        encoder.encode(["a dog"])


def test_cache_gives_the_same_vectors_without_the_model(tiny_encoder, tmp_path, monkeypatch):
    cache = EmbeddingCache(tmp_path)
    first = load_encoder(tiny_encoder).encode(SENTENCES, cache=cache)
    again = load_encoder(tiny_encoder)
    monkeypatch.setattr(Encoder, "_forward", lambda *_: pytest.fail("the model was asked"))
    second = again.encode(SENTENCES, cache=cache)
    for name in ("vectors", "n_tokens", "truncated"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_bfloat16_is_used_only_if_it_agrees(tiny_encoder, monkeypatch):
    monkeypatch.setattr("anticollapse.encoding.precision.bfloat16_supported", lambda _: True)
    exact = load_encoder(tiny_encoder).encode(SENTENCES)
    monkeypatch.setattr("anticollapse.encoding.precision.agrees", lambda *_: False)
    refused = load_encoder(tiny_encoder, precision="auto")
    np.testing.assert_allclose(refused.encode(SENTENCES).vectors, exact.vectors, atol=2e-6)
    assert refused.precision == "float32"
    monkeypatch.setattr("anticollapse.encoding.precision.agrees", lambda *_: True)
    taken = load_encoder(tiny_encoder, precision="auto")
    fast = taken.encode(SENTENCES).vectors
    assert taken.precision == "bfloat16"
    assert not np.array_equal(fast, exact.vectors)
    cosines = (fast * exact.vectors).sum(1) / np.linalg.norm(fast, axis=1) / np.linalg.norm(exact.vectors, axis=1)
    assert cosines.min() > 0.99


def test_precisions_do_not_share_a_cache(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("anticollapse.encoding.precision.bfloat16_supported", lambda _: True)
    monkeypatch.setattr("anticollapse.encoding.precision.agrees", lambda *_: True)
    cache = EmbeddingCache(tmp_path)
    fast = load_encoder(tiny_encoder, precision="auto").encode(SENTENCES, cache=cache).vectors
    exact = load_encoder(tiny_encoder).encode(SENTENCES, cache=cache).vectors
    assert not np.array_equal(fast, exact)


def test_a_cured_encoder_on_cached_vectors_equals_its_whole_model(tiny_encoder, tmp_path):
    base = load_encoder(tiny_encoder)
    cured = cure_encoder(base, "centring", SENTENCES, cache=EmbeddingCache(tmp_path))
    whole = cured.model.encode(SENTENCES, show_progress_bar=False)
    np.testing.assert_allclose(cured.encode(SENTENCES).vectors, whole, atol=5e-6)
    distinct = list(dict.fromkeys(SENTENCES))
    np.testing.assert_allclose(cured.encode(distinct).vectors.mean(axis=0), 0, atol=1e-6)
    assert cured.digest != base.digest


def test_left_padding(tiny_encoder, reference):
    encoder = load_encoder(tiny_encoder)
    encoder.transformer.tokenizer.padding_side = "left"
    features = encoder._features(encoder._tokenise(["dog", "a man rides a horse"]), np.array([0, 1]))
    assert features["attention_mask"][0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert features["input_ids"][0, :4].tolist() == [0, 0, 0, 0]


def test_threads_share_an_encoder(tiny_encoder):
    from concurrent.futures import ThreadPoolExecutor

    encoder = load_encoder(tiny_encoder)
    texts = [[f"a man {'is ' * (i % 7)} {word}" for i in range(40)] for word in ("dog", "cat", "horse", "piano")]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: encoder.encode(part).vectors, texts * 3))
    for part, vectors in zip(texts * 3, found, strict=True):
        np.testing.assert_allclose(vectors, encoder.encode(part).vectors, atol=2e-6)
