"""A run that was killed and resumed ends bit for bit where the uninterrupted one does."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from anticollapse.data import load_pairs
from anticollapse.errors import OptionError, TrainingError
from anticollapse.training import TrainingOptions, get_variant, train
from anticollapse.training.checkpoint import load
from anticollapse.training.loop import LAST, Run

OPTIONS = TrainingOptions(
    steps=14, batch_size=10, learning_rate=1e-3, evaluate_every=4, checkpoint_every=3, precision="float32", patience=0
)
TIMES = {"seconds", "time", "items_per_second"}


class KilledError(BaseException):
    """Nothing in the code under test may catch it."""


def state(folder):
    saved = load(folder / LAST)
    position = {k: v for k, v in saved.state["position"].items() if k not in TIMES}
    return saved.tensors, position


def evaluations(folder):
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in e.items() if k not in TIMES} for e in entries if e["event"] == "evaluation"]


def assert_same(a, b):
    tensors_a, position_a = state(a)
    tensors_b, position_b = state(b)
    assert position_a == position_b
    assert tensors_a.keys() == tensors_b.keys()
    for name, value in tensors_a.items():
        assert torch.equal(value, tensors_b[name]), name
    assert evaluations(a) == evaluations(b)
    first, second = ((f / "model" / "model.safetensors").read_bytes() for f in (a, b))
    assert first == second


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("sbert", "before a step"),
        ("sbert-swav", "before a step"),
        ("sbert-swav", "within a step"),  # after the keys are in the queue, before the optimizer
        ("esimcse", "within a step"),
        ("byol", "within a step"),
        ("cross-attention-scored", "before a step"),
        ("consert", "before a step"),
    ],
)
@pytest.mark.parametrize("at", [2, 9])
def test_interrupted_anywhere(name, where, at, tiny_folder, pairs, dev, tmp_path, monkeypatch):
    variant = get_variant(name)
    arguments = {"dev": dev, "options": OPTIONS, "command": "test"}
    train(variant, tiny_folder, pairs, output=tmp_path / "whole", **arguments)
    calls = []
    with monkeypatch.context() as patch:
        owner, method = (Run, "_step") if where == "before a step" else (torch.optim.AdamW, "step")
        original = getattr(owner, method)

        def interrupted(*given, **named):
            calls.append(1)
            if len(calls) == at:
                raise KilledError
            return original(*given, **named)

        patch.setattr(owner, method, interrupted)
        with pytest.raises(KilledError):
            train(variant, tiny_folder, pairs, output=tmp_path / "killed", **arguments)
    torch.rand(17)  # whatever happened in between
    result = train(variant, tiny_folder, pairs, output=tmp_path / "killed", resume=True, **arguments)
    assert result.status == "done"
    assert_same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("steps", [1, 7, 13])
def test_stopped_and_resumed(steps, tiny_folder, pairs, dev, tmp_path):
    variant = get_variant("sbert-queue")
    train(variant, tiny_folder, pairs, dev=dev, output=tmp_path / "whole", options=OPTIONS)
    calls = []
    stop = {"stop": lambda: calls.append(1) or len(calls) > steps}
    first = train(variant, tiny_folder, pairs, dev=dev, output=tmp_path / "halves", options=OPTIONS, **stop)
    assert (first.status, first.step) == ("stopped", steps)
    train(variant, tiny_folder, pairs, dev=dev, output=tmp_path / "halves", options=OPTIONS, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "halves")


WORKER = """
import sys, time
from pathlib import Path
import torch
from anticollapse.data import load_pairs
from anticollapse.training import TrainingOptions, get_variant, train
torch.set_num_threads(1)
folder, output, options = Path(sys.argv[1]), Path(sys.argv[2]), eval(sys.argv[3])
train(get_variant("sbert-swav"), folder / "encoder", load_pairs(folder / "train.jsonl"),
      dev=load_pairs(folder / "dev.jsonl"), output=output, options=options, device="cpu", command="test",
      stop=lambda: time.sleep(0.05))
