"""The removal curve against encoding again, against double loops, and at its limits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

from anticollapse.cures import cure_encoder
from anticollapse.encoding import Encoder, count_tokens, load_encoder
from anticollapse.errors import EncoderError, OptionError
from anticollapse.measures import mean_unrelated_cosine
from anticollapse.measures.removal import DEFAULT_KS, RemovalSweep, removal_curve, spearman_rows

KS = (0, 1, 2, 3, 4, 5, 8, 12, 20, 30)
TEXT = [
    f"{a} {b} is {c} the {d}{e}"
    for a in ("a", "the", "two")
    for b in ("man", "dog", "cats")
    for c in ("playing", "eating", "not in")
    for d, e in (("guitar", "."), ("food", " , and a horse"), ("river", ""))
]
TEXT += ["is the", "the", "", "horse ? !"]


@pytest.fixture(scope="module")
def tiny(tiny_encoder):
    return load_encoder(tiny_encoder, device="cpu")


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, len(TEXT), size=(2, 120))
    return first, second, rng.integers(0, 6, 120).astype(float)


def naive(vectors, first, second, scores):
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = np.array([units[i] @ units[j] for i, j in zip(first, second, strict=True)])
    others = [units[i] @ units[j] for i in range(len(units)) for j in range(len(units)) if i != j]
    return 100 * stats.spearmanr(scores, cosines).statistic, np.mean(others)


@pytest.mark.parametrize("without_specials", [False, True])
@pytest.mark.parametrize("chain", ["", "whitening:k=6", "sif", "first-last+centring"])
def test_equals_encoding_again_with_those_tokens_dropped(tiny, pairs, chain, without_specials):
    """For ten values of k: the mean of the tokens that are left, then the encoder's own modules behind the mean."""
    encoder = cure_encoder(tiny, chain, TEXT) if chain else tiny
    counts = count_tokens(tiny, TEXT)
    first, second, scores = pairs
    tokens = encoder.encode_tokens(TEXT)
    curve = removal_curve(tokens, encoder.path, counts, first, second, scores, ks=KS, without_specials=without_specials)
    assert curve.ks.tolist() == list(KS)
    weights = np.ones(len(counts.counts)) if encoder.path.weights is None else encoder.path.weights
    for row, k in enumerate(KS):
        dropped = set(counts.ranking[:k].tolist()) | (
            set(np.flatnonzero(counts.special)) if without_specials else set()
        )
        pooled, emptied, left = [], 0, 0
        for i in range(len(TEXT)):
            ids = tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]]
            kept = np.array([int(j) not in dropped for j in ids])
            left += kept.sum()
            emptied += not kept.any()
            kept = kept if kept.any() else np.ones(len(ids), bool)
            pooled.append(np.average(tokens.sentence(i)[kept], axis=0, weights=weights[ids[kept]]))
        vectors = encoder.path.apply_head(np.array(pooled))
        spearman, mean = naive(vectors, first, second, scores)
        assert curve.spearman[row] == pytest.approx(spearman, abs=1e-6)
        assert curve.mean_cosine[row] == pytest.approx(mean, abs=1e-9)
        assert curve.emptied[row] == emptied
        assert curve.tokens_left[row] == pytest.approx(left / len(tokens.ids))
    if without_specials:
        assert curve.emptied[-1] > 0


@pytest.mark.parametrize("k", [0, 3, 9])
@pytest.mark.parametrize("specials", [0, 1])
def test_equals_the_cure_that_leaves_them_out(tiny, pairs, k, specials):
    first, second, scores = pairs
    cured = cure_encoder(tiny, f"drop-frequent:k={k},specials={specials}", TEXT)
    vectors = cured.encode(TEXT).vectors.astype(np.float64)
    tokens, counts = tiny.encode_tokens(TEXT), count_tokens(tiny, sorted(set(TEXT)))
    curve = removal_curve(tokens, tiny.path, counts, first, second, scores, ks=[0, k], without_specials=bool(specials))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(curve.cosines[-1], np.sum(units[first] * units[second], axis=1), atol=2e-6)
    assert curve.mean_cosine[-1] == pytest.approx(mean_unrelated_cosine(vectors).value, abs=2e-6)


