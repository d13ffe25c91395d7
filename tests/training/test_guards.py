"""What must not happen: a collapsed or broken encoder kept, a setting from outside, batches too small to learn from."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from anticollapse.errors import OptionError, TrainingError
from anticollapse.training import Dropout, InfoNCE, NTXent, TrainingOptions, Variant, get_variant, train
from anticollapse.training.evaluation import Evaluation
from anticollapse.training.fast import MASKED_ATTENTION
from anticollapse.training.loop import Run

SHORT = TrainingOptions(steps=3, batch_size=16, learning_rate=1e-3, precision="float32")


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    import safetensors.torch

    return safetensors.torch.load_file(folder / "model" / "model.safetensors")


def evaluation(**values):
    full = {"dev_spearman": 50.0, "mean_unrelated_cosine": 0.5, "std_sqrt_d": 0.7, "effective_rank": 40.0}
    return Evaluation(**(full | values), n_pairs=1, n_sentences=1, undefined={})


def test_an_error_of_ours_ends_the_journal_too(tiny_folder, pairs, tmp_path, monkeypatch):
    def burst(self, batches):
        raise ZeroDivisionError("x")

    monkeypatch.setattr(Run, "_step", burst)
    with pytest.raises(ZeroDivisionError):
        train(get_variant("sbert"), tiny_folder, pairs, output=tmp_path / "run", options=SHORT)
    assert lines(tmp_path / "run")[-1]["reason"] == "ZeroDivisionError: x"


def evaluations_that_say(values, monkeypatch):
    """Replace what the evaluator measures: the backbone's value first, then one after each step."""
    said = iter(values)
    monkeypatch.setattr(Run, "_evaluate", lambda self: evaluation(dev_spearman=next(said)))


EACH_STEP = dataclasses.replace(SHORT, steps=4, evaluate_every=1, patience=0)


def test_a_run_that_collapses_wholly_keeps_the_encoder_before(tiny_folder, pairs, dev, tmp_path, monkeypatch):
    """All dev cosines equal: there is no Spearman, and that is no reason to take this encoder."""
    evaluations_that_say([0, 40.0, 50.0, None, None], monkeypatch)
    result = train(get_variant("sbert"), tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=EACH_STEP)
    assert (result.best_step, result.after.dev_spearman) == (2, 50.0)
    evaluations_that_say([0, None, 30.0, 20.0, None], monkeypatch)
    result = train(get_variant("sbert"), tiny_folder, pairs, dev=dev, output=tmp_path / "late", options=EACH_STEP)
    assert (result.best_step, result.after.dev_spearman) == (2, 30.0)


def test_patience_counts_a_collapse_and_may_be_changed_on_resuming(tiny_folder, pairs, dev, tmp_path, monkeypatch):
    options = dataclasses.replace(EACH_STEP, patience=2)
    arguments = {"dev": dev, "output": tmp_path / "run"}
    evaluations_that_say([0, 50.0, None, None], monkeypatch)
    first = train(get_variant("sbert"), tiny_folder, pairs, options=options, **arguments)
    assert (first.status, first.step, first.best_step) == ("early-stopped", 3, 1)
    evaluations_that_say([60.0], monkeypatch)
    more = train(get_variant("sbert"), tiny_folder, pairs, options=EACH_STEP, resume=True, **arguments)
    assert (more.status, more.step, more.best_step) == ("done", 4, 4)


@pytest.mark.parametrize("name", ["sbert", "cross-attention-scored"])
def test_weights_that_are_no_numbers_are_never_written(name, tiny_folder, pairs, dev, tmp_path, monkeypatch):
    step = Run._step

    def poison(self, batches):
        step(self, batches)
        if self.at.step == 2:
            with torch.no_grad():
                next(iter(self.shop.system.trained.parameters())).fill_(float("nan"))

    monkeypatch.setattr(Run, "_step", poison)
    with pytest.raises(TrainingError, match=r"no longer a number at step 3\. The best encoder so far \(step [12]\)"):
        train(get_variant(name), tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=EACH_STEP)
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())


def test_settings_of_accelerate_change_nothing_and_are_announced(tiny_folder, pairs, tmp_path, monkeypatch):
    arguments = {"options": dataclasses.replace(SHORT, precision="float32"), "device": "cpu"}
    train(get_variant("simcse"), tiny_folder, pairs, output=tmp_path / "plain", **arguments)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "8")
    result = train(get_variant("simcse"), tiny_folder, pairs, output=tmp_path / "set", **arguments)
    plain, found = weights(tmp_path / "plain"), weights(tmp_path / "set")
    assert all(torch.equal(plain[name], found[name]) for name in plain)
    assert (
        "ACCELERATE_MIXED_PRECISION=bf16 of accelerate's configuration is not applied; use --precision." in result.notes
    )


