"""Plain words for a difference: what is called better, Holm's correction, how many pairs would show it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anticollapse.measures import correlation_difference, difference_over_seeds, verdict, verdicts
from anticollapse.measures.significance import DIFFERENCES, student
from anticollapse.measures.verdict import describe_difference, holm, pairs_needed, signed


def difference(value, error, n=1379):
    reach = 1.96 * error
    p = 2 * stats.norm.sf(abs(value) / error)
    details = {"p_value": p, "standard_error": error}
    return DIFFERENCES["spearman"].measured(value, (value - reach, value + reach), n, details)


def test_better_and_worse():
    assert verdict(difference(1.8, 0.46)).text == "better: +1.8 [+0.9, +2.7]"
    assert verdict(difference(-1.8, 0.46)).text == "worse: −1.8 [−2.7, −0.9]"
    assert verdict(difference(1.8, 0.46)).pairs_needed is None


def test_no_difference_says_how_many_pairs_would_show_one():
    found = verdict(difference(0.3, 0.46))
    assert found.outcome == "no difference shown"
    # 1379 ((1.05 · 1.95996 + 0.84162) · 0.46 / 0.3)² = 27,259, to two digits upwards
    assert found.pairs_needed == 28_000
    assert (
        found.text
        == "no difference that this data could show: +0.3 [−0.6, +1.2]; one of this size needs about 28,000 pairs"
    )


@pytest.mark.parametrize("others", [0, 3])
def test_pairs_needed_keep_their_promise(others):
    """With so many pairs, verdicts() calls a true difference of that size one in 80 of 100 cases, also among others."""

    def judged(value, error, n):
        p, interval = student(value, error, n - 1)
        measured = DIFFERENCES["spearman"].measured(value, interval, n, {"p_value": p, "standard_error": error})
        # The others differ in nothing, so Holm asks the most of the one that does.
        return verdicts([measured, *[difference(0.01, 1.0)] * others])[0]

    true, n, error = 0.5, 400, 1.0
    needed = judged(true, error, n).pairs_needed
    estimates = np.random.default_rng(0).normal(true, error * np.sqrt(n / needed), size=2000)
    found = [judged(value, error * np.sqrt(n / needed), needed).outcome == "better" for value in estimates]
    assert np.mean(found) == pytest.approx(0.80, abs=0.02)


def test_more_pairs_do_not_take_away_what_seeds_differ_by():
    rng = np.random.default_rng(0)
    y = rng.normal(size=60)
    a, r = (y + rng.normal(size=(3, 60)) for _ in range(2))
    found = verdict(difference_over_seeds(y, a, r, n_resamples=100))
    assert found.outcome == "no difference shown"
    assert found.pairs_needed is None
    assert "needs about" not in found.text
    assert verdict(difference_over_seeds(y, a[0], r[0], n_resamples=100)).pairs_needed


@pytest.mark.parametrize(("value", "error"), [(0.0, 1.0), (1e-9, 1.0), (1.0, 0.0), (1.0, float("nan"))])
def test_pairs_needed_has_limits(value, error):
    assert pairs_needed(value, error, 100) is None


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never falling
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_against_its_definition():
    p = np.random.default_rng(0).uniform(0, 0.2, size=7)
    corrected = holm(p)
    for level in (0.01, 0.05, 0.2):
        rejected = np.zeros(7, bool)
        for rank, i in enumerate(np.argsort(p)):
            if p[i] > level / (7 - rank):
                break
            rejected[i] = True
        assert ((np.array(corrected) <= level) == rejected).all()


def test_a_win_among_many_comparisons_does_not_count():
    alone = difference(1.0, 0.46)  # p = 0.03
    assert verdict(alone).outcome == "better"
    first, second, third = verdicts([alone, difference(0.1, 0.46), difference(9.0, 0.46)])
    assert first.outcome == "no difference shown"
    assert first.comparisons == 3
    assert "not as one of 3 comparisons" in first.text
    assert second.outcome == "no difference shown"
    assert third.outcome == "better"


def test_many_equal_encoders_together_rarely_give_a_win():
    # Holm keeps the chance of any false verdict among four at 5 %; without it one in seven would be false.
    rng = np.random.default_rng(3)
    corrected = alone = 0
    for case in range(150):
        y, shared = rng.normal(size=(2, 80))
        cosines = y + shared + rng.normal(size=(5, 80))
        found = [correlation_difference(y, c, cosines[0], seed=case, n_resamples=200) for c in cosines[1:]]
        corrected += any(one.outcome in {"better", "worse"} for one in verdicts(found))
        alone += any(one.details["p_value"] <= 0.05 for one in found)
    assert corrected / 150 <= 0.05
    assert alone / 150 > 0.07


def test_undefined_is_no_comparison():
    undefined = DIFFERENCES["spearman"].undefined("all labels are equal", 5)
    bare = DIFFERENCES["spearman"].measured(1.0, None, 3, {"no_interval": "too many resamples have no value"})
    found = verdicts([undefined, bare, difference(1.0, 0.46)])
    assert [one.outcome for one in found] == ["undefined", "undefined", "better"]
    assert found[2].comparisons == 1
    assert found[0].text == "undefined because all labels are equal"
    assert "no verdict because too many resamples" in found[1].text
    assert found[0].to_json()["p_value"] is None


def test_signs_are_written_out():
    assert [signed(x) for x in (1.84, -0.31, 0.0, -0.01)] == ["+1.8", "−0.3", "0.0", "0.0"]
    narrow = DIFFERENCES["spearman"].measured(0.012, (0.011, 0.013), 5)
    assert describe_difference(narrow) == "+0.012 [+0.011, +0.013]"


def test_identical_encoders():
    y = np.arange(10.0)
    found = verdict(correlation_difference(y, y**2 + np.sin(9 * y), y**2 + np.sin(9 * y)))
    assert found.outcome == "no difference shown"
    assert found.pairs_needed is None
    assert found.text == "no difference that this data could show: 0.0 [0.0, 0.0]"