"""


def write(pairs, file):
    rows = zip(pairs.sentences1, pairs.sentences2, pairs.scores.tolist(), strict=True)
    file.write_text("".join(json.dumps({"sentence1": a, "sentence2": b, "score": s}) + "\n" for a, b, s in rows))
    return load_pairs(file)


def test_killed_for_real_at_a_random_moment(tiny_folder, pairs, dev, tmp_path):
    folder = tiny_folder.parent
    train_pairs, dev_pairs = write(pairs, folder / "train.jsonl"), write(dev, folder / "dev.jsonl")
    variant = get_variant("sbert-swav")
    arguments = {"dev": dev_pairs, "options": OPTIONS, "command": "test"}
    train(variant, folder / "encoder", train_pairs, output=tmp_path / "whole", **arguments)
    output = tmp_path / "killed"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(random.randrange(1000))}
    command = [sys.executable, "-c", WORKER, str(folder), str(output), repr(OPTIONS)]
    worker = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        while not (output / "metrics.jsonl").exists() and worker.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        moment = random.uniform(0, 0.8)
        time.sleep(moment)
        assert worker.poll() is None, worker.stderr.read().decode()
        worker.send_signal(signal.SIGKILL)
    finally:
        worker.kill()
        worker.wait()
    assert worker.returncode == -signal.SIGKILL
    reached = state(output)[1]["step"] if (output / LAST).exists() else 0
    assert reached < OPTIONS.steps, f"killed after {moment:.3f} s, which was too late"
    train(variant, folder / "encoder", train_pairs, output=output, resume=True, **arguments)
    assert_same(tmp_path / "whole", output)


def test_resuming_what_is_finished_changes_nothing(tiny_folder, pairs, dev, tmp_path):
    arguments = {"dev": dev, "options": OPTIONS, "output": tmp_path / "run"}
    first = train(get_variant("sbert"), tiny_folder, pairs, **arguments)
    before = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    second = train(get_variant("sbert"), tiny_folder, pairs, resume=True, **arguments)
    assert (second.status, second.step, second.best_step) == ("done", first.step, first.best_step)
    assert second.after == first.after
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == before


def test_nothing_to_resume_from_is_said(tiny_folder, pairs, tmp_path):
    events = []
    train(
        get_variant("sbert"),
        tiny_folder,
        pairs,
        output=tmp_path / "run",
        options=OPTIONS,
        resume=True,
        callback=events.append,
    )
    assert any("no checkpoint to resume from" in e.values["text"] for e in events if e.kind == "notice")


@pytest.mark.parametrize("change", ["variant", "parameter", "option", "data", "dev"])
def test_another_run_cannot_be_resumed(change, tiny_folder, pairs, dev, pair_maker, tmp_path):
    variant, options = get_variant("sbert-queue"), OPTIONS
    train(variant, tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=options)
    if change == "variant":
        variant = get_variant("sbert-simcse")
    elif change == "parameter":
        variant = variant.with_parameters({"queue_size_ratio": 1})
    elif change == "option":
        options = dataclasses.replace(options, seed=1)
    elif change == "data":
        pairs = pair_maker(seed=9)
    else:
        dev = None
    with pytest.raises(OptionError, match="was started with another"):
        train(variant, tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=options, resume=True)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, None])
def test_a_damaged_checkpoint_says_so(damage, tiny_folder, pairs, tmp_path):
    train(get_variant("sbert"), tiny_folder, pairs, output=tmp_path / "run", options=OPTIONS)
    file = tmp_path / "run" / LAST
    file.write_bytes(file.read_bytes()[:5000] if damage is None else damage)
    with pytest.raises(TrainingError, match="checkpoint cannot be read"):
        train(get_variant("sbert"), tiny_folder, pairs, output=tmp_path / "run", options=OPTIONS, resume=True)


def test_folders_change_places_at_once(tmp_path):
    from anticollapse.training.export import swap_folders

    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    swap_folders(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "file").read_text() == "new"
    assert (tmp_path / "new" / "file").read_text() == "old"
    swap_folders(tmp_path / "new", tmp_path / "fresh")
    assert (tmp_path / "fresh" / "file").read_text() == "old"


def test_folders_change_places_without_the_system_call(tmp_path, monkeypatch):
    from anticollapse.training import export

    monkeypatch.setattr(export.ctypes, "CDLL", lambda *_, **__: object())
    test_folders_change_places_at_once(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fresh", "old"]


def test_checkpoint_keeps_every_bit(tmp_path):
    from anticollapse.training import checkpoint

    values = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.tensor(2.5), "d": torch.tensor([True, False])}
    values["view"] = values["a"][1:]
    values["turned"] = values["a"].T
    checkpoint.save(tmp_path / "x" / "c.safetensors", values, {"f": 0.1 + 0.2, "s": "ä"})
    back = load(tmp_path / "x" / "c.safetensors")
    assert back.state == {"f": 0.1 + 0.2, "s": "ä"}
    assert all(torch.equal(values[k], back.tensors[k]) for k in values)
    assert np.array_equal(back.part("vi")["ew"], values["view"])