def test_resuming_needs_the_same_composition(tiny_folder, pairs, tmp_path):
    options = dataclasses.replace(SHORT, precision="float32")
    one = Variant(id="mine", title="t", summary="s", contrast=InfoNCE(), augmentations=(Dropout(),))
    other = dataclasses.replace(one, contrast=NTXent())
    assert one.values == other.values
    asked = iter([False, True])
    train(one, tiny_folder, pairs, output=tmp_path / "run", options=options, stop=lambda: next(asked, True))
    with pytest.raises(OptionError, match="composition of the variant"):
        train(other, tiny_folder, pairs, output=tmp_path / "run", options=options, resume=True)
    renamed = dataclasses.replace(one, title="other words")
    assert train(renamed, tiny_folder, pairs, output=tmp_path / "run", options=options, resume=True).status == "done"


def test_training_on_dev_is_said(tiny_folder, pairs, tmp_path):
    result = train(get_variant("sbert"), tiny_folder, pairs, dev=pairs, output=tmp_path / "run", options=SHORT)
    assert any("dev pairs are the training pairs" in note for note in result.notes)


@pytest.mark.parametrize("name", ["barlow-twins", "byol", "simcse", "sbert-simcse", "cosent", "triplet"])
def test_batches_that_are_too_small_for_a_loss(name, tiny_folder, pair_maker, tmp_path):
    variant, options = get_variant(name), dataclasses.replace(SHORT, steps=4)
    one = dataclasses.replace(options, batch_size=1)
    with pytest.raises(TrainingError, match=r"a batch of 1 is too small.*Give --batch-size 2 or more"):
        train(variant, tiny_folder, pair_maker(n=40), output=tmp_path / "run", options=one)
    pairs = pair_maker(n=3, paired=variant.supervised is not None)
    if pairs.scores is not None:
        pairs = dataclasses.replace(pairs, scores=np.array([5.0, 4.0, 0.0]))
    two = dataclasses.replace(options, batch_size=2)
    result = train(variant, tiny_folder, pairs, output=tmp_path / "run", options=two)
    assert any("the batch is 3" in note for note in result.notes)


def test_one_pair_a_batch_is_enough_for_sbert(tiny_folder, pairs, tmp_path):
    one = dataclasses.replace(SHORT, batch_size=1)
    assert train(get_variant("sbert"), tiny_folder, pairs, output=tmp_path / "run", options=one).step == SHORT.steps


def test_long_runs_look_at_themselves_early():
    options = TrainingOptions()
    assert (options.evaluation_interval(300), options.patience_unit(300)) == (30, 30)
    assert (options.evaluation_interval(3_750_000), options.patience_unit(3_750_000)) == (1000, 375_000)
    assert TrainingOptions(evaluate_every=7).evaluation_interval(3_750_000) == 7


def test_what_a_killed_process_left_is_removed(tiny_folder, pairs, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / ".model.99.tmp").mkdir()
    (folder / "checkpoint" / ".last.safetensors.99.tmp").write_bytes(b"x")
    train(get_variant("sbert"), tiny_folder, pairs, output=folder, options=SHORT)
    assert not [*folder.rglob(".*.tmp")]


class Looks(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts what would make the host wait for a GPU: reading a tensor's value."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["sbert", "cross-attention", "triplet", "consert", "esimcse", "sbert-swav"])
def test_a_step_does_not_look_at_values(name, tiny_encoder, pairs):
    from anticollapse.training.data import Collator, prepare
    from anticollapse.training.system import System

    variant = get_variant(name)
    data = prepare(pairs, variant, tiny_encoder)
    system = System(variant, tiny_encoder, data, batch_size=8, use_bfloat16=False)
    plain = [system(Collator(data, variant)(np.arange(8)))["loss"] for _ in range(1)]
    assert plain[0].isfinite()
    system.transformer.set_attn_implementation(MASKED_ATTENTION)
    if system.momentum is not None:
        for module in system.momentum.modules():
            if hasattr(module, "set_attn_implementation"):
                module.set_attn_implementation(MASKED_ATTENTION)
    batch = Collator(data, variant)(np.arange(8))
    with Looks() as looks:
        out = system(batch)
        out["loss"].backward()
        system.after_loss(out)
        system.after_step()
    assert looks.count == 0


def test_the_attention_for_gpus_gives_the_same_vectors(tiny_encoder):
    sentences = ["the cat sees the dog .", "a bird", "the old stone hits the new car in the street ."]
    before = tiny_encoder.encode(sentences).vectors
    tiny_encoder.transformer.auto_model.set_attn_implementation(MASKED_ATTENTION)
    np.testing.assert_allclose(tiny_encoder.encode(sentences).vectors, before, atol=1e-5)
