"""From pairs and vectors to a map: facts of sentences, sampling, overlap, movement, cache."""

from __future__ import annotations

import numpy as np
import pytest

from anticollapse.data import PairSet
from anticollapse.errors import OptionError
from anticollapse.measures.array_cache import ArrayCache
from anticollapse.measures.projection import MapSettings
from anticollapse.neighbourhoods import SentenceFacts, first_picture, map_sentences, sample_sentences

QUICK = MapSettings(n_epochs=20)


def some_pairs(n=60, groups=("a", "b"), scores=True):
    return PairSet(
        name="test",
        sentences1=tuple(f"first {i}" for i in range(n)),
        sentences2=tuple(f"second {i}" for i in range(n)),
        scores=np.arange(n) % 6.0 if scores else None,
        rows=np.arange(n) + 2,
        groups=tuple(groups[i % len(groups)] for i in range(n)) if groups else None,
    )


def vectors(n, seed=0, dim=12):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(5, dim))[np.arange(n) % 5] + 0.3 * rng.normal(size=(n, dim))).astype(np.float32)


def test_facts_of_repeated_sentences():
    pairs = PairSet(
        name="t",
        sentences1=("x", "y", "x"),
        sentences2=("z", "x", "w"),
        scores=np.array([0.0, 2.0, 4.0]),
        rows=np.array([1, 2, 3]),
        groups=("news", "web", "web"),
    )
    facts = SentenceFacts.of(pairs)
    assert facts.texts == ("x", "z", "y", "w")
    np.testing.assert_array_equal(facts.rows, [1, 1, 2, 3])
    np.testing.assert_allclose(facts.labels, [2, 0, 2, 4])  # x stands in all three pairs
    assert facts.sources == ("news", "news", "web", "web")
    assert len(set(facts.links)) == 1


def test_facts_of_single_sentences():
    pairs = PairSet(name="t", sentences1=("x", "y"), sentences2=None, scores=None, rows=np.array([1, 2]))
    facts = SentenceFacts.of(pairs)
    assert facts.labels is None
    assert facts.sources is None
    np.testing.assert_array_equal(facts.strata, [0, 0])
    assert len(set(facts.links)) == 2


def test_sample_keeps_proportions_and_says_so():
    facts = SentenceFacts.of(some_pairs(600))
    sample = sample_sentences(facts, 240, seed=1)
    assert len(sample.drawn) == 240
    np.testing.assert_array_equal(np.sort(np.concatenate([sample.drawn, sample.rest])), np.arange(1200))
    share = np.bincount(facts.strata[sample.drawn]) / np.bincount(facts.strata)
    np.testing.assert_allclose(share, 0.2, atol=0.01)
    assert "240 of 1,200 sentences are drawn" in sample.note
    assert "source and label" in sample.note
    np.testing.assert_array_equal(sample.drawn, sample_sentences(facts, 240, seed=1).drawn)
    assert not np.array_equal(sample.drawn, sample_sentences(facts, 240, seed=2).drawn)


def small_sources(n, sizes=(1, 2, 3)):
    """n sources of a few sentences each, named so that the alphabet is the order of the file."""
    names = tuple(f"source {i:04d}" for i in range(n) for _ in range(sizes[i % len(sizes)]))
    texts = tuple(f"sentence {i}" for i in range(len(names)))
    rows = np.arange(len(names)) + 2
    return SentenceFacts.of(PairSet(name="t", sentences1=texts, sentences2=None, scores=None, rows=rows, groups=names))


