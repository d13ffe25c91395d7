"""``anticollapse runs``: what it prints, its exit codes, no traceback for what the user can mend."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from anticollapse import runs
from anticollapse.cli import main
from anticollapse.data import PairSet
from anticollapse.runs import process, queue, store
from anticollapse.training import TrainingOptions


@pytest.fixture
def root(tmp_path, tiny_encoder, monkeypatch):
    """A checkpoint root where no training is ever started."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    shutil.copytree(tiny_encoder, folder / "tiny")
    monkeypatch.setenv("ANTICOLLAPSE_CHECKPOINTS", str(folder))
    monkeypatch.setenv("ANTICOLLAPSE_RUNS_KEEP_FREE_MB", "0")
    monkeypatch.setattr(queue, "_start", lambda run, *_: run)
    return folder


@pytest.fixture
def put(root):
    """Gives a function that puts a run there in some state."""
    pairs = PairSet(
        name="mine.csv",
        sentences1=tuple(f"a dog runs {i}" for i in range(20)),
        sentences2=tuple(f"a cat eats {i}" for i in range(20)),
        scores=np.linspace(0, 5, 20),
        rows=np.arange(2, 22),
    )

    def write(state="queued", name="", **changes):
        run = runs.start("sbert", "tiny", pairs, options=TrainingOptions(steps=40), name=name, root=root)
        now = time.time()
        worker = process.identify(os.getpid()) if state == "running" else None
        ended = now if state in store.ENDED else None
        changed = dataclasses.replace(run, state=state, started=now, ended=ended, worker=worker, heartbeat=now)
        changed = dataclasses.replace(changed, **changes)
        store.write(changed)
        return changed

    return write


