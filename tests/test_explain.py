"""The token report and the explanation of a pair, for encoders that allow them and encoders that do not."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling

from anticollapse import explain
from anticollapse.cures import cure_encoder
from anticollapse.data import PairSet
from anticollapse.encoding import Encoder, count_tokens, load_encoder, read_counts
from anticollapse.errors import CancelledError
from anticollapse.explain import examine_tokens, explain_pair
from anticollapse.measures import mean_unrelated_cosine, rogue_dimensions
from anticollapse.measures.removal import removal_curve

TEXT = [
    f"{a} {b} is {c}{d}"
    for a in ("a", "the")
    for b in ("man", "dog", "cats")
    for c in ("red", "big", "at")
    for d in (".", "")
]


@pytest.fixture(scope="module")
def tiny(tiny_encoder):
    return load_encoder(tiny_encoder, device="cpu")


@pytest.fixture(scope="module")
def pairs():
    # No pair twice, turned or of one sentence: equal cosines would be put in order by rounding, which every processor
    # and every size of batch does its own way.
    rng = np.random.default_rng(0)
    chosen = rng.permutation(list(itertools.combinations(range(len(TEXT)), 2)))[:50]
    first, second = (tuple(TEXT[i] for i in column) for column in chosen.T)
    return PairSet(
        name="here",
        sentences1=first,
        sentences2=second,
        scores=rng.integers(0, 6, 50).astype(float),
        rows=np.arange(1, 51),
    )


def with_modules(tiny, *modules):
    torch.manual_seed(0)
    return Encoder(SentenceTransformer(modules=[tiny.transformer, *modules], device="cpu"), name="built", digest="b")


def test_report_equals_its_parts(tiny, pairs, monkeypatch):
    whole = examine_tokens(tiny, pairs, ks=(0, 2, 6), by_layer=True)
    monkeypatch.setattr(explain, "PAIRS_AT_ONCE", 35)
    report = examine_tokens(tiny, pairs, ks=(0, 2, 6), by_layer=True)  # in pieces
    tokens, counts = tiny.encode_tokens(pairs.sentences), count_tokens(tiny, pairs.sentences)
    for found in (whole, report):
        assert found.use.n_sentences == len(pairs.sentences)
        np.testing.assert_array_equal(np.sort(found.counts.counts), np.sort(counts.counts))
        for without, curve in zip((False, True), found.curves, strict=True):
            expected = removal_curve(
                tokens, tiny.path, counts, pairs.index1, pairs.index2, pairs.scores, ks=(0, 2, 6),
                without_specials=without,
            )  # fmt: skip
            np.testing.assert_allclose(curve.spearman, expected.spearman, atol=1e-6)
            np.testing.assert_allclose(curve.mean_cosine, expected.mean_cosine, atol=1e-6)
        assert [curve.layer for curve in found.layers] == [0, 1, 2]
        np.testing.assert_allclose(found.layers[2].spearman, found.curves[0].spearman, atol=0.5)
    np.testing.assert_allclose(report.use.types.vector_share, whole.use.types.vector_share, atol=1e-6)
    assert report.use.measures["special_dominance"].interval == pytest.approx(
        whole.use.measures["special_dominance"].interval, abs=1e-6
    )


def test_anisotropy_is_that_of_the_sentence_vectors(tiny, pairs):
    report = examine_tokens(tiny, pairs, ks=(0,))
    vectors = tiny.encode(pairs.sentences).vectors
    assert report.anisotropy.mean_cosine.value == pytest.approx(mean_unrelated_cosine(vectors).value)
    assert report.anisotropy.rogue.value == pytest.approx(rogue_dimensions(vectors).value)
    assert report.anisotropy.contributions.sum() == pytest.approx(report.anisotropy.mean_cosine.value)
    assert report.anisotropy.mean_cosine.value == pytest.approx(report.curves[0].mean_cosine[0], abs=1e-6)


def test_reference_counts_rank_the_tokens(tiny, pairs):
    counts = read_counts(b"red 9\nbig 5\n", tiny, name="mine")
    report = examine_tokens(tiny, pairs, counts=counts, ks=(0, 1, 2, 50))
    red = sum("red" in text.split() or "red." in text for text in pairs.sentences)
    total = report.use.n_tokens
    assert report.curves[0].tokens_left[1] == pytest.approx(1 - red / total)
    assert report.curves[0].tokens_left[3] == report.curves[0].tokens_left[2]  # the reference ranks two tokens only
    assert report.to_json()["frequencies"] == "mine"


@pytest.mark.parametrize("mode", ["cls", "max"])
def test_poolings_without_exact_contributions_say_so(tiny, pairs, mode):
    encoder = with_modules(tiny, Pooling(32, mode))
    report = examine_tokens(encoder, pairs)
    assert report.use is None
    assert report.curves == ()
    assert "is no mean of token vectors" not in report.anisotropy.mean_cosine.undefined
    assert "so it is no mean of token vectors" in report.use_obstacle
    assert report.curve_obstacle == report.use_obstacle
    assert report.anisotropy.mean_cosine.value is not None
    pair = explain_pair(encoder, "a man", "the dog")
    assert pair.attribution is None
    assert pair.obstacle == report.use_obstacle
    assert -1 <= pair.cosine <= 1
    json.dumps([report.to_json(), pair.to_json()], allow_nan=False)


def test_a_head_that_is_not_linear_has_a_curve_and_no_contributions(tiny, pairs):
    encoder = with_modules(tiny, Pooling(32, "mean"), Dense(32, 8))
    report = examine_tokens(encoder, pairs, ks=(0, 3))
    assert "Tanh" in report.use_obstacle
    assert report.curve_obstacle == ""
    assert report.curves[0].mean_cosine[0] == pytest.approx(report.anisotropy.mean_cosine.value, abs=1e-5)


def test_no_transformer(pairs):
    from sentence_transformers.sentence_transformer.modules import BoW

    bag = Encoder(
        SentenceTransformer(modules=[BoW(vocab=["man", "dog", "red", "big", "the"])], device="cpu"),
        name="bag",
        digest="g",
    )
    report = examine_tokens(bag, pairs)
    assert "its first module is no transformer" in report.curve_obstacle
    assert "its first module is no transformer" in explain_pair(bag, "man", "dog").obstacle


def test_pair_under_a_cure(tiny):
    for chain in ("", "whitening:k=5", "sif", "first-last+standardising"):
        encoder = cure_encoder(tiny, chain, TEXT) if chain else tiny
        found = explain_pair(encoder, "the man is red", "a dog, not big")
        assert found.attribution.cosine == pytest.approx(found.cosine, abs=1e-5)
        document = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert np.sum(document["contributions"]) == pytest.approx(document["cosine"], abs=1e-5)


def test_contributions_that_do_not_add_up_are_not_shown(tiny, monkeypatch):
    original = explain.token_parts

    def off(*args, **more):
        parts = original(*args, **more)
        parts.parts[0] *= 3
        return parts

    monkeypatch.setattr(explain, "token_parts", off)
    found = explain_pair(tiny, "the man is red", "a dog, not big")
    assert found.attribution is None
    assert "not to its cosine" in found.obstacle


def test_single_sentences_and_one_sentence(tiny):
    single = PairSet(
        name="here", sentences1=tuple(TEXT), sentences2=None, scores=None, rows=np.arange(1, len(TEXT) + 1)
    )
    report = examine_tokens(tiny, single, ks=(0, 4))
    assert report.curves[0].undefined.startswith("undefined because")
    assert report.curves[0].mean_cosine[0] == pytest.approx(report.anisotropy.mean_cosine.value, abs=1e-6)
    one = examine_tokens(
        tiny, PairSet(name="here", sentences1=("a man",), sentences2=None, scores=None, rows=np.arange(1, 2)), ks=(0,)
    )
    assert one.anisotropy.contributions.size == 0
    assert one.use.n_sentences == 1
    json.dumps([report.to_json(), one.to_json()], allow_nan=False)


def test_progress_and_cancelled(tiny, pairs):
    calls = []
    examine_tokens(tiny, pairs, ks=(0,), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(pairs.sentences), len(pairs.sentences))
    with pytest.raises(CancelledError):
        examine_tokens(tiny, pairs, cancelled=lambda: True)


def test_curves_end_at_the_number_of_token_types(tiny, pairs):
    report = examine_tokens(tiny, pairs)
    types = len(report.counts.ranking)
    assert 0 < types < 200
    for curve in report.curves:
        assert curve.ks[-1] == types
        assert (np.diff(curve.ks) > 0).all()
    assert report.curves[1].tokens_left[-1] == 0  # without special tokens, nothing is left
    assert report.curves[1].tokens_left[-2] > 0
    assert f"k = {types}" in report.curve_note
    assert report.to_json()["removal_note"] == report.curve_note
    assert examine_tokens(tiny, pairs, ks=(0, 500)).curve_note == ""
