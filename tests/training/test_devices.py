"""The same on every device: each test runs on the CPU, and on a GPU where there is one (``-m gpu`` for those alone)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from anticollapse.training import TrainingOptions, get_variant, load_pair_scorer, train, variants
from anticollapse.training.checkpoint import load
from anticollapse.training.loop import LAST

OPTIONS = TrainingOptions(
    steps=6, batch_size=12, learning_rate=1e-3, evaluate_every=3, checkpoint_every=3, precision="float32", patience=0
)
GPU = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
)
each_device = pytest.mark.parametrize("device", ["cpu", GPU])


@each_device
@pytest.mark.parametrize("name", [name for name in variants() if name != "raw"])
def test_every_variant_trains_and_its_result_is_the_same_on_the_cpu(name, device, tiny_folder, pairs, dev, tmp_path):
    result = train(
        get_variant(name), tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=OPTIONS, device=device
    )
    assert result.status == "done"
    assert result.step == 6
    tensors = load(result.output / LAST).tensors
    assert all(torch.isfinite(value).all() for value in tensors.values() if value.is_floating_point())
    if get_variant(name).gives == "pair scores":
        here, there = (
            load_pair_scorer(result.model, device=place).score(dev.sentences1, dev.sentences2)
            for place in (device, "cpu")
        )
    else:
        here, there = (
            SentenceTransformer(str(result.model), device=place).encode(list(dev.sentences))
            for place in (device, "cpu")
        )
    np.testing.assert_allclose(here, there, atol=2e-3)


@each_device
def test_the_backbone_is_measured_alike(device, tiny_folder, pairs, dev, tmp_path):
    results = [
        train(get_variant("sbert"), tiny_folder, pairs, dev=dev, output=tmp_path / place, options=OPTIONS, device=place)
        for place in dict.fromkeys(["cpu", device])
    ]
    for result in results:
        assert result.before.dev_spearman == pytest.approx(results[0].before.dev_spearman, abs=0.5)
        assert result.before.mean_unrelated_cosine == pytest.approx(results[0].before.mean_unrelated_cosine, abs=1e-3)


@each_device
@pytest.mark.parametrize("name", ["esimcse", "sbert-swav"])
def test_a_run_goes_on_with_its_queue_and_momentum_encoder(name, device, tiny_folder, pairs, dev, tmp_path):
    whole = train(
        get_variant(name), tiny_folder, pairs, dev=dev, output=tmp_path / "whole", options=OPTIONS, device=device
    )
    folder = tmp_path / "cut"
    seen = []
    cut = train(
        get_variant(name),
        tiny_folder,
        pairs,
        dev=dev,
        output=folder,
        options=OPTIONS,
        device=device,
        callback=seen.append,
        stop=lambda: any(event.kind == "evaluation" and event.step == 3 for event in seen),
    )
    assert cut.status == "stopped"
    assert 3 <= cut.step < 6
    again = train(
        get_variant(name), tiny_folder, pairs, dev=dev, output=folder, options=OPTIONS, device=device, resume=True
    )
    assert again.step == 6
    first, second = load(whole.output / LAST).tensors, load(folder / LAST).tensors
    assert first.keys() == second.keys()
    for key, value in first.items():
        if device == "cpu":
            assert torch.equal(value, second[key]), key
        elif value.is_floating_point():  # sums on a GPU may be added in another order
            torch.testing.assert_close(value, second[key], atol=5e-3, rtol=5e-3)


@each_device
def test_bfloat16_is_near_float32(device, tiny_folder, pairs, dev, tmp_path):
    spearman = {}
    for precision in ("float32", "bfloat16"):
        options = dataclasses.replace(OPTIONS, precision=precision)
        result = train(
            get_variant("sbert"),
            tiny_folder,
            pairs,
            dev=dev,
            output=tmp_path / precision,
            options=options,
            device=device,
        )
        spearman[precision] = result.after.dev_spearman
    assert spearman["bfloat16"] == pytest.approx(spearman["float32"], abs=5)
