"""Neighbours and their overlap against double loops, under collapse, with duplicates and zero vectors; clusters."""

from __future__ import annotations

import numpy as np
import pytest

from anticollapse.errors import CancelledError, EncoderError, OptionError
from anticollapse.measures.clusters import clusters
from anticollapse.measures.neighbours import (
    CentredDirections,
    mean_interval,
    mean_overlap,
    nearest_drawn,
    nearest_neighbours,
    overlap,
)


def naive_neighbours(vectors, k):
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    out = []
    for i, one in enumerate(unit):
        others = [(-float(one @ other), j) for j, other in enumerate(unit) if j != i]
        out.append([j for _, j in sorted(others)[:k]])
    return np.array(out)


def some_vectors(n=120, dim=16, mean=0.0, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return (mean + spread * rng.normal(size=(n, dim)) * rng.uniform(0.5, 2, (n, 1))).astype(np.float32)


@pytest.mark.parametrize("mean", [0.0, 3.0, 1000.0])
def test_neighbours_equal_the_double_loop_also_when_the_space_has_collapsed(mean):
    vectors = some_vectors(mean=mean)
    found = nearest_neighbours(vectors, 7)
    if mean == 1000.0:  # all cosines are above 0.99999: float32 cosines could not be told apart
        assert found.cosines.min() > 0.99999
    np.testing.assert_array_equal(found.indices, naive_neighbours(vectors, 7))
    assert found.exact


def test_cosines_are_those_of_the_vectors_and_fall():
    vectors = some_vectors(40, mean=1.0)
    found = nearest_neighbours(vectors, 5)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(found.cosines[3], unit[found.indices[3]] @ unit[3], atol=1e-6)
    assert (np.diff(found.cosines, axis=1) <= 0).all()


def test_blocks_do_not_change_the_result(monkeypatch):
    vectors = some_vectors()
    whole = nearest_neighbours(vectors, 6)
    monkeypatch.setattr("anticollapse.measures.neighbours._BLOCK_ELEMENTS", 500)
    np.testing.assert_array_equal(nearest_neighbours(vectors, 6).indices, whole.indices)
    monkeypatch.setattr("anticollapse.measures.neighbours._TILE", 17)
    np.testing.assert_array_equal(nearest_neighbours(vectors, 6).indices, whole.indices)
    np.testing.assert_array_equal(nearest_neighbours(vectors, 6).cosines, whole.cosines)


def test_queries_are_rows_of_the_whole():
    vectors = some_vectors()
    some = np.array([5, 17, 3])
    np.testing.assert_array_equal(
        nearest_neighbours(vectors, 4, queries=some).indices, nearest_neighbours(vectors, 4).indices[some]
    )


def test_duplicates_are_each_others_neighbours_but_nobody_is_their_own():
    vectors = np.vstack([some_vectors(10), some_vectors(10)])
    found = nearest_neighbours(vectors, 3)
    assert (found.indices[:, 0] == (np.arange(20) + 10) % 20).all()
    assert (found.indices != np.arange(20)[:, None]).all()
    np.testing.assert_allclose(found.cosines[:, 0], 1, atol=1e-6)


@pytest.mark.parametrize("k", [3, 10, 40])
@pytest.mark.parametrize("queries", [None, np.array([299, 150, 151, 0, 40])])
def test_ties_at_the_last_place_are_broken_by_the_order_of_the_rows(k, queries):
    vectors = some_vectors(300, mean=0.3)
    vectors[np.random.default_rng(1).permutation(300)[:170]] = vectors[7]  # more equal ones than any k
    vectors[[5, 90, 200]] = vectors[6]
    expected = naive_neighbours(vectors, k)
    found = nearest_neighbours(vectors, k, queries=queries)
    np.testing.assert_array_equal(found.indices, expected if queries is None else expected[queries])


def test_different_rows_that_are_equally_far_go_by_order_too():
    axes = np.eye(150, dtype=np.float32)  # every cosine is 0: far more ties than candidates
    found = nearest_neighbours(np.vstack([axes, -axes]), 4)
    np.testing.assert_array_equal(found.indices[100], [0, 1, 2, 3])
    np.testing.assert_array_equal(found.indices[1], [0, 2, 3, 4])


def test_what_float32_cannot_tell_apart_is_ranked_in_float64():
    rng = np.random.default_rng(0)
    angles = 0.7 + 3e-4 * rng.permutation(400)  # on a circle, whose neighbours differ by 5e-8 in the cosine
    vectors = np.column_stack([np.cos(angles), np.sin(angles)])
    order = np.abs(angles[:, None] - angles)
    np.fill_diagonal(order, np.inf)
    found = nearest_neighbours(vectors, 9)
    got = np.take_along_axis(order, found.indices, axis=1)
    np.testing.assert_allclose(got, np.sort(order, axis=1)[:, :9], atol=1e-7)


def test_equal_vectors_have_no_nearer_and_no_farther():
    equal = np.ones((30, 8), np.float32) * np.linspace(1, 3, 30, dtype=np.float32)[:, None]  # one direction
    noisy = (np.ones((30, 8)) + 1e-8 * np.random.default_rng(0).normal(size=(30, 8))).astype(np.float32)
    for vectors in (equal, noisy):
        assert CentredDirections.of(vectors).constant
        constant, other = nearest_neighbours(vectors, 3), nearest_neighbours(some_vectors(30), 3)
        assert np.isnan(overlap(constant, other)).all()
        assert np.isnan(overlap(other, constant.first(3))).all()
    close = (np.ones((30, 8)) + 1e-4 * np.random.default_rng(0).normal(size=(30, 8))).astype(np.float32)
    assert not CentredDirections.of(close).constant  # collapsed, but not wholly
    assert (
        mean_overlap(np.full(3, np.nan), k=3, undefined="all are equal").undefined == "undefined because all are equal"
    )


def test_zero_vectors_have_no_neighbours_and_are_none():
    vectors = some_vectors(12)
    vectors[4] = 0
    found = nearest_neighbours(vectors, 20)
    assert (found.indices[4] == -1).all()
    assert np.isnan(found.cosines[4]).all()
    others = np.delete(np.arange(12), 4)
    assert (found.indices[others] != 4).all()
    assert ((found.indices[others] >= 0).sum(axis=1) == 10).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_very_few_sentences(n):
    found = nearest_neighbours(some_vectors(n), 3)
    assert found.indices.shape == (n, 3)
    assert (found.indices >= 0).sum() == (2 if n == 2 else 0)


def test_an_index_finds_nearly_all_true_neighbours_and_repeats():
    vectors = some_vectors(1500, 8)
    exact = nearest_neighbours(vectors, 10)
    index = nearest_neighbours(vectors, 10, exact=False, seed=3)
    assert not index.exact
    assert overlap(exact, index).mean() > 0.95
    np.testing.assert_array_equal(index.indices, nearest_neighbours(vectors, 10, exact=False, seed=3).indices)
    assert (index.indices != np.arange(1500)[:, None]).all()


def test_progress_ends_at_the_end_and_work_can_be_stopped(monkeypatch):
    monkeypatch.setattr("anticollapse.measures.neighbours._BLOCK_ELEMENTS", 2000)
    seen = []
    nearest_neighbours(some_vectors(), 3, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (120, 120)
    assert len(seen) > 3
    with pytest.raises(CancelledError):
        nearest_neighbours(some_vectors(), 3, cancelled=lambda: True)


def test_progress_and_cancellation_also_within_few_queries_of_many_sentences(monkeypatch):
    monkeypatch.setattr("anticollapse.measures.neighbours._TILE", 10)
    space, seen, asked = CentredDirections.of(some_vectors()), [], []
    nearest_neighbours(space, 3, queries=np.array([4]), progress=lambda *now: seen.append(now))
    assert len(seen) == 12
    for work in (
        lambda **given: nearest_neighbours(space, 3, queries=np.array([4]), **given),
        lambda **given: nearest_drawn(space, np.arange(60), np.arange(60, 120), **given),
        lambda **given: nearest_neighbours(space, 3, exact=False, **given),
    ):
        asked.clear()
        with pytest.raises(CancelledError):
            work(cancelled=lambda: asked.append(1) or len(asked) > 1)
    seen.clear()
    nearest_drawn(space, np.arange(60), np.arange(60, 120), progress=lambda *now: seen.append(now))
    assert seen == sorted(seen)
    assert seen[-1] == (60, 60)
    assert len(seen) == 6


def test_bad_input_is_refused():
    with pytest.raises(OptionError, match="0 neighbours"):
        nearest_neighbours(some_vectors(), 0)
    broken = some_vectors()
    broken[3, 1] = np.nan
    with pytest.raises(EncoderError):
        nearest_neighbours(broken, 3)


def test_overlap_equals_sets():
    one, other = nearest_neighbours(some_vectors(seed=1), 6), nearest_neighbours(some_vectors(seed=2), 6)
    expected = [len(set(a) & set(b)) / 6 for a, b in zip(one.indices, other.indices, strict=True)]
    np.testing.assert_allclose(overlap(one, other), expected)
    np.testing.assert_allclose(overlap(one, one), 1)


def test_overlap_without_neighbours_is_undefined_and_not_zero():
    vectors = some_vectors(9)
    vectors[2] = 0
    found = nearest_neighbours(vectors, 3)
    shares = overlap(found, found)
    assert np.isnan(shares[2])
    assert mean_overlap(shares, k=3).n == 8
    assert mean_overlap(np.full(3, np.nan), k=3).undefined.startswith("undefined because")
    with pytest.raises(OptionError):
        overlap(found, found.first(2))


def test_interval_of_a_mean_by_hand_and_groups_widen_it():
    low, high = mean_interval(np.array([0.0, 1.0, 0.0, 1.0]))
    # standard error = sqrt(sample variance / n) = sqrt((1/3) / 4)
    assert high - 0.5 == pytest.approx(1.96 * np.sqrt(1 / 12))
    assert 0.5 - low == pytest.approx(high - 0.5)
    wide = mean_interval(np.array([0.0, 0.0, 1.0, 1.0]), np.array([7, 7, 9, 9]))
    assert wide[1] - wide[0] > high - low
    assert mean_interval(np.array([1.0])) is None


@pytest.mark.parametrize("tile", [7, 1 << 14])
def test_nearest_drawn_equals_the_double_loop(tile, monkeypatch):
    monkeypatch.setattr("anticollapse.measures.neighbours._TILE", tile)
    vectors = some_vectors(60, mean=5.0)
    vectors[50] = 0
    drawn, rest = np.arange(0, 60, 3), np.setdiff1d(np.arange(60), np.arange(0, 60, 3))
    found = nearest_drawn(CentredDirections.of(vectors), drawn, rest)
    unit = vectors.astype(np.float64) / np.maximum(np.linalg.norm(vectors.astype(np.float64), axis=1), 1e-9)[:, None]
    for i, row in enumerate(rest):
        assert found[i] == (-1 if row == 50 else int(np.argmax(unit[drawn] @ unit[row])))


def test_clusters_find_separate_groups_largest_first_and_nothing_in_noise():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 12)) * 5
    which = np.repeat([0, 1, 2], [60, 100, 40])
    found = clusters((centres[which] + 0.1 * rng.normal(size=(200, 12))).astype(np.float32))
    assert found.sizes == (100, 60, 40)
    assert [set(found.labels[which == w]) for w in (1, 0, 2)] == [{0}, {1}, {2}]
    assert found.outside == 0


