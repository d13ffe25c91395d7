from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anticollapse.errors import OptionError
from anticollapse.measures import correlation_difference, spearman, verdict
from anticollapse.measures.resampling import resample_counts

WON = {"better", "worse"}
SCIPY = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}


def encoders(n: int, seed: int = 0, *, first: float = 1.0, second: float = 1.0) -> tuple[np.ndarray, ...]:
    """Labels and two encoders' cosines that share part of their noise; the larger the noise, the worse."""
    rng = np.random.default_rng(seed)
    y, shared, own1, own2 = rng.normal(size=(4, n))
    return y, y + first * (shared + own1), y + second * (shared + own2)


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_against_a_naive_paired_bootstrap(kind):
    y, a, b = encoders(50)
    y = np.round(y)
    measure = correlation_difference(y, a, b, kind=kind, seed=3, n_resamples=300)
    differences = []
    for row in np.concatenate(list(resample_counts(50, 300, seed=3))).astype(int):
        drawn = np.repeat(np.arange(50), row)
        one, other = (100 * SCIPY[kind](y[drawn], array[drawn]).statistic for array in (a, b))
        differences.append(one - other)
    error = np.std(differences, ddof=1) * np.sqrt(50 / 49)
    reach = stats.t.ppf(0.975, 49) * 1.05 * error
    assert measure.value == pytest.approx(measure.details["value"] - measure.details["reference"])
    assert measure.details["standard_error"] == pytest.approx(error, abs=1e-9)
    assert measure.interval == pytest.approx((measure.value - reach, measure.value + reach), abs=1e-9)
    assert measure.details["p_value"] == pytest.approx(2 * stats.t.sf(abs(measure.value) / (1.05 * error), 49))
    assert (measure.details["seed"], measure.details["resamples"]) == (3, 300)


def test_the_same_encoder_twice_is_no_difference():
    y, a, _ = encoders(100)
    measure = correlation_difference(y, a, a)
    assert measure.value == 0
    assert measure.interval == (0, 0)
    assert measure.details["p_value"] == 1


def test_a_clear_difference_is_found_and_swapping_changes_the_sign():
    y, a, b = encoders(500, first=0.5, second=2.0)
    one, other = correlation_difference(y, a, b), correlation_difference(y, b, a)
    assert one.interval[0] > 0
    assert one.details["p_value"] < 0.01
    assert other.value == pytest.approx(-one.value)
    assert other.interval == pytest.approx((-one.interval[1], -one.interval[0]))


def bivariate(rng, n, rho):
    """n normal pairs of correlation rho; 6 / π asin(rho / 2) is their Spearman (Pearson 1907)."""
    y, noise = rng.normal(size=(2, n))
    return y, rho * y + np.sqrt(1 - rho**2) * noise


@pytest.mark.parametrize(("n", "cases", "resamples"), [(100, 500, 400), (1379, 500, 200)])
def test_intervals_of_known_correlations_cover_them(n, cases, resamples):
    # Each case has a correlation of its own, so that 500 are enough for all of them together.
    rng = np.random.default_rng(7)
    hits = 0
    for case in range(cases):
        rho = rng.uniform(-0.2, 0.9)
        y, c = bivariate(rng, n, rho)
        low, high = spearman(y, c, seed=case, n_resamples=resamples).interval
        hits += low <= 100 * 6 / np.pi * np.arcsin(rho / 2) <= high
    assert 0.93 <= hits / cases <= 0.97


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize(("n", "cases", "resamples"), [(100, 500, 400), (1379, 150, 200)])
def test_equal_encoders_are_called_different_in_at_most_5_percent(n, cases, resamples, graded):
    rng = np.random.default_rng(11)
    hits = 0
    for case in range(cases):
        y, shared, own1, own2 = rng.normal(size=(4, n))
        noise = rng.uniform(0.4, 2)
        a, b = y + noise * (shared + own1), y + noise * (shared + own2)
        labels = np.clip(np.round(1.4 * y + 2.2), 0, 5) if graded else y
        hits += verdict(correlation_difference(labels, a, b, seed=case, n_resamples=resamples)).outcome in WON
    assert hits / cases <= 0.05


def test_the_p_value_belongs_to_the_interval():
    for seed in range(40):
        measure = correlation_difference(*encoders(60, seed, first=1.0, second=1.4), seed=seed, n_resamples=200)
        excluded = measure.interval[0] > 0 or measure.interval[1] < 0
        assert excluded == (measure.details["p_value"] < 0.05)


def test_too_many_degenerate_resamples_give_no_interval():
    # Two of three labels are equal: a resample without the third, 30 % of them, has no correlation.
    measure = correlation_difference([1, 1, 2], [0.1, 0.2, 0.3], [0.3, 0.1, 0.2])
    assert measure.interval is None
    assert "p_value" not in measure.details
    assert "too many resamples" in measure.no_interval


def test_pairing_is_sharper_than_two_separate_intervals():
    y, a, b = encoders(300)
    paired = np.ptp(correlation_difference(y, a, b).interval)
    unrelated = correlation_difference(y, a, y + np.random.default_rng(5).permutation(b - y))
    assert paired < np.ptp(unrelated.interval)


def test_undefined_names_the_encoder():
    y, a, _ = encoders(10)
    flat = np.full(10, 0.5)
    assert correlation_difference(y, a, flat).undefined.startswith("undefined because for the reference, the cosine")
    assert correlation_difference(y, flat, a).undefined.startswith("undefined because for the encoder, the cosine")
    assert "no labels" in correlation_difference(None, a, a).undefined
    with pytest.raises(OptionError):
        correlation_difference(y, a, a[:5])
