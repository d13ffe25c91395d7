from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from anticollapse.errors import EncoderError, OptionError
from anticollapse.measures import diagnose, pair_cosines

KEYS = [
    "spearman", "pearson", "spread", "mean_unrelated_cosine", "alignment", "uniformity", "effective_rank",
    "effective_rank_centred", "first_component_share", "isoscore", "rogue_dimensions", "std_sqrt_d",
]  # fmt: skip
OF_PAIRS = {"spearman", "pearson", "spread", "alignment"}


def data(n_pairs: int = 40, d: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs whose second vector strays from the first one, the more the lower the score."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 5, n_pairs)
    first = rng.normal(size=(n_pairs, d)) + 1
    second = first + (5 - scores)[:, None] * rng.normal(size=(n_pairs, d)) / 2
    index = np.arange(n_pairs)
    return np.concatenate([first, second]).astype(np.float32), index, index + n_pairs, scores


def check_plain(diagnosis) -> dict:
    """Every measure has a finite value or says why not, and all of it is JSON without NaN."""
    for measure in diagnosis.measures.values():
        if measure.value is None:
            assert measure.undefined.startswith("undefined because ")
        else:
            assert np.isfinite(measure.value)
            assert measure.undefined == ""
            if measure.interval is not None:
                assert measure.interval[0] <= measure.interval[1]
                assert np.isfinite(measure.interval).all()
    return json.loads(json.dumps(diagnosis.to_json(), allow_nan=False))


def test_everything_is_measured_in_the_order_of_the_table():
    diagnosis = diagnose(*data())
    assert list(diagnosis.measures) == KEYS
    assert all(measure.value is not None and measure.interval is not None for measure in diagnosis.measures.values())
    assert diagnosis["spearman"].value > 50
    assert (diagnosis.n_pairs, diagnosis.n_sentences) == (40, 80)
    assert diagnosis.notes == ()


def test_json_has_the_keys_of_the_command_line():
    out = check_plain(diagnose(*data()))
    wanted = {
        "n_pairs", "spearman", "spearman_ci", "pearson", "mean_unrelated_cosine", "alignment", "uniformity",
        "effective_rank", "first_component_share", "isoscore", "std_sqrt_d", "label_profile",
    }  # fmt: skip
    assert wanted <= set(out)
    assert len(out["spearman_ci"]) == 2
    assert len(out["label_profile"]) == 6


def test_same_seed_same_result():
    one, other, third = (diagnose(*data(), seed=seed).to_json() for seed in (1, 1, 2))
    assert one == other
    assert one != third


def test_every_measure_explains_itself():
    for measure in diagnose(*data()).measures.values():
        assert measure.meaning.endswith(".")
        assert len(measure.meaning.split()) >= 8
        assert measure.reads_as
        assert measure.better in {"higher", "lower"}
        assert measure.counts == ("pairs" if measure.key in OF_PAIRS else "sentences")
        assert "interval" in measure.details


def test_pairs_without_labels():
    vectors, first, second, _ = data()
    diagnosis = diagnose(vectors, first, second)
    assert {key for key, measure in diagnosis.measures.items() if measure.value is None} == OF_PAIRS
    assert diagnosis["spearman"].undefined == "undefined because the pairs have no labels"
    assert diagnosis.label_profile.bins == ()
    assert np.allclose(diagnosis.cosines, pair_cosines(vectors, first, second))
    check_plain(diagnosis)


@pytest.mark.parametrize("scores", [None, np.ones(80)])
def test_single_sentences(scores):
    diagnosis = diagnose(data()[0], scores=scores)
    assert {key for key, measure in diagnosis.measures.items() if measure.value is None} == OF_PAIRS
    assert diagnosis["alignment"].undefined == "undefined because these are single sentences, not pairs"
    assert diagnosis.cosines is None
    assert check_plain(diagnosis)["n_pairs"] == 0


def test_zero_vectors_are_left_out_with_a_note():
    vectors, first, second, scores = data()
    vectors[3] = 0
    diagnosis = diagnose(vectors, first, second, scores)
    assert diagnosis["spearman"].n == 39
    assert diagnosis["mean_unrelated_cosine"].n == 79
    assert len(diagnosis.notes) == 2
    assert np.isnan(diagnosis.cosines[3])
    check_plain(diagnosis)


def test_pairs_without_a_score_are_left_out_with_a_note():
    vectors, first, second, scores = data()
    scores[:2] = np.nan
    diagnosis = diagnose(vectors, first, second, scores)
    assert diagnosis["spearman"].n == 38
    assert diagnosis.notes == ("2 pairs have no label and are left out.",)
    check_plain(diagnosis)


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((1, 4)),
        np.zeros((1, 4)),
        np.zeros((6, 4)),
        np.ones((6, 4), dtype=np.float32) * 0.1,
        np.ones((2, 1)),
        np.eye(6),
        np.ones((6, 1), dtype=np.float32) * np.arange(1, 7, dtype=np.float32)[:, None],
        (np.random.default_rng(0).normal(size=(6, 4)) * 1e-6).astype(np.float16),
        np.random.default_rng(0).normal(size=(6, 4)) * 1e-300,
        np.random.default_rng(0).normal(size=(6, 4)) * 1e300,
        np.repeat(np.random.default_rng(0).normal(size=(3, 4)), 2, axis=0),
        np.concatenate([np.zeros((2, 4)), np.ones((4, 4))]),
    ],
)
@pytest.mark.parametrize("labels", ["none", "equal", "graded"])
def test_no_input_gives_nan(vectors, labels):
    n = len(vectors)
    scores = {"none": None, "equal": np.full(n, 2.0), "graded": np.linspace(0, 5, n)}[labels]
    with np.errstate(all="raise", under="ignore"):
        check_plain(diagnose(vectors, np.arange(n), np.arange(n)[::-1], scores))
        check_plain(diagnose(vectors))


