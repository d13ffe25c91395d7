from __future__ import annotations

import json

import numpy as np
import pytest

from anticollapse.errors import OptionError
from anticollapse.measures import label_profile, spread
from anticollapse.measures.resampling import resample_counts


def test_bins_against_direct_definition():
    rng = np.random.default_rng(0)
    y, c = rng.uniform(0, 5, 400), rng.uniform(-1, 1, 400)
    profile = label_profile(y, c)
    assert [row.label for row in profile.bins] == [0, 1, 2, 3, 4, 5]
    assert sum(row.n for row in profile.bins) == profile.n == 400
    for row in profile.bins:
        inside = c[np.floor(y + 0.5) == row.label]
        assert row.n == len(inside)
        assert row.mean == pytest.approx(inside.mean())
        assert row.quantiles == pytest.approx(np.percentile(inside, [5, 25, 50, 75, 95]))


def test_edges_belong_to_the_upper_bin_and_five_to_the_last():
    profile = label_profile([0.0, 0.49, 0.5, 1.5, 4.49, 4.5, 5.0], np.arange(7) / 10)
    assert [row.n for row in profile.bins] == [2, 1, 1, 0, 1, 2]
    assert profile.bins[3].mean is None
    assert profile.to_json()[3] == {
        "label": 3.0, "low": 2.5, "high": 3.5, "n": 0, "mean": None,
        "q5": None, "q25": None, "q50": None, "q75": None, "q95": None,
    }  # fmt: skip
    json.dumps(profile.to_json(), allow_nan=False)


def test_other_bins():
    profile = label_profile([0.0, 2.0, 5.0], [0.1, 0.2, 0.3], edges=(0, 2.5, 5))
    assert [(row.label, row.n) for row in profile.bins] == [(1.25, 2), (3.75, 1)]


@pytest.mark.parametrize(("labels", "cosines", "reason"), [(None, [0.5], "no labels"), ([], [], "there are no pairs")])
def test_profile_undefined(labels, cosines, reason):
    profile = label_profile(labels, cosines)
    assert profile.bins == ()
    assert reason in profile.undefined


@pytest.mark.parametrize(("labels", "cosines"), [([6.0], [0.5]), ([1.0], [np.nan]), ([1.0, 2.0], [0.5])])
def test_profile_refuses_what_does_not_fit(labels, cosines):
    with pytest.raises(OptionError):
        label_profile(labels, cosines)


def test_spread_by_hand():
    measure = spread([5, 4, 3, 1, 0, 0], [0.9, 0.7, 0.1, 0.5, 0.3, 0.1])
    assert measure.value == pytest.approx(0.8 - 0.3)
    assert measure.n == 5
    assert measure.details["n_same"] == 2
    assert measure.details["mean_unrelated"] == pytest.approx(0.3)


def test_spread_interval_against_explicit_resamples():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 6, 80).astype(float)
    c = 0.1 * y + rng.normal(0, 0.2, 80)
    values = []
    for row in np.concatenate(list(resample_counts(80, 200, seed=4))).astype(int):
        drawn = np.repeat(np.arange(80), row)
        values.append(c[drawn][y[drawn] >= 4].mean() - c[drawn][y[drawn] <= 1].mean())
    assert spread(y, c, seed=4, n_resamples=200).interval == pytest.approx(np.quantile(values, [0.025, 0.975]))


@pytest.mark.parametrize(
    ("labels", "reason"), [(None, "no labels"), ([1.0, 0.0], "4 or more"), ([5.0, 4.0], "1 or less")]
)
def test_spread_undefined(labels, reason):
    measure = spread(labels, [0.5, 0.6])
    assert measure.value is None
    assert reason in measure.undefined


def test_a_collapsed_encoder_has_no_spread():
    assert spread([5, 4, 1, 0], [1.0, 1.0, 1.0, 1.0]).value == 0
