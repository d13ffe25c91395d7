"""Maps: repeatable, aligned where encoders agree, as true as the library's; measures against naive ones and limits."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.manifold import trustworthiness as sklearn_trustworthiness

from anticollapse.errors import CancelledError, EncoderError, OptionError
from anticollapse.measures.principal import principal_coordinates, procrustes
from anticollapse.measures.projection import (
    MapSettings,
    Projection,
    project_pca,
    project_umap,
    trustworthiness,
    warm_up,
)

QUICK = MapSettings(n_epochs=60)


def grouped_vectors(n=200, dim=24, groups=5, seed=0, mean=0.0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, dim))
    which = np.arange(n) % groups
    return (mean + centres[which] + 0.25 * rng.normal(size=(n, dim))).astype(np.float32)


def turned(vectors, seed=1):
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(vectors.shape[1],) * 2))
    return (vectors @ rotation).astype(np.float32)


def test_same_arguments_same_map_and_another_seed_another_one():
    vectors = [grouped_vectors(), grouped_vectors(seed=1)]
    one, two = project_umap(vectors, QUICK), project_umap(vectors, QUICK)
    assert one.method == "umap"
    np.testing.assert_array_equal(one.coordinates, two.coordinates)
    other = project_umap(vectors, MapSettings(n_epochs=60, seed=1))
    assert not np.allclose(one.coordinates, other.coordinates)


def test_threads_do_not_change_the_map():
    import numba

    vectors = [grouped_vectors(), grouped_vectors(seed=1), grouped_vectors(seed=2)]
    before = numba.get_num_threads()
    maps = []
    try:
        for threads in {1, before}:
            numba.set_num_threads(threads)
            maps.append(project_umap(vectors, QUICK).coordinates)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(maps[0], maps[-1])


def test_identical_encoders_lie_on_each_other():
    vectors = grouped_vectors()
    found = project_umap([vectors, vectors.copy()], QUICK)
    assert found.movement(0, 1).mean() <= 0.1
    np.testing.assert_array_equal(found.movement(0, 0), 0)


def test_encoders_that_agree_up_to_a_turn_and_a_little_noise_stay_aligned():
    vectors = grouped_vectors(400)
    rng = np.random.default_rng(3)
    nearly = turned(vectors) + 0.02 * rng.normal(size=vectors.shape).astype(np.float32)
    found = project_umap([vectors, nearly])
    free = project_umap([vectors, nearly], MapSettings(alignment=0))
    assert free.movement(0, 1).mean() > 0.1  # it is the alignment that does it, and not the start or the random numbers
    assert found.movement(0, 1).mean() <= 0.1
    assert found.movement(0, 1).mean() < 0.5 * free.movement(0, 1).mean()


def test_a_sentence_that_really_moves_moves():
    vectors = grouped_vectors(200)
    changed = vectors.copy()
    changed[0] = vectors[1]  # sentence 0 changes its group
    moved = project_umap([vectors, changed], MapSettings(n_epochs=200)).movement(0, 1)
    assert moved[0] > 5 * np.median(moved)


def test_movement_by_hand():
    coordinates = np.array([[[0, 0], [4, 0]], [[0, 3], [4, 0]]], np.float32)
    found = Projection("umap", coordinates)
    # variances: encoder 1: 4 and 0; encoder 2: 4 and 2.25 -> std = sqrt(10.25 / 4)
    np.testing.assert_allclose(found.movement(0, 1), [3 / np.sqrt(10.25 / 4), 0])


def test_map_is_about_as_trustworthy_as_the_library():
    import umap

    vectors = grouped_vectors(300, groups=12)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    library = umap.UMAP(metric="cosine", random_state=0).fit_transform(unit)
    ours = project_umap([vectors]).coordinates[0]
    scores = [sklearn_trustworthiness(unit, y, n_neighbors=15, metric="cosine") for y in (library, ours)]
    assert scores[1] > scores[0] - 0.01


@pytest.mark.parametrize("mean", [0.0, 50.0])
def test_trustworthiness_equals_scikit_learn(mean):
    vectors = grouped_vectors(150, mean=mean).astype(np.float64)
    places = np.random.default_rng(0).normal(size=(150, 2))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = sklearn_trustworthiness(unit, places, n_neighbors=9)
    found = trustworthiness(vectors, places, k=9)
    assert found.value == pytest.approx(expected, abs=1e-6)
    assert found.n == 150


def test_trustworthiness_on_a_sample_is_close_and_its_interval_covers():
    vectors = grouped_vectors(600, groups=30)
    places = project_pca([vectors]).coordinates[0]
    whole, part = trustworthiness(vectors, places), trustworthiness(vectors, places, sample=200)
    assert part.n == 200
    assert part.details["sampled"]
    assert part.interval[0] - 0.02 <= whole.value <= part.interval[1] + 0.02


def test_trustworthiness_limits():
    assert trustworthiness(grouped_vectors(2), np.zeros((2, 2))).undefined
    line = np.column_stack([np.cos(np.linspace(0, 1, 30)), np.sin(np.linspace(0, 1, 30))])
    assert trustworthiness(line, line).value == pytest.approx(1, abs=1e-3)


def test_a_map_of_equal_vectors_is_neither_true_nor_untrue():
    vectors = np.tile(np.random.default_rng(0).normal(size=(1, 16)), (80, 1))
    places = np.random.default_rng(1).normal(size=(80, 2))
    for equal in (vectors, vectors.astype(np.float32), vectors * np.linspace(1, 2, 80)[:, None]):
        found = trustworthiness(equal, places)
        assert found.value is None
        assert found.interval is None
        assert "all its sentence vectors are equal" in found.undefined
        assert any("are equal: there is nothing to see" in note for note in project_pca([equal]).notes)
    nearly = vectors + 1e-3 * np.random.default_rng(2).normal(size=vectors.shape)
    assert trustworthiness(nearly, places).value < 0.7  # collapsed, yet there is something to be true to


TWO_AT_ONCE = """
import threading, numpy as np
from anticollapse.errors import CancelledError
from anticollapse.measures.projection import MapSettings, project_umap
rng = np.random.default_rng(0)
vectors = [rng.normal(size=(400, 12)).astype(np.float32) for _ in range(2)]
alone, found = project_umap(vectors, MapSettings(n_epochs=150)).coordinates, []
def draw():
    found.append(project_umap(vectors, MapSettings(n_epochs=150)).coordinates)
