"""Comparisons: differences to a reference on the same pairs, slices that sum to them, pairs in dispute, sentences."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from anticollapse.compare import compare, disagreements, percent_ranks, slices, words
from anticollapse.compare_tables import (
    correction,
    difference_text,
    disagreement_frame,
    finding,
    measure_frame,
    slice_frame,
)
from anticollapse.data.pairs import PairSet
from anticollapse.doctor import Report
from anticollapse.errors import OptionError
from anticollapse.measures import diagnose
from anticollapse.measures.verdict import describe_difference

NOUNS = ["dog", "cat", "man", "horse", "child", "bird", "cook"]


def pair_set(n=60, *, labels=True, pairs=True, scores=None):
    first = tuple(f"the {NOUNS[i % 7]} number {i} {'runs ' * (i % 5)}here" for i in range(n))
    second = tuple(f"a {NOUNS[i % 3]} number {i} sleeps" for i in range(n)) if pairs else None
    graded = (np.arange(n) % 6.0 if scores is None else np.asarray(scores, float)) if labels else None
    return PairSet(name="made", sentences1=first, sentences2=second, scores=graded, rows=np.arange(2, n + 2))


def report_of(pairs, cosines, name="enc"):
    """A report whose pairs have exactly these cosines: the two sentences of a pair span a plane of their own."""
    vectors = np.random.default_rng(0).normal(size=(len(pairs.sentences), 2)) * 1e-9 + [1.0, 0.0]
    if pairs.index2 is not None:
        c = np.asarray(cosines, float)
        vectors[pairs.index1] = [1.0, 0.0]
        vectors[pairs.index2] = np.stack([c, np.sqrt(np.clip(1 - c**2, 0, 1))], axis=1)
        vectors[pairs.index2[np.isnan(c)]] = 0.0
    first = pairs.index1 if pairs.index2 is not None else None
    diagnosis = diagnose(vectors, first, pairs.index2, pairs.scores, n_resamples=100)
    return Report(
        encoder=name,
        digest=name,
        pairs=pairs.name,
        diagnosis=diagnosis,
        unrelated=np.zeros(3),
        truncated=np.zeros(pairs.n, bool),
        max_tokens=None,
        unknown_share=None,
        seed=0,
    )


def noisy(pairs, noise, seed=0):
    rng = np.random.default_rng(seed)
    base = np.zeros(pairs.n) if pairs.scores is None else pairs.scores / 6
    return np.clip(0.1 + 0.8 * (base + noise * rng.normal(size=pairs.n)), -0.99, 0.99)


@pytest.fixture(scope="module")
def three():
    pairs = pair_set(90)
    reports = [
        report_of(pairs, noisy(pairs, 0.5), "raw"),
        report_of(pairs, noisy(pairs, 0.05, 1), "good"),
        report_of(pairs, noisy(pairs, 0.5, 2), "same"),
    ]
    return compare(reports, pairs)


def test_differences_are_value_minus_reference(three):
    for i in three.others:
        for key, measure in three.encoders[i].differences.items():
            value = three.encoders[i].report.diagnosis[key].value
            base = three.encoders[0].report.diagnosis[key].value
            if measure.defined:
                assert measure.value == pytest.approx(value - base), key
                assert (measure.interval is None) == bool(measure.no_interval)
    assert three.encoders[0].differences == {}
    difference = three.encoders[1].differences["spearman"]
    expected = [stats.spearmanr(three.labels, three.cosines(i)).statistic for i in (1, 0)]
    assert difference.value == pytest.approx(100 * (expected[0] - expected[1]))
    for key in ("spearman", "pearson", "spread", "alignment"):
        low, high = three.encoders[1].differences[key].interval
        assert low < three.encoders[1].differences[key].value < high


def test_verdicts_are_corrected_for_the_number_of_encoders(three):
    assert [three.encoders[i].verdicts["spearman"].outcome for i in three.others] == ["better", "no difference shown"]
    assert three.encoders[1].verdicts["spearman"].comparisons == 2
    assert "corrected for 2 comparisons" in correction(three)
    assert "for Spearman, and for Pearson by itself" in correction(three)


def test_another_reference_turns_the_sign(three):
    turned = compare([e.report for e in three.encoders], three.pairs, names=three.names, reference=1)
    assert turned.encoders[0].differences["spearman"].value == pytest.approx(
        -three.encoders[1].differences["spearman"].value
    )
    assert finding(turned).startswith("raw orders the pairs worse than good by −") or finding(turned).startswith("same")
    assert finding(turned).endswith("1 other is worse; none is shown to be better")


def test_the_finding_is_one_sentence_with_numbers(three):
    text = finding(three)
    assert text.startswith("good orders the pairs better than raw by +")
    assert text.endswith("points of Spearman")
    pairs = three.pairs
    alike = compare([three.encoders[0].report, three.encoders[2].report], pairs, names=["raw", "same"])
    assert finding(alike).startswith("This data shows no difference between same and raw: ")
    both = [three.encoders[i].report for i in (0, 2, 0)]
    made = compare(both, pairs, names=["raw", "same", "again"])
    text = finding(made)
    assert text.startswith(
        "This data shows no difference between raw and the 2 others; the largest seen is that of same"
    )
    assert describe_difference(made.encoders[1].differences["spearman"]) in text


def test_each_kind_of_slice_sums_to_the_difference(three):
    found = slices(three, 1)
    total = three.encoders[1].differences["spearman"].value
    for by in ("label", "length", "overlap"):
        some = [one.result for one in found if one.by == by]
        assert len(some) >= 2
        assert sum(one.n for one in some) == len(three.used)
        assert sum(one.contribution.value or 0 for one in some) == pytest.approx(total)
    assert [one.name for one in found if one.by == "label"] == ["0", "1", "2", "3", "4", "5"]
    frame = slice_frame(three, {1: found})
    assert len(frame) == len(found)
    assert frame["pairs"].sum() == 3 * len(three.used)


def test_disagreements_are_ordered_and_point_to_rows(three):
    found = disagreements(three, 1, top=5)
    gaps = [abs(one.rank - one.reference_rank) for one in found]
    assert gaps == sorted(gaps, reverse=True)
    ranks = [percent_ranks(three.cosines(i)) for i in (1, 0)]
    assert gaps[0] == pytest.approx(np.abs(ranks[0] - ranks[1]).max())
    assert [one.row for one in found] == [three.pairs.rows[one.position] for one in found]
    frame = disagreement_frame(three, 1, found)
    assert set(frame["closer to people"]) <= {"good", "raw", "both alike"}
    assert disagreements(compare([three.encoders[0].report] * 2, three.pairs, names=["a", "b"]), 1) == []


def test_pairs_without_a_cosine_are_left_out_for_all():
    pairs = pair_set(40)
    broken = noisy(pairs, 0.2)
    broken[[3, 7]] = np.nan
    made = compare([report_of(pairs, broken, "a"), report_of(pairs, noisy(pairs, 0.2, 1), "b")], pairs)
    assert len(made.used) == 38
    assert 3 not in made.used
    assert made.encoders[1].differences["spearman"].n == 38
    assert any("2 pairs have no cosine" in note for note in made.notes)


def test_without_labels_nobody_is_better_but_pairs_in_dispute_are_there():
    pairs = pair_set(30, labels=False)
    made = compare([report_of(pairs, noisy(pairs, 1, i), f"e{i}") for i in range(2)], pairs)
    assert finding(made) == "Which encoder is better cannot be said: the pairs have no labels"
    assert slices(made, 1) == []
    found = disagreements(made, 1)
    assert found[0].label_rank is None
    assert "closer to people" not in disagreement_frame(made, 1, found).columns
    assert made.encoders[1].differences["mean_unrelated_cosine"].defined
    json.dumps(made.to_json(), allow_nan=False)


def test_single_sentences():
    pairs = pair_set(10, labels=False, pairs=False)
    made = compare([report_of(pairs, None, "a"), report_of(pairs, None, "b")], pairs)
    assert finding(made) == "Which encoder is better cannot be said: these are single sentences, not pairs"
    assert len(made.used) == 0
    assert disagreements(made, 1) == []
    assert made.encoders[1].differences["effective_rank"].defined


@pytest.mark.parametrize("scores", [[3.0], [3.0, 3.0, 3.0, 3.0], [0.0, 5.0, np.nan, 2.0]])
def test_few_equal_and_missing_labels(scores):
    pairs = pair_set(len(scores), scores=scores)
    made = compare([report_of(pairs, noisy(pairs, 1, i)[: len(scores)], f"e{i}") for i in range(2)], pairs)
    text = finding(made)
    assert text
    assert "nan" not in text.lower()
    json.dumps(made.to_json(), allow_nan=False)
    assert made.encoders[1].verdicts["spearman"].outcome in {"undefined", "no difference shown"}


def test_one_encoder_asks_for_another():
    pairs = pair_set(20)
    made = compare([report_of(pairs, noisy(pairs, 1), "alone")], pairs)
    assert finding(made) == "alone stands alone: a comparison needs a second encoder"
    assert made.others == []
    assert len(measure_frame(made)) == len(made.encoders[0].report.diagnosis.measures)
    assert made.best() == 0


def test_tables_hold_everything_as_numbers(three):
    frame = measure_frame(three)
    assert len(frame) == 3 * len(three.encoders[0].report.diagnosis.measures)
    row = frame[(frame["encoder"] == "good") & (frame["measure"] == "Spearman")].iloc[0]
    assert row["difference low (95 %)"] < row["difference value"] < row["difference high (95 %)"]
    assert row["verdict"].startswith("better: +")
    assert difference_text(None) == "–"
    assert three.best() == 1


def test_json_is_complete(three):
    made = json.loads(json.dumps(three.to_json(), allow_nan=False))
    assert made["reference"] == "raw"
    assert made["seed"] == 0
    assert made["encoders"][1]["verdicts"]["spearman"]["outcome"] == "better"


def test_what_does_not_fit_is_refused(three):
    with pytest.raises(OptionError):
        compare([], three.pairs)
    with pytest.raises(OptionError):
        compare([three.encoders[0].report], three.pairs, reference=1)
    with pytest.raises(OptionError):
        compare([three.encoders[0].report], pair_set(5))


def test_words_of_several_scripts():
    assert words("The CAFÉ isn't open, 24/7!") == ["the", "café", "isn", "t", "open", "24", "7"]
    assert words("我爱你 abc") == ["我", "爱", "你", "abc"]
    assert words("日本語です") == ["日", "本", "語", "で", "す"]
    assert words("…") == []


def test_the_interval_of_a_difference_has_signs_on_both_bounds(three):
    shown = difference_text(three.encoders[1].differences["spread"])
    numbers = shown.replace("[", "").replace("]", "").replace(",", "").split()
    assert len(numbers) == 3
    assert all(number[0] in "+−" or float(number) == 0 for number in numbers)


def test_without_labels_nothing_is_said_of_a_comparison():
    pairs = pair_set(20, labels=False)
    made = compare([report_of(pairs, noisy(pairs, s), f"e{s}") for s in (1, 2)], pairs)
    assert correction(made) == "There is no verdict, so there is nothing to correct."
