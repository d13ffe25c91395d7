"""Whole runs: learning, stopping, resuming, being killed, and what comes out."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import BertForMaskedLM

from anticollapse.data import load_pairs
from anticollapse.encoding import load_encoder
from anticollapse.errors import OptionError, TrainingError
from anticollapse.pretraining import PretrainingOptions, pretrain
from anticollapse.pretraining import run as run_module
from anticollapse.pretraining.engine import Stepper
from anticollapse.training.checkpoint import load

OPTIONS = PretrainingOptions(
    tokens=12_000, size="1x32", batch_tokens=512, evaluations=3, precision="float32", warmup=0.1, checkpoint_minutes=0
)
TIMES = {"seconds", "loss_seconds"}


class KilledError(BaseException):
    """Nothing in the code under test may catch it."""


def assert_same(a, b):
    first, second = (load(folder / run_module.LAST) for folder in (a, b))
    places = [{k: v for k, v in one.state["position"].items() if k not in TIMES} for one in (first, second)]
    assert places[0] == places[1]
    assert first.tensors.keys() == second.tensors.keys()
    for name, value in first.tensors.items():
        assert torch.equal(value, second.tensors[name]), name
    files = [(folder / "model" / "model.safetensors").read_bytes() for folder in (a, b)]
    assert files[0] == files[1]


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    pretrain(toy, output=folder, options=OPTIONS, device="cpu")
    return folder


@pytest.mark.parametrize("steps", [1, 9, 17])
def test_stopped_and_resumed_is_bit_for_bit_the_same(steps, whole, toy, tmp_path):
    calls = []
    first = pretrain(
        toy, output=tmp_path / "run", options=OPTIONS, device="cpu", stop=lambda: calls.append(1) or len(calls) > steps
    )
    assert (first.status, first.record["steps"]) == ("stopped", steps)
    torch.rand(17)  # whatever happened in between
    second = pretrain(None, output=tmp_path / "run", options=OPTIONS, device="cpu", resume=True)
    assert second.status == "done"
    assert_same(whole, tmp_path / "run")


@pytest.mark.parametrize("at", [2, 11])
def test_interrupted_within_a_step_is_the_same_too(at, whole, toy, tmp_path, monkeypatch):
    calls, original = [], Stepper.__call__

    def interrupted(self, *given):
        loss = original(self, *given)
        calls.append(1)
        if len(calls) == at:
            raise KilledError
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", interrupted)
        with pytest.raises(KilledError):
            pretrain(toy, output=tmp_path / "run", options=OPTIONS, device="cpu")
    again = pretrain(toy, output=tmp_path / "run", options=OPTIONS, device="cpu", resume=True)
    assert again.status == "done"
    assert_same(whole, tmp_path / "run")


def test_dropout_is_resumed_too(toy, tmp_path):
    options = dataclasses.replace(OPTIONS, dropout=0.2)
    pretrain(toy, output=tmp_path / "whole", options=options, device="cpu")
    calls = []
    stop = {"stop": lambda: calls.append(1) or len(calls) > 5}
    pretrain(toy, output=tmp_path / "halves", options=options, device="cpu", **stop)
    torch.rand(3)
    pretrain(toy, output=tmp_path / "halves", options=options, device="cpu", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "halves")


WORKER = """
import sys, time
from pathlib import Path
import torch
from anticollapse.pretraining import PretrainingOptions, load_corpus, pretrain
torch.set_num_threads(1)
pretrain(load_corpus(Path(sys.argv[1])), output=Path(sys.argv[2]), options=eval(sys.argv[3]), device="cpu")
"""


def test_a_killed_run_leaves_whole_files_only(toy, tmp_path):
    from anticollapse.pretraining import save_corpus

    save_corpus(toy, tmp_path / "toy.tokens", compress=False)
    output = tmp_path / "run"
    # Every step evaluates, exports and saves: wherever the kill hits, something is likely being written.
    options = dataclasses.replace(OPTIONS, evaluations=100_000, tokens=10**9, size="2x128")
    command = [sys.executable, "-c", WORKER, str(tmp_path / "toy.tokens"), str(output), repr(options)]
    for kill in range(3):
        worker = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
        try:
            before = (output / run_module.LAST).stat().st_mtime_ns if kill else 0
            deadline = time.monotonic() + 200
            while worker.poll() is None and time.monotonic() < deadline:
                file = output / run_module.LAST
                if file.exists() and file.stat().st_mtime_ns > before:
                    break
                time.sleep(0.01)
            assert worker.poll() is None, worker.stderr.read().decode()
            time.sleep(0.05 * kill)
            worker.send_signal(signal.SIGKILL)
        finally:
            worker.kill()
            worker.wait()
        step = load(output / run_module.LAST).state["position"]["step"]
        assert step > 0
        if (output / "model").exists():
            assert SentenceTransformer(str(output / "model"), device="cpu").encode(["a cat"]).shape == (1, 128)
        if kill == 0:
            command[-2:] = [str(output), repr(options)]
            command[2] = WORKER.replace('device="cpu"', 'device="cpu", resume=True')


def test_the_loss_falls_below_what_word_counts_alone_give(toy, tmp_path):
    counts = np.bincount(toy.held_out[toy.held_out > 4])
    shares = counts[counts > 0] / counts.sum()
    unigram = -(shares * np.log(shares)).sum()
    options = dataclasses.replace(
        OPTIONS, tokens=400_000, size="2x64", batch_tokens=2048, learning_rate=3e-3, checkpoint_minutes=5
    )
    result = pretrain(toy, output=tmp_path / "run", options=options, device="cpu")
    losses = [
        json.loads(line)["held_out_loss"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        if json.loads(line)["event"] == "evaluation"
    ]
    assert len(losses) == 3
    assert losses[0] > losses[-1]
    assert losses[-1] < 0.75 * unigram
    assert result.record["measures"]["held_out_accuracy"] > 0.3


def test_what_comes_out_loads_in_plain_sentence_transformers(whole):
    folder = whole / "model"
    model = SentenceTransformer(str(folder), device="cpu")
    assert model.max_seq_length == 256
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling"]
    sentences = ["The cat eats a red apple.", "a dog", "long " * 400]
    vectors = model.encode(sentences)
    assert vectors.shape == (3, 32)
    assert np.isfinite(vectors).all()
    ours = load_encoder(folder, device="cpu").encode(sentences)
    np.testing.assert_allclose(ours.vectors, vectors, atol=1e-4)
    assert ours.truncated.tolist() == [False, False, True]
    assert model.tokenizer.tokenize("The cat") == ["the", "cat"]
    weights = load_file(folder / "model.safetensors")
    assert {str(w.dtype) for w in weights.values()} == {"torch.float16"}
    assert (folder / "model.safetensors").stat().st_mode & 0o044 == 0o044
    trained = load(whole / run_module.LAST).part("model.bert.")
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    assert torch.equal(weights[name], trained[name].half())
    again = BertForMaskedLM.from_pretrained(folder)
    assert again.config.hidden_dropout_prob == 0.1
    assert torch.equal(again.cls.predictions.bias, trained["cls.predictions.bias"].half().float())


def test_the_card_says_where_it_comes_from(toy, whole):
    text = (whole / "model" / "README.md").read_text(encoding="utf-8")
    record = json.loads((whole / "model" / "pretraining.json").read_text(encoding="utf-8"))
    assert record["status"] == "done"
    assert record["data"]["digest"] == toy.digest
    assert record["tokens"] >= OPTIONS.tokens
    for said in (
        "license: other",
        "that of the text, not stated",
        "toy.txt",
        f"{record['tokens']:,}",
        "30 % predicted",
        "float32",
    ):
        assert said in text
    assert f"{record['measures']['held_out_loss']:.3f}" in text
    assert "Unfinished" not in text
    stated = set(vars(OPTIONS)) - set(record["options"])
    assert stated <= {"stop_after"}


def test_the_card_says_the_licence_that_was_stated(toy, tmp_path):
    options = dataclasses.replace(OPTIONS, tokens=1_000)
    made = pretrain(toy, output=tmp_path / "run", options=options, device="cpu", licence="cc-by-sa-4.0")
    text = (made.model / "README.md").read_text(encoding="utf-8")
    assert "license: cc-by-sa-4.0" in text
    assert "| licence | text cc-by-sa-4.0; the weights are shared under the same terms |" in text


def test_graded_pairs_are_measured_and_change_nothing(toy, whole, tmp_path):
    dev = load_pairs("demo", split="dev")
    result = pretrain(toy, output=tmp_path / "run", options=OPTIONS, device="cpu", dev=dev)
    measures = result.record["measures"]
    assert -100 <= measures["dev_spearman"] <= 100
    assert -1 <= measures["mean_cosine_low"] <= 1
    assert_same(whole, tmp_path / "run")
    assert "demo:dev (198 pairs), raw" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_by_the_clock(toy, tmp_path):
    options = dataclasses.replace(OPTIONS, tokens=0, minutes=0.02, evaluations=2)
    first = pretrain(toy, output=tmp_path / "run", options=dataclasses.replace(options, stop_after=0.005), device="cpu")
    assert first.status == "stopped"
    assert 0 < first.record["progress"] < 1
    assert "Unfinished" in (tmp_path / "run" / "model" / "README.md").read_text()
    second = pretrain(None, output=tmp_path / "run", options=options, device="cpu", resume=True)
    assert second.status == "done"
    assert second.record["seconds"] >= 60 * 0.02
    assert second.record["tokens"] > first.record["tokens"]


@pytest.mark.parametrize("change", ["option", "text"])
def test_another_run_cannot_be_resumed(change, toy, whole):
    options = dataclasses.replace(OPTIONS, seed=1) if change == "option" else OPTIONS
    corpus = dataclasses.replace(toy, ids=toy.ids[:1000]) if change == "text" else toy
    with pytest.raises(OptionError, match="was started with another"):
        pretrain(corpus, output=whole, options=options, device="cpu", resume=True)


def test_a_run_is_not_overwritten_by_accident(toy, whole, tmp_path):
    with pytest.raises(OptionError, match="there is a run already"):
        pretrain(toy, output=whole, options=OPTIONS, device="cpu")
    with pytest.raises(OptionError, match="no checkpoint to resume from"):
        pretrain(None, output=tmp_path / "none", options=OPTIONS, device="cpu", resume=True)


def test_a_loss_that_is_no_number_is_said(toy, tmp_path):
    options = dataclasses.replace(OPTIONS, evaluations=1000)  # each step is saved
    calls, original = [], Stepper.__call__

    def broken(self, *given):
        calls.append(1)
        return original(self, *given) * (float("nan") if len(calls) > 3 else 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "__call__", broken)
        with pytest.raises(TrainingError, match="no longer a number at step 4"):
            pretrain(toy, output=tmp_path / "run", options=options, device="cpu")
    assert load(tmp_path / "run" / run_module.LAST).state["position"]["step"] == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("engine", ["auto", "graph", "compile", "eager"])
def test_on_a_gpu_every_way_of_stepping_learns_the_same(engine, toy, tmp_path):
    options = dataclasses.replace(OPTIONS, size="2x64", tokens=100_000, engine=engine, long_share=0.3)
    result = pretrain(toy, output=tmp_path / engine, options=options, device="cuda")
    eager = pretrain(toy, output=tmp_path / "eager2", options=dataclasses.replace(options, engine="eager"))
    assert result.record["engine"] == {"auto": "compiled graph"}.get(engine, engine)
    losses = [r.record["measures"]["held_out_loss"] for r in (result, eager)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
