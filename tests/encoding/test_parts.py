"""Sentence vectors as exact sums over tokens, for every pooling that is a mean and every linear module behind it."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    CNN,
    Dense,
    Dropout,
    LayerNorm,
    Normalize,
    Pooling,
    WordWeights,
)

from anticollapse.encoding import Encoder, exact_obstacle, iter_token_parts, load_encoder, token_parts
from anticollapse.encoding.frequencies import token_vocabulary
from anticollapse.errors import CancelledError, EncoderError

SENTENCES = ["a man is playing the guitar.", "dog", "", "the big red horse runs to the market and the river, not", "好"]


@pytest.fixture(scope="module")
def tiny(tiny_encoder):
    return load_encoder(tiny_encoder, device="cpu")


def build(tiny, *modules, prompts=None):
    torch.manual_seed(1)
    model = SentenceTransformer(
        modules=[tiny.transformer, *modules],
        device="cpu",
        prompts=prompts,
        default_prompt_name=next(iter(prompts)) if prompts else None,
    )
    model.eval()
    return Encoder(model, name="built", digest="built")


def weights(tiny, seed=0):
    names, _ = token_vocabulary(tiny)
    return WordWeights(
        list(names), dict(zip(names, np.random.default_rng(seed).uniform(0.1, 2, len(names)), strict=True))
    )


def linear(out=8, *, bias=True, residual=False):
    return Dense(32, out, bias=bias, activation_function=torch.nn.Identity(), use_residual=residual)


HEADS = {
    "none": list,
    "dense": lambda: [linear()],
    "no bias": lambda: [linear(bias=False)],
    "two": lambda: [linear(32), linear(4)],
    "residual": lambda: [linear(32, residual=True), linear(6, residual=True)],
    "normalised": lambda: [Normalize(), linear(), Normalize()],
    "dropout": lambda: [Dropout(0.5), linear()],
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mode", ["mean", "mean_sqrt_len_tokens", "weightedmean"])
def test_parts_sum_to_the_sentence_vector(tiny, mode, weighted, head):
    encoder = build(tiny, *([weights(tiny)] if weighted else []), Pooling(32, mode), *HEADS[head]())
    expected = encoder.model.encode(SENTENCES, show_progress_bar=False, batch_size=1)
    parts = token_parts(encoder, SENTENCES)
    assert exact_obstacle(encoder) == ""
    np.testing.assert_allclose(parts.vectors, expected, atol=1e-5)
    if mode == "mean" or (mode == "weightedmean" and not weighted):
        np.testing.assert_allclose([parts.coefficients[a:b].sum() for a, b in rows(parts)], 1, atol=1e-12)


def rows(parts):
    return list(zip(parts.offsets[:-1], parts.offsets[1:], strict=True))


def test_bias_goes_to_tokens_as_each_counts_in_the_mean(tiny):
    """Each token's part is what the layer makes of it as a sentence of its own, times its coefficient."""
    encoder = build(tiny, weights(tiny), Pooling(32, "mean"), linear())
    parts = token_parts(encoder, SENTENCES)
    tokens = encoder.encode_tokens(SENTENCES)
    layer = encoder.model[3].linear
    alone = tokens.vectors @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    np.testing.assert_allclose(parts.parts, parts.coefficients[:, None] * alone, atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mode", ["mean", "weightedmean"])
def test_prompt_left_out_of_the_pooling(tiny, mode, weighted):
    pooling = Pooling(32, mode, include_prompt=False)
    encoder = build(tiny, *([weights(tiny)] if weighted else []), pooling, linear(), prompts={"q": "the dog "})
    texts = ["a red cat", "horse", "is not big"]
    parts = token_parts(encoder, texts)
    np.testing.assert_allclose(parts.vectors, encoder.encode(texts).vectors, atol=1e-5)
    np.testing.assert_allclose(
        parts.vectors, encoder.model.encode(texts, show_progress_bar=False, batch_size=1), atol=1e-5
    )
    assert not parts.coefficients[parts.offsets[0] : parts.offsets[0] + 3].any()  # [CLS] the dog


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        (lambda: [Pooling(32, "cls")], "the first token alone"),
        (lambda: [Pooling(32, "max")], "the maximum over tokens"),
        (lambda: [Pooling(32, "lasttoken")], "the last token alone"),
        (lambda: [Pooling(32, ("mean", "max"))], "joins several poolings"),
        (lambda: [Pooling(32, "mean"), Dense(32, 8)], "not linear (Tanh)"),
        (lambda: [Pooling(32, "mean"), LayerNorm(32)], "LayerNorm module after its pooling"),
    ],
)
def test_refused_where_it_would_not_be_exact(tiny, modules, words):
    encoder = build(tiny, *modules())
    assert words in exact_obstacle(encoder)
    with pytest.raises(EncoderError, match=re.escape(words)):
        token_parts(encoder, SENTENCES)


def test_head_that_is_not_linear_is_still_applied(tiny):
    encoder = build(tiny, Pooling(32, "mean"), Dense(32, 8))
    pooled = np.random.default_rng(0).normal(size=(5, 32))
    expected = np.tanh(
        pooled @ encoder.model[2].linear.weight.detach().numpy().T + encoder.model[2].linear.bias.detach().numpy()
    )
    np.testing.assert_allclose(encoder.path.apply_head(pooled), expected, atol=1e-6)


def test_weights_before_other_modules_are_refused(tiny):
    encoder = build(tiny, weights(tiny), CNN(32, 8), Pooling(24, "mean"))
    assert "weighs its tokens before other modules" in exact_obstacle(encoder)


def test_no_tokens():
    static = SentenceTransformer(modules=[torch.nn.Identity()], device="cpu")
    encoder = Encoder(static, name="static", digest="s")
    assert "no transformer" in exact_obstacle(encoder)
    with pytest.raises(EncoderError, match="no transformer"):
        token_parts(encoder, SENTENCES)
    with pytest.raises(EncoderError, match="no transformer"):
        encoder.tokenise(SENTENCES)


def test_in_chunks(tiny):
    encoder = build(tiny, Pooling(32, "mean"), linear())
    whole = token_parts(encoder, SENTENCES)
    calls = []
    chunks = list(iter_token_parts(encoder, SENTENCES, chunk=2, progress=lambda d, n: calls.append((d, n))))
    np.testing.assert_allclose(np.concatenate([c.parts for c in chunks]), whole.parts, atol=1e-6)
    assert [c.n_sentences for c in chunks] == [2, 2, 1]
    assert calls == [(2, 5), (4, 5), (5, 5)]
    with pytest.raises(CancelledError):
        list(iter_token_parts(encoder, SENTENCES, cancelled=lambda: True))


def test_labels(tiny):
    parts = token_parts(tiny, ["the guitars ate zz"])
    assert parts.labels(0) == ["[CLS]", "the", "guitar", "…s", "a", "…t", "…e", "z", "…z", "[SEP]"]


def test_select_sentences(tiny):
    tokens = tiny.encode_tokens(SENTENCES, layers=[0, 2])
    chosen = tokens.select(np.array([3, 0]))
    np.testing.assert_array_equal(chosen.sentence(0), tokens.sentence(3))
    np.testing.assert_array_equal(chosen.sentence(1), tokens.sentence(0))
    assert chosen.n_sentences == 2
    assert tokens.select(np.empty(0, np.int64)).n_sentences == 0
