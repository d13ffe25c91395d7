"""Start, stop, resume, duplicate, delete: what they do and what they refuse."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import time
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from anticollapse import runs
from anticollapse.encoding import list_encoders
from anticollapse.errors import DataError, EncoderError, OptionError, RunError
from anticollapse.runs import RunSettings, queue, store
from anticollapse.runs.split import hold_out
from anticollapse.training import Variant, get_variant, variants
from anticollapse.training.terms import CosineMSE


@pytest.fixture
def still(monkeypatch):
    """Nothing is ever started."""
    monkeypatch.setattr(queue, "_start", lambda run, *_: run)


@pytest.fixture
def begin(root, pairs, options, settings):
    return lambda **named: runs.start(
        "sbert", "tiny", pairs, **{"dev": pairs, "options": options, "root": root, "settings": settings, **named}
    )


def test_a_whole_life(begin, root, pairs, forked, settings):
    run = begin(name="my first")
    assert run.state == "running"
    assert run.attempts == 1
    done = runs.wait_for(run.id, timeout=60, root=root)
    assert done.state == "done"
    assert done.reason.startswith("All 6 steps are done")
    assert done.progress["step"] == done.progress["steps"] == 6
    for key in ("dev_spearman", "mean_unrelated_cosine", "effective_rank"):
        assert np.isfinite([done.progress[key], done.progress[f"{key}_before"], done.progress[f"{key}_best"]]).all()
    looks = [event for event in runs.read_metrics(run.folder) if event["event"] == "evaluation"]
    assert [event["step"] for event in looks] == [2, 4, 6]
    assert done.progress["dev_spearman_best"] == max(event["dev_spearman"] for event in looks)
    assert (run.id, "trained") in [(info.name, info.kind) for info in list_encoders(root)]
    until = time.monotonic() + 30  # the state is written first, and what was kept for it goes then
    while (run.folder / store.SPARE).exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not (run.folder / store.SPARE).exists()

    stream = io.BytesIO()
    runs.write_zip(done, stream)
    out = root / "unpacked"
    zipfile.ZipFile(stream).extractall(out)
    (folder,) = out.iterdir()
    kept = SentenceTransformer(str(done.folder / "model"), device="cpu").encode(["a dog"])
    assert np.array_equal(SentenceTransformer(str(folder), device="cpu").encode(["a dog"]), kept)

    with pytest.raises(RunError, match="done, so there is nothing to resume"):
        runs.resume(run.id, root=root)
    again = runs.duplicate(run.id, options={"seed": 3}, root=root, settings=settings)
    assert again.name == "my first (2)"
    assert again.request == dataclasses.replace(done.request, options={**done.request.options, "seed": 3})
    runs.stop(again.id, wait=True, root=root, settings=settings)
    runs.delete(run.id, root=root)
    assert not run.folder.exists()
    with pytest.raises(RunError, match="there is no run"):
        runs.get(run.id, root=root)


def test_stop_keeps_the_best_and_resume_ends_like_a_run_that_was_never_stopped(begin, root, options, settings, forked):
    import safetensors.torch

    long = dataclasses.replace(options, steps=60, evaluate_every=20)
    whole = begin(options=long)
    runs.wait_for(whole.id, timeout=60, root=root)
    forked.breaks = "held"  # else a stop may come too late
    cut = begin(options=long)
    while runs.get(cut.id, root=root).progress.get("step", 0) < 1:
        time.sleep(0.01)
    stopped = runs.stop(cut.id, wait=True, root=root, settings=dataclasses.replace(settings, grace_seconds=30))
    assert stopped.state == "stopped"
    assert stopped.has_model
    assert stopped.reason.startswith("You stopped it.")
    assert "can be resumed at step 1." in stopped.reason
    forked.breaks = ""
    assert runs.resume(cut.id, root=root, settings=settings).state == "running"
    assert runs.wait_for(cut.id, timeout=60, root=root).state == "done"
    a, b = (safetensors.torch.load_file(run.folder / "model" / "model.safetensors") for run in (whole, cut))
    assert all((a[name] == b[name]).all() for name in a)


def test_a_waiting_run_leaves_the_queue_and_comes_back_at_its_end(begin, root, settings, still):
    first, second = begin(), begin()
    stopped = runs.stop(first.id, root=root, settings=settings)
    assert (stopped.state, stopped.reason) == ("stopped", "Taken out of the queue by you.")
    again = runs.resume(first.id, root=root, settings=settings)
    assert again.state == "queued"
    assert again.ticket > second.ticket


def test_names_are_text_and_differ(begin, root, still):
    assert begin().name == "sbert from tiny"
    assert begin().name == "sbert from tiny (2)"
    assert begin(name="tiny").name == "tiny (2)"  # an encoder is called so
    evil = begin(name="../../etc/passwd\n<script>" + "x" * 200)
    assert "\n" not in evil.name
    assert len(evil.name) <= 80
    assert sorted(p.name for p in root.iterdir() if p.is_dir() and p.name != "tiny") == sorted(
        run.id for run in runs.list_runs(root)
    )


def test_what_is_refused(begin, root, pairs, pair_maker, settings, still):
    with pytest.raises(OptionError, match="no variant called"):
        runs.start("nothing", "tiny", pairs, root=root)
    with pytest.raises(EncoderError):
        runs.start("sbert", "missing", pairs, root=root)
    with pytest.raises(EncoderError):
        runs.start("sbert", str(root / "tiny"), pairs, root=root / "elsewhere", confined=True)
    with pytest.raises(OptionError, match="contrast_temperature"):
        begin(parameters={"contrast_temperature": 1})
    with pytest.raises(DataError, match="pairs with scores"):
        runs.start("sbert", "tiny", pair_maker(scores=False), root=root)
    with pytest.raises(RunError, match="is no run"):
        runs.get("../" + "a" * 29, root=root)
    other = Variant(id="sbert", title="", summary="", supervised=CosineMSE(), gives="vectors")
    with pytest.raises(OptionError, match="composed of other parts"):
        runs.start(other, "tiny", pairs, root=root)
    assert runs.list_runs(root) == []
    assert [p.name for p in root.iterdir() if p.is_dir()] == ["tiny"]


def test_the_queue_and_the_disk_have_an_end(begin, root, settings, still):
    short = dataclasses.replace(settings, max_queued=2)
    begin(settings=short)
    begin(settings=short)
    with pytest.raises(RunError, match="the queue is full: 2 runs are waiting"):
        begin(settings=short)
    with pytest.raises(RunError, match="the disk is nearly full"):
        begin(settings=dataclasses.replace(settings, keep_free_mb=2**40))
    assert len(runs.list_runs(root)) == 2


def test_a_running_run_is_not_deleted(begin, root, forked, options):
    run = begin(options=dataclasses.replace(options, steps=100_000))
    with pytest.raises(RunError, match="is running"):
        runs.delete(run.id, root=root)
    assert run.folder.exists()


def test_the_time_limit_ends_a_run_with_its_encoder(begin, root, forked, options, monkeypatch):
    monkeypatch.setenv("ANTICOLLAPSE_RUNS_MAX_HOURS", "0.0002")
    from anticollapse.runs import worker

    run = begin(options=dataclasses.replace(options, steps=100_000))
    # The fork server has the environment of before, so the limit is told to the reporter itself.
    reporter = worker.Reporter(run, RunSettings.from_environment())
    assert not reporter.stop_wanted()
    time.sleep(0.8)
    reporter._check_limits()
    assert reporter.why_stop == "It reached the time limit of 0.0002 hours."
    monkeypatch.delenv("ANTICOLLAPSE_RUNS_MAX_HOURS")
    full = worker.Reporter(run, RunSettings(keep_free_mb=2**40))
    full._check_limits()
    assert full.why_stop.startswith("The disk is nearly full")


@pytest.mark.parametrize("kind", ["scored", "pairs", "sentences"])
def test_needs_agrees_with_what_training_itself_accepts(kind, pair_maker, tiny_encoder, root):
    from anticollapse.encoding import load_encoder
    from anticollapse.training.data import prepare

    data = pair_maker(scores=kind == "scored", second=kind != "sentences")
    encoder = load_encoder("tiny", root=root)
    for name, variant in variants().items():
        if not variant.trains:
            assert runs.needs(name, data) == "It trains nothing"
            continue
        try:
            prepare(data, variant, encoder)
            accepted = True
        except DataError:
            accepted = False
        assert (runs.needs(name, data) == "") == accepted, name


def test_unexpected_errors_are_said(begin, root, forked, pairs):
    run = begin(settings=RunSettings(keep_free_mb=0, threads=1, at_once=1), dev=None)
    runs.wait_for(run.id, timeout=60, root=root)
    (run.folder / store.TRAIN).write_text("{}")
    store.write(dataclasses.replace(store.read(run.folder), state="lost"))
    runs.resume(run.id, root=root)
    failed = runs.wait_for(run.id, timeout=60, root=root)
    assert failed.state == "failed"
    assert "sentence pairs cannot be read" in failed.reason


def test_threads_leave_a_core_to_the_interface(monkeypatch):
    from anticollapse.runs import settings

    for cores, wanted in ((1, 1), (2, 1), (8, 7)):
        monkeypatch.setattr(settings, "cores", lambda cores=cores: cores)
        assert RunSettings().thread_count == wanted
    assert RunSettings(threads=3).thread_count == 3
    assert RunSettings(at_once=3).thread_count == 2  # of the 7 that are left on 8 cores
    assert RunSettings(at_once=9).thread_count == 1


@pytest.mark.parametrize(
    ("name", "value"), [("AT_ONCE", "0"), ("MAX_HOURS", "-1"), ("THREADS", "many"), ("NICENESS", "20")]
)
def test_bad_settings_are_one_clear_error(name, value, monkeypatch):
    monkeypatch.setenv(f"ANTICOLLAPSE_RUNS_{name}", value)
    with pytest.raises(OptionError, match=f"ANTICOLLAPSE_RUNS_{name}"):
        RunSettings.from_environment()


def test_a_run_that_a_run_has_started_is_no_nicer():
    script = "import os; from anticollapse.runs.worker import _yield_to_others as go; os.nice(3)\n"
    script += "for wanted in (10, 10, 5): go(wanted); print(os.getpriority(0, 0))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    at_least = max(10, os.getpriority(os.PRIO_PROCESS, 0) + 3)
    assert said.split() == [str(min(at_least, 19))] * 3


def test_held_out_pairs_are_a_fifth_and_on_one_side_only(pair_maker):
    data = pair_maker(200)
    doubled = data.subset(np.concatenate([np.arange(200), np.arange(50)]))
    train, dev = hold_out(doubled)
    assert train.n + dev.n == doubled.n
    assert dev.n >= 50
    sides = [set(zip(part.sentences1, part.sentences2, strict=True)) for part in (train, dev)]
    assert not sides[0] & sides[1]
    assert hold_out(pair_maker(20))[1] is None
    assert hold_out(pair_maker(200, scores=False))[1] is None


def test_pairs_survive_the_disk_exactly(tmp_path, pair_maker):
    for data in (pair_maker(), pair_maker(scores=False), pair_maker(second=False)):
        store.save_pairs(tmp_path / "pairs.json", data)
        back = store.read_pairs_of(tmp_path / "pairs.json")
        assert back.digest == data.digest
        assert (back.name, back.rows.tolist()) == (data.name, data.rows.tolist())


def test_a_listing_reads_only_what_changed(begin, root, still, monkeypatch):
    for _ in range(5):
        run = begin()
    listing = runs.Listing(root, every=0.0)
    assert len(listing.runs()) == 5
    reads = []
    real = store.read
    monkeypatch.setattr(store, "read", lambda folder: (reads.append(folder), real(folder))[1])
    listing.runs()
    assert reads == []
    store.write(dataclasses.replace(run, progress={"step": 3}))
    assert listing.runs()[0].progress["step"] == 3
    assert reads == [run.folder]
    slow = runs.Listing(root, every=60.0)
    slow.runs()
    store.write(dataclasses.replace(run, progress={"step": 4}))
    assert slow.runs()[0].progress["step"] == 3
    assert slow.runs(fresh=True)[0].progress["step"] == 4


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}', '{"schema": 1, "state": "dancing"}'])
def test_a_run_that_cannot_be_read_is_listed_and_can_be_deleted(begin, root, still, text):
    run = begin()
    bad = root / ("f" * 32)
    bad.mkdir()
    (bad / "run.json").write_text(text)
    listed = runs.list_runs(root)
    assert [one.id for one in listed] == [run.id, bad.name]
    assert listed[1].state == "failed"
    assert "All that can be done here is to delete it." in listed[1].reason
    for action in (runs.get, runs.resume, runs.stop):
        with pytest.raises(RunError):
            action(bad.name, root=root)
    assert begin().ticket == 2
    runs.delete(bad.name, root=root)
    assert not bad.exists()


@pytest.mark.parametrize("text", ["", "{", None])
def test_a_damaged_description_is_made_anew_from_what_was_asked_for(begin, root, settings, fake, text):
    run = begin(name="mine", parameters={"supervised_weight": 2.0})
    runs.wait_for(run.id, timeout=60, root=root)
    file = run.folder / "run.json"
    file.unlink() if text is None else file.write_text(text)
    (lost,) = runs.list_runs(root)
    assert (lost.id, lost.name, lost.state, lost.request) == (run.id, "mine", "lost", run.request)
    assert "was damaged" in lost.reason
    assert runs.get(run.id, root=root) == lost
    again = runs.resume(run.id, root=root, settings=settings)
    assert again.attempts == 2  # so it looks for a checkpoint
    assert runs.wait_for(run.id, timeout=60, root=root).state == "done"


def test_leftovers_of_killed_processes_are_swept_and_what_is_being_made_stays(begin, root, settings, still):
    for name in (".new-a", ".new-b", ".deleted-c"):
        (root / name).mkdir()
        (root / name / "train.json").write_text("x")
    with store.held(root / ".new-b"):
        runs.pump(root, settings)
    assert sorted(folder.name for folder in root.glob(".*-*")) == [".new-b"]
    runs.pump(root, settings)
    assert not list(root.glob(".*-*"))


def test_a_run_that_others_start_from_is_not_deleted(begin, root, settings, fake):
    import shutil

    first = begin(name="first")
    runs.wait_for(first.id, timeout=60, root=root)
    shutil.copytree(root / "tiny", first.folder / store.MODEL)
    second = runs.start("sbert", first.id, *begin_pairs(first), name="second", root=root, settings=settings)
    runs.wait_for(second.id, timeout=60, root=root)
    for state in ("queued", "stopped", "failed", "lost"):
        store.write(dataclasses.replace(store.read(second.folder), state=state, limits={"keep_free_mb": 2**40}))
        assert [run.id for run in runs.dependants(first.id, root=root)] == [second.id]
        with pytest.raises(RunError, match=f'still need it: "second" \\({state}\\)'):
            runs.delete(first.id, root=root)
    store.write(dataclasses.replace(store.read(second.folder), state="done"))
    runs.delete(first.id, root=root)
    assert not first.folder.exists()


def begin_pairs(run):
    return (store.read_pairs_of(run.folder / store.TRAIN),)


def test_the_size_of_a_folder_whose_files_vanish(tmp_path, monkeypatch):
    (tmp_path / "inside").mkdir()
    for name in ("a", "inside/b", "inside/gone"):
        (tmp_path / name).write_bytes(b"x" * 10)
    whole = Path.lstat

    def vanished(file):
        if file.name == "gone":
            raise FileNotFoundError(file)
        return whole(file)

    monkeypatch.setattr(Path, "lstat", vanished)
    assert store.size_of(tmp_path) == 20


def test_run_json_is_plain_and_complete(begin, root, still):
    run = begin(parameters={"supervised_weight": 2.0})
    plain = json.loads((run.folder / "run.json").read_text())
    assert plain["request"]["parameters"] == {"supervised_weight": 2.0}
    assert plain["request"]["options"]["steps"] == 6
    assert plain["state"] == "queued"
    assert store.Run.from_json(plain, run.folder) == run


def test_the_probe_measures_real_steps(root, pairs, settings):
    variant = get_variant("sbert")
    speed = runs.probe(variant, "tiny", pairs, dev=pairs, root=root, settings=settings)
    assert 0 < speed.step < 5
    assert speed.setup > 0.5  # a process was started for it
    assert speed.look > 0
    assert speed.write > 0
    assert speed.threads == 1
    assert speed.dev_share == 1.0
    assert speed.seconds(100, 10) > speed.seconds(50, 10) > speed.setup


def test_only_evaluating_takes_longer_with_more_dev_pairs():
    speed = runs.Speed(setup=7.0, step=0.5, look=2.0, write=3.0, dev_share=0.1, threads=1)
    # Each of 4 looks writes as much as the probe's did; 5 evaluations, the backbone's too, have ten times the pairs.
    assert speed.seconds(100, 4) == pytest.approx(7 + 100 * 0.5 + 4 * 3 + 5 * 20)


def test_the_parts_of_the_time_are_told_apart():
    from anticollapse.runs.estimate import times_of
    from anticollapse.training import Event

    def at(when, kind, step, **values):
        return when, Event(kind=kind, step=step, steps=8, values=values)

    heard = [
        at(112.0, "start", 0),  # 2 s of these 12 s were the backbone's evaluation
        at(113.0, "progress", 1),
        at(118.0, "evaluation", 4, items_per_second=8.0),
        at(119.0, "checkpoint", 4),
        at(127.0, "progress", 8),  # 4 steps of 1 s, after 5 s of writing
        at(129.0, "evaluation", 8, items_per_second=8.0),
        at(133.0, "checkpoint", 8),
    ]
    assert times_of(heard, began=100.0, items=8) == {"setup": 10.0, "step": 1.0, "look": 2.0, "write": 5.0}


def test_a_probe_that_cannot_train_says_why(root, pair_maker, settings, monkeypatch):
    from anticollapse.runs import estimate

    def here(command, **_):
        estimate.main(Path(command[-1]))
        return types.SimpleNamespace(stderr=b"")

    monkeypatch.setattr(estimate.subprocess, "run", here)
    with pytest.raises(RunError, match=r"cannot be measured \(.*scores"):
        runs.probe(get_variant("sbert"), "tiny", pair_maker(scores=False), root=root, settings=settings)


@pytest.mark.parametrize("name", ["missing", "../elsewhere", "/etc"])
def test_a_probe_loads_nothing_from_outside_the_root_for_the_app(
    root, pairs, settings, monkeypatch, name, tiny_encoder
):
    import shutil

    from anticollapse.runs import estimate

    shutil.copytree(tiny_encoder, root.parent / "elsewhere")
    monkeypatch.setattr(estimate.subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    for place in (name, str(root.parent / "elsewhere")):
        with pytest.raises(EncoderError):
            runs.probe(get_variant("sbert"), place, pairs, confined=True, root=root, settings=settings)


def test_steps_are_those_of_the_training(root, pairs, tiny_encoder):
    from anticollapse.encoding import load_encoder
    from anticollapse.training import TrainingOptions
    from anticollapse.training.data import prepare
    from anticollapse.training.setup import make_plan

    encoder = load_encoder("tiny", root=root)
    for name in ("sbert", "simcse", "triplet"):
        for options in (TrainingOptions(), TrainingOptions(steps=33), TrainingOptions(epochs=2, batch_size=7)):
            variant = get_variant(name)
            plan = make_plan(variant, options, prepare(pairs, variant, encoder), encoder, [])
            steps, looks = runs.steps_of(variant, options, pairs)
            assert steps == plan.steps
            assert looks == -(-plan.steps // plan.evaluate_every)