def test_no_pairs_at_all():
    empty = np.empty(0, dtype=np.int64)
    check_plain(diagnose(data()[0], empty, empty, np.empty(0)))
    check_plain(diagnose(np.empty((0, 4), dtype=np.float32)))


def test_collapsed_constant_encoder_reads_as_collapsed():
    diagnosis = diagnose(
        np.full((20, 8), 0.3, dtype=np.float32), np.arange(10), np.arange(10, 20), np.linspace(0, 5, 10)
    )
    assert diagnosis["mean_unrelated_cosine"].value == pytest.approx(1)
    assert diagnosis["effective_rank"].value == pytest.approx(1)
    assert diagnosis["spearman"].undefined == "undefined because the cosine is the same for every pair"
    assert diagnosis["isoscore"].undefined == "undefined because all vectors are equal"


def test_bad_input_is_a_clear_error():
    vectors, first, second, scores = data()
    with pytest.raises(OptionError, match="both sentences"):
        diagnose(vectors, first)
    with pytest.raises(OptionError, match="39 scores do not match 40 pairs"):
        diagnose(vectors, first, second, scores[:39])
    vectors[5, 2] = np.nan
    with pytest.raises(EncoderError, match="sentence 6"):
        diagnose(vectors, first, second, scores)


def test_diagnoses_at_the_same_time_agree_and_leave_the_threads_as_they_were():
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: diagnose(*data()).to_json(), range(8)))
    assert all(result == results[0] for result in results)
    assert threads() == before


def test_one_query_with_many_candidates_has_values_and_says_why_no_intervals():
    vectors, _, _, _ = data()
    n = len(vectors)
    diagnosis = diagnose(vectors, np.zeros(n - 1, int), np.arange(1, n))
    for measure in diagnosis.measures.values():
        if measure.counts == "sentences" and measure.defined:
            assert measure.interval is None
            assert "linked by pairs into one group" in measure.details["no_interval"]
            assert measure.describe().endswith("only groups count as independent)")
            assert measure.to_json()["details"]["no_interval"] == measure.no_interval
    assert diagnosis["mean_unrelated_cosine"].defined


def test_every_value_without_an_interval_says_why():
    vectors, first, second, _ = data()
    for n in (1, 2, 3, 4):
        diagnosis = diagnose(vectors, first[:n], second[:n], np.array([5.0, 0.0, 3.0, 4.5])[:n])
        for measure in diagnosis.measures.values():
            assert (measure.interval is None) == bool(measure.no_interval) or not measure.defined, measure.key
