"""The cosine as an exact sum over token pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anticollapse.cures import cure_encoder
from anticollapse.encoding import load_encoder, token_parts
from anticollapse.errors import OptionError
from anticollapse.measures.attribution import attribute, attribution_matrix

TEXT = [
    f"{a} {b} is {c}." for a in ("a", "the") for b in ("man", "dog", "cat", "bank") for c in ("red", "big", "eating")
]
PAIR = ["The man is playing the guitar.", "a big dog is eating food on the market"]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 7), m=st.integers(1, 7), d=st.integers(1, 6), seed=st.integers(0, 2**16),
    scale=st.sampled_from([1e-20, 1.0, 1e20]), offset=st.sampled_from([0.0, 10.0]),
)  # fmt: skip
def test_sums_to_the_cosine_of_random_parts(n, m, d, seed, scale, offset):
    rng = np.random.default_rng(seed)
    x, y = (scale * (rng.normal(size=(size, d)) + offset) for size in (n, m))
    s, t = x.sum(axis=0), y.sum(axis=0)
    expected = (s / np.linalg.norm(s)) @ (t / np.linalg.norm(t))
    matrix = attribution_matrix(x, y)
    assert matrix.shape == (n, m)
    assert matrix.sum() == pytest.approx(expected, abs=1e-5)


def test_against_the_definition():
    x, y = np.array([[1.0, 0.0], [1.0, 2.0]]), np.array([[0.0, 3.0]])
    # s = (2, 2), s' = (0, 3): norms √8 and 3; the first token is orthogonal to the other sentence.
    np.testing.assert_allclose(attribution_matrix(x, y), [[0.0], [6 / (np.sqrt(8) * 3)]], atol=1e-15)


def test_one_sentence_with_itself():
    x = np.random.default_rng(0).normal(size=(5, 4))
    matrix = attribution_matrix(x, x)
    assert matrix.sum() == pytest.approx(1)
    np.testing.assert_allclose(matrix, matrix.T)


def test_zero_vector():
    with pytest.raises(OptionError, match="zero vector"):
        attribution_matrix(np.array([[1.0], [-1.0]]), np.ones((2, 1)))


@pytest.mark.parametrize(
    "chain",
    ["", "centring", "standardising", "whitening:k=6", "all-but-the-top", "sif", "drop-frequent:k=5", "first-last+sif"],
)
@pytest.mark.parametrize("name", ["tiny_encoder", "raw_mini"])
def test_sums_to_the_encoders_cosine_on_real_sentences(name, chain, request):
    encoder = load_encoder(request.getfixturevalue(name), device="cpu")
    if chain:
        encoder = cure_encoder(encoder, chain, TEXT)
    vectors = encoder.encode(PAIR).vectors.astype(np.float64)
    cosine = vectors[0] @ vectors[1] / np.prod(np.linalg.norm(vectors, axis=1))
    found = attribute(token_parts(encoder, PAIR))
    assert found.cosine == pytest.approx(cosine, abs=1e-5)
    assert found.matrix.shape == (len(found.tokens1), len(found.tokens2))
    assert found.tokens1[0] == "[CLS]"
    assert found.special1.tolist() == [True, *[False] * (len(found.tokens1) - 2), True]


def test_strongest_and_special_sum(raw_mini):
    found = attribute(token_parts(load_encoder(raw_mini, device="cpu"), PAIR))
    strongest = found.strongest(3)
    sizes = np.sort(np.abs(found.matrix).ravel())[::-1]
    assert [abs(pair.contribution) for pair in strongest] == pytest.approx(sizes[:3].tolist())
    first = strongest[0]
    assert found.matrix[first.row, first.column] == first.contribution
    assert (found.tokens1[first.row], found.tokens2[first.column]) == (first.token1, first.token2)
    inner = found.matrix[1:-1, 1:-1].sum()
    assert found.special_sum == pytest.approx(found.cosine - inner)
    assert len(found.strongest(10_000)) == found.matrix.size


def test_undefined_says_why(tiny_encoder):
    from dataclasses import replace

    parts = token_parts(load_encoder(tiny_encoder, device="cpu"), PAIR)
    found = attribute(replace(parts, parts=np.zeros_like(parts.parts)))
    assert found.cosine is None
    assert found.undefined.startswith("undefined because")