def test_k_0_is_the_encoder_itself(tiny, pairs):
    first, second, scores = pairs
    encoder = Encoder(SentenceTransformer(modules=[*tiny.model, Normalize()], device="cpu"), name="n", digest="n")
    curve = removal_curve(encoder.encode_tokens(TEXT), encoder.path, count_tokens(tiny, TEXT), first, second, scores)
    spearman, mean = naive(encoder.encode(TEXT).vectors.astype(np.float64), first, second, scores)
    assert curve.ks.tolist() == list(DEFAULT_KS)
    assert curve.spearman[0] == pytest.approx(spearman, abs=0.05)
    assert curve.mean_cosine[0] == pytest.approx(mean, abs=1e-6)
    assert curve.tokens_left[0] == 1


@pytest.mark.parametrize("mode", ["mean_sqrt_len_tokens", "weightedmean"])
def test_other_means(tiny, pairs, mode):
    first, second, scores = pairs
    model = SentenceTransformer(modules=[tiny.transformer, Pooling(32, mode)], device="cpu")
    encoder = Encoder(model, name=mode, digest=mode)
    curve = removal_curve(encoder.encode_tokens(TEXT), encoder.path, count_tokens(tiny, TEXT), first, second, scores)
    _, mean = naive(encoder.encode(TEXT).vectors.astype(np.float64), first, second, scores)
    assert curve.mean_cosine[0] == pytest.approx(mean, abs=1e-6)


def test_in_pieces_is_the_same(tiny, pairs):
    first, second, scores = pairs
    counts = count_tokens(tiny, TEXT)
    whole = removal_curve(tiny.encode_tokens(TEXT), tiny.path, counts, first, second, scores, ks=KS)
    sweep = RemovalSweep(tiny.path, counts, ks=KS)
    seen = np.zeros(len(TEXT), bool)
    for start in range(0, 120, 50):
        rows = slice(start, start + 50)
        numbers = np.unique([*first[rows], *second[rows]])
        tokens = tiny.encode_tokens([TEXT[i] for i in numbers])
        local = [np.searchsorted(numbers, side[rows]) for side in (first, second)]
        sweep.add(tokens, *local, new=~seen[numbers])
        seen[numbers] = True
    rest = np.flatnonzero(~seen)
    if len(rest):
        sweep.add(tiny.encode_tokens([TEXT[i] for i in rest]), first[:0], second[:0])
    found = sweep.finish(scores)
    np.testing.assert_allclose(found.spearman, whole.spearman, atol=1e-6)
    np.testing.assert_allclose(found.mean_cosine, whole.mean_cosine, atol=1e-7)
    np.testing.assert_array_equal(found.emptied, whole.emptied)
    assert found.n_sentences == whole.n_sentences == len(TEXT)


def test_layers(tiny, pairs):
    first, second, scores = pairs
    tokens, counts = tiny.encode_tokens(TEXT, layers=[0, 2]), count_tokens(tiny, TEXT)
    last = removal_curve(tokens, tiny.path, counts, first, second, scores, layer=2)
    pooled = removal_curve(tiny.encode_tokens(TEXT), tiny.path, counts, first, second, scores)
    np.testing.assert_allclose(last.spearman, pooled.spearman, atol=0.05)
    below = removal_curve(tokens, tiny.path, counts, first, second, scores, layer=0)
    assert abs(below.mean_cosine[0] - last.mean_cosine[0]) > 0.01
    for layer, given in ((1, tokens), (None, tokens), (0, tiny.encode_tokens(TEXT))):
        with pytest.raises(OptionError, match="layer"):
            removal_curve(given, tiny.path, counts, first, second, layer=layer)


