from __future__ import annotations

import itertools

import numpy as np
import pytest

from anticollapse.errors import OptionError
from anticollapse.measures import alignment, uniformity


def cloud(n: int, d: int, mean: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) + mean


def naive_uniformity(x: np.ndarray) -> float:
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    potentials = [np.exp(-2 * np.sum((a - b) ** 2)) for a, b in itertools.combinations(units, 2)]
    return float(np.log(np.mean(potentials)))


@pytest.mark.parametrize("mean", [0.0, 2.0])
@pytest.mark.parametrize("n", [2, 3, 40])
def test_uniformity_against_a_double_loop(n, mean):
    x = cloud(n, 5, mean)
    assert uniformity(x).value == pytest.approx(naive_uniformity(x), abs=1e-5)
    assert uniformity(x).details["pairs"].startswith("all")


def test_uniformity_over_several_blocks():
    x = cloud(1100, 3, 0.3)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    potential = np.exp(4 * units @ units.T - 4)
    expected = np.log((potential.sum() - np.trace(potential)) / (1100 * 1099))
    assert uniformity(x).value == pytest.approx(expected, abs=1e-5)


def test_uniformity_by_hand_and_limits():
    assert uniformity(np.array([[1.0, 0], [-3.0, 0]])).value == pytest.approx(-8)
    assert uniformity(np.array([[1.0, 0], [0, 2.0]])).value == pytest.approx(-4)
    assert uniformity(np.full((9, 4), 0.1, dtype=np.float32)).value == pytest.approx(0, abs=1e-6)
    assert uniformity(np.full((9, 4), 0.1, dtype=np.float32)).value <= 0
    assert uniformity(cloud(2000, 300, 0.0)).value == pytest.approx(-4, abs=0.05)


@pytest.mark.parametrize("x", [np.empty((0, 3)), np.ones((1, 3)), np.array([[1.0, 0], [0, 0]])])
def test_uniformity_without_a_pair_is_undefined_not_infinite(x):
    measure = uniformity(x)
    assert measure.value is None
    assert "at least two sentences" in measure.undefined


def test_uniformity_ignores_lengths():
    x = cloud(30, 4, 1.0)
    assert uniformity(x * np.linspace(1e-6, 10, 30)[:, None]).value == pytest.approx(uniformity(x).value, abs=1e-6)


def test_sampled_uniformity_is_close_seeded_and_says_so():
    x = cloud(3000, 6, 0.4)
    exact = uniformity(x)
    sampled = uniformity(x, exact_limit=1000, seed=3)
    assert "sampled with seed 3" in sampled.details["pairs"]
    assert sampled.value == pytest.approx(exact.value, abs=0.02)
    assert sampled.value == uniformity(x, exact_limit=1000, seed=3).value
    assert sampled.value != uniformity(x, exact_limit=1000, seed=4).value
    assert sampled.interval[0] < exact.value < sampled.interval[1]


def test_uniformity_interval_against_leave_one_out():
    x = cloud(40, 4, 0.8)
    without = np.array([naive_uniformity(np.delete(x, i, axis=0)) for i in range(40)])
    error = np.sqrt(39 / 40 * np.sum((without - without.mean()) ** 2))
    measure = uniformity(x)
    assert measure.interval[1] - measure.value == pytest.approx(2.0227 * error, rel=0.06)


def test_alignment_by_hand():
    measure = alignment([5.0, 4.0, 3.9, 0.0], [1.0, 0.5, -1.0, -1.0])
    assert measure.value == pytest.approx((0 + 1) / 2)
    assert measure.n == 2


def test_alignment_equals_squared_distance_of_unit_vectors():
    a, b = cloud(20, 5, 0.5), cloud(20, 5, 0.5, seed=1)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    measure = alignment(np.full(20, 5.0), np.sum(a * b, axis=1))
    assert measure.value == pytest.approx(np.mean(np.sum((a - b) ** 2, axis=1)))
    assert measure.interval[0] < measure.value < measure.interval[1]


def test_alignment_without_such_pairs():
    assert "no labels" in alignment(None, [0.5]).undefined
    assert "4 or more" in alignment([1.0, 3.0], [0.5, 0.5]).undefined
    assert alignment([4.0], [0.5]).value == pytest.approx(1.0)
    assert alignment([4.0], [0.5]).interval is None
    with pytest.raises(OptionError):
        alignment([4.0, 5.0], [0.5])
