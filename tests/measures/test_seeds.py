"""Differences between trainings: chance of the seeds and of the pairs together."""

from __future__ import annotations

import numpy as np
import pytest

from anticollapse.errors import OptionError
from anticollapse.measures import correlation_difference, difference_over_seeds, verdict
from anticollapse.measures.correlation import bootstrap_correlations


def runs(rng, y, k, *, quality=1.0, wobble=0.3):
    """Cosines of k encoders: each seed has a noise level of its own."""
    levels = np.exp(rng.normal(0, wobble, size=(k, 1)))
    return quality * y + levels * rng.normal(size=(k, len(y)))


def test_against_a_naive_loop():
    rng = np.random.default_rng(0)
    y = np.round(rng.normal(size=40))
    a, r = runs(rng, y, 3), runs(rng, y, 2)
    found = difference_over_seeds(y, a, r, seed=5, n_resamples=300)
    samples = 100 * bootstrap_correlations(y, np.concatenate([a, r]), kind="spearman", seed=5, n_resamples=300)
    draws = np.random.default_rng([5, 0x5EED])
    drawn = [draws.integers(0, k, size=(300, k)) for k in (3, 2)]
    differences = []
    for b in range(300):
        means = []
        for rows, chosen in ((samples[b, :3], drawn[0][b]), (samples[b, 3:], drawn[1][b])):
            k = len(rows)
            deviation = np.mean([rows[i] for i in chosen]) - rows.mean()
            means.append(rows.mean() + np.sqrt(k / (k - 1)) * deviation)
        differences.append(means[0] - means[1])
    assert found.details["standard_error"] == pytest.approx(np.std(differences, ddof=1) * np.sqrt(40 / 39))
    assert found.value == pytest.approx(found.details["value"] - found.details["reference"])
    assert found.interval[0] < found.value < found.interval[1]


def test_one_seed_of_each_is_the_paired_difference_and_says_what_it_lacks():
    rng = np.random.default_rng(1)
    y = rng.normal(size=60)
    a, r = runs(rng, y, 1), runs(rng, y, 1)
    found, plain = difference_over_seeds(y, a, r), correlation_difference(y, a[0], r[0])
    assert found.value == plain.value
    assert found.interval == pytest.approx(plain.interval)
    assert "one seed" in found.details["limited"]


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(2)
    y = rng.normal(size=300)
    base = y + rng.normal(size=300)
    alike = base + 0.01 * rng.normal(size=(5, 300))
    unlike = y + np.array([[0.3], [0.6], [1.0], [1.5], [2.0]]) * rng.normal(size=300)
    narrow, wide = (difference_over_seeds(y, a, base) for a in (alike, unlike))
    assert np.ptp(wide.interval) > 3 * np.ptp(narrow.interval)
    assert wide.details["std_over_seeds"] > narrow.details["std_over_seeds"]
    assert narrow.details["reference_std_over_seeds"] is None
    assert wide.details["degrees_of_freedom"] < 6


def test_paired_seeds_cancel_what_they_share():
    rng = np.random.default_rng(4)
    y = rng.normal(size=300)
    levels = np.array([[0.3], [0.6], [1.0], [1.5], [2.0]])
    noise = rng.normal(size=(5, 300))
    r = y + levels * noise
    a = r + 0.3 * y
    together = difference_over_seeds(y, a, r, paired=True)
    apart = difference_over_seeds(y, a, r)
    assert together.value == pytest.approx(apart.value)
    assert np.ptp(together.interval) < 0.5 * np.ptp(apart.interval)


@pytest.mark.parametrize("k", [3, 5])
def test_equal_trainings_are_called_different_in_at_most_5_percent(k):
    rng = np.random.default_rng(5)
    hits = 0
    for case in range(200):
        y = rng.normal(size=150)
        a, r = runs(rng, y, k), runs(rng, y, k)
        hits += verdict(difference_over_seeds(y, a, r, seed=case, n_resamples=200)).outcome in {"better", "worse"}
    assert hits / 200 <= 0.05


def test_undefined_and_refused():
    y = np.arange(5.0)
    assert "no labels" in difference_over_seeds(None, [y], [y]).undefined
    assert "same for every pair" in difference_over_seeds(y, [y, np.ones(5)], [y]).undefined
    with pytest.raises(OptionError):
        difference_over_seeds(y, [y, y], [y], paired=True)
    with pytest.raises(OptionError):
        difference_over_seeds(y, [y[:4]], [y])
    with pytest.raises(OptionError):
        difference_over_seeds(y, np.empty((0, 5)), [y])
