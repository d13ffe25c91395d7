"""What is read from a study's folder: rows, differences, claims, tables, files; on results made up here."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from anticollapse import studies
from anticollapse.errors import RunError
from anticollapse.measures.correlation import correlation_of
from anticollapse.studies.claims import CLAIMS, Claim, reading
from anticollapse.studies.measuring import Scored, measure, save_arrays
from anticollapse.studies.queue_tables import keys
from anticollapse.studies.rates import added_by_queue, per_step, rates
from anticollapse.studies.statistics import Estimate, corrected
from anticollapse.studies.tables import several_commits
from anticollapse.studies.wording import number, percent, points, spread

N = {"dev": 50, "test": 60}
COUNTS = {
    "candidates": 1000.0, "negatives": 800.0, "hard_negatives": 40.0, "filtered": 200.0, "false_negatives": 8.0,
    "filtered_false_negatives": 2.0, "pairs": 100.0, "paraphrases": 30.0, "same_cluster": 20.0,
    "same_cluster_paraphrases": 12.0,
}  # fmt: skip
OF_FILTER = ("pairs", "paraphrases", "same_cluster", "same_cluster_paraphrases")
# What a training without the filter counts.
PLAIN = {k: v for k, v in COUNTS.items() if k not in OF_FILTER} | {"filtered": 0.0, "filtered_false_negatives": 0.0}
SHORT = PLAIN | {"candidates": 600.0, "negatives": 600.0, "hard_negatives": 35.0, "false_negatives": 7.0}
"""Of a training without a queue: the queue of the others adds 200 negatives, 1 of them false."""


def counts_of(row, seed):
    if "queue" not in row.parts:
        return None
    counts = COUNTS if "swav" in row.parts else PLAIN if row.queue_size else SHORT
    return counts | {"hard_negatives": counts["hard_negatives"] + seed}


@pytest.fixture
def made(tmp_path):
    """Gives a function that writes a study of made-up cosines: the later the row, the better."""

    def build(rows, *, kind="ladder", seeds=3, without=(), constant=(), changed=None):
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
            result = {**result_of(cell, scores, cosines), **(changed or {}).get(cell.slug, {})}
            (folder / "result.json").write_text(json.dumps(result))
        return studies.load_study(tmp_path, n_resamples=200)

    return build


def result_of(cell, scores, cosines):
    measured = {s: measure(Scored(scores[s], cosines[s], 0.3 + 0.1 * cell.seed, 9.0, 99, {})) for s in N}
    before = {s: {**measured[s], "mean_unrelated_cosine": 0.6} for s in N}
    return {
        "schema": 1, "row": cell.row.key, "seed": cell.seed, "variant": cell.row.variant, "cure": cell.row.cure,
        "parameters": dict(cell.row.parameters), "backbone": {"name": "tiny"}, "pairs": {"name": "demo"}, **measured,
        "before": before, "seconds": {"training": 60.0, "measuring": 30.0}, "steps": 7, "best_step": 5, "notes": [],
        "negatives": counts_of(cell.row, cell.seed), "training": {"precision": "float32"},
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
        ("raw", "sbert"), ("sbert-simcse", "sbert"), ("sbert-queue", "sbert"),
        ("sbert", "raw"), ("sbert-queue", "sbert-simcse"),
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


def measured(interval, *, p=None, others=(), **changes):
    """A difference with this interval, corrected together with others of these p values."""
    value = None if interval is None else sum(interval) / 2
    if p is None and interval is not None:
        p = 0.5 if interval[0] <= 0 <= interval[1] else 0.001
    made = [
        Estimate(value=v, interval=interval, p_value=q, standard_error=1.0, n_pairs=9, n_seeds=3, **changes)
        for v, q in ((value, p), *((1.0, other) for other in others))
    ]
    return corrected(made)[0]


NOTHING = "no difference that this data could show"


@pytest.mark.parametrize(
    ("claimed", "interval", "said"),
    [
        (0.6, (0.1, 1.0), "agrees: better, and the claimed amount lies within the interval"),
        (0.6, (0.7, 1.0), "same direction, another amount: better"),
        (0.6, (-1.0, -0.1), "contradicted: worse"),
        (0.6, (-0.1, 1.0), "agrees: the claimed amount lies within the interval; it is too wide"),
        (0.6, (-0.58, 0.11), f"the claimed amount is ruled out: {NOTHING}"),
        # Two hundredths of a point are no direction: only the amount is judged.
        (-0.02, (-6.0, -4.0), "the claimed amount is ruled out: worse"),
        (-0.02, (-1.0, -0.01), "agrees: worse, and the claimed amount"),
        (-0.02, (0.1, 0.3), "the claimed amount is ruled out: better"),
        (-0.02, (-0.06, 1.69), "agrees: the claimed amount lies within the interval; it is too wide"),
        (0.2, (-1.9, 0.1963), "agrees: the claimed amount lies within"),  # shown as [−1.90, +0.20]
        (0.2, (-1.9, 0.194), "the claimed amount is ruled out"),
        (None, (0.1, 0.2), "measured: better"),
        (None, (-0.1, 0.2), NOTHING),
        (0.6, None, "cannot be said"),
    ],
)
def test_reading(claimed, interval, said):
    said = said.replace("; it is too wide", "; the interval is too wide to tell it from 0")
    assert reading(Claim("a", "b", claimed, "…"), measured(interval)).startswith(said)


@pytest.mark.parametrize(
    ("claimed", "said"),
    [
        (0.6, "agrees: the claimed amount lies within the interval; no difference"),
        (2.0, "the claimed amount is ruled out: no difference"),
        (-0.6, "the claimed amount is ruled out: no difference"),
        (None, "no difference"),
    ],
)
def test_a_reading_uses_the_corrected_p(claimed, said):
    found = measured((0.1, 1.0), p=0.03, others=(0.5, 0.6))
    text = reading(Claim("a", "b", claimed, "…"), found)
    assert text.startswith(said)
    assert "(better by itself, not as one of 3 comparisons)" in text
    assert "by itself" not in reading(Claim("a", "b", claimed, "…"), measured((0.1, 1.0), p=0.03))


def test_one_seed_decides_nothing(made):
    study = made(studies.ladder_rows(["sbert", "sbert-queue", "sbert-simcse"]), seeds=1)
    assert {one.reading for one in study.claims} == {"cannot be said: one seed"}
    assert not any(one.estimate.shown for one in study.differences)
    text = study.markdown()
    line = next(line for line in text.splitlines() if line.startswith("| `sbert-queue` | 1 |"))
    assert "] † |" in line
    assert "∗" not in text
    assert "† There is one seed only of a trained system" in text
    assert "95 % intervals over pairs alone" in text
    assert "over seeds" not in text


def test_a_row_with_one_seed_among_others_is_marked(made):
    study = made(studies.ladder_rows(["sbert", "sbert-queue"]), without=("sbert-queue-s1", "sbert-queue-s2"))
    text = study.markdown()
    assert study.column()["sbert-queue"].estimate.one_seed
    assert not study.column()["raw"].estimate.one_seed
    assert "over pairs alone where a trained system has one seed (†)" in text
    assert "† There is one seed only" in text
    assert study.column()["raw"].estimate.comparisons == 1


def test_three_seeds_have_no_dagger(made):
    text = made(studies.ladder_rows(["sbert", "sbert-queue"])).markdown()
    assert "†" not in text
    assert "intervals over seeds and pairs together (Student's t, 200 resamples of both)." in text


def test_a_column_and_the_claims_are_corrected_each_for_its_number(made):
    study = made(studies.ladder_rows(["sbert", "sbert-simcse", "sbert-queue"]), seeds=5)
    assert {one.estimate.comparisons for one in study.column().values()} == {3}
    assert {one.estimate.comparisons for one in study.claims} == {3}
    assert study.difference("sbert-queue", "sbert").estimate.p_corrected is None
    by_p = sorted((one.estimate for one in study.column().values()), key=lambda e: e.p_value)
    assert by_p[0].p_corrected == pytest.approx(3 * by_p[0].p_value)
    text = study.markdown()
    assert "∗ A difference after Holm's correction for 3 comparisons" in text
    lines = {line.split("`")[1]: line for line in text.splitlines() if line.count(" | ") > 5 and "`" in line}
    marked = {row: "] ∗ |" in lines[row] for row in study.column()}
    assert marked == {row: one.estimate.p_corrected <= 0.05 for row, one in study.column().items()}
    assert set(marked.values()) == {True, False}


def test_rows_of_several_commits_say_so(made):
    rows = studies.ladder_rows(["sbert", "sbert-queue"])
    study = made(rows, changed={"sbert-s2": {"commit": "beef-dirty"}})
    assert study.rows[1].commits == ("c0ffee", "beef-dirty")
    text = study.markdown()
    assert "`sbert` computed by commits c0ffee, beef-dirty" in text
    assert "`raw`, `sbert-queue` computed by commit c0ffee" in text


def test_the_machine_is_named_once_with_the_precision_of_what_was_trained(made):
    rows = studies.ladder_rows(["sbert"])
    untrained = {"raw-s0": {"training": None}}
    assert "\n\ncpu (x86_64, 1 thread), trained in float32; torch 2," in made(rows, changed=untrained).markdown()


def test_a_gpu_is_named_without_the_threads_of_its_host(made):
    rows = studies.ladder_rows(["sbert"])
    gpu = {"device": "cuda:0", "device_name": "NVIDIA H200", "threads": 16}
    slugs = ["raw-s0", *(f"sbert-s{seed}" for seed in range(3))]
    assert "\n\ncuda:0 (NVIDIA H200), trained in" in made(rows, changed=dict.fromkeys(slugs, gpu)).markdown()


def test_one_commit_needs_no_remark(made):
    assert "computed by" not in made(studies.ladder_rows(["sbert"])).markdown()
    assert several_commits({"a": ("x",), "b": (), "c": ("x",)}) == ""
    assert "`a` computed by commit x; `b` computed by commit y" in several_commits({"a": ("x",), "b": ("y",)})


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


def test_the_queue_studys_tables(made):
    study = made(studies.queue_rows(sizes=(0, 2.5)), kind="queue")
    assert study.baseline == "sbert-queue-q0"
    text = study.markdown()
    scores, rates = (part for part in text.split("\n\n") if part.startswith("| variant |"))
    # 2.5 × 32 pairs are 160 sentences.
    line = next(row for row in scores.splitlines() if row.startswith("| `sbert-swav` | 2.5 | 160 | 32 | 3 |"))
    to_none, to_same = (study.difference("sbert-swav-q2.5", one) for one in ("sbert-queue-q0", "sbert-queue-q2.5"))
    assert points(to_none.estimate) in line
    assert points(to_same.estimate) in line
    shares = "| 5.1 % ± 0.1 | 1.0 % ± 0.0 | – | 20.0 % ± 0.0 | 20.0 % ± 0.0 | 1.0 % ± 0.0 (of all 1.0 %) | 60.0 %"
    line = next(row for row in rates.splitlines() if row.startswith("| `sbert-swav` | 2.5 |"))
    assert shares in line
    plain = next(row for row in rates.splitlines() if row.startswith("| `sbert-queue` | 2.5 |"))
    assert plain.endswith("| 160 | 32 | 5.1 % ± 0.1 | 1.0 % ± 0.0 | 0.50 % | – | – | – | – | – |")
    for said in ("in its own row, its partner", "A negative is hard where", "clusters of equal size", "both together"):
        assert said in text
    assert "Of all graded pairs 30.0 % are graded 4 and up" in text
    assert "sbert-queue without a queue is sbert-simcse" in text
    claims = {(one.row, one.reference): one.claim.value for one in study.claims}
    assert claims == {("sbert-queue-q2.5", "sbert-queue-q0"): 0.3, ("sbert-swav-q2.5", "sbert-queue-q2.5"): None}


def test_the_filter_is_judged_at_every_size_in_one_family(made):
    study = made(studies.queue_rows(sizes=(0, 1, 2.5)), kind="queue")
    column = study.column(of="reference")
    assert {row: one.reference for row, one in column.items()} == {
        f"sbert-swav-q{q}": f"sbert-queue-q{q}" for q in ("0", "1", "2.5")
    }
    assert {one.estimate.comparisons for one in column.values()} == {3}
    assert {one.estimate.comparisons for one in study.column().values()} == {5}
    assert "The column of the filter: ∗ A difference after Holm's correction for 3 comparisons" in study.markdown()


def test_definitions_stand_below_a_table_without_the_filter(made):
    text = made(studies.queue_rows(["sbert-queue"], sizes=(0, 2.5)), kind="queue").markdown()
    assert "A negative is hard where" in text
    assert "clusters" not in text
    assert "without the filter" not in text
    assert "filtered" not in text


def test_rows_added_later_stand_in_their_place(made):
    rows = studies.queue_rows(["sbert-queue"], sizes=(0, 10, 2.5))
    text = made(rows, kind="queue", without=[f"sbert-queue-q10-s{s}" for s in range(3)]).markdown()
    sizes = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| `sbert-queue` | ")]
    assert sizes == ["0", "2.5", "10", "0", "2.5"]  # no run of 10 has counted negatives yet


def test_what_a_queue_adds_is_known_only_beside_the_run_without_one(made):
    study = made(studies.queue_rows(sizes=(0, 2.5)), kind="queue", without=("sbert-queue-q0-s1",))
    rows = {one.row.key: one for one in study.rows}
    assert rows["sbert-queue-q2.5"].added == {}
    assert rows["sbert-queue-q0"].added == {}
    assert keys({"queue_size": 2.5, "batch_size": 64, "parts": {"contrast": "InfoNCE"}}) == 160
    assert added_by_queue(SHORT, PLAIN) == added_by_queue(None, PLAIN) == {}
    assert added_by_queue(PLAIN, SHORT) == {"added_false_negative_rate": 1 / 200}
    assert added_by_queue({"negatives": 9.0}, SHORT) == {}


def test_rows_with_the_same_cosines_say_so():
    same = dataclasses.replace(measured((0.0, 0.0)), value=0.0)
    assert points(same) == "0: the same cosines"
    assert points(dataclasses.replace(same, interval=(-0.001, 0.001))).startswith("+0.00 [")


def test_each_batch_size_has_a_reference_of_its_own(made):
    study = made(studies.queue_rows(["sbert-queue"], sizes=(0, 2.5), batch_sizes=(16, 32)), kind="queue")
    column = {row: one.reference for row, one in study.column().items()}
    assert column == {"sbert-queue-q2.5-b16": "sbert-queue-q0-b16", "sbert-queue-q2.5": "sbert-queue-q0"}
    assert "difference to no queue, same batch, test" in study.markdown()
    assert study.to_json()["baselines"]["sbert-queue-q2.5"] == "sbert-queue-q0"


def test_where_every_row_has_a_queue_the_shortest_is_the_reference(made):
    study = made(studies.queue_rows(["sbert-queue"], sizes=(5, 1), batch_sizes=(16, 32)), kind="queue")
    assert {one.reference for one in study.column().values()} == {"sbert-queue-q1-b16", "sbert-queue-q1"}
    assert "difference to the shortest queue, same batch, test" in study.markdown()


def test_without_a_row_without_a_queue_there_is_a_reference(made):
    study = made(studies.queue_rows(["sbert-swav"], sizes=(0, 1)), kind="queue")
    assert study.baseline == "sbert-swav-q0"
    assert study.column()["sbert-swav-q1"].reference == "sbert-swav-q0"


def test_rates_by_hand():
    assert rates(COUNTS) == {
        "hard_negative_rate": 0.05, "false_negative_rate": 0.01, "filtered_share": 0.2,
        "paraphrases_among_filtered": 0.01, "paraphrases_among_candidates": 0.01, "paraphrases_filtered": 0.2,
        "precision_on_graded_pairs": 0.6,
        "recall_on_graded_pairs": 0.4, "paraphrases_among_graded_pairs": 0.3,
    }  # fmt: skip
    assert rates(None) == {}
    assert rates({"negatives": 0.0, "hard_negatives": 0.0}) == {"hard_negative_rate": None}
    assert per_step(COUNTS, 4) == {"negatives": 200, "hard_negatives": 10, "false_negatives": 2, "filtered": 50}
    assert per_step(COUNTS, 0) == per_step(None, 4) == {}


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
    assert by_run["sbert-queue-s0"]["hard_negative_rate"] == 35 / 600
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


@pytest.mark.parametrize(
    ("content", "why"), [("{", "damaged"), ('{"schema": 2}', "of another version"), ("[]", "of another version")]
)
def test_a_result_that_cannot_be_read_is_not_a_missing_one(made, tmp_path, content, why):
    made(studies.ladder_rows(["sbert"]), seeds=1)
    file = tmp_path / "runs/raw-s0/result.json"
    file.write_text(content)
    with pytest.raises(RunError, match=rf"raw-s0/result.json: the result of the run is {why}"):
        studies.load_study(tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.raises(RunError, match=r"raw-s0/result.json: the result of the run cannot be read"):
        studies.missing(tmp_path, studies.read_plan(tmp_path).cells)
    file.rmdir()
    assert studies.load_study(tmp_path).missing == ("raw-s0",)


def test_numbers_as_text():
    assert spread(-1.26, 0.04) == "−1.3 ± 0.0"
    assert spread(None, None) == "–"
    assert percent(0.1234, None) == "12.3 %"
    assert percent(0.00012, 0.00001) == "0.012 % ± 0.001"
    assert percent(0.0, None) == "0.0 %"
    assert percent(0.000045) == "0.0045 %"
    assert percent(0.0036) == "0.36 %"
    assert [number(value) for value in (0.4523, 13724.93, 0.0)] == ["0.45", "13,724.9", "0.0"]
    estimate = Estimate(value=-0.126, interval=(-1.0, 0.5), p_value=1.0, standard_error=1.0, n_pairs=9, n_seeds=2)
    assert points(estimate) == "−0.13 [−1.00, +0.50]"
    assert points(None) == "–"