def test_of_many_sentences_a_sample_is_clustered_and_the_others_join_their_nearest(monkeypatch):
    from anticollapse.measures import clusters as module

    rng, looked_at = np.random.default_rng(0), []
    centres = rng.normal(size=(3, 12)) * 5
    which = rng.permutation(np.repeat([0, 1, 2], [180, 300, 120]))
    vectors = (centres[which] + 0.1 * rng.normal(size=(600, 12))).astype(np.float32)
    vectors[5] = 0

    class Counting(module.HDBSCAN):
        def fit_predict(self, points):
            looked_at.append(len(points))
            return super().fit_predict(points)

    monkeypatch.setattr(module, "HDBSCAN", Counting)
    found = clusters(vectors, most=150)
    assert looked_at == [150]  # the time grows with the square, and the interpreter waits for it
    assert sum(found.sizes) == 599
    assert found.labels[5] == -1
    others = np.arange(600) != 5
    assert [set(found.labels[(which == w) & others]) for w in (1, 0, 2)] == [{0}, {1}, {2}]
    assert "in 150 of these sentences" in found.note
    assert f"keep {found.kept:.0%} of their variance" in found.note
    assert "of these sentences" not in clusters(vectors).note
    np.testing.assert_array_equal(found.labels, clusters(vectors, most=150).labels)


def test_clusters_of_few_equal_or_zero_vectors():
    assert clusters(some_vectors(3)).n == 0
    equal = clusters(np.ones((30, 4), np.float32))
    assert equal.sizes == (30,)
    vectors = some_vectors(80)
    vectors[5] = 0
    assert clusters(vectors).labels[5] == -1
    with pytest.raises(OptionError):
        clusters(vectors, min_size=1)