def call(capsys, *arguments):
    code = main(["runs", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_of_nothing(root, capsys):
    code, out, err = call(capsys, "list")
    assert (code, err) == (0, "")
    assert str(root) in out
    assert "'anticollapse train'" in out
    assert "--output" in out
    assert call(capsys, "list", "--json") == (0, "[]\n", "")


def test_list_has_the_newest_first_with_state_and_measures(put, capsys):
    progress = {"step": 40, "steps": 40, "dev_spearman_best": 61.54}
    first = put("done", "first", progress=progress)
    second = put("queued", "<b>second</b> 🦊")
    code, out, err = call(capsys, "list")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    (a,) = [i for i, line in enumerate(lines) if second.id[:8] in line]
    (b,) = [i for i, line in enumerate(lines) if first.id[:8] in line]
    assert a < b
    assert "<b>second</b> 🦊" in lines[a]
    assert "queued" in lines[a]
    for part in ("first", "done", "mine.csv", "40/40", "61.5"):
        assert part in lines[b]


def test_list_and_show_as_json(put, capsys):
    run = put("done", "first", progress={"step": 40, "steps": 40}, reason="All 40 steps are done.")
    code, out, _ = call(capsys, "list", "--json")
    assert code == 0
    assert json.loads(out) == [json.loads((run.folder / store.RUN).read_text())]
    code, out, _ = call(capsys, "show", run.id, "--json")
    assert code == 0
    shown = json.loads(out)
    assert (shown["id"], shown["state"], shown["reason"]) == (run.id, "done", "All 40 steps are done.")
    assert shown["request"]["options"] == {"steps": 40}


def test_show_by_the_first_digits(put, capsys):
    progress = {"step": 20, "steps": 40, "dev_spearman_before": 50.0, "dev_spearman": 61.5}
    run = put("failed", "first", reason="The disk is full.", progress=progress)
    (run.folder / store.LOG).write_text("one\ntwo\nthree\n")
    code, out, _ = call(capsys, "show", run.id[:4].upper(), "--log", "2")
    assert code == 0
    for part in (run.id, "failed. The disk is full.", "mine.csv, 20 rows", "20 of 40", "50.00 → 61.50", "two\nthree"):
        assert part in out
    assert "one" not in out.splitlines()
    assert "encoder" not in out  # there is none


@pytest.mark.parametrize("action", ["show", "stop", "resume", "delete"])
@pytest.mark.parametrize("wanted", ["f" * 32, "abc", "", "../../etc", "--", "🦊🦊🦊🦊"])
def test_an_unknown_id_is_one_line_and_exit_code_2(put, capsys, root, action, wanted):
    run = put("done", "mine")
    arguments = [action, *(["--yes"] if action == "delete" else []), "--", wanted]
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("anticollapse: ")
    assert err.count("\n") == 1
    assert "anticollapse runs list" in err
    assert store.read(run.folder).name == "mine"


def test_an_unknown_id_in_a_real_process(root):
    command = [sys.executable, "-m", "anticollapse", "runs", "show", "f" * 32]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_digits_that_two_runs_share_name_none(put, capsys, root):
    run = put("done", "one")
    twin = run.id[:8] + "0" * 24
    shutil.copytree(run.folder, root / twin)
    store.write(dataclasses.replace(run, id=twin, folder=root / twin))
    code, _, err = call(capsys, "show", run.id[:8])
    assert code == 2
    assert f'2 runs begin with "{run.id[:8]}"' in err
    assert call(capsys, "show", run.id)[0] == 0


def test_stop_takes_a_waiting_one_out_and_resume_puts_it_back(put, capsys):
    run = put("queued", "mine")
    code, out, _ = call(capsys, "stop", run.id[:6])
    assert (code, out) == (0, f"{run.id[:8]} mine: stopped. Taken out of the queue by you.\n")
    code, out, _ = call(capsys, "resume", run.id[:6])
    assert (code, out) == (0, f"{run.id[:8]} mine: queued.\n")
    assert store.read(run.folder).state == "queued"


@pytest.mark.parametrize("state", ["done", "queued"])
def test_what_cannot_be_resumed_is_exit_code_2(put, capsys, state):
    run = put(state, "mine")
    code, out, err = call(capsys, "resume", run.id)
    assert (code, out) == (2, "")
    assert f'the run "mine" is {state}' in err


def test_a_running_one_is_not_deleted(put, capsys):
    run = put("running", "mine")
    code, out, err = call(capsys, "delete", "--yes", run.id)
    assert (code, out) == (2, "")
    assert "is running" in err
    assert run.folder.exists()


def test_delete_asks_first(put, capsys, monkeypatch):
    run = put("done", "mine")
    for answer in ("", "n", "no", "what?"):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{answer}\n"))
        code, out, _ = call(capsys, "delete", run.id)
        assert code == 1
        assert 'Delete "mine" with its encoder? There is no way back.' in out
        assert "Nothing was deleted." in out
        assert run.folder.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, out, _ = call(capsys, "delete", run.id)
    assert code == 0
    assert out.endswith(f"{run.id[:8]} mine: deleted\n")
    assert not run.folder.exists()


def test_delete_with_nobody_to_ask_deletes_nothing(put, capsys, monkeypatch):
    run = put("done", "mine")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, _, err = call(capsys, "delete", run.id)
    assert code == 2
    assert err == "anticollapse: there is nobody to ask. Give --yes if you mean it.\n"
    assert run.folder.exists()


def test_a_vanished_worker_is_lost_in_the_list(put, capsys):
    worker = dataclasses.replace(process.identify(os.getpid()), started="1")
    put("running", "mine", worker=worker)
    _, out, _ = call(capsys, "list")
    assert "lost" in out


PAIRS = "sentence1,sentence2,score\n" + "".join(f"a dog runs {i},a cat eats {i},{i % 6}\n" for i in range(60))


def test_start_queues_what_train_would_train_and_returns_at_once(root, tmp_path, capsys):
    (tmp_path / "mine.csv").write_text(PAIRS)
    given = [
        "--backbone",
        "tiny",
        "--pairs",
        str(tmp_path / "mine.csv"),
        "--steps",
        "7",
        "--contrast-temperature",
        "0.1",
    ]
    code, out, err = call(capsys, "start", "sbert-queue", *given, "--name", "my first")
    assert (code, err) == (0, "")
    (run,) = store.all_runs(root)
    assert out.startswith(f"{run.id} my first: queued.\n")
    assert f"anticollapse runs show {run.id[:8]}" in out
    assert (run.request.variant, run.request.backbone, run.state) == ("sbert-queue", "tiny", "queued")
    assert run.request.options == {"steps": 7}
    assert run.request.parameters["contrast_temperature"] == 0.1
    assert (run.request.data["n"], run.request.dev["n"]) == (48, 12)  # as the app holds pairs out
    assert call(capsys, "show", "my first")[0] == 0


def test_start_of_a_named_set_and_of_a_run_as_json(root, put, capsys):
    before = put("done", "earlier")
    shutil.copytree(root / "tiny", before.folder / "model")
    code, out, _ = call(capsys, "start", "sbert", "--backbone", before.id[:6], "--pairs", "demo", "--json")
    assert code == 0
    made = json.loads(out)
    assert made["request"]["backbone"] == before.id
    assert (made["request"]["data"]["name"], made["request"]["dev"]["name"]) == ("demo:train", "demo:dev")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (["sbrt", "--backbone", "tiny", "--pairs", "demo"], "no variant"),
        (["sbert", "--backbone", "nobody", "--pairs", "demo"], "no encoder"),
        (["sbert", "--backbone", "tiny", "--pairs", "demo", "--steps", "-1"], "--steps -1 is below 0"),
    ],
)
def test_what_cannot_be_started_is_one_line_and_leaves_nothing(root, capsys, given, word):
    code, out, err = call(capsys, "start", *given)
    assert (code, out) == (2, "")
    assert word in err
    assert err.count("\n") == 1
    assert store.all_runs(root) == []


def test_the_help_says_where_other_trainings_are(capsys):
    with pytest.raises(SystemExit):
        main(["runs", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "lives in its own --output folder" in out
    assert "start" in out
