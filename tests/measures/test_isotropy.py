from __future__ import annotations

import itertools

import numpy as np
import pytest

from anticollapse.errors import OptionError
from anticollapse.measures import (
    dimension_contributions,
    mean_cosine_to_others,
    mean_unrelated_cosine,
    rogue_dimensions,
    sample_unrelated_cosines,
    std_sqrt_d,
)
from anticollapse.measures import vectors as module


def cloud(n: int, d: int, mean: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) + mean


def loop_mean_cosine(x: np.ndarray) -> float:
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.permutations(x, 2)]
    return float(np.mean(cosines))


@pytest.mark.parametrize("mean", [0.0, 0.5, 5.0])
def test_mean_cosine_against_a_double_loop(mean, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 40)
    x = cloud(25, 6, mean)
    assert mean_unrelated_cosine(x).value == pytest.approx(loop_mean_cosine(x), abs=1e-12)
    assert mean_unrelated_cosine(x.astype(np.float32)).value == pytest.approx(loop_mean_cosine(x), abs=1e-6)


def test_mean_cosine_by_hand():
    # Cosines 1, 0, 0, each twice.
    assert mean_unrelated_cosine(np.array([[1.0, 0], [2.0, 0], [0, 3.0]])).value == pytest.approx(1 / 3)
    assert mean_unrelated_cosine(np.array([[1.0, 0], [-1.0, 0]])).value == pytest.approx(-1)


def test_mean_cosine_interval_is_the_leave_one_out_jackknife():
    x = cloud(15, 4, 1.0)
    without = np.array([loop_mean_cosine(np.delete(x, i, axis=0)) for i in range(15)])
    error = np.sqrt(14 / 15 * np.sum((without - without.mean()) ** 2))
    measure = mean_unrelated_cosine(x)
    # The influences' variance has n / (n − 1) where the jackknife has (n − 1) / n.
    reach = 2.1447867 * error * 15 / 14
    assert measure.interval == pytest.approx((measure.value - reach, min(1.0, measure.value + reach)), rel=1e-6)


@pytest.mark.parametrize("mean", [0.0, 0.7])
def test_mean_cosine_interval_covers(mean):
    # For unit vectors of a normal cloud, the population's mean cosine is ‖E ê‖².
    d, reps = 10, 200
    big = cloud(400_000, d, mean, seed=999)
    truth = float(np.sum((big / np.linalg.norm(big, axis=1, keepdims=True)).mean(axis=0) ** 2))
    hits = 0
    for rep in range(reps):
        low, high = mean_unrelated_cosine(cloud(80, d, mean, seed=rep)).interval
        hits += low <= truth <= high
    # At mean 0 the statistic is degenerate and the jackknife errs on the wide side.
    assert hits / reps >= 0.90
    assert hits / reps <= (1.0 if mean == 0 else 0.99)


