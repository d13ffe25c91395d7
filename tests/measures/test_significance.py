from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anticollapse.errors import OptionError
from anticollapse.measures import correlation_difference
from anticollapse.measures.resampling import resample_counts
from anticollapse.measures.significance import two_sided_p

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
    assert measure.interval == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=1e-9)
    assert measure.details["p_value"] == pytest.approx(two_sided_p(np.array(differences)))
    assert measure.value == pytest.approx(measure.details["value"] - measure.details["reference"])


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


def test_equal_encoders_are_rarely_called_different():
    reps = 150
    hits = sum(
        correlation_difference(*encoders(100, seed), seed=seed, n_resamples=300).details["p_value"] < 0.05
        for seed in range(reps)
    )
    assert hits / reps <= 0.11  # 5 % plus three standard errors of 150 repetitions


def test_pairing_is_sharper_than_two_separate_intervals():
    y, a, b = encoders(300)
    paired = np.ptp(correlation_difference(y, a, b).interval)
    unrelated = correlation_difference(y, a, y + np.random.default_rng(5).permutation(b - y))
    assert paired < np.ptp(unrelated.interval)


def test_p_by_hand():
    assert two_sided_p(np.array([1.0] * 97 + [-1.0] * 2)) == pytest.approx(2 * 3 / 100)
    assert two_sided_p(np.array([np.nan])) is None
    assert two_sided_p(np.ones(999)) == pytest.approx(2 / 1000)


def test_undefined_names_the_encoder():
    y, a, _ = encoders(10)
    flat = np.full(10, 0.5)
    assert correlation_difference(y, a, flat).undefined.startswith("undefined because for the reference, the cosine")
    assert correlation_difference(y, flat, a).undefined.startswith("undefined because for the encoder, the cosine")
    assert "no labels" in correlation_difference(None, a, a).undefined
    with pytest.raises(OptionError):
        correlation_difference(y, a, a[:5])
