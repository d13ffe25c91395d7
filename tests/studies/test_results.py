"""What is read from a study's folder: rows, differences, claims, tables, files; on results made up here."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from anticollapse import studies
from anticollapse.errors import RunError
from anticollapse.measures.correlation import correlation_of
from anticollapse.studies.claims import CLAIMS, Claim, reading
from anticollapse.studies.measuring import Scored, measure, save_arrays
from anticollapse.studies.results import rates
from anticollapse.studies.statistics import Estimate
from anticollapse.studies.tables import percent, points, spread

N = {"dev": 50, "test": 60}
COUNTS = {
    "candidates": 1000.0, "negatives": 800.0, "hard_negatives": 40.0, "filtered": 200.0, "false_negatives": 8.0,
    "filtered_false_negatives": 2.0, "pairs": 100.0, "paraphrases": 30.0, "same_cluster": 20.0,
    "same_cluster_paraphrases": 12.0,
}  # fmt: skip


@pytest.fixture
def made(tmp_path):
    """Gives a function that writes a study of made-up cosines: the later the row, the better."""

    def build(rows, *, kind="ladder", seeds=3, without=(), constant=()):
        pairs = {"name": "demo", **{split: {"digest": split, "n": 9} for split in ("train", "dev", "test")}}
        plan = studies.Plan(
            kind=kind, backbone={"name": "tiny", "digest": "b" * 64}, pairs=pairs, steps=7,
            options={"precision": "auto", "patience": 0}, rows=rows, seeds=tuple(range(seeds)),
        )  # fmt: skip
        studies.join_plan(tmp_path, plan)
        rng = np.random.default_rng(0)
        scores = {split: rng.uniform(0, 5, n) for split, n in N.items()}
        save_arrays(tmp_path / "scores.npz", scores)
        for cell in plan.cells:
            if cell.slug in without:
                continue
            quality = 0.2 * plan.keys.index(cell.row.key)
            cosines = {split: np.tanh(quality * s + rng.normal(size=len(s))) for split, s in scores.items()}
            if cell.slug in constant:
                cosines["test"][:] = 0.5
            folder = tmp_path / "runs" / cell.slug
            folder.mkdir(parents=True)
            save_arrays(folder / "cosines.npz", cosines)
            (folder / "result.json").write_text(json.dumps(result_of(cell, scores, cosines)))
        return studies.load_study(tmp_path, n_resamples=200)

    return build


def result_of(cell, scores, cosines):
    measured = {s: measure(Scored(scores[s], cosines[s], 0.3 + 0.1 * cell.seed, 9.0, 99, {})) for s in N}
    before = {s: {**measured[s], "mean_unrelated_cosine": 0.6} for s in N}
    return {
        "schema": 1, "row": cell.row.key, "seed": cell.seed, "variant": cell.row.variant, "cure": cell.row.cure,
        "parameters": dict(cell.row.parameters), "backbone": {"name": "tiny"}, "pairs": {"name": "demo"}, **measured,
        "before": before, "seconds": {"training": 60.0, "measuring": 30.0}, "steps": 7, "best_step": 5, "notes": [],
        "negatives": COUNTS if "queue" in cell.row.parts else None, "training": {"precision": "float32"},
        "device": "cpu", "device_name": "x86_64", "threads": 1, "commit": "c0ffee", "command": "the command",
        "versions": {"torch": "2", "transformers": "5", "sentence-transformers": "6"}, "model": None, "ended": 1e9,
    }  # fmt: skip


def test_rows_are_means_over_seeds(made, tmp_path):
    study = made(studies.ladder_rows(["sbert", "sbert-simcse"]))
    assert study.missing == ()
    found = study.rows[1]
    assert found.row.key == "sbert"
    assert found.seeds == (0, 1, 2)
    scores = study.scores["test"]
    by_seed = [100 * correlation_of(scores, study.cosines(f"sbert-s{i}")["test"], "spearman") for i in range(3)]
    assert found.spearman["test"].value == pytest.approx(np.mean(by_seed))
    assert found.std["test"] == pytest.approx(np.std(by_seed, ddof=1))
    assert found.means["test"]["mean_unrelated_cosine"] == pytest.approx(0.4)
    assert found.stds["test"]["mean_unrelated_cosine"] == pytest.approx(0.1)
    assert found.means["test"]["mean_unrelated_cosine_before"] == pytest.approx(0.6)
    assert found.seconds == 90.0
    assert study.rows[0].std["test"] is None  # the raw encoder is run once


def test_differences_are_to_the_baseline_and_to_the_row_of_the_claim(made):
    study = made(studies.ladder_rows(["sbert", "sbert-simcse", "sbert-queue"]))
    assert study.baseline == "sbert"
    asked = [(d.row, d.reference) for d in study.differences if d.split == "test"]
    assert asked == [
        ("raw", "sbert"), ("sbert", "raw"), ("sbert-simcse", "sbert"), ("sbert-queue", "sbert"),
        ("sbert-queue", "sbert-simcse"),
    ]  # fmt: skip
    gap = study.difference("sbert-queue", "sbert")
    rows = {row.row.key: row for row in study.rows}
    expected = rows["sbert-queue"].spearman["test"].value - rows["sbert"].spearman["test"].value
    assert gap.estimate.value == pytest.approx(expected)
    assert gap.estimate.paired_seeds
    assert gap.estimate.interval[0] > 0  # made to be better


def test_claims_stand_beside_what_was_measured(made):
    study = made(studies.ladder_rows(["sbert", "sbert-simcse", "sbert-queue"]))
    found = {one.row: one for one in study.claims}
    assert {key: one.claim.value for key, one in found.items()} == {
        "sbert": None, "sbert-simcse": 0.2, "sbert-queue": 0.3,
    }  # fmt: skip
    assert found["sbert-queue"].reference == "sbert-simcse"
    assert "| `sbert-queue` | `sbert-simcse` | +0.3 |" in study.markdown()


def test_claims_are_those_of_the_method():
    claimed = {claim.variant: claim.value for claim in CLAIMS if claim.value is not None}
    assert claimed == {"cross-attention-scored": -0.02, "cross-attention": 0.6, "sbert-simcse": 0.2, "sbert-queue": 0.3}


@pytest.mark.parametrize(
    ("claimed", "interval", "said"),
    [
        (0.6, (0.1, 1.0), "holds: better"),
        (0.6, (0.7, 1.0), "holds: better, by another amount than claimed"),
        (0.6, (-1.0, -0.1), "contradicted: worse"),
        (-0.02, (-1.0, -0.01), "holds: worse"),
        (-0.02, (0.1, 0.3), "contradicted: better"),
        (0.6, (-0.1, 1.0), "the claimed value lies within"),
        (0.6, (-0.1, 0.2), "the claimed value lies outside"),
        (None, (0.1, 0.2), "measured: better"),
        (None, (-0.1, 0.2), "no difference that this data could show"),
        (0.6, None, "cannot be said"),
    ],
)
def test_reading(claimed, interval, said):
    value = None if interval is None else sum(interval) / 2
    estimate = Estimate(value=value, interval=interval, p_value=None, standard_error=None, n_pairs=9, n_seeds=3)
    assert said in reading(Claim("a", "b", claimed, "…"), estimate)


def test_the_ladders_table(made):
    study = made(studies.ladder_rows(["sbert", "sbert-simcse"]), without=("sbert-s2", "sbert-simcse-s0"))
    text = study.markdown()
    assert "**Not finished: 2 of 7 runs are missing.**" in text
    lines = [line for line in text.splitlines() if line.startswith("| `sbert`")]
    value = study.rows[1].spearman["test"].value
    assert f"| {value:.1f} ± " in lines[0]
    assert "0.60 → 0.35 ± 0.07" in lines[0]
    assert "nan" not in text.lower()
    assert "none" not in text.lower()
    for fact in ("SHA-256 bbbbbbbbbbbb", "7 optimizer steps", "seeds 0, 1, 2", "c0ffee", "`the command`", "2001-09-09"):
        assert fact in text
    rules = [line for line in text.splitlines() if line.startswith("|-")]
    assert all(set(rule) <= set("|-:") for rule in rules)
    assert [rule.count("|") for rule in rules] == [9, 6]


def test_the_queue_studys_table(made):
    study = made(studies.queue_rows(sizes=(0, 2.5)), kind="queue")
    assert study.baseline == "sbert-queue-q0"
    text = study.markdown()
    line = next(row for row in text.splitlines() if row.startswith("| `sbert-swav` | 2.5 |"))
    assert "| 5.0 % ± 0.0 | 1.0 % ± 0.0 | 20.0 % ± 0.0 | 60.0 % ± 0.0 | 40.0 % ± 0.0 |" in line
    plain = next(row for row in text.splitlines() if row.startswith("| `sbert-queue` | 2.5 |"))
    assert plain.endswith("| – | – | – |")
    assert "30.0 % of all graded pairs" in text
    claims = {(one.row, one.reference): one.claim.value for one in study.claims}
    assert claims == {("sbert-queue-q2.5", "sbert-queue-q0"): 0.3, ("sbert-swav-q2.5", "sbert-queue-q2.5"): None}


def test_rates_by_hand():
    assert rates(COUNTS) == {
        "hard_negative_rate": 0.05, "false_negative_rate": 0.01, "filtered_share": 0.2, "filter_precision": 0.6,
        "filter_recall": 0.4, "paraphrase_share": 0.3,
    }  # fmt: skip
    assert rates(None) == {}
    assert rates({"negatives": 0.0, "hard_negatives": 0.0}) == {"hard_negative_rate": None}


def test_nothing_finished_yet(made):
    rows = studies.ladder_rows(["sbert"])
    study = made(rows, seeds=1, without=("raw-s0", "sbert-s0"))
    assert study.missing == ("raw-s0", "sbert-s0")
    assert study.differences == study.claims == ()
    assert "2 of 2 runs are missing" in study.markdown()
    assert [file.name for file in study.write()] == ["table.md", "summary.json"]


def test_a_collapsed_run_has_no_spearman_and_says_so(made):
    study = made(studies.ladder_rows(["sbert"]), constant=("sbert-s1",))
    gap = study.difference("sbert", "raw")
    assert gap.estimate.value is None
    assert gap.estimate.note == "Undefined because with seed 1 the cosine is the same for every pair."
    assert study.difference("sbert", "raw", "dev").estimate.value is not None
    assert next(one for one in study.claims if one.row == "sbert").reading == "cannot be said"
    json.dumps(study.to_json(), allow_nan=False)
    assert "| – |" in study.markdown()


def test_files(made, tmp_path):
    study = made(studies.ladder_rows(["sbert", "sbert-queue"]))
    table, parquet, summary = study.write()
    assert table.read_text(encoding="utf-8") == study.markdown() + "\n"
    lines = pq.read_table(parquet).to_pylist()
    assert [line["run"] for line in lines] == list(study.results)
    by_run = {line["run"]: line for line in lines}
    assert by_run["sbert-s1"]["test_spearman"] == study.results["sbert-s1"]["test"]["spearman"]
    assert by_run["sbert-queue-s0"]["parameter_queue_size_ratio"] == "2.5"
    assert by_run["sbert-queue-s0"]["hard_negative_rate"] == 0.05
    assert by_run["sbert-s1"]["hard_negative_rate"] is None
    plain = json.loads(summary.read_text(encoding="utf-8"))
    assert plain["finished"] == 7
    assert [row["row"]["key"] for row in plain["rows"]] == ["raw", "sbert", "sbert-queue"]
    assert {"row", "reference", "split", "estimate"} <= set(plain["differences"][0])


def test_the_same_resamples_each_time(made, tmp_path):
    first = made(studies.ladder_rows(["sbert"]))
    again = studies.load_study(tmp_path, n_resamples=200)
    assert again.to_json() == first.to_json()
    other = studies.load_study(tmp_path, seed=1, n_resamples=200)
    assert other.difference("sbert", "raw").estimate.value == first.difference("sbert", "raw").estimate.value
    assert other.difference("sbert", "raw").estimate.interval != first.difference("sbert", "raw").estimate.interval


def test_no_study_and_broken_files(made, tmp_path):
    with pytest.raises(RunError, match="no study in this folder"):
        studies.load_study(tmp_path / "nowhere")
    study = made(studies.ladder_rows(["sbert"]), seeds=1)
    (tmp_path / "runs/raw-s0/cosines.npz").write_bytes(b"no zip")
    with pytest.raises(RunError, match=r"raw-s0/cosines.npz: the file cannot be read"):
        study.to_json()
    (tmp_path / "runs/raw-s0/result.json").write_text("{")
    assert studies.load_study(tmp_path).missing == ("raw-s0",)


def test_numbers_as_text():
    assert spread(-1.26, 0.04) == "−1.3 ± 0.0"
    assert spread(None, None) == "–"
    assert percent(0.1234, None) == "12.3 %"
    assert percent(0.00012, 0.00001) == "0.012 % ± 0.001"
    assert percent(0.0, None) == "0.0 %"
    estimate = Estimate(value=-0.126, interval=(-1.0, 0.5), p_value=1.0, standard_error=1.0, n_pairs=9, n_seeds=2)
    assert points(estimate) == "−0.13 [−1.00, +0.50]"
    assert points(None) == "–"
