"""Runs: what they write, killed and resumed, shared by processes, stopped, failed."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from anticollapse import studies
from anticollapse.errors import TrainingError
from anticollapse.measures import pair_cosines
from anticollapse.measures.correlation import correlation_of
from anticollapse.studies import execution as module
from anticollapse.studies.cell import commit, negatives_of
from anticollapse.studies.claim import claim
from anticollapse.studies.measuring import read_arrays

PATIENCE = 400.0

pytestmark = pytest.mark.timeout(900)  # processes are forked and waited for, on machines that may be busy

ALL = ["raw-s0", "sbert-s0", "sbert-swav-s0", "sbert-s1", "sbert-swav-s1"]


def wait_until(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.is_alive(), "the process ended by itself"
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def stamps(folder):
    files = sorted(folder.glob("runs/*/result.json"))
    return {file.parent.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def test_a_study_from_beginning_to_end(make):
    bench, cells = make()
    assert [cell.slug for cell in cells] == ALL
    heard = []
    outcome = studies.work(bench, cells, report=heard.append)
    assert outcome.done == ALL
    assert (outcome.failed, outcome.elsewhere, outcome.stopped) == ({}, [], False)
    assert [state.done for state in heard if state.finished] == [1, 2, 3, 4, 5]
    raw = json.loads((bench.folder / "runs/raw-s0/result.json").read_text())
    pairs = bench.splits["test"]
    expected = pair_cosines(bench.backbone.encode(pairs.sentences).vectors, pairs.index1, pairs.index2)
    assert np.array_equal(read_arrays(bench.folder / "runs/raw-s0/cosines.npz")["test"], expected)
    assert raw["test"]["spearman"] == pytest.approx(100 * correlation_of(pairs.scores, expected, "spearman"))
    assert raw["test"] == raw["before"]["test"]
    assert np.array_equal(read_arrays(bench.folder / "scores.npz")["dev"], bench.splits["dev"].scores)
    for slug in ALL[1:]:
        folder = bench.folder / "runs" / slug
        result = json.loads((folder / "result.json").read_text())
        assert (result["steps"], result["command"], result["commit"]) == (4, "the command", "c0ffee")
        assert result["training"]["dev_spearman"] == pytest.approx(result["dev"]["spearman"], abs=0.5)
        assert (result["negatives"] is not None) == ("swav" in slug)
        assert result["before"] == raw["before"]
        # Measured and no longer needed: the encoder and its checkpoint are gone, the journal stays.
        assert sorted(file.name for file in (folder / "training").iterdir()) == ["metrics.jsonl"]
    by_seed = [read_arrays(bench.folder / f"runs/sbert-s{seed}/cosines.npz")["test"] for seed in (0, 1)]
    assert not np.allclose(*by_seed, atol=1e-4)
    before = stamps(bench.folder)
    assert studies.work(*make()).done == []
    assert stamps(bench.folder) == before


def test_kept_models_load(make):
    from anticollapse.encoding import load_encoder

    bench, cells = make(studies.ladder_rows(["sbert"]), seeds=1, keep_models=True)
    studies.work(bench, cells)
    folder = bench.folder / "runs/sbert-s0"
    result = json.loads((folder / "result.json").read_text())
    pairs = bench.splits["test"]
    vectors = load_encoder(folder / result["model"], device="cpu").encode(pairs.sentences).vectors
    cosines = pair_cosines(vectors, pairs.index1, pairs.index2)
    assert np.allclose(cosines, read_arrays(folder / "cosines.npz")["test"], atol=1e-6)
    assert not (folder / "training/checkpoint").exists()


def test_killed_half_way_no_finished_run_is_repeated_and_the_rest_goes_on(make, fork, tmp_path, monkeypatch):
    bench, cells = make(steps=6)
    process = fork(hang="sbert-swav-s0")
    wait_until((bench.folder / "runs/sbert-swav-s0/hangs").exists, process)
    process.kill()
    process.join()
    before = stamps(bench.folder)
    assert sorted(before) == ["raw-s0", "sbert-s0"]
    again, original = [], module.run_cell
    monkeypatch.setattr(module, "run_cell", lambda b, c, **o: again.append(c.slug) or original(b, c, **o))
    outcome = studies.work(bench, cells)
    assert outcome.done == again == ALL[2:]
    after = stamps(bench.folder)
    assert {slug: after[slug] for slug in before} == before
    # The interrupted run went on from its checkpoint, and came out as if nothing had happened.
    journal = (bench.folder / "runs/sbert-swav-s0/training/metrics.jsonl").read_text()
    assert "Resumed after step 1." in journal
    whole, whole_cells = make(steps=6, folder=tmp_path / "whole")
    studies.work(whole, [cell for cell in whole_cells if cell.slug == "sbert-swav-s0"])
    one, other = (read_arrays(b.folder / "runs/sbert-swav-s0/cosines.npz") for b in (bench, whole))
    assert np.array_equal(one["test"], other["test"])
    assert json.loads(after["sbert-swav-s0"][1])["negatives"] == pytest.approx(
        json.loads(stamps(whole.folder)["sbert-swav-s0"][1])["negatives"]
    )


def test_two_processes_share_a_study_and_do_no_run_twice(make, fork, tmp_path):
    bench, _ = make()
    processes = [fork(together=2) for _ in range(2)]
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0
    assert sorted((tmp_path / "log.txt").read_text().split()) == sorted(ALL)
    assert sorted(stamps(bench.folder)) == sorted(ALL)
    assert len(list(bench.folder.glob("begun-*"))) == 2


def test_what_others_hold_is_left_alone(make, monkeypatch):
    bench, cells = make(seeds=1)
    held = claim(bench.folder / "runs/sbert-s0")
    assert held is not None
    outcome = studies.work(bench, cells)
    assert (outcome.done, outcome.elsewhere) == (["raw-s0", "sbert-swav-s0"], ["sbert-s0"])
    held.release()
    assert studies.work(bench, cells).done == ["sbert-s0"]


def test_a_stop_keeps_the_checkpoint_and_frees_the_run(make):
    bench, cells = make(studies.ladder_rows(["sbert"]), seeds=1, steps=20)
    asked = []
    outcome = studies.work(bench, cells, stop=lambda: asked.append(1) or len(asked) > 8)
    assert outcome.stopped
    assert outcome.done == ["raw-s0"]
    folder = bench.folder / "runs/sbert-s0"
    assert (folder / "training/checkpoint/last.safetensors").exists()
    assert not (folder / "result.json").exists()
    assert studies.work(bench, cells).done == ["sbert-s0"]
    assert "Resumed after step" in (folder / "training/metrics.jsonl").read_text()


def test_a_run_that_was_taken_over_writes_nothing(make, monkeypatch):
    bench, cells = make(studies.ladder_rows(["sbert"]), seeds=1)
    original = module.run_cell

    def overtaken(b, cell, **options):
        (b.folder_of(cell) / "claim.1.json").write_text("{}")  # somebody took this process for dead
        return original(b, cell, **options)

    monkeypatch.setattr(module, "run_cell", overtaken)
    outcome = studies.work(bench, cells)
    assert outcome.done == []
    assert not list(bench.folder.glob("runs/*/result.json"))


def test_a_run_that_was_taken_over_half_way_leaves_the_folder_alone(make):
    """Suspended for minutes, say: whoever took the run over works in its folder, on the same checkpoint and journal."""
    bench, cells = make(studies.ladder_rows(["sbert"]), seeds=1, steps=30)
    folder = bench.folder / "runs/sbert-s0"
    seen = {}

    def files():
        return {f.name: (f.stat().st_mtime_ns, f.read_bytes()) for f in folder.rglob("*") if f.is_file()}

    def stop():
        if not seen and (folder / "training/checkpoint/last.safetensors").exists():
            (folder / "claim.1.json").write_text("{}")
            seen.update(files())
        return False

    outcome = studies.work(bench, cells, stop=stop)
    assert seen
    assert (outcome.done, outcome.failed, outcome.stopped) == (["raw-s0"], {}, False)
    after = files()
    ours = after.pop("claim.0.json"), seen.pop("claim.0.json")  # that we gave it up is said in our own claim
    assert ours[0] != ours[1]
    assert after == seen


def test_a_run_that_fails_does_not_end_the_study_and_is_tried_again(make, monkeypatch):
    bench, cells = make(seeds=1)
    original = module.run_cell

    def fail(b, cell, **options):
        if cell.slug == "sbert-s0":
            raise TrainingError("the loss is no longer a number")
        return original(b, cell, **options)

    monkeypatch.setattr(module, "run_cell", fail)
    outcome = studies.work(bench, cells)
    assert outcome.failed == {"sbert-s0": "the loss is no longer a number."}
    assert outcome.done == ["raw-s0", "sbert-swav-s0"]
    assert "no longer a number" in (bench.folder / "runs/sbert-s0/failed.txt").read_text()
    monkeypatch.setattr(module, "run_cell", original)
    assert studies.work(bench, cells).done == ["sbert-s0"]
    assert not (bench.folder / "runs/sbert-s0/failed.txt").exists()


def test_what_a_kill_after_the_result_left_is_tidied(make):
    bench, cells = make(studies.ladder_rows(["sbert"]), seeds=1)
    studies.work(bench, cells)
    left = bench.folder / "runs/sbert-s0/training/checkpoint"
    left.mkdir()
    (left / "last.safetensors").write_bytes(b"0")
    studies.work(bench, cells)
    assert not left.exists()


def test_scorers_of_pairs_cures_and_variants_of_ones_own(make, monkeypatch):
    from anticollapse.training import CoSENT, Variant, register, variants

    monkeypatch.setattr("anticollapse.training.registry._REGISTRY", dict(variants()))
    register(Variant(id="mine", title="Mine", summary="Cosine order.", supervised=CoSENT(scale=10.0)))
    rows = studies.ladder_rows(["cross-attention-scored", "mine"])
    cures = [row for row in studies.ladder_rows(["raw"], with_cures=True) if row.cure == "centring"]
    bench, cells = make((*rows, *cures), seeds=1)
    outcome = studies.work(bench, cells)
    assert outcome.done == ["raw-s0", "cross-attention-scored-s0", "mine-s0", "raw+centring-s0"]
    results = {slug: json.loads(text) for slug, (_, text) in stamps(bench.folder).items()}
    scored = results["cross-attention-scored-s0"]["test"]
    assert scored["effective_rank"] is None
    assert "gives no vectors" in scored["undefined"]["effective_rank"]
    assert -1 <= scored["mean_unrelated_cosine"] <= 1
    assert results["mine-s0"]["parameters"]["supervised_scale"] == 10.0
    assert abs(results["raw+centring-s0"]["test"]["mean_unrelated_cosine"]) < abs(
        results["raw-s0"]["test"]["mean_unrelated_cosine"]
    )
    study = studies.load_study(bench.folder, n_resamples=50)
    assert [row.row.key for row in study.rows] == ["raw", "cross-attention-scored", "mine", "raw+centring"]
    assert study.difference("mine", "raw").estimate.value is not None


def test_numbers_of_negatives_add_up_over_stretches(tmp_path):
    journal = tmp_path / "metrics.jsonl"
    lines = [
        {"event": "start", "step": 0},
        {"event": "evaluation", "step": 4, "counts": {"negatives": 10.0, "hard_negatives": 1.5}},
        {"event": "checkpoint", "step": 4},
        {"event": "evaluation", "step": 10, "counts": {"negatives": 20.0, "hard_negatives": 0.5}},
    ]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert negatives_of(journal) == {"negatives": 160.0, "hard_negatives": 9.0}
    journal.write_text(json.dumps({"event": "evaluation", "step": 4, "counts": {}}) + "\n")
    assert negatives_of(journal) is None


def test_the_commit_is_what_git_says_and_what_the_environment_says_stands_before_it(monkeypatch, tmp_path):
    monkeypatch.delenv("ANTICOLLAPSE_COMMIT", raising=False)
    inside = commit()
    assert inside
    monkeypatch.setenv("ANTICOLLAPSE_COMMIT", inside)
    assert commit() == inside
    monkeypatch.setenv("ANTICOLLAPSE_COMMIT", "c0ffee1")
    assert commit() == f"c0ffee1 (said; git: {inside})"
    monkeypatch.setattr("anticollapse.studies.cell.__file__", str(tmp_path / "cell.py"))
    assert commit() == "c0ffee1 (said; git: none)"
    monkeypatch.delenv("ANTICOLLAPSE_COMMIT")
    assert commit() == ""
