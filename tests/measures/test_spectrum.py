from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from anticollapse.measures import effective_rank, first_component_share, isoscore, spectrum
from anticollapse.measures.spectrum import effective_rank_of, isoscore_of


def cloud(n: int, d: int, mean: float, seed: int = 0, decay: float = 0.9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) * decay ** np.arange(d) + mean


def naive_effective_rank(x: np.ndarray) -> float:
    s = np.linalg.svd(x, compute_uv=False)
    entropy = 0.0
    for sigma in s:
        p = sigma / s.sum()
        entropy -= p * np.log(p) if p > 1e-12 else 0.0
    return float(np.exp(entropy))


def naive_isoscore(x: np.ndarray) -> float:
    """The paper's steps one by one: reorient by PCA, covariance, its diagonal, normalise, defect, share, rescale."""
    d = x.shape[1]
    reoriented = PCA(n_components=d).fit_transform(x)
    diagonal = np.diag(np.cov(reoriented.T))
    normalised = diagonal / np.linalg.norm(diagonal) * np.sqrt(d)
    defect = np.linalg.norm(normalised - np.ones(d)) / np.sqrt(2 * (d - np.sqrt(d)))
    used = (d - defect**2 * (d - np.sqrt(d))) ** 2 / d**2
    return float((d * used - 1) / (d - 1))


@pytest.mark.parametrize("n", [5, 8, 60])
def test_spectrum_against_svd(n):
    x = cloud(n, 8, 1.0)
    result = spectrum(x)
    assert result.singular_values == pytest.approx(np.linalg.svd(x, compute_uv=False), abs=1e-6)
    centred = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    assert result.singular_values_centred == pytest.approx(centred, abs=1e-6)
    assert len(result.to_json()["singular_values"]) == min(n, 8)


def test_spectrum_without_vectors_says_so():
    assert "no vector" in spectrum(np.zeros((3, 4))).undefined


@pytest.mark.parametrize("n", [6, 200])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_effective_rank_against_definition(n, dtype):
    x = cloud(n, 10, 1.0)
    assert effective_rank(x.astype(dtype)).value == pytest.approx(naive_effective_rank(x), rel=1e-5)
    centred = naive_effective_rank(x - x.mean(axis=0))
    assert effective_rank(x.astype(dtype), centred=True).value == pytest.approx(centred, rel=1e-5)


def test_effective_rank_by_hand_and_limits():
    assert effective_rank_of(np.array([2.0, 2.0, 2.0, 2.0])) == pytest.approx(4)
    assert effective_rank_of(np.array([7.0, 0.0])) == pytest.approx(1)
    # p = 3/4, 1/4: exp(0.5623) = 4 / 27^(1/4)
    assert effective_rank_of(np.array([3.0, 1.0])) == pytest.approx(4 / 27**0.25)
    assert effective_rank(np.concatenate([np.eye(8), -np.eye(8)])).value == pytest.approx(8)
    line = np.outer(np.arange(1, 30), np.ones(6)).astype(np.float32)
    assert effective_rank(line).value == pytest.approx(1)
    assert first_component_share(line).value == pytest.approx(1)


def test_a_common_mean_hides_from_the_centred_rank():
    x = cloud(400, 12, 50.0, decay=1.0)
    assert effective_rank(x).value < 2.5
    assert effective_rank(x, centred=True).value > 11.5


def test_few_sentences_are_said_to_limit_the_rank():
    measure = effective_rank(cloud(5, 20, 0.0))
    assert measure.value <= 5
    assert "cannot exceed 5" in measure.details["limited"]
    assert "limited" not in effective_rank(cloud(50, 20, 0.0)).details


@pytest.mark.parametrize("n", [6, 200])
def test_first_component_share_against_svd(n):
    x = cloud(n, 10, 0.3)
    s = np.linalg.svd(x, compute_uv=False)
    assert first_component_share(x).value == pytest.approx(s[0] ** 2 / np.sum(s**2))


def test_first_component_share_by_hand():
    assert first_component_share(np.diag([3.0, 2.0, 1.0])).value == pytest.approx(9 / 14)


