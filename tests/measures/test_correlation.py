from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anticollapse.errors import OptionError
from anticollapse.measures import correlation, pearson, spearman
from anticollapse.measures.correlation import bootstrap_correlations
from anticollapse.measures.resampling import resample_counts

SCIPY = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}


def pairs(n: int, seed: int = 0, *, rho: float = 0.6, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, e = rng.normal(size=(2, n))
    c = rho * y + np.sqrt(1 - rho**2) * e
    return (np.round(y), np.round(c, 1)) if ties else (y, c)


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
@pytest.mark.parametrize("ties", [False, True])
def test_every_resample_equals_scipy_on_the_explicit_resample(kind, ties):
    y, c = pairs(60, ties=ties)
    samples = bootstrap_correlations(y, c[None], kind=kind, seed=5, n_resamples=150)[:, 0]
    counts = np.concatenate(list(resample_counts(60, 150, seed=5))).astype(int)
    for row, sample in zip(counts, samples, strict=True):
        drawn = np.repeat(np.arange(60), row)
        assert sample == pytest.approx(SCIPY[kind](y[drawn], c[drawn]).statistic, abs=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2)), min_size=3, max_size=8),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["spearman", "pearson"]),
)
@settings(max_examples=60, deadline=None)
def test_heavily_tied_and_degenerate_resamples(rows, seed, kind):
    y, c = np.array(rows, dtype=float).T
    if np.ptp(y) == 0 or np.ptp(c) == 0:
        return
    samples = bootstrap_correlations(y, c[None], kind=kind, seed=seed, n_resamples=8)[:, 0]
    counts = np.concatenate(list(resample_counts(len(y), 8, seed=seed))).astype(int)
    for row, sample in zip(counts, samples, strict=True):
        drawn = np.repeat(np.arange(len(y)), row)
        if np.ptp(y[drawn]) == 0 or np.ptp(c[drawn]) == 0:
            assert np.isnan(sample)
        else:
            assert sample == pytest.approx(SCIPY[kind](y[drawn], c[drawn]).statistic, abs=1e-9)


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_several_encoders_share_their_resamples(kind):
    y, c = pairs(40, ties=True)
    other = pairs(40, seed=9)[1]
    both = bootstrap_correlations(y, np.stack([c, other]), kind=kind, seed=2, n_resamples=30)
    for column, array in enumerate((c, other)):
        alone = bootstrap_correlations(y, array[None], kind=kind, seed=2, n_resamples=30)[:, 0]
        assert np.allclose(both[:, column], alone, atol=1e-12)


def test_value_is_scipys_times_100():
    y, c = pairs(200, ties=True)
    assert spearman(y, c).value == pytest.approx(100 * stats.spearmanr(y, c).statistic)
    assert pearson(y, c).value == pytest.approx(100 * stats.pearsonr(y, c).statistic)


def test_by_hand():
    # Ranks 1 2 3 4 against 1 3 2 4: 1 − 6 · (0 + 1 + 1 + 0) / (4 · 15) = 0.8.
    assert spearman([0, 1, 2, 3], [0.1, 0.5, 0.3, 0.9]).value == pytest.approx(80)
    assert pearson([0, 1, 2], [0.1, 0.2, 0.3]).value == pytest.approx(100)
    assert spearman([0, 1, 2], [0.3, 0.2, 0.1]).value == pytest.approx(-100)


def test_interval_is_deterministic_and_follows_the_seed():
    y, c = pairs(100)
    assert spearman(y, c, seed=1).interval == spearman(y, c, seed=1).interval
    assert spearman(y, c, seed=1).interval != spearman(y, c, seed=2).interval
    low, high = spearman(y, c).interval
    assert low < spearman(y, c).value < high


def test_order_of_the_pairs_does_not_matter_beyond_the_resamples():
    y, c = pairs(300)
    shuffled = np.random.default_rng(1).permutation(300)
    one, other = spearman(y, c), spearman(y[shuffled], c[shuffled])
    assert one.value == pytest.approx(other.value)
    assert np.allclose(one.interval, other.interval, atol=2.0)


@pytest.mark.parametrize(
    ("labels", "cosines", "reason"),
    [
        (None, [0.1, 0.2, 0.3], "the pairs have no labels"),
        ([], [], "it needs at least 3 pairs and there are 0"),
        ([1.0], [0.5], "it needs at least 3 pairs and there is 1"),
        ([1.0, 2.0], [0.5, 0.6], "it needs at least 3 pairs and there are 2"),
        ([2.0, 2.0, 2.0], [0.1, 0.2, 0.3], "all labels are equal"),
        ([1.0, 2.0, 3.0], [0.5, 0.5, 0.5], "the cosine is the same for every pair"),
        ([1.0, 2.0, 3.0], [1.0, 1.0 - 1e-16, 1.0 - 2e-16], "the cosine is the same for every pair"),
        ([1.0, 2.0, 3.0], [0.5, np.nan, 0.5], "1 cosines are not numbers"),
        ([1.0, np.nan, 3.0], [0.5, 0.6, 0.7], "1 labels are not numbers"),
    ],
)
@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_undefined_says_why(kind, labels, cosines, reason):
    measure = correlation(labels, cosines, kind=kind)
    assert measure.value is None
    assert measure.undefined == f"undefined because {reason}"
    assert measure.n == len(cosines)


def test_three_pairs_have_a_value_but_no_interval():
    # One resample in nine repeats a single pair three times or leaves the labels equal: no quantiles of that.
    measure = spearman([0.0, 1.0, 2.0], [0.1, 0.3, 0.2])
    assert measure.value == pytest.approx(50)
    assert measure.interval is None


def test_lengths_must_match():
    with pytest.raises(OptionError, match="3 labels do not match 2 cosines"):
        spearman([1, 2, 3], [0.1, 0.2])


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_interval_covers_the_true_correlation(kind):
    rho, reps = 0.5, 150
    truth = 100 * (rho if kind == "pearson" else 6 / np.pi * np.arcsin(rho / 2))
    hits = 0
    for rep in range(reps):
        y, c = pairs(120, seed=rep, rho=rho)
        low, high = correlation(y, c, kind=kind, seed=rep, n_resamples=400).interval
        hits += low <= truth <= high
    assert 0.89 <= hits / reps <= 0.99  # 95 % ± 3 standard errors of 150 repetitions


def test_two_thousand_resamples_of_1379_pairs_take_under_two_seconds():
    y, c = pairs(1379, ties=True)
    start = time.perf_counter()
    assert spearman(y, c, n_resamples=2000).interval is not None
    assert time.perf_counter() - start < 2.0
