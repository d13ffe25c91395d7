from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anticollapse.measures.resampling import (
    bootstrap_ratio,
    default_resamples,
    effective_groups,
    fold_jackknife_interval,
    jackknife_folds,
    jackknife_interval,
    linked_groups,
    percentile_interval,
    resample_counts,
    why_no_interval,
)


def test_counts_are_resamples_and_follow_the_seed():
    blocks = list(resample_counts(1000, 700, seed=1))
    counts = np.concatenate(blocks)
    assert len(blocks) > 1  # several blocks, or the seam between them is not tested
    assert counts.shape == (700, 1000)
    assert (counts.sum(axis=1) == 1000).all()
    assert np.array_equal(counts, np.concatenate(list(resample_counts(1000, 700, seed=1))))
    assert not np.array_equal(counts, np.concatenate(list(resample_counts(1000, 700, seed=2))))
    # Each count is binomial(n, 1/n): mean 1, variance 1 − 1/n.
    assert counts.var() == pytest.approx(1.0, abs=0.02)


def test_bootstrap_ratio_is_the_mean_of_each_resample():
    values = np.arange(5.0)
    chosen = np.array([1.0, 1.0, 0.0, 0.0, 1.0])
    ratios = bootstrap_ratio((values * chosen)[:, None], chosen[:, None], n_resamples=50, seed=3)[:, 0]
    counts = np.concatenate(list(resample_counts(5, 50, seed=3))).astype(int)
    for row, ratio in zip(counts, ratios, strict=True):
        drawn = np.repeat(np.arange(5), row)
        drawn = drawn[chosen[drawn] == 1]
        assert ratio == pytest.approx(values[drawn].mean()) if len(drawn) else np.isnan(ratio)


def test_percentile_interval_refuses_mostly_degenerate_resamples():
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))
    assert percentile_interval(np.array([np.nan] * 10 + [1.0] * 90)) is None
    assert percentile_interval(np.array([])) is None


def test_fewer_resamples_for_very_many_pairs():
    assert default_resamples(1379) == 2000
    assert default_resamples(10**6) == 500


def test_jackknife_interval_of_a_mean_is_students():
    rng = np.random.default_rng(0)
    values = rng.normal(size=20)
    low, high = jackknife_interval(values.mean(), (values - values.mean()) / 20, None)
    error = values.std(ddof=1) / np.sqrt(20)
    assert high - values.mean() == pytest.approx(2.093024 * error, rel=1e-6)
    assert values.mean() - low == pytest.approx(2.093024 * error, rel=1e-6)


def test_copies_in_one_group_add_no_certainty():
    rng = np.random.default_rng(0)
    values = rng.normal(size=30)
    once = jackknife_interval(values.mean(), (values - values.mean()) / 30, None)
    twice = np.repeat(values, 2)
    groups = np.repeat(np.arange(30), 2)
    assert jackknife_interval(twice.mean(), (twice - twice.mean()) / 60, groups) == pytest.approx(once)
    naive = jackknife_interval(twice.mean(), (twice - twice.mean()) / 60, None)
    assert naive[1] - naive[0] < 0.75 * (once[1] - once[0])


def test_jackknife_needs_two_groups_and_keeps_to_its_bounds():
    assert jackknife_interval(0.5, np.array([0.1, -0.1]), np.array([0, 0])) is None
    assert jackknife_interval(0.5, np.array([0.1, -0.1]), None, bounds=(0.0, 1.0)) == (0.0, 1.0)


def test_effective_groups_and_why_there_is_no_interval():
    assert effective_groups([3, 3, 3, 3]) == pytest.approx(4)
    assert effective_groups([100, *[1] * 100]) == pytest.approx(200**2 / (100**2 + 100))
    assert why_no_interval(1, None) == "there is only one sentence"
    assert why_no_interval(2, None) == ""
    assert "all 5 sentences are linked" in why_no_interval(5, np.zeros(5, int))
    assert "9 of the 12 sentences are linked" in why_no_interval(12, np.array([0] * 9 + [1, 2, 3]))
    assert why_no_interval(12, np.array([0] * 6 + [1, 2, 3, 4, 5, 6])) == ""


def test_a_mean_over_unequal_groups_covers_by_simulation():
    # Independent values, so that the truth is known: half of them in one group must not make the interval too narrow.
    rng = np.random.default_rng(0)
    groups = np.concatenate([np.zeros(50, int), np.arange(1, 51)])
    hits = 0
    for _ in range(1000):
        values = rng.normal(size=100)
        low, high = jackknife_interval(values.mean(), (values - values.mean()) / 100, groups)
        hits += low <= 0 <= high
    assert hits / 1000 >= 0.94


def test_unequal_folds_of_a_mean_have_the_variance_of_the_mean():
    rng = np.random.default_rng(1)
    sizes = [40, 20, 10, 10, 10, 5, 5]
    folds = np.split(np.arange(100), np.cumsum(sizes)[:-1])
    reach = stats.t.ppf(0.975, effective_groups(sizes) - 1)
    variances = []
    for _ in range(2000):
        values = rng.normal(size=100)
        without = np.array([np.delete(values, fold).mean() for fold in folds])
        low, high = fold_jackknife_interval(values.mean(), without, sizes=sizes)
        variances.append(((high - low) / 2 / reach) ** 2)
    assert np.mean(variances) == pytest.approx(1 / 100, rel=0.1)
    assert fold_jackknife_interval(0.0, np.array([1.0, 2.0]), sizes=[90, 10]) is None


def test_folds_split_no_group_and_are_even():
    groups = np.repeat(np.arange(200), 3)
    folds = jackknife_folds(600, groups, 20)
    assert len(folds) == 20
    assert sorted(np.concatenate(folds).tolist()) == list(range(600))
    assert all(27 <= len(fold) <= 33 for fold in folds)
    owner = np.empty(600)
    for number, fold in enumerate(folds):
        owner[fold] = number
    assert all(len(set(owner[groups == group])) == 1 for group in range(200))
    assert len(jackknife_folds(5, None)) == 5


def test_fold_jackknife_of_a_mean_is_the_leave_one_out_interval():
    values = np.random.default_rng(0).normal(size=12)
    without = np.array([np.delete(values, i).mean() for i in range(12)])
    expected = jackknife_interval(values.mean(), (values - values.mean()) / 12, None)
    assert fold_jackknife_interval(values.mean(), without) == pytest.approx(expected)
    assert fold_jackknife_interval(0.0, np.array([1.0])) is None


def test_linked_groups_follow_chains_of_pairs():
    groups = linked_groups(7, np.array([0, 1, 4, 6]), np.array([1, 2, 5, 6]))
    assert groups[0] == groups[1] == groups[2]
    assert groups[4] == groups[5]
    assert len(set(groups.tolist())) == 4  # {0, 1, 2}, {3}, {4, 5}, {6}