def test_many_small_sources_are_drawn_at_random_and_not_by_the_alphabet():
    facts = small_sources(600)  # 1,200 sentences, and fewer places than sources
    one, two = (sample_sentences(facts, 120, seed=seed).drawn for seed in (0, 1))
    assert len(one) == len(two) == 120
    assert not np.array_equal(one, two)
    for drawn in (one, two):
        quarters = np.bincount(drawn // 300, minlength=4)
        assert quarters.min() >= 15  # 30 expected; the alphabet gave the last ones none
    note = sample_sentences(facts, 120).note
    assert "600 sources, more than there are points" in note
    assert "in proportion" not in note
    assert "in proportion" in sample_sentences(facts, 700).note


def test_every_sentence_has_the_same_chance_whatever_the_size_of_its_source():
    facts = small_sources(90)
    times = sum(np.bincount(sample_sentences(facts, 45, seed=seed).drawn, minlength=180) for seed in range(400))
    sizes = np.bincount(facts.strata)[facts.strata]
    # 45 of 180: 0.25 each; largest remainders never drew a source of one sentence.
    for size in (1, 2, 3):
        assert times[sizes == size].mean() / 400 == pytest.approx(0.25, abs=0.02)


def test_all_are_drawn_under_the_limit_without_a_note():
    sample = sample_sentences(SentenceFacts.of(some_pairs(10)), 20)
    assert len(sample.drawn) == 20
    assert sample.note == ""
    with pytest.raises(OptionError):
        sample_sentences(SentenceFacts.of(some_pairs(10)), 0)


def test_map_of_a_sample_counts_the_rest_and_looks_for_neighbours_among_all():
    facts = SentenceFacts.of(some_pairs(60))
    given = [vectors(120), vectors(120, seed=1, dim=7)]
    sample = sample_sentences(facts, 50)
    assert first_picture(given, sample).coordinates.shape == (2, 50, 2)
    seen = []
    report = map_sentences(given, facts, sample, QUICK, k=4, progress=lambda done, total: seen.append((done, total)))
    assert report.projection.coordinates.shape == (2, 50, 2)
    assert report.neighbours[0].indices.max() > 50  # positions among all 120
    assert report.nearest_point.shape == (2, 70)
    assert (report.nearest_point >= 0).all()
    assert (report.nearest_point < 50).all()
    assert seen[-1][0] == seen[-1][1]
    assert any("are drawn as points" in note for note in report.notes)
    assert all(0 <= measure.value <= 1 for measure in report.trust)


def test_overlap_and_movement_against_the_reference():
    facts = SentenceFacts.of(some_pairs(60))
    given = [vectors(120), vectors(120), vectors(120, seed=1)]
    report = map_sentences(given, facts, sample_sentences(facts), QUICK, k=5)
    kept = report.overlaps(0)
    np.testing.assert_allclose(kept[1], 1)
    sets = [
        len(set(a) & set(b)) / 5
        for a, b in zip(report.neighbours[0].indices, report.neighbours[2].indices, strict=True)
    ]
    np.testing.assert_allclose(kept[2], sets)
    np.testing.assert_allclose(kept[0], (1 + np.array(sets)) / 2)  # the reference shows the mean of the others
    moved = report.movements(2)
    np.testing.assert_allclose(moved[2], (moved[0] + moved[1]) / 2)
    assert report.overlap_measure(0, 1).value == 1
    assert report.overlap_measure(0, 2).value == pytest.approx(np.mean(sets))


def test_second_time_comes_from_the_cache_and_other_parameters_do_not(tmp_path, monkeypatch):
    facts = SentenceFacts.of(some_pairs(40))
    given, cache = [vectors(80), vectors(80, seed=1)], ArrayCache(tmp_path)
    sample = sample_sentences(facts, 60)
    first = map_sentences(given, facts, sample, QUICK, cache=cache)

    class Computed(Exception):
        pass

    def compute(*_, **__):
        raise Computed

    monkeypatch.setattr("anticollapse.neighbourhoods.project_umap", compute)
    monkeypatch.setattr("anticollapse.neighbourhoods.trustworthiness", compute)
    again = map_sentences(given, facts, sample, QUICK, cache=cache)
    np.testing.assert_array_equal(first.projection.coordinates, again.projection.coordinates)
    np.testing.assert_array_equal(first.neighbours[0].indices, again.neighbours[0].indices)
    np.testing.assert_array_equal(first.nearest_point, again.nearest_point)
    assert again.notes == first.notes
    assert [one.to_json() for one in again.trust] == [one.to_json() for one in first.trust]
    changed = [given[0] + np.float32(1e-3), given[1]]
    with pytest.raises(Computed):
        map_sentences(changed, facts, sample, QUICK, cache=cache)
    with pytest.raises(Computed):
        map_sentences(given, facts, sample, MapSettings(n_epochs=21), cache=cache)


def test_an_encoder_that_collapsed_wholly_is_told_and_not_praised(tmp_path):
    facts, cache = SentenceFacts.of(some_pairs(30)), ArrayCache(tmp_path)
    given = [vectors(60), np.ones((60, 6), np.float32), vectors(60, seed=1)]
    for _ in range(2):  # computed, and from the disk
        report = map_sentences(given, facts, sample_sentences(facts), QUICK, k=5, cache=cache)
        assert [measure.value is None for measure in report.trust] == [False, True, False]
        assert "all its sentence vectors are equal" in report.trust[1].undefined
        assert "all sentence vectors are equal" in report.overlap_measure(0, 1).undefined
        assert report.overlap_measure(0, 2).value is not None
        assert np.isnan(report.overlaps(0)[1]).all()
        np.testing.assert_allclose(report.overlaps(0)[0], report.overlaps(0)[2])  # the mean of those that have one
        assert report.moved_and_kept(0, 1) is None
        assert any("encoder 2 are equal" in note for note in report.notes)


def test_moved_and_kept_correlate_by_hand_and_few_sentences_have_fewer_neighbours():
    from scipy.stats import spearmanr

    facts = SentenceFacts.of(some_pairs(30))
    report = map_sentences([vectors(60), vectors(60, seed=1)], facts, sample_sentences(facts), QUICK)
    expected = spearmanr(report.movements(0)[1], report.overlaps(0)[1]).statistic
    assert report.moved_and_kept(0, 1) == pytest.approx(expected)
    assert report.k == 10
    few = SentenceFacts.of(some_pairs(2))
    small = map_sentences([vectors(4), vectors(4, seed=1)], few, sample_sentences(few), QUICK)
    assert small.k == 3
    assert small.overlap_measure(0, 1).details["k"] == 3


def test_progress_goes_on_through_neighbours_and_shading_and_they_can_be_stopped(monkeypatch):
    monkeypatch.setattr("anticollapse.measures.neighbours._TILE", 20)
    facts, seen = SentenceFacts.of(some_pairs(60)), []
    sample = sample_sentences(facts, 60)
    given = [vectors(120), vectors(120, seed=1)]
    map_sentences(given, facts, sample, QUICK, progress=lambda *now: seen.append(now))
    assert seen == sorted(seen)
    layout = 2 * 100 + 20
    after = [done for done, total in seen if done > layout]
    assert len(after) >= 2 * (6 + 3)  # each tile of the neighbours and of the shading is told
    assert seen[-1] == (layout + 400, layout + 400)

    class Stopped(Exception):
        pass

    def stop(done, _):
        if done > layout + 120:
            raise Stopped

    with pytest.raises(Stopped):
        map_sentences(given, facts, sample, QUICK, progress=stop)


def test_one_encoder_alone_has_nothing_to_compare():
    facts = SentenceFacts.of(some_pairs(20))
    report = map_sentences([vectors(40)], facts, sample_sentences(facts), QUICK)
    assert report.neighbours == ()
    assert np.isnan(report.overlaps()[0]).all()
    assert report.movements()[0].max() == 0