def test_best_k_and_gain(tiny, pairs):
    first, second, scores = pairs
    curve = removal_curve(tiny.encode_tokens(TEXT), tiny.path, count_tokens(tiny, TEXT), first, second, scores, ks=KS)
    best = curve.best_k
    assert curve.spearman[curve.at(best)] == np.nanmax(curve.spearman)
    gain = curve.gain(best)
    assert gain.value == pytest.approx(np.nanmax(curve.spearman) - curve.spearman[0])
    assert curve.gain(0).value == pytest.approx(0)
    with pytest.raises(OptionError, match="k = 7"):
        curve.at(7)
    json.dumps(curve.to_json(), allow_nan=False)


def test_without_labels_and_without_pairs(tiny, pairs):
    first, second, _ = pairs
    tokens, counts = tiny.encode_tokens(TEXT), count_tokens(tiny, TEXT)
    curve = removal_curve(tokens, tiny.path, counts, first, second, ks=KS)
    assert np.isnan(curve.spearman).all()
    assert curve.undefined == "undefined because the pairs have no labels"
    assert curve.best_k is None
    assert curve.gain(5).value is None
    alone = removal_curve(tokens, tiny.path, counts, first[:0], second[:0], ks=KS)
    np.testing.assert_allclose(alone.mean_cosine, curve.mean_cosine)
    assert alone.cosines.shape == (len(KS), 0)
    json.dumps(alone.to_json(), allow_nan=False)


def test_one_sentence_and_none(tiny):
    counts = count_tokens(tiny, TEXT)
    none = np.empty(0, np.int64)
    for text in (["the dog"], []):
        curve = removal_curve(tiny.encode_tokens(text), tiny.path, counts, none, none, ks=(0, 5))
        assert np.isnan(curve.mean_cosine).all()


def test_all_sentences_equal(tiny):
    zeros = np.zeros(5, np.int64)
    tokens, counts = tiny.encode_tokens(["the dog", "the dog"]), count_tokens(tiny, TEXT)
    curve = removal_curve(tokens, tiny.path, counts, zeros, zeros + 1, np.arange(5.0), ks=(0, 1, 50))
    np.testing.assert_allclose(curve.mean_cosine, 1)
    assert np.isnan(curve.spearman).all()
    assert "the cosine is the same for every pair" in curve.undefined


def test_k_beyond_the_vocabulary_leaves_unseen_tokens_in(tiny):
    tokens, counts = tiny.encode_tokens(["the horse", "the market"]), count_tokens(tiny, ["the dog"])
    none = np.empty(0, np.int64)
    curve = removal_curve(tokens, tiny.path, counts, none, none, ks=(0, 10**6), without_specials=True)
    assert curve.tokens_left[-1] == pytest.approx(2 / 8)  # horse and market were never counted


@pytest.mark.parametrize("ks", [(), (-1, 2)])
def test_ks_that_make_no_sense(tiny, ks):
    with pytest.raises(OptionError, match="0 or more"):
        RemovalSweep(tiny.path, count_tokens(tiny, TEXT), ks=ks)


def test_other_poolings_are_refused(tiny):
    model = SentenceTransformer(modules=[tiny.transformer, Pooling(32, "max")], device="cpu")
    with pytest.raises(EncoderError, match="maximum over tokens"):
        RemovalSweep(Encoder(model, name="max", digest="m").path, count_tokens(tiny, TEXT))


def test_scores_that_do_not_fit(tiny, pairs):
    first, second, scores = pairs
    with pytest.raises(OptionError, match="119 scores do not match 120 pairs"):
        removal_curve(
            tiny.encode_tokens(TEXT), tiny.path, count_tokens(tiny, TEXT), first, second, scores[:-1], ks=(0,)
        )


def test_spearman_rows_against_scipy():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 50).astype(float)
    cosines = np.round(rng.normal(size=(4, 50)), 1)
    cosines[1] = 0.5
    cosines[2, 3] = np.nan
    found, reason = spearman_rows(labels, cosines)
    assert reason == ""
    usable = np.isfinite(cosines[2])
    expected = [
        stats.spearmanr(labels, cosines[0]).statistic,
        stats.spearmanr(labels[usable], cosines[2][usable]).statistic,
    ]
    np.testing.assert_allclose(found[[0, 2]], 100 * np.array(expected))
    assert np.isnan(found[1])
