"""Cured encoders: the right modules in the right place, equal with and without our encoder, digests, refusals."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

from anticollapse.cures import CURES, cure_encoder, open_encoder
from anticollapse.cures.tokens import LEFT_OUT
from anticollapse.encoding import EmbeddingCache, Encoder, count_tokens, load_encoder, read_counts
from anticollapse.encoding import encoder as encoder_module
from anticollapse.encoding.frequencies import token_vocabulary
from anticollapse.errors import CancelledError, EncoderError, OptionError

TEXT = [
    f"{a} {b} is {c} the {d}."
    for a in ("a", "the", "two")
    for b in ("man", "dog", "cat", "woman")
    for c in ("playing", "eating", "sleeping in")
    for d in ("guitar", "food", "river")
]
NEW = ["a child rides a horse", "the stock market fell", "is the", "", "the dog is not sleeping"]
CHAINS = [
    *CURES,
    "whitening:k=5",
    "drop-frequent:k=3,specials=1",
    "sif:components=0",
    "first-last:first=0+sif+whitening",
]


@pytest.fixture(scope="module")
def tiny(tiny_encoder):
    return load_encoder(tiny_encoder, device="cpu")


@pytest.mark.parametrize("chain", CHAINS)
def test_encodes_as_sentence_transformers_does_with_these_modules(tiny, chain):
    cured = cure_encoder(tiny, chain, TEXT)
    expected = cured.model.encode(NEW, show_progress_bar=False, batch_size=1)
    np.testing.assert_allclose(cured.encode(NEW).vectors, expected, atol=2e-5 * max(1, np.abs(expected).max()))
    assert all(type(module).__module__.startswith("sentence_transformers.") for module in cured.model)
    assert cured.name == f"{tiny.name}+{chain}"
    assert cured.dim == expected.shape[1]


def test_the_base_is_not_changed(tiny):
    before = tiny.encode(NEW).vectors.copy()
    for chain in CHAINS:
        cured = cure_encoder(tiny, chain, TEXT)
        assert next(cured.model.parameters()) is next(tiny.model.parameters())  # the weights are shared
    assert tiny.transformer.config.output_hidden_states is False
    np.testing.assert_array_equal(tiny.encode(NEW).vectors, before)
    assert len(list(tiny.model)) == 2


def test_drop_frequent_is_the_mean_of_the_other_tokens(tiny):
    cured = cure_encoder(tiny, "drop-frequent:k=2,specials=1", ["the the the is is a"])
    tokens = tiny.encode_tokens(["the dog is red", "is the"])
    texts = [tokens.text(i) for i in tokens.ids]
    assert texts == ["[CLS]", "the", "dog", "is", "red", "[SEP]", "[CLS]", "is", "the", "[SEP]"]
    found = cured.encode(["the dog is red", "is the"]).vectors
    np.testing.assert_allclose(found[0], tokens.vectors[[2, 4]].mean(axis=0), atol=1e-5)
    # Nothing would be left of the second sentence: it keeps its plain mean.
    np.testing.assert_allclose(found[1], tokens.vectors[6:].mean(axis=0), atol=1e-5)


def test_sif_weights_and_first_component(tiny):
    text = sorted(TEXT)
    tokens = tiny.encode_tokens(text)
    frequency = np.bincount(tokens.ids) / len(tokens.ids)
    weights = 0.01 / (0.01 + frequency[tokens.ids])
    rows = [slice(a, b) for a, b in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)]
    means = np.stack([np.average(tokens.vectors[row], axis=0, weights=weights[row]) for row in rows])
    common = np.linalg.svd(means)[2][0]
    found = cure_encoder(tiny, "sif:a=0.01", TEXT).encode(text).vectors
    np.testing.assert_allclose(found, means - np.outer(means @ common, common), atol=1e-4)


def test_first_last_is_the_mean_of_two_layers(tiny):
    for first in (0, 1):
        tokens = tiny.encode_tokens(["a dog is sleeping"], layers=[first, 2])
        expected = tokens.vectors.mean(axis=(0, 1))
        cured = cure_encoder(tiny, f"first-last:first={first}", [])
        np.testing.assert_allclose(cured.encode(["a dog is sleeping"]).vectors[0], expected, atol=1e-5)
        pooled = cured.encode_tokens(["a dog is sleeping"])
        np.testing.assert_allclose(pooled.vectors.mean(axis=0), expected, atol=1e-5)


def test_words_that_differ_in_case_keep_their_own_weight(tiny):
    from anticollapse.cures.tokens import word_weights

    module = word_weights(("the", "The", "THE"), np.array([LEFT_OUT, 1.0, 0.5]))
    np.testing.assert_allclose(module.emb_layer.weight.numpy()[:, 0], [LEFT_OUT, 1.0, 0.5], rtol=1e-6)


def test_fitting_in_chunks_is_the_same(tiny, monkeypatch):
    whole = cure_encoder(tiny, "sif+whitening:k=6", TEXT).encode(NEW).vectors
    monkeypatch.setattr("anticollapse.cures.fitting.CHUNK", 7)
    monkeypatch.setattr("anticollapse.encoding.frequencies.CHUNK", 7)
    np.testing.assert_allclose(cure_encoder(tiny, "sif+whitening:k=6", TEXT).encode(NEW).vectors, whole, atol=1e-4)


def test_fitting_keeps_no_more_than_a_chunk_of_vectors(tiny, monkeypatch):
    sizes = []
    original = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda self, s, **more: (sizes.append(len(s)), original(self, s, **more))[1])
    monkeypatch.setattr("anticollapse.cures.fitting.CHUNK", 10)
    cure_encoder(tiny, "whitening", TEXT)
    assert max(sizes) == 10
    assert sum(sizes) == len(set(TEXT))


def test_digest_depends_on_what_is_computed(tiny):
    digest = {chain: cure_encoder(tiny, chain, TEXT).digest for chain in CHAINS}
    assert len({*digest.values(), tiny.digest}) == len(CHAINS) + 1
    assert cure_encoder(tiny, "centring", [*reversed(TEXT), TEXT[0]]).digest == digest["centring"]
    assert cure_encoder(tiny, "centring", TEXT[:-1]).digest != digest["centring"]
    assert cure_encoder(tiny, "sif", TEXT[:-1]).digest != digest["sif"]
    assert cure_encoder(tiny, "first-last", TEXT[:-1]).digest == digest["first-last"]  # needs no text
    assert cure_encoder(tiny, "drop-frequent:k=34", TEXT).digest == digest["drop-frequent"]


def test_cached_vectors_of_a_cure_are_its_own(tiny, tmp_path):
    cache = EmbeddingCache(tmp_path)
    for chain in ("first-last", "drop-frequent:k=2", "whitening:k=4"):
        cured = cure_encoder(tiny, chain, TEXT, cache=cache)
        first = cured.encode(NEW, cache=cache).vectors
        np.testing.assert_array_equal(cured.encode(NEW, cache=cache).vectors, first)
        np.testing.assert_allclose(first, cured.encode(NEW).vectors, atol=1e-5)


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ("centring+drop-frequent", "changes the vectors that"),
        ("whitening+first-last", "changes the vectors that"),
        ("sif+first-last", "already has a WordWeights"),
        ("sif+drop-frequent", "already has a WordWeights"),
        ("first-last+first-last", "already has a WeightedLayerPooling"),
        ("first-last:first=2", "not below its last one"),
    ],
)
def test_orders_and_layers_that_do_not_work(tiny, chain, message):
    with pytest.raises(OptionError, match=message):
        cure_encoder(tiny, chain, TEXT)


def test_no_text(tiny):
    for chain in ("drop-frequent", "sif", "centring"):
        with pytest.raises(OptionError, match="text"):
            cure_encoder(tiny, chain, [])
    with pytest.raises(OptionError, match="Cures are"):
        cure_encoder(tiny, "", TEXT)


def test_token_cures_refuse_other_poolings(tiny):
    cls = Encoder(
        SentenceTransformer(modules=[tiny.transformer, Pooling(32, "cls")], device="cpu"), name="c", digest="c"
    )
    for chain in ("sif", "drop-frequent", "first-last"):
        with pytest.raises(EncoderError, match="the first token alone"):
            cure_encoder(cls, chain, TEXT)
    assert cure_encoder(cls, "whitening:k=3", TEXT).dim == 3


def test_prompts_survive(tiny):
    model = SentenceTransformer(
        modules=list(tiny.model), device="cpu", prompts={"q": "the dog "}, default_prompt_name="q"
    )
    base = Encoder(model, name="prompted", digest="p")
    cured = cure_encoder(base, "drop-frequent:k=1", TEXT)
    assert cured.model.prompts["q"] == "the dog "
    np.testing.assert_allclose(cured.encode(NEW).vectors, cured.model.encode(NEW, show_progress_bar=False), atol=2e-5)


def test_cancelled_and_progress(tiny):
    calls = []
    cure_encoder(tiny, "sif", TEXT, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(TEXT), len(TEXT))
    for chain in ("centring", "sif"):
        with pytest.raises(CancelledError):
            cure_encoder(tiny, chain, TEXT, cancelled=lambda: True)


def test_open_encoder_asks_for_text_only_when_needed(tiny_encoder):
    def no_text():
        raise AssertionError("the text was asked for")

    for name in ("", "+first-last"):
        assert open_encoder(f"{tiny_encoder}{name}", no_text).dim == 32
    assert open_encoder(f"{tiny_encoder}+first-last+whitening:k=4", lambda: TEXT).dim == 4


def test_trained_dense_head_stays_behind_a_token_cure(tiny):
    head = Dense(32, 8, activation_function=torch.nn.Tanh())
    model = SentenceTransformer(modules=[*tiny.model, head], device="cpu")
    cured = cure_encoder(Encoder(model, name="headed", digest="h"), "sif:components=0", TEXT)
    kinds = [type(module).__name__ for module in cured.model]
    assert kinds == ["Transformer", "WordWeights", "Pooling", "Dense"]
    assert isinstance(cured.model[0], Transformer)


def test_chunk_size_is_the_encoders():
    from anticollapse.cures import fitting

    assert fitting.CHUNK == encoder_module.CHUNK


def weight_of(encoder, token):
    module = next(m for m in encoder.model if type(m).__name__ == "WordWeights")
    return float(module.emb_layer.weight[token_vocabulary(encoder)[0].index(token), 0])


def test_sif_with_a_word_list_weighs_special_tokens_by_the_text(tiny):
    counts = read_counts(b"the 60\nis 30\ndog 10\n", tiny, name="list.txt")
    cured = cure_encoder(tiny, "sif:components=0", TEXT, counts=counts)
    text = count_tokens(tiny, sorted(set(TEXT)))
    share = text.probabilities()[text.vocabulary.index("[SEP]")]
    assert weight_of(cured, "[SEP]") == pytest.approx(1e-3 / (1e-3 + share), rel=1e-5)
    assert weight_of(cured, "[CLS]") < 0.02  # they stand in every sentence, so they weigh little
    assert weight_of(cured, "the") < weight_of(cured, "is") < weight_of(cured, "dog")
    assert weight_of(cured, "river") == 1.0
    with pytest.raises(OptionError, match="has no special tokens"):
        cure_encoder(tiny, "sif:components=0", [], counts=counts)
    own = read_counts(b"the 60\n[CLS] 40\n", tiny)
    found = cure_encoder(tiny, "sif:components=0", TEXT, counts=own)
    assert weight_of(found, "[CLS]") == pytest.approx(1e-3 / (1e-3 + 0.4), rel=1e-5)


def test_leaving_out_what_a_reference_ranks_needs_no_text(tiny):
    counts = read_counts(b"the 60\nis 30\n", tiny, name="list.txt")
    cured = cure_encoder(tiny, "drop-frequent:k=1", [], counts=counts)
    assert weight_of(cured, "the") == pytest.approx(LEFT_OUT)
    (fit,) = cured.fits
    assert (fit.n_sentences, fit.source, fit.counts) == (0, "", "list.txt")
    assert fit.counts_digest == hashlib.sha256(b"the 60\nis 30\n").hexdigest()
    assert cure_encoder(tiny, "drop-frequent:k=1", TEXT, counts=counts).digest == cured.digest