threads = [threading.Thread(target=draw) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
import numba
assert numba.threading_layer() == "workqueue", numba.threading_layer()
assert len(found) == 3 and all((one == alone).all() for one in found)
print("all drawn")
"""


@pytest.mark.timeout(600)
def test_maps_drawn_at_the_same_time_do_not_abort_the_process():
    settings = {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TWO_AT_ONCE], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "all drawn", done.stderr[-2000:]


def test_waiting_for_another_map_can_be_stopped():
    from anticollapse.measures.neighbours import alone

    held, calls = alone(lambda: None), []
    with held:
        with pytest.raises(CancelledError):
            project_umap([grouped_vectors(40)], QUICK, cancelled=lambda: calls.append(1) or len(calls) > 6)
        told = []

        class Stopped(Exception):
            pass

        def progress(done, total):
            told.append((done, total))
            if len(told) > 4:
                raise Stopped  # as Streamlit does where a progress line is drawn

        with pytest.raises(Stopped):
            project_umap([grouped_vectors(40)], QUICK, progress=progress)
    assert project_umap([grouped_vectors(40)], QUICK).method == "umap"


def test_pca_is_turned_to_the_first_encoder():
    vectors = grouped_vectors()
    found = project_pca([vectors, turned(vectors)])
    np.testing.assert_allclose(found.coordinates[0], found.coordinates[1], atol=1e-3)
    assert found.std == pytest.approx(1, abs=1e-6)


def test_pca_against_scikit_learn():
    from sklearn.decomposition import PCA

    for n in (15, 100):  # fewer and more sentences than dimensions
        points = grouped_vectors(n)
        expected = PCA(4).fit(points)
        found = principal_coordinates(points, 4)
        np.testing.assert_allclose(np.abs(found.coordinates), np.abs(expected.transform(points)), atol=1e-4)
        assert found.kept == pytest.approx(expected.explained_variance_ratio_.sum(), abs=1e-6)


def test_pca_keeps_the_share_of_variance_that_is_asked_for():
    points = np.random.default_rng(0).normal(size=(500, 40))
    found = principal_coordinates(points, 5, keep=0.9)
    assert found.kept >= 0.9
    assert found.coordinates.shape[1] > 30
    assert principal_coordinates(np.ones((9, 5)), 2).kept == 0


def test_procrustes_undoes_a_turn():
    target = np.random.default_rng(0).normal(size=(20, 2))
    angle = np.array([[0.6, -0.8], [0.8, 0.6]]) @ np.diag([1, -1])
    np.testing.assert_allclose((target @ angle) @ procrustes(target, target @ angle), target, atol=1e-12)


def test_zero_vectors_are_left_out_and_said():
    vectors = grouped_vectors(60)
    vectors[7] = 0
    found = project_umap([vectors, grouped_vectors(60, seed=1)], QUICK)
    assert np.isnan(found.coordinates[:, 7]).all()
    assert np.isfinite(np.delete(found.coordinates, 7, axis=1)).all()
    assert any("1 sentences have a vector of zeros" in note for note in found.notes)


def test_few_and_equal_vectors():
    few = project_umap([grouped_vectors(5)], QUICK)
    assert few.method == "pca"
    assert any("too few" in note for note in few.notes)
    assert project_umap([grouped_vectors(1)], QUICK).coordinates.shape == (1, 1, 2)
    equal = project_umap([np.ones((30, 4), np.float32)], QUICK)
    assert np.isfinite(equal.coordinates).all()
    assert any("are equal" in note for note in equal.notes)
    one_dimension = project_umap([np.random.default_rng(0).normal(size=(30, 1)).astype(np.float32)], QUICK)
    assert np.isfinite(one_dimension.coordinates).all()


def test_encoders_of_different_width():
    found = project_umap([grouped_vectors(dim=24), grouped_vectors(dim=70)], QUICK)
    assert found.coordinates.shape == (2, 200, 2)


def test_progress_and_cancellation():
    seen = []
    project_umap([grouped_vectors()], QUICK, progress=lambda done, total: seen.append((done, total)))
    assert seen[0][0] > 0
    assert seen[-1] == (160, 160)
    assert seen == sorted(seen)
    calls = iter(range(100))
    with pytest.raises(CancelledError):
        project_umap([grouped_vectors()], QUICK, cancelled=lambda: next(calls) > 10)


def test_bad_arguments():
    with pytest.raises(OptionError, match="0 encoders"):
        project_umap([])
    with pytest.raises(OptionError, match="7 encoders"):
        project_pca([grouped_vectors()] * 7)
    with pytest.raises(OptionError, match="different numbers"):
        project_pca([grouped_vectors(20), grouped_vectors(21)])
    with pytest.raises(EncoderError):
        project_umap([np.full((20, 3), np.nan)])
    with pytest.raises(OptionError, match="n_neighbors is 1"):
        MapSettings(n_neighbors=1)
    with pytest.raises(OptionError, match="alignment"):
        MapSettings(alignment=2)


def test_epochs_fall_with_the_number_of_points():
    assert MapSettings().epochs(6_000) == 500
    assert MapSettings().epochs(20_000) == 250
    assert MapSettings().epochs(10**6) == 200
    assert MapSettings(n_epochs=7).epochs(10) == 7


def test_warm_up_runs():
    warm_up()


def test_compiled_code_is_kept_where_there_is_a_place_for_it():
    from anticollapse.measures import layout

    for function in (layout.smooth_knn_dist, layout.compute_membership_strengths, layout._epoch):
        assert function.stats.cache_path

    class ReadOnly:
        def enable_caching(self):
            raise RuntimeError("no locator available")

    layout._keep_compiled(ReadOnly())  # a system where nothing can be written works all the same
