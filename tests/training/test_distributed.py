"""Two gloo processes on half batches give the losses and weights of one process on the full batch."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from sentence_transformers import SentenceTransformer

from anticollapse.training import TrainingOptions, get_variant, train
from anticollapse.training.checkpoint import load
from anticollapse.training.loop import LAST

NAMES = ["sbert", "cross-attention", "cosent", "sbert-swav", "esimcse", "byol", "barlow-twins"]
ACCUMULATED = ["cosent", "sbert-swav"]
"""Trained again with two batches a step, and in two processes interrupted after three of the five steps, then resumed
from the checkpoint of step two: queue, momentum encoder, prototypes, data order and random numbers of both."""
VIEWS = {"dropout_rate": 0, "word_repetition_rate": 0}
TOLERANCE = 2e-4  # AdamW makes whole steps, of 1e-3, of gradients that are little more than rounding
"""Float32 sums in another order, through five steps of AdamW at a learning rate of 1e-3."""
SHIFTS = {
    "byol": ("layer.1.output.LayerNorm.bias", "head.3.bias"),
    "barlow-twins": ("layer.1.output.LayerNorm.bias", "head.6.bias"),
}
"""Their heads subtract the batch's mean, so a shift of all vectors has no gradient but rounding, which AdamW blows
up."""
OPTIONS = TrainingOptions(
    steps=5, batch_size=11, learning_rate=1e-3, evaluate_every=2, precision="float32", patience=0, max_grad_norm=1.0
)

WORKER = """
import json, sys
from pathlib import Path
import dataclasses
import torch
from anticollapse.data import load_pairs
from anticollapse.training import TrainingOptions, get_variant, train
from anticollapse.training.loop import Run
torch.set_num_threads(1)
folder, output = Path(sys.argv[1]), Path(sys.argv[2])
names, accumulated, views = (json.loads(text) for text in sys.argv[3:6])
options = eval(sys.argv[6])
arguments = {"dev": load_pairs(folder / "dev.jsonl"), "device": "cpu", "command": "test"}
pairs = load_pairs(folder / "train.jsonl")

def variant_of(name):
    variant = get_variant(name)
    return variant.with_parameters({k: v for k, v in views.items() if k in variant.values})

for name in names:
    train(variant_of(name), folder / "encoder", pairs, output=output / name, options=options, **arguments)

class Killed(BaseException):
    pass

step = Run._step
def interrupted(run, batches):
    if run.at.step == 3:
        raise Killed
    step(run, batches)

twice = dataclasses.replace(options, accumulation=2)
for name in accumulated:
    place = output / (name + "-accumulated")
    Run._step = interrupted
    try:
        train(variant_of(name), folder / "encoder", pairs, output=place, options=twice, **arguments)
    except Killed:
        pass
    else:
        raise SystemExit("not interrupted")
    Run._step = step
    torch.rand(17)
    train(variant_of(name), folder / "encoder", pairs, output=place, options=twice, resume=True, **arguments)

import torch.distributed as dist
assert dist.get_world_size() == 2
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):
    """Backbone without dropout (masks cannot be the same on two processes), and data on disk."""
    place = tmp_path_factory.mktemp("distributed")
    model = SentenceTransformer(str(tiny_folder), device="cpu")
    model[0].auto_model.config.hidden_dropout_prob = model[0].auto_model.config.attention_probs_dropout_prob = 0.0
    model.save(str(place / "encoder"), create_model_card=False)
    return place


@pytest.fixture(scope="module")
def two_processes(folder, tmp_path_factory, request):
    """All variants in one pair of processes, as starting them takes longest."""
    make_pairs = request.getfixturevalue("module_pair_maker")
    for name, pairs in (("train", make_pairs()), ("dev", make_pairs(n=40, seed=1))):
        rows = zip(pairs.sentences1, pairs.sentences2, pairs.scores.tolist(), strict=True)
        lines = [json.dumps({"sentence1": a, "sentence2": b, "score": s}) for a, b, s in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    output = tmp_path_factory.mktemp("two")
    arguments = [str(folder), str(output), *map(json.dumps, (NAMES, ACCUMULATED, VIEWS)), repr(OPTIONS)]
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    common |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "LOCAL_WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(2)
    ]
    try:
        texts = [worker.communicate(timeout=240)[0].decode() for worker in started]
    finally:
        for worker in started:
            worker.kill()
    assert [worker.returncode for worker in started] == [0, 0], "\n".join(texts)[-4000:]
    return output


@pytest.fixture(scope="module")
def module_pair_maker():
    from importlib import util
    from pathlib import Path

    spec = util.spec_from_file_location("training_conftest", Path(__file__).with_name("conftest.py"))
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_pairs


def entries(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def evaluations(folder):
    return [e for e in entries(folder) if e["event"] == "evaluation"]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_equal_one(name, two_processes, folder, tmp_path):
    assert_equal_runs(name, OPTIONS, two_processes / name, folder, tmp_path)


@pytest.mark.parametrize("name", ACCUMULATED)
def test_two_processes_that_accumulate_and_resume_equal_one_that_was_not_interrupted(
    name, two_processes, folder, tmp_path
):
    options = dataclasses.replace(OPTIONS, accumulation=2)
    place = two_processes / f"{name}-accumulated"
    assert "Resumed after step 2." in [e.get("text") for e in entries(place)]
    assert_equal_runs(name, options, place, folder, tmp_path)


def assert_equal_runs(name, options, place, folder, tmp_path):
    from anticollapse.data import load_pairs

    variant = get_variant(name)
    variant = variant.with_parameters({k: v for k, v in VIEWS.items() if k in variant.values})
    pairs, dev = (load_pairs(folder / f"{split}.jsonl") for split in ("train", "dev"))
    train(
        variant,
        folder / "encoder",
        pairs,
        dev=dev,
        output=tmp_path / "one",
        options=options,
        device="cpu",
        command="test",
    )
    one, two = load(tmp_path / "one" / LAST), load(place / LAST)
    for key, value in one.tensors.items():
        if key.startswith(("system.", "means.")) and not key.endswith(SHIFTS.get(name, ("-",))):
            scale = 1 + value.abs().max() if value.is_floating_point() else 1
            worst = ((value.double() - two.tensors[key].double()).abs().max() / scale).item()
            assert worst < TOLERANCE, (key, worst)
    assert {"random.0", "random.1"} <= two.tensors.keys()
    for a, b in zip(evaluations(tmp_path / "one"), evaluations(place), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["mean_unrelated_cosine"] == pytest.approx(b["mean_unrelated_cosine"], abs=1e-4)
    single = safetensors.torch.load_file(tmp_path / "one" / "model" / "model.safetensors")
    both = safetensors.torch.load_file(place / "model" / "model.safetensors")
    assert single.keys() == both.keys()


def test_one_process_gathers_nothing():
    from anticollapse.training.distributed import gather_rows, gather_towers

    x = torch.randn(4, 3)
    assert gather_rows(x, (4,)) is x
    assert gather_towers(x, (2,), 2) is x


def test_the_sampler_leaves_nothing_out():
    from anticollapse.training.data import epoch_batches, shares

    seen = np.concatenate(
        [batch[part] for batch in epoch_batches(np.full(101, 5), 8, 0, 0) for part in shares(len(batch), 3)]
    )
    assert sorted(seen) == list(range(101))