@pytest.mark.parametrize("within", [0.0, 0.05])
def test_mean_cosine_interval_covers_with_half_of_the_sentences_in_one_group(within):
    d, reps = 16, 150
    groups = np.concatenate([np.zeros(100, int), 1 + np.arange(100) // 2])
    big = cloud(400_000, d, 0.5, seed=999)
    truth = float(np.sum((big / np.linalg.norm(big, axis=1, keepdims=True)).mean(axis=0) ** 2))
    hits = 0
    for rep in range(reps):
        rng = np.random.default_rng(rep)
        common, own = rng.normal(size=(51, d))[groups], rng.normal(size=(200, d))
        x = np.sqrt(within) * common + np.sqrt(1 - within) * own + 0.5
        low, high = mean_unrelated_cosine(x, groups=groups).interval
        hits += low <= truth <= high
    assert hits / reps >= 0.94


def test_linked_sentences_widen_the_interval():
    x = cloud(40, 5, 1.0)
    doubled = np.concatenate([x, x + 0.01])
    alone = mean_unrelated_cosine(doubled).interval
    linked = mean_unrelated_cosine(doubled, groups=np.tile(np.arange(40), 2)).interval
    assert np.ptp(linked) > 1.3 * np.ptp(alone)


def test_mean_cosine_to_others_against_a_loop():
    x = cloud(8, 3, 0.5)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = [np.mean([units[i] @ units[j] for j in range(8) if j != i]) for i in range(8)]
    assert mean_cosine_to_others(x) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [mean_unrelated_cosine, std_sqrt_d, rogue_dimensions])
@pytest.mark.parametrize("x", [np.empty((0, 3)), np.ones((1, 3)), np.array([[1.0, 2.0], [0.0, 0.0]]), np.zeros((4, 2))])
def test_one_direction_or_none_is_undefined(measure, x):
    result = measure(x)
    assert result.value is None
    assert "it needs at least two sentences" in result.undefined


def test_constant_vectors_are_fully_collapsed():
    x = np.full((50, 7), 0.1, dtype=np.float32)
    assert mean_unrelated_cosine(x).value == pytest.approx(1.0)
    assert mean_unrelated_cosine(x).value <= 1.0
    assert std_sqrt_d(x).value == pytest.approx(0.0, abs=1e-7)
    assert rogue_dimensions(x).value == pytest.approx(3 / 7)


def test_zero_vectors_and_scale_do_not_change_the_values():
    x = cloud(30, 5, 1.0)
    padded = np.insert(x, [3, 9], 0.0, axis=0) * 1e-30
    for measure in (mean_unrelated_cosine, std_sqrt_d, rogue_dimensions):
        one, other = measure(x), measure(padded, groups=np.arange(32))
        assert one.value == pytest.approx(other.value, rel=1e-9)
        assert one.interval == pytest.approx(other.interval, rel=1e-9)
        assert other.n == 30


def test_two_sentences_have_a_value_and_no_interval():
    measure = mean_unrelated_cosine(np.array([[1.0, 0], [1.0, 1.0]]))
    assert measure.value == pytest.approx(np.sqrt(0.5))
    assert measure.interval is None
    assert measure.describe() == "0.71, n = 2 (no interval because 2 sentences are too few to leave one out)"


def test_contributions_against_a_double_loop_and_sum_to_the_mean():
    x = cloud(12, 4, 0.8)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = np.mean([a * b for a, b in itertools.permutations(units, 2)], axis=0)
    assert dimension_contributions(x) == pytest.approx(expected)
    assert dimension_contributions(x).sum() == pytest.approx(mean_unrelated_cosine(x).value)
    with pytest.raises(OptionError):
        dimension_contributions(np.ones((1, 3)))


def test_rogue_dimensions_by_hand():
    # All mass in dimensions 1 and 4 of five, equal for every sentence: their shares are 0.36 and 0.64.
    x = np.zeros((6, 5))
    x[:, 1], x[:, 4] = 3.0, 4.0
    measure = rogue_dimensions(x)
    assert measure.value == pytest.approx(1.0)
    assert measure.details["dimensions"][:2] == [4, 1]
    assert measure.details["shares"][:2] == pytest.approx([0.64, 0.36])


def test_rogue_dimensions_find_the_planted_one():
    x = cloud(300, 20, 0.1)
    x[:, 7] += 10
    measure = rogue_dimensions(x)
    assert measure.details["dimensions"][0] == 7
    assert measure.details["shares"][0] > 0.9
    low, high = measure.interval
    assert low < measure.value < high


def test_no_common_direction_has_no_shares():
    x = cloud(200, 6, 0.0)
    assert "not clearly above 0" in rogue_dimensions(x - x.mean(axis=0)).undefined


def test_rogue_interval_against_leave_one_out():
    x = cloud(60, 6, 1.0)
    measure = rogue_dimensions(x)
    top = measure.details["dimensions"]

    def share(rows: np.ndarray) -> float:
        contributions = dimension_contributions(rows)
        return float(contributions[top].sum() / contributions.sum())

    without = np.array([share(np.delete(x, i, axis=0)) for i in range(60)])
    error = np.sqrt(59 / 60 * np.sum((without - without.mean()) ** 2))
    assert measure.interval[1] - measure.value == pytest.approx(2.001 * error, rel=0.1)


def test_std_against_numpy_and_leave_one_out(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 40)
    x = cloud(50, 4, 0.5)

    def direct(rows: np.ndarray) -> float:
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return float(units.std(axis=0).mean() * 2)

    measure = std_sqrt_d(x)
    assert measure.value == pytest.approx(direct(x))
    without = np.array([direct(np.delete(x, i, axis=0)) for i in range(50)])
    error = np.sqrt(49 / 50 * np.sum((without - without.mean()) ** 2))
    assert measure.interval[1] - measure.value == pytest.approx(2.0096 * error, rel=0.1)


def test_std_limits():
    axes = np.concatenate([np.eye(8), -np.eye(8)])
    assert std_sqrt_d(axes).value == pytest.approx(1.0)  # isotropic
    assert std_sqrt_d(cloud(5000, 16, 0.0)).value == pytest.approx(1.0, abs=0.005)
    assert std_sqrt_d(cloud(500, 16, 100.0)).value < 0.02


def test_histogram_sample_is_exact_for_few_and_seeded_for_many():
    x = cloud(20, 3, 0.5)
    few = sample_unrelated_cosines(x)
    assert len(few) == 190
    assert few.mean() == pytest.approx(mean_unrelated_cosine(x).value)
    many = cloud(2000, 3, 0.5)
    sample = sample_unrelated_cosines(many, n_pairs=50_000, seed=1)
    assert len(sample) == 50_000
    assert sample.mean() == pytest.approx(mean_unrelated_cosine(many).value, abs=0.01)
    assert np.array_equal(sample, sample_unrelated_cosines(many, n_pairs=50_000, seed=1))
    assert sample.max() < 1.0 - 1e-12  # never a sentence with itself
    assert len(sample_unrelated_cosines(np.ones((1, 3)))) == 0
