"""Intervals over seeds and pairs, against a naive loop, by simulation, and at their limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anticollapse.measures.resampling import resample_counts
from anticollapse.measures.seeds import draw_seeds
from anticollapse.studies.statistics import SEED_STREAM, Runs, difference, mean_over_seeds, resample


def runs_of(values, samples, *, seeds=None, n=40, deterministic=False):
    values = np.asarray(values, float)
    return Runs(tuple(seeds or range(len(values))), values, np.asarray(samples, float), n, deterministic)


def make(scores, quality, rng, k=3, own=0.5):
    """Cosines of k runs that err alike on the pairs, and each in its own way besides."""
    shared = rng.normal(size=len(scores))
    return [quality * scores + shared + own * rng.normal(size=len(scores)) for _ in range(k)]


def naive_spearman(scores, cosines, indices):
    return 100 * stats.spearmanr(scores[indices], cosines[indices]).statistic


def test_against_a_naive_loop():
    rng = np.random.default_rng(1)
    n, k, b, seed = 23, 3, 60, 5
    scores = rng.integers(0, 6, n).astype(float)  # ties
    arrays = [*make(scores, 1.0, rng, k), *make(scores, 0.4, rng, k)]
    values, samples, reasons = resample(scores, arrays, seed=seed, n_resamples=b)
    assert reasons == [""] * 6
    drawn = [np.repeat(np.arange(n), c.astype(int)) for c in np.concatenate(list(resample_counts(n, b, seed)))]
    expected = np.array([[naive_spearman(scores, array, one) for array in arrays] for one in drawn])
    assert samples == pytest.approx(expected)
    assert values == pytest.approx([naive_spearman(scores, array, np.arange(n)) for array in arrays])

    picks = np.random.default_rng([seed, SEED_STREAM]).integers(0, k, (b, k))
    both, pairs_alone = [], []
    for one, chosen in zip(expected, picks, strict=True):
        gaps = [one[i] - one[k + i] for i in range(k)]
        centre = sum(gaps) / k
        resampled = sum(gaps[i] for i in chosen) / k
        pairs_alone.append(centre)
        both.append(centre + (k / (k - 1)) ** 0.5 * (resampled - centre))
    gaps = values[:k] - values[k:]
    seeds_alone = np.var(gaps, ddof=1) / k
    pairs_alone = np.var(pairs_alone, ddof=1)
    freedom = (pairs_alone + seeds_alone) ** 2 / (pairs_alone**2 / (n - 1) + seeds_alone**2 / (k - 1))
    reach = stats.t.ppf(0.975, freedom) * np.std(both, ddof=1)

    found = difference(runs_of(values[:k], samples[:, :k], n=n), runs_of(values[k:], samples[:, k:], n=n), seed=seed)
    assert found.paired_seeds
    assert found.value == pytest.approx(gaps.mean())
    assert found.interval == pytest.approx((gaps.mean() - reach, gaps.mean() + reach))
    assert found.standard_error == pytest.approx(np.std(both, ddof=1))
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(gaps.mean()) / np.std(both, ddof=1), freedom))
    assert (found.n_pairs, found.n_seeds, found.n_reference_seeds) == (n, k, k)


def test_seeds_that_are_drawn_have_the_variance_of_their_mean():
    """K values drawn K at a time spread by (K − 1) / K too little; widened, they have the textbook variance s² / K."""
    rng = np.random.default_rng(0)
    values = np.array([1.0, 2.0, 4.0, 9.0])
    drawn = draw_seeds(np.tile(values, (200_000, 1)), rng)
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.02)
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 4, rel=0.02)
    assert np.array_equal(draw_seeds(np.full((3, 1), 7.0), rng), [7.0] * 3)


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize(("pair_noise", "seed_noise"), [(1.0, 0.3), (0.3, 1.0), (1.0, 1.0)])
def test_intervals_cover_the_truth(k, pair_noise, seed_noise):
    """With normal chance of known size in the pairs and in the seeds; the truth is 0.

    Three seeds that differ far more than the pairs do give 92 %: the degrees of freedom are estimated from so little.
    """
    rng = np.random.default_rng([k, int(10 * pair_noise)])
    cases, hits, b = 800, 0, 400
    for case in range(cases):
        gaps = pair_noise * rng.normal() + seed_noise * rng.normal(size=k)
        samples = gaps + pair_noise * rng.normal(size=(b, 1))
        nothing = runs_of(np.zeros(k), np.zeros((b, k)), n=1000)
        low, high = difference(runs_of(gaps, samples, n=1000), nothing, seed=case).interval
        hits += low <= 0 <= high
    assert 0.905 <= hits / cases <= 0.985


def test_equal_systems_are_seldom_called_different():
    """Real correlations: two trainings of one quality, five seeds each, on 80 graded pairs."""
    cases, wrong = 200, 0
    for case in range(cases):
        rng = np.random.default_rng(case)
        scores = rng.uniform(0, 5, 80)
        arrays = [*make(scores, 1.0, rng, 5), *make(scores, 1.0, rng, 5)]
        values, samples, _ = resample(scores, arrays, seed=case, n_resamples=300)
        parts = [runs_of(values[i : i + 5], samples[:, i : i + 5], n=80) for i in (0, 5)]
        wrong += difference(*parts, seed=case).p_value < 0.05
    assert wrong / cases <= 0.09  # 5 % and three standard errors


def test_a_clear_difference_is_seen_and_has_its_sign():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 5, 200)
    values, samples, _ = resample(scores, [*make(scores, 1.0, rng), *make(scores, 0.2, rng)], n_resamples=300)
    better, worse = (runs_of(values[i : i + 3], samples[:, i : i + 3], n=200) for i in (0, 3))
    up, down = difference(better, worse), difference(worse, better)
    assert up.interval[0] > 0
    assert up.p_value < 0.01
    assert (down.value, down.interval) == (-up.value, pytest.approx((-up.interval[1], -up.interval[0])))


def test_equal_runs_do_not_differ():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 5, 30)
    cosines = make(scores, 1.0, rng)
    values, samples, _ = resample(scores, [*cosines, *cosines], n_resamples=50)
    found = difference(runs_of(values[:3], samples[:, :3]), runs_of(values[3:], samples[:, 3:]))
    assert (found.value, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_seeds_are_paired_only_where_both_have_the_same():
    rng = np.random.default_rng(0)
    values, samples = rng.normal(size=4), rng.normal(size=(50, 4))
    a = runs_of(values[:2], samples[:, :2], seeds=(0, 1))
    b = runs_of(values[2:], samples[:, 2:], seeds=(0, 2))
    raw = runs_of([1.0], samples[:, :1], deterministic=True)
    assert difference(a, runs_of(values[2:], samples[:, 2:], seeds=(0, 1))).paired_seeds
    assert not difference(a, b).paired_seeds
    against = difference(a, raw)
    assert not against.paired_seeds
    assert against.note == ""  # the raw encoder has no chance of its own


def test_one_seed_is_said_to_be_one():
    samples = np.random.default_rng(0).normal(size=(50, 1))
    found = mean_over_seeds(runs_of([3.0], samples))
    assert found.value == 3.0
    assert "one seed only" in found.note
    assert found.p_value is None
    assert mean_over_seeds(runs_of([3.0], samples, deterministic=True)).note == ""


def test_a_run_without_a_value_makes_the_difference_undefined():
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    values, samples, reasons = resample(scores, [np.ones(4), scores], n_resamples=10)
    assert reasons == ["the cosine is the same for every pair", ""]
    assert np.isnan(values[0])
    assert np.isnan(samples[:, 0]).all()
    bad = Runs((0,), values[:1], samples[:, :1], 4, undefined="undefined because the cosine is the same")
    found = difference(bad, runs_of(values[1:], samples[:, 1:]))
    assert found.value is None
    assert found.interval is None
    assert found.note == "Undefined because the cosine is the same."


def test_too_few_resamples_with_a_value_give_no_interval():
    samples = np.full((20, 2), np.nan)
    samples[:3] = 1.0
    found = mean_over_seeds(runs_of([1.0, 2.0], samples))
    assert found.value == 1.5
    assert found.interval is None
    assert "too many resamples" in found.note
