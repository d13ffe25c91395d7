"""Linear cures from streamed moments, against NumPy on all vectors at once and against naive implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anticollapse.cures import linear
from anticollapse.cures.moments import Moments
from anticollapse.errors import OptionError


def moments_of(vectors, *cuts):
    moments = Moments(vectors.shape[1])
    for part in np.split(vectors, cuts):
        moments.add(part)
    return moments


def apply(layer, vectors):
    with torch.inference_mode():
        return layer({"sentence_embedding": torch.tensor(vectors, dtype=torch.float32)})["sentence_embedding"].numpy()


@pytest.fixture(scope="module")
def vectors():
    """Collapsed: a common vector ten times as long as what differs, and one rogue dimension."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(12, 12))
    return (rng.normal(size=(500, 12)) @ mix + 10 * rng.normal(size=12) + 60 * np.eye(12)[3]).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 40), max_size=4), shift=st.sampled_from([0.0, 1.0, 1e4]))
def test_moments_do_not_depend_on_the_chunks(cuts, shift):
    x = np.random.default_rng(1).normal(size=(40, 3)) + shift
    moments = moments_of(x, *sorted(cuts))
    assert moments.n == 40
    np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.scatter / 39, np.cov(x.T), atol=1e-9)
    np.testing.assert_allclose(moments.variances, x.var(axis=0, ddof=1), atol=1e-9)


def test_directions_are_those_of_the_singular_value_decomposition(vectors):
    moments = moments_of(vectors, 100, 350)
    x = vectors.astype(np.float64)
    for data, (values, directions), scale in (
        (x - x.mean(axis=0), moments.centred, len(x) - 1),
        (x, moments.uncentred, len(x)),
    ):
        _, singular, basis = np.linalg.svd(data, full_matrices=False)
        np.testing.assert_allclose(values, singular**2 / scale, rtol=1e-6)
        np.testing.assert_allclose(np.abs(np.einsum("kd,dk->k", basis, directions)), 1, atol=1e-6)


def test_centring_leaves_mean_zero_and_everything_else(vectors):
    found = apply(linear.centring(moments_of(vectors, 200), {}), vectors)
    np.testing.assert_allclose(found, vectors - vectors.mean(axis=0), atol=1e-4)


def test_standardising_gives_mean_0_and_variance_1(vectors):
    found = apply(linear.standardising(moments_of(vectors), {}), vectors)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(axis=0, ddof=1), 1, atol=1e-4)


def test_standardising_sets_a_constant_dimension_to_zero(vectors):
    given_ = vectors.copy()
    given_[:, 5] = 7.3
    found = apply(linear.standardising(moments_of(given_), {}), given_)
    np.testing.assert_array_equal(np.abs(found[:, 5]) < 1e-6, True)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("k", [1, 5, 12])
def test_whitening_has_identity_covariance_on_its_fitting_set(vectors, k):
    found = apply(linear.whitening(moments_of(vectors, 77), {"k": k}), vectors)
    assert found.shape == (500, k)
    np.testing.assert_allclose(np.cov(found.T).reshape(k, k), np.eye(k), atol=2e-4)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=2e-4)


def test_whitening_equals_the_papers_procedure_up_to_signs(vectors):
    x = vectors.astype(np.float64)
    u, s, _ = np.linalg.svd(np.cov(x.T))  # compute_kernel_bias of Su et al.: W = u diag(1 / sqrt(s))
    expected = (x - x.mean(axis=0)) @ (u @ np.diag(1 / np.sqrt(s)))[:, :6]
    found = apply(linear.whitening(moments_of(vectors), {"k": 6}), vectors)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-3)


@pytest.mark.parametrize("d", [0, 1, 3, 11])
def test_all_but_the_top_against_a_naive_implementation(vectors, d):
    x = vectors.astype(np.float64)
    mean = sum(x) / len(x)
    _, _, basis = np.linalg.svd(x - mean)
    expected = []
    for row in x:
        rest = row - mean
        for direction in basis[:d]:
            rest = rest - (direction @ (row - mean)) * direction
        expected.append(rest)
    found = apply(linear.all_but_the_top(moments_of(vectors), {"d": d}), vectors)
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_common_component_against_a_naive_implementation(vectors):
    x = vectors.astype(np.float64)
    first = np.linalg.svd(x)[2][0]
    layer = linear.without_common_component(moments_of(vectors), {"components": 1})
    np.testing.assert_allclose(apply(layer, vectors), x - np.outer(x @ first, first), atol=2e-4)
    assert linear.without_common_component(moments_of(vectors), {"components": 0}) is None


def test_defaults_follow_the_encoder(vectors):
    assert linear.whitening(moments_of(vectors), {}).out_features == 6
    one = linear.all_but_the_top(moments_of(vectors), {"d": 1})
    assert torch.equal(linear.all_but_the_top(moments_of(vectors), {}).linear.weight, one.linear.weight)


@pytest.mark.parametrize(
    "cure", [linear.centring, linear.standardising, linear.whitening, linear.without_common_component]
)
@pytest.mark.parametrize("n", [0, 1])
def test_too_little_text(cure, n):
    with pytest.raises(OptionError, match="at least 2 different sentences"):
        cure(moments_of(np.ones((n, 4), np.float32)), {})


def test_more_directions_than_the_text_has(vectors):
    few = moments_of(vectors[:4])
    with pytest.raises(OptionError, match="vary in 3"):
        linear.whitening(few, {"k": 4})
    with pytest.raises(OptionError, match="vary in 3"):
        linear.all_but_the_top(few, {"d": 3})
    assert linear.whitening(few, {}).out_features == 3  # the default takes what there is
    with pytest.raises(OptionError, match="vary in 0"):
        linear.whitening(moments_of(np.ones((5, 4), np.float32)), {"k": 1})
