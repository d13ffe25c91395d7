"""``study ladder|queue`` on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from anticollapse import cli
from anticollapse.commands import study as command
from anticollapse.runs.estimate import Speed
from anticollapse.studies import estimate as estimating

OWN = """
from anticollapse.training import CoSENT, Variant, register
register(Variant(id="own-study", title="Own", summary="Mine.", supervised=CoSENT(scale=7.0)), replace=True)
"""


@pytest.fixture
def ask(root, file, tmp_path):
    """Gives a function that makes the arguments of a small study."""

    def build(kind, *more, output="study"):
        common = ["--backbone", "tiny", "--pairs", str(file), "--output", str(tmp_path / output), "--steps", "3"]
        return ["study", kind, *common, "--seeds", "1", "--device", "cpu", "--precision", "float32", *more]

    return build


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    from anticollapse.training import variants

    monkeypatch.setattr("anticollapse.training.registry._REGISTRY", dict(variants()))


def test_a_ladder_with_a_variant_of_ones_own(ask, tmp_path, capsys):
    own = tmp_path / "own.py"
    own.write_text(OWN)
    given = ask("ladder", "--variants", "sbert", "own-study", "--variant-file", str(own), "--no-estimate")
    assert cli.main(given) == 0
    out, err = capsys.readouterr()
    assert "| `own-study` | 1 |" in out
    assert out.strip() == (tmp_path / "study/table.md").read_text(encoding="utf-8").strip()
    assert "3 runs, 0 finished, 3 to do (2 trainings of 3 steps)" in err
    assert "3/3 own-study seed 0: Spearman dev" in err
    assert sorted(f.name for f in (tmp_path / "study/runs").iterdir()) == ["own-study-s0", "raw-s0", "sbert-s0"]
    assert cli.main([*given, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["finished"] == 3
    assert "3 finished, 0 to do" in err
    row = found["rows"][2]["row"]
    assert (row["variant"], row["parameters"]["supervised_scale"]) == ("own-study", 7.0)


def test_a_queue_study_counts_negatives(ask, capsys):
    assert cli.main(ask("queue", "--sizes", "0", "1", "--no-estimate", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["row"]["key"]: row["rates"] for row in found["rows"]}
    assert list(rows) == ["sbert-queue-q0", "sbert-queue-q1", "sbert-swav-q0", "sbert-swav-q1"]
    assert all(0 <= rate["hard_negative_rate"] <= 1 for rate in rows.values())
    assert rows["sbert-queue-q1"]["filtered_share"] == 0
    assert rows["sbert-swav-q1"]["filtered_share"] > 0


def test_another_plan_in_the_same_folder_is_one_line(ask, capsys):
    given = ask("ladder", "--variants", "raw", "--no-estimate")
    assert cli.main(given) == 0
    capsys.readouterr()
    given[given.index("--steps") + 1] = "4"
    assert cli.main(given) == 2
    err = capsys.readouterr().err
    assert "this folder holds a study with another number of steps (3, now 4)" in err
    assert err.count("\n") == 1


def test_table_only_trains_nothing(ask, capsys, monkeypatch):
    assert cli.main(ask("ladder", "--table")) == 2
    assert "no study in this folder" in capsys.readouterr().err
    assert cli.main(ask("ladder", "--variants", "raw", "--no-estimate")) == 0
    monkeypatch.setattr("anticollapse.studies.work", None)
    assert cli.main(ask("ladder", "--table")) == 0
    assert "| `raw` | 1 |" in capsys.readouterr().out


@pytest.mark.parametrize("more", [("--jobs", "0"), ("--threads", "-1"), ("--variants", "sbrt"), ("--seeds", "0")])
def test_bad_values_are_one_line(ask, capsys, more):
    assert cli.main(ask("ladder", *more)) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_failed_run_is_said_and_the_others_are_done(ask, capsys, monkeypatch):
    from anticollapse.errors import TrainingError
    from anticollapse.studies import execution

    original = execution.run_cell

    def fail(bench, cell, **options):
        if cell.slug == "sbert-s0":
            raise TrainingError("memory ran out")
        return original(bench, cell, **options)

    monkeypatch.setattr(execution, "run_cell", fail)
    assert cli.main(ask("ladder", "--variants", "sbert", "--no-estimate")) == 2
    out, err = capsys.readouterr()
    assert "1 runs could not be done, the first being sbert-s0 (memory ran out)" in err
    assert "1 of 2 runs are missing" in out


def test_the_estimate_scales_a_probe_and_then_rests_on_finished_runs(make, monkeypatch):
    asked = []

    def pretend(variant, backbone, pairs, **options):
        asked.append(variant.id)
        return Speed(setup=2.0, step=0.5, look=1.0, dev_share=0.5, threads=1)

    monkeypatch.setattr(estimating, "probe", pretend)
    bench, cells = make(seeds=1, steps=6)
    train, dev = bench.splits["train"], bench.splits["dev"]
    found = estimating.estimate(bench.plan, bench.folder, cells, train, dev)
    assert asked == ["sbert"]
    # Two trainings of 6 steps, the second of which passes (2 + 1/3) as many sentences; each with 10 looks at dev after
    # that at the backbone.
    assert found.seconds == pytest.approx(6 * 0.5 * (1 + 2 + 1 / 3) + 2 * (2 + 11 * 1 / 0.5))
    folder = bench.folder / "runs/sbert-s0"
    folder.mkdir(parents=True)
    result = {"schema": 1, "seconds": {"training": 60.0, "measuring": 4.0}}
    (folder / "result.json").write_text(json.dumps(result))
    left = [cell for cell in cells if cell.slug == "sbert-swav-s0"]
    found = estimating.estimate(bench.plan, bench.folder, left, train, dev)
    assert asked == ["sbert"]
    assert found.seconds == pytest.approx(64 * (2 + 1 / 3))
    assert estimating.estimate(bench.plan, bench.folder, [], train, dev).seconds == 0


def test_the_estimate_is_said_before_anything_starts(ask, capsys, monkeypatch):
    from anticollapse.studies.estimate import Estimate

    monkeypatch.setattr(estimating, "estimate", lambda *_, **__: Estimate(7200.0, "a probe of sbert"))
    assert cli.main(ask("ladder", "--variants", "raw")) == 0
    assert "About 2.0 h with one process (from a probe of sbert)." in capsys.readouterr().err


@pytest.mark.timeout(900)
def test_two_jobs_and_ctrl_c(ask, root, tmp_path):
    """Two processes do the runs; Ctrl-C stops them cleanly, and the same command finishes what is left."""
    given = [sys.executable, "-m", "anticollapse", *ask("ladder", "--variants", "sbert", "cosent", "--no-estimate")]
    given[given.index("--steps") + 1] = "100000"
    environment = {**os.environ, "ANTICOLLAPSE_CHECKPOINTS": str(root), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*given, "--jobs", "2"], env=environment, start_new_session=True)
    folder = tmp_path / "study/runs"
    begun = [folder / f"{name}-s0/training/metrics.jsonl" for name in ("sbert", "cosent")]
    try:
        deadline = time.monotonic() + 500
        while not all(file.exists() for file in begun):
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, "the processes did not both begin"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == command.INTERRUPTED
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    for name in ("sbert", "cosent"):
        claim = json.loads((folder / f"{name}-s0/claim.0.json").read_text())
        assert claim["released"]
        assert (folder / f"{name}-s0/training/checkpoint/last.safetensors").exists()
        assert not (folder / f"{name}-s0/result.json").exists()
    owners = {json.loads((folder / f"{n}-s0/claim.0.json").read_text())["worker"]["pid"] for n in ("sbert", "cosent")}
    assert len(owners) == 2


def test_a_stopped_study_says_how_it_goes_on():
    from anticollapse.commands.study import _left

    assert _left(["one that is missing"], 3).startswith("Stopped: 2 of 3 runs are finished. The same command goes on")
