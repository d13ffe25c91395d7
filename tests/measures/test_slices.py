"""Where one encoder wins: contributions that sum exactly to the difference in Spearman."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anticollapse.measures.resampling import resample_counts
from anticollapse.measures.slices import pair_costs, slice_results


def encoders(n, seed=0):
    rng = np.random.default_rng(seed)
    y = np.round(rng.uniform(0, 5, n))
    return y, y + rng.normal(size=n), np.round(y + 3 * rng.normal(size=n))


def test_contributions_sum_to_the_difference_with_ties_everywhere():
    y, a, b = encoders(80)
    costs = pair_costs(y, a, b)
    expected = 100 * (stats.spearmanr(y, a).statistic - stats.spearmanr(y, b).statistic)
    assert costs.gains.sum() == pytest.approx(expected)
    masks = [y <= 1, (y > 1) & (y < 4), y >= 4]
    results = slice_results(y, a, b, masks, n_resamples=50)
    assert sum(one.contribution.value for one in results) == pytest.approx(expected)
    assert sum(one.n for one in results) == 80


def test_by_hand():
    # The encoder has people's order; the reference has the last two the wrong way round.
    costs = pair_costs(np.array([1.0, 2, 3, 4]), np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.1, 0.2, 0.4, 0.3]))
    assert costs.error == pytest.approx([0, 0, 0, 0])
    assert costs.reference_error == pytest.approx([0, 0, 25, 25])
    # ρ is 1 and 0.8; both wrong pairs cost 10 points each
    assert costs.gains == pytest.approx([0, 0, 10, 10])


def test_interval_against_a_naive_loop():
    y, a, b = encoders(40, seed=2)
    mask = y >= 3
    (found,) = slice_results(y, a, b, [mask], seed=4, n_resamples=200)
    values = []
    for row in np.concatenate(list(resample_counts(40, 200, seed=4))).astype(int):
        drawn = np.repeat(np.arange(40), row)
        values.append(pair_costs(y[drawn], a[drawn], b[drawn]).gains[mask[drawn]].sum())
    assert found.contribution.interval == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-9)


def test_shares_of_won_and_lost_pairs():
    y = np.arange(6.0)
    worse = y.copy()
    worse[[0, 5]] = worse[[5, 0]]
    everything, nothing = slice_results(y, y, worse, [np.ones(6, bool), np.zeros(6, bool)], n_resamples=50)
    assert everything.won == pytest.approx(2 / 6)
    assert everything.lost == 0
    assert everything.error == 0
    assert everything.reference_error == pytest.approx(2 * 5 / 6 / 6 * 100)
    assert nothing.n == 0
    assert nothing.error is None
    assert nothing.contribution.undefined == "undefined because there are no such pairs"
    assert nothing.to_json()["contribution"]["value"] is None


def test_chance_has_a_rank_error_of_a_third():
    rng = np.random.default_rng(0)
    y, a, b = rng.normal(size=(3, 4000))
    costs = pair_costs(y, a, b)
    assert costs.error.mean() == pytest.approx(100 / 3, abs=1)
