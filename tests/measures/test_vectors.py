from __future__ import annotations

import numpy as np
import pytest

from anticollapse.errors import AntiCollapseError, EncoderError, OptionError
from anticollapse.measures import as_vectors, pair_cosines
from anticollapse.measures import vectors as module


def test_nan_and_infinity_are_named_with_the_first_sentence():
    x = np.ones((5, 3), dtype=np.float32)
    x[2, 1] = np.nan
    x[4, 0] = np.inf
    with pytest.raises(EncoderError, match=r"sentence 3: 2 of 5 sentence vectors contain NaN or infinity"):
        as_vectors(x)


@pytest.mark.parametrize("bad", [np.ones(3), np.ones((2, 3), dtype=np.int64), np.ones((2, 2, 2))])
def test_other_shapes_and_types_are_refused(bad):
    with pytest.raises(OptionError, match="sentences, dimensions"):
        as_vectors(bad)


@pytest.mark.parametrize(("dtype", "scale"), [(np.float16, 1e-4), (np.float32, 1e-38), (np.float64, 1e-300)])
def test_tiny_vectors_keep_their_direction(dtype, scale):
    x = (np.array([[3.0, 4.0], [1.0, 0.0]]) * scale).astype(dtype)
    units = as_vectors(x).take(slice(None), unit=True)
    assert np.allclose(units, [[0.6, 0.8], [1, 0]], atol=2e-3)
    assert pair_cosines(x, [0], [1]) == pytest.approx([0.6], abs=2e-3)


def test_zero_vectors_are_left_out_and_counted():
    x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    checked = as_vectors(x)
    assert (checked.n, checked.n_zero) == (2, 2)
    assert checked.rows.tolist() == [1, 3]
    cosines = pair_cosines(checked, [0, 1, 1], [1, 3, 1])
    assert np.isnan(cosines[0])
    assert cosines[1:] == pytest.approx([0.0, 1.0])


def test_cosines_against_a_loop_over_block_seams(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 4)).astype(np.float32)
    first, second = rng.integers(0, 30, (2, 50))
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 28)  # seven rows a block
    rows = x.astype(np.float64)
    expected = [
        rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
        for i, j in zip(first, second, strict=True)
    ]
    assert pair_cosines(x, first, second) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("first", "second"), [([0, 1], [0]), ([3], [0]), ([-1], [0]), ([[0]], [[0]])])
def test_indices_must_fit(first, second):
    with pytest.raises(AntiCollapseError):
        pair_cosines(np.ones((3, 2)), np.array(first), np.array(second))


@pytest.mark.parametrize("n", [4, 9])
@pytest.mark.parametrize("centred", [False, True])
def test_decompositions_against_svd(n, centred, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 12)
    x = np.random.default_rng(0).normal(size=(n, 6)) + 3
    checked = as_vectors(x)
    part = checked.centred if centred else checked.uncentred
    rows = (x - x.mean(axis=0) if centred else x) / checked.scale
    assert np.sqrt(part.eigenvalues) == pytest.approx(np.linalg.svd(rows, compute_uv=False), abs=1e-7)
    rebuilt = part.basis * part.eigenvalues @ part.basis.T
    assert np.allclose(rebuilt, rows.T @ rows, atol=1e-9)


@pytest.mark.parametrize("centred", [False, True])
def test_scatter_without_some_vectors(centred):
    x = np.random.default_rng(0).normal(size=(12, 3)) + 5
    checked = as_vectors(x)
    rest = np.delete(x, [1, 4, 7], axis=0) / checked.scale
    rest -= rest.mean(axis=0) if centred else 0
    assert np.allclose(checked.scatter_without(np.array([1, 4, 7]), centred=centred), rest.T @ rest, atol=1e-10)


def test_a_large_common_mean_does_not_cost_precision():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4)) * [1, 1e-1, 1e-2, 1e-3] + 1e5
    expected = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    checked = as_vectors(x)
    assert np.sqrt(checked.centred.eigenvalues) * checked.scale == pytest.approx(expected, rel=1e-6)