@pytest.mark.parametrize("d", [2, 3, 10])
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_isoscore_against_the_papers_steps(d, decay):
    x = cloud(100, d, 3.0, decay=decay)
    assert isoscore(x).value == pytest.approx(naive_isoscore(x), abs=1e-9)


def test_isoscore_with_fewer_sentences_than_dimensions():
    x = cloud(6, 10, 3.0)
    variances = np.linalg.eigvalsh(np.cov(x.T))
    assert isoscore(x).value == pytest.approx(isoscore_of(np.maximum(variances, 0)), abs=1e-9)


@pytest.mark.parametrize("d", [2, 9, 100])
def test_isoscore_limits(d):
    assert isoscore_of(np.ones(d)) == pytest.approx(1)
    assert isoscore_of(np.eye(d)[0]) == pytest.approx(0, abs=1e-12)
    # The paper's heuristic: k of d dimensions used alike score (k − 1) / (d − 1).
    for k in range(1, d + 1, 3):
        assert isoscore_of((np.arange(d) < k).astype(float)) == pytest.approx((k - 1) / (d - 1))


def test_isoscore_ignores_mean_scale_and_rotation():
    x = cloud(80, 6, 0.0)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert isoscore(1e-20 * (x @ rotation + 40)).value == pytest.approx(isoscore(x).value, rel=1e-9)


@pytest.mark.parametrize("measure", [lambda x: effective_rank(x, centred=True), isoscore])
def test_equal_vectors_have_no_centred_spectrum(measure):
    for x in (np.full((40, 5), 0.1, dtype=np.float32), np.full((3, 5), 0.3)):
        assert measure(x).undefined == "undefined because all vectors are equal"
    assert "at least two sentences" in measure(np.ones((1, 5))).undefined


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_that_differ_by_rounding_have_no_centred_spectrum(dtype):
    rng = np.random.default_rng(0)
    noise = 1 + np.finfo(dtype).eps * rng.integers(-1, 2, (40, 5))
    x = (np.array([0.3, -0.2, 0.7, 0.1, 0.5]) * noise).astype(dtype)
    assert np.ptp(x, axis=0).max() > 0
    assert "all vectors are equal" in isoscore(x).undefined
    coarse = 1 + 1000 * (noise - 1)
    assert isoscore((x[0] * coarse).astype(dtype)).value > 0.1


def test_equal_vectors_use_one_direction():
    x = np.full((40, 5), 0.1, dtype=np.float32)
    assert effective_rank(x).value == pytest.approx(1)
    assert first_component_share(x).value == pytest.approx(1)
    assert effective_rank(np.ones((1, 5))).value == pytest.approx(1)
    assert effective_rank(np.ones((1, 5))).interval is None


def test_one_dimension_has_no_isoscore():
    assert "at least two dimensions" in isoscore(np.array([[1.0], [2.0], [4.0]])).undefined


def test_all_zero_is_undefined():
    for measure in (effective_rank, first_component_share):
        assert "no vector with a direction" in measure(np.zeros((4, 3))).undefined


@pytest.mark.parametrize("measure", [first_component_share, isoscore])
@pytest.mark.parametrize("n", [200, 20])
def test_closed_form_interval_against_leave_one_out(measure, n):
    x = cloud(n, 5, 1.0, decay=0.7)
    result = measure(x)
    without = np.array([measure(np.delete(x, i, axis=0)).value for i in range(n)])
    error = np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2))
    reach = (result.interval[1] - result.interval[0]) / 2
    assert reach == pytest.approx(2.0 * error, rel=0.1 if n == 200 else 0.5)


@pytest.mark.parametrize(
    "measure",
    [effective_rank, lambda x: effective_rank(x, centred=True), first_component_share, isoscore],
)
def test_intervals_cover_what_other_sentences_would_give(measure):
    results = [measure(cloud(60, 12, 0.6, seed=seed)) for seed in range(80)]
    values = np.array([result.value for result in results])
    hits = [result.interval[0] <= values.mean() <= result.interval[1] for result in results]
    assert np.mean(hits) >= 0.87


def test_equal_remainders_give_no_interval_instead_of_nonsense():
    x = np.ones((10, 3))
    x[0] = [1.0, 2.0, 3.0]
    measure = effective_rank(x, centred=True)
    assert measure.value == pytest.approx(1)
    assert measure.interval is None
